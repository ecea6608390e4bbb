/** OpenSSH user certificates and FIDO keys, against the real sshd. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { chmod, copyFile, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { SessionError } from "../../lib/errors.ts";
import { sshString } from "../../lib/ssh/wire.ts";
import { connect, type ConnectOptions } from "../../lib/tunnel/tunnel.ts";
import { type Authority, makeAuthority, onlyCertificates } from "../support/certificates.ts";
import { type FidoKey, startFidoAgent } from "../support/fido_agent.ts";
import { type KeyOptions, makeKey } from "../support/keys.ts";
import { startAgent } from "../support/ssh_agent.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { skipUnless, type Stoppable, tempDir } from "../support/tools.ts";
import { warned } from "../support/warnings.ts";

const sshd = skipUnless("sshd", "ssh-keygen");
const withAgent = skipUnless("sshd", "ssh-keygen", "ssh-agent", "ssh-add");

let folder: { path: string } & Stoppable;
let authority: Authority;
/** Lets in only who has a certificate. */
let server: SshServer;

before(async () => {
  if (sshd.skip !== undefined) return;
  folder = await tempDir();
  // sshd reads the authority's key as the user who logs in.
  await chmod(folder.path, 0o755);
  authority = await makeAuthority(folder.path);
  server = await startSshd({ config: onlyCertificates(authority) });
});
after(async () => {
  await server?.stop();
  await folder?.stop();
});

/** Logs in and out again; returns what the server logged of it. */
async function login(options: Partial<ConnectOptions>, to = server): Promise<string> {
  const before = to.log().length;
  const tunnel = await connect({
    host: to.host,
    port: to.port,
    username: to.user,
    hostKeys: to.hostKeys.map((key) => key.fingerprint),
    identityFiles: [],
    agent: "none",
    ...options,
  });
  await tunnel.close();
  return to.log().slice(before);
}

async function refused(options: Partial<ConnectOptions>, to = server): Promise<SessionError> {
  const error = await login(options, to).then(() => undefined, (error) => error);
  assert.ok(error instanceof SessionError, String(error));
  assert.equal(error.code, "auth-failed");
  return error;
}

const KINDS: KeyOptions[] = [
  { type: "ed25519" },
  ...([256, 384, 521] as const).map((bits): KeyOptions => ({ type: "ecdsa", bits })),
  { type: "rsa" },
];

test("KEY-cert.pub beside a key lets in where only certificates are accepted", sshd, async () => {
  for (const kind of KINDS) {
    const key = await makeKey(folder.path, kind);
    // The plain key, which goes first as in ssh, is refused.
    assert.match((await refused({ identityFiles: [key.path] })).message, /; offered: [^,]*$/);
    const certificate = await authority.certify(key.publicPath, server.user);
    const log = await login({ identityFiles: [key.path] });
    const [type = ""] = (await readFile(certificate, "utf8")).split(" ");
    // RSA signs with SHA-2 whatever the certificate's type is called.
    const algorithm = type.replace("ssh-rsa-cert", "rsa-sha2-512-cert");
    assert.match(log, new RegExp(`pkalg ${algorithm.replaceAll(".", "\\.")} `));
    assert.match(log, /Accepted publickey for \S+ from .* ID fairlead test/);
  }
});

test("CertificateFile lets in, with the key in a file, encrypted, or as text", sshd, async () => {
  const passphrase = "correct horse";
  const key = await makeKey(folder.path, { passphrase });
  const path = join(folder.path, "elsewhere.pub");
  const certificateFiles = [await authority.certify(key.publicPath, server.user, { path })];
  await login({ identityFiles: [key.path], certificateFiles, passphrase });
  const text = await readFile(key.path, "utf8");
  const log = await login({ privateKeys: [text], certificateFiles, passphrase });
  // It goes first: the server is not asked about the plain key at all.
  assert.equal(log.match(/publickey test/g)?.length, 1, log);

  await warned(async (warnings) => {
    const without = await refused({ certificateFiles });
    assert.match(without.message, /; nothing was offered$/);
    assert.deepEqual(warnings, [
      `certificate ${path} has no private key here; name its key with -i, or add it to the agent`,
    ]);
  });
});

test(
  "a certificate's signature comes from the agent that holds the private half",
  withAgent,
  async () => {
    for (const kind of KINDS) {
      const key = await makeKey(folder.path, kind);
      await using agent = await startAgent([key]);
      const path = join(folder.path, "for-agent.pub");
      const certificateFiles = [await authority.certify(key.publicPath, server.user, { path })];
      await rm(key.path);
      await login({ agent: agent.socket, certificateFiles });
      // The agent's key is not offered itself where only what is named may be.
      const log = await login({ agent: agent.socket, certificateFiles, identitiesOnly: true });
      assert.equal(log.match(/publickey test/g)?.length, 1, log);
      // The public half and its certificate are enough of files.
      await copyFile(path, key.publicPath.replace(/\.pub$/, "-cert.pub"));
      for (const file of [key.path, key.publicPath]) {
        await login({ agent: agent.socket, identityFiles: [file], identitiesOnly: true });
      }
    }
  },
);

test("a certificate that the agent itself holds is offered", withAgent, async () => {
  for (const kind of KINDS) {
    const key = await makeKey(folder.path, kind);
    await authority.certify(key.publicPath, server.user);
    await using agent = await startAgent([key]);
    assert.match((await agent.add("-l")).stdout, /-CERT\)/);
    await login({ agent: agent.socket });
  }
});

test("a certificate of no use is passed over, with one warning that says why", sshd, async () => {
  const make = async (name: string, options: Parameters<Authority["certify"]>[2]) => {
    const key = await makeKey(folder.path, { name });
    await authority.certify(key.publicPath, server.user, options);
    return key.path;
  };
  const good = await make("good", {});
  const expired = await make("expired", { validity: "20200101000000Z:20200102000000Z" });
  const early = await make("early", { validity: "20990101000000Z:21000101000000Z" });
  const host = await make("host", { host: true });
  const others = await make("others", {});
  await copyFile(`${good}-cert.pub`, `${others}-cert.pub`);
  const plain = await make("plain", {});
  await copyFile(`${plain}.pub`, `${plain}-cert.pub`);
  const broken = await make("broken", {});
  const [type, base64 = ""] = (await readFile(`${good}-cert.pub`, "utf8")).split(" ");
  const cut = Buffer.from(base64, "base64").subarray(0, 90).toString("base64");
  await writeFile(`${broken}-cert.pub`, `${type} ${cut}\n`);

  await warned(async (warnings) => {
    const identityFiles = [expired, early, host, others, plain, broken];
    // Seven keys would be one too many for the server.
    const log = await login({ identityFiles: [...identityFiles.slice(0, 3), good] });
    assert.equal(log.match(/publickey test/g)?.length, 5, log);
    const { message } = await refused({ identityFiles: identityFiles.slice(3) });
    assert.ok(
      message.endsWith(
        `; left out: certificate ${broken}-cert.pub cannot be read: the data ends early`,
      ),
      message,
    );
    assert.deepEqual(warnings, [
      `certificate ${expired}-cert.pub expired on 2020-01-02T00:00:00Z`,
      `certificate ${early}-cert.pub is not valid before 2099-01-01T00:00:00Z; ` +
      "is this machine's clock right?",
      `certificate ${host}-cert.pub is a host's certificate, not a user's`,
      `certificate ${others}-cert.pub is not for the key beside it, ${others}`,
      `certificate ${plain}-cert.pub is no certificate`,
      `certificate ${broken}-cert.pub cannot be read: the data ends early`,
    ]);
  });
  await warned(async (warnings) => {
    const missing = join(folder.path, "missing");
    await login({ identityFiles: [good], certificateFiles: [missing, `${good}-cert.pub`] });
    assert.deepEqual(warnings, [`certificate ${missing} does not exist`]);
  });
  const { message } = await refused({
    identityFiles: [expired],
    certificateFiles: [`${expired}-cert.pub`],
  });
  assert.ok(
    message.endsWith(`; left out: certificate ${expired}-cert.pub expired on 2020-01-02T00:00:00Z`),
    message,
  );
});

test("certificates and FIDO keys stay out where their algorithms are off", withAgent, async () => {
  const key = await makeKey(folder.path);
  await authority.certify(key.publicPath, server.user);
  await using agent = await startAgent([key]);
  for (const options of [{ identityFiles: [key.path] }, { agent: agent.socket }]) {
    const error = await refused({ ...options, pubkeyAcceptedAlgorithms: "-*cert*" });
    assert.match(
      error.message,
      /; offered: [^,;]*; left out: \S+.* is of a type that PubkeyAcceptedAlgorithms leaves out \(ssh-ed25519-cert-v01@openssh\.com\)$/,
    );
    const log = await login({ ...options, pubkeyAcceptedAlgorithms: "*-cert-v01@openssh.com" });
    assert.equal(log.match(/publickey test/g)?.length, 1, log);
  }
});

/** What ssh-keygen writes for a FIDO key (PROTOCOL.key of OpenSSH), as far as it is not secret. */
function handleFile({ blob }: FidoKey): string {
  const data = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    ...["none", "none", ""].map(sshString),
    Buffer.from([0, 0, 0, 1]),
    ...[blob, Buffer.alloc(64)].map(sshString),
  ]);
  const name = "OPENSSH PRIVATE KEY";
  return `-----BEGIN ${name}-----\n${data.toString("base64")}\n-----END ${name}-----\n`;
}

test("FIDO keys log in through the agent, with flags and counter", withAgent, async () => {
  await using agent = await startFidoAgent();
  for (const key of [agent.ed25519, agent.ecdsa]) {
    // Nothing else lets in: neither the server's usual key nor the agent's other one.
    const file = join(folder.path, "only_fido");
    await writeFile(file, `${key.publicLine}\n`);
    await using fido = await startSshd({ config: [`AuthorizedKeysFile ${file}`] });
    for (let count = 0; count < 3; count++) {
      const log = await login({ agent: agent.socket }, fido);
      assert.match(log, /Accepted publickey for /);
    }
    await refused({ identityFiles: [fido.identity] }, fido);
    // The file that ssh-keygen keeps for such a key says which of the agent's keys is meant, and
    // so does its public half.
    const publicPath = join(folder.path, "id_public.pub");
    await writeFile(publicPath, key.publicLine);
    const handle = join(folder.path, "id_handle");
    await writeFile(handle, handleFile(key), { mode: 0o600 });
    const names = [
      [publicPath.replace(/\.pub$/, ""), `${publicPath} is only a public key`],
      [handle, `${handle} is a key on a FIDO authenticator`],
    ] as const;
    for (const [file, what] of names) {
      const options = { identityFiles: [file], identitiesOnly: true };
      const log = await login({ agent: agent.socket, ...options }, fido);
      assert.equal(log.match(/publickey test/g)?.length, 1, log);
      await warned(async (warnings) => {
        await refused(options, fido);
        assert.deepEqual(warnings, [
          `identity ${what}, and no agent holds it; ssh-add can add it to one`,
        ]);
      });
    }
  }
  assert.deepEqual(agent.signed, [
    ...Array(5).fill(agent.ed25519.type),
    ...Array(5).fill(agent.ecdsa.type),
  ]);
});

test("a FIDO key's certificate is signed for by the agent", withAgent, async () => {
  await using agent = await startFidoAgent();
  for (const key of [agent.ed25519, agent.ecdsa]) {
    const publicPath = join(folder.path, "id_sk.pub");
    await writeFile(publicPath, `${key.publicLine}\n`);
    const certificate = await authority.certify(publicPath, server.user);
    const log = await login({
      agent: agent.socket,
      certificateFiles: [certificate],
      identitiesOnly: true,
    });
    assert.match(log, new RegExp(`pkalg ${key.type.split("@")[0]}-cert-v01@openssh\\.com `));
  }
  assert.deepEqual(agent.signed, [agent.ed25519.type, agent.ecdsa.type]);
});
