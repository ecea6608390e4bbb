/** Second factors through PAM, agents with many keys, and old RSA: against the real sshd. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { SessionError } from "../../lib/errors.ts";
import { listAgentKeys, signWithAgent } from "../../lib/ssh/agent_client.ts";
import type { Prompter, Question } from "../../lib/ssh/prompter.ts";
import { sshString, uint32 } from "../../lib/ssh/wire.ts";
import { connect, type ConnectOptions } from "../../lib/tunnel/tunnel.ts";
import { skipUnlessAccounts } from "../support/accounts.ts";
import { skipUnlessDropbear, startDropbear } from "../support/dropbear.ts";
import { type KeyPair, makeKey } from "../support/keys.ts";
import { startAgent } from "../support/ssh_agent.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { run, skipUnless, tempDir, waitFor } from "../support/tools.ts";
import { warned } from "../support/warnings.ts";

const sshd = skipUnless("sshd", "ssh-keygen");
const withAgent = skipUnless("sshd", "ssh-keygen", "ssh-agent", "ssh-add");
const withOath = {
  ...skipUnless("sshd", "ssh-keygen", "oathtool"),
  ...skipUnlessAccounts({ password: true }),
  ...(hasPamOath() ? {} : { skip: "libpam-oath is not installed" }),
};

const PASSWORD = "correct horse";
const OATH_SECRET = "3132333435363738393031323334353637383930";

function hasPamOath(): boolean {
  if (!existsSync("/lib")) return false;
  return ["", ...readdirSync("/lib")].some((name) =>
    existsSync(join("/lib", name, "security/pam_oath.so"))
  );
}

/** Logs in and out again; returns what the server logged of it. */
async function login(server: SshServer, options: Partial<ConnectOptions>): Promise<string> {
  const before = server.log().length;
  const tunnel = await connect({
    host: server.host,
    port: server.port,
    username: server.user,
    hostKeys: server.hostKeys.map((key) => key.fingerprint),
    identityFiles: [],
    agent: "none",
    ...options,
  });
  await tunnel.close();
  return server.log().slice(before);
}

async function refused(
  server: SshServer,
  options: Partial<ConnectOptions>,
): Promise<SessionError> {
  const error = await login(server, options).then(() => undefined, (error) => error);
  assert.ok(error instanceof SessionError, String(error));
  assert.equal(error.code, "auth-failed");
  return error;
}

/** Answers each question by what it says; remembers all that it was shown. */
class Holder implements Prompter {
  readonly asked: string[] = [];
  readonly #answer: (question: string) => Promise<string>;

  constructor(answer: (question: string) => Promise<string>) {
    this.#answer = answer;
  }

  secret(prompt: string): Promise<string | undefined> {
    throw new Error(`not expected: ${prompt}`);
  }

  async questions(
    _name: string,
    _instruction: string,
    questions: readonly Question[],
  ): Promise<string[] | undefined> {
    const answers: string[] = [];
    for (const { prompt, echo } of questions) {
      this.asked.push(`${prompt}${echo ? " (shown)" : ""}`);
      answers.push(await this.#answer(prompt));
    }
    return answers;
  }

  confirmHostKey(): Promise<boolean> {
    throw new Error("not expected");
  }
}

/** A server that asks for one-time codes, each good for once; the token that shows them. */
async function codeServer(
  methods: string,
  ...pam: string[]
): Promise<{ server: SshServer; code: () => Promise<string> }> {
  const server = await startSshd({
    password: PASSWORD,
    config: [`AuthenticationMethods ${methods}`],
    pam: [
      ...pam,
      "auth required pam_oath.so usersfile=DIR/oath window=20 digits=6",
      "account required pam_permit.so",
      "session required pam_permit.so",
      "",
    ].join("\n"),
  });
  const users = `HOTP ${server.user} - ${OATH_SECRET}\n`;
  await writeFile(join(server.dir, "oath"), users, { mode: 0o600 });
  let counter = 0;
  const code = async () =>
    (await run("oathtool", ["-c", String(counter++), OATH_SECRET])).stdout.trim();
  return { server, code };
}

test("a server that wants a key and then a one-time code gets both", withOath, async () => {
  const { server, code } = await codeServer("publickey,keyboard-interactive");
  await using _server = server;
  const identityFiles = [server.identity];
  const person = new Holder(code);
  await login(server, { identityFiles, prompter: person });
  await login(server, { identityFiles, prompter: person });
  const question =
    `(${server.user}@${server.host}) One-time password (OATH) for \`${server.user}': `;
  assert.deepEqual(person.asked, [question, question]);

  // Neither is enough alone, and no code is asked for before the key has succeeded.
  const alone = await refused(server, { identityFiles });
  assert.match(alone.message, /permission denied \(keyboard-interactive\); offered: [^,]*$/);
  const stranger = await makeKey(server.dir);
  const early = new Holder(code);
  await refused(server, { identityFiles: [stranger.path], prompter: early });
  assert.deepEqual(early.asked, []);
  // A code is good for once; a wrong one is asked for again.
  const codes = ["000000", await code()];
  const second = new Holder(() => Promise.resolve(codes.shift() ?? ""));
  await login(server, { identityFiles, prompter: second });
  assert.equal(second.asked.length, 2);
});

test(
  "a password and a code are asked for in two rounds, and a given password answers its own",
  withOath,
  async () => {
    const { server, code } = await codeServer(
      "keyboard-interactive",
      "auth required pam_unix.so",
    );
    await using _server = server;
    const answer = (question: string) =>
      /password: $/i.test(question) ? Promise.resolve(PASSWORD) : code();
    const person = new Holder(answer);
    await login(server, { prompter: person });
    assert.deepEqual(person.asked.map((text) => text.replace(/^\S+ /, "")), [
      "Password: ",
      `One-time password (OATH) for \`${server.user}': `,
    ]);
    const token = new Holder(code);
    await login(server, { password: PASSWORD, prompter: token });
    assert.equal(token.asked.length, 1, token.asked.join("\n"));
  },
);

test("further connections ask for no code, and trouble no server with it", withOath, async () => {
  const { server, code } = await codeServer("publickey,keyboard-interactive");
  await using _server = server;
  const person = new Holder(code);
  await warned(async (warnings) => {
    await using tunnel = await connect({
      host: server.host,
      port: server.port,
      username: server.user,
      hostKeys: server.hostKeys.map((key) => key.fingerprint),
      identityFiles: [server.identity],
      agent: "none",
      prompter: person,
      connections: 3,
    });
    await waitFor(() => warnings.length > 0);
    assert.deepEqual(warnings, [
      `${server.host}:${server.port}: no further connection: the login takes an answer that is ` +
      "good only once, and nobody is asked for it in the background; going on with 1 of 3",
    ]);
    assert.equal(tunnel.connections, 1);
  });
  assert.equal(person.asked.length, 1);
  assert.equal(server.log().match(/Connection from/g)?.length, 1);
});

test("a server that wants a code and then a key gets both", withOath, async () => {
  const { server, code } = await codeServer("keyboard-interactive,publickey");
  await using _server = server;
  const person = new Holder(code);
  await login(server, { identityFiles: [server.identity], prompter: person });
  assert.equal(person.asked.length, 1);
});

test(
  "six wrong keys in the agent are in the way, unless only the right one may be offered",
  withAgent,
  async () => {
    await using server = await startSshd();
    const strangers: KeyPair[] = [];
    for (let count = 0; count < 6; count++) strangers.push(await makeKey(server.dir));
    await using agent = await startAgent([...strangers, server.identityKey]);
    const all = await refused(server, { agent: agent.socket });
    assert.match(all.message, /hung up: too many authentication failures; offered: (.*\(agent\))/);
    assert.equal(all.message.match(/\(agent\)/g)?.length, 6);
    assert.match(all.hint ?? "", /name the right one with -i and -o IdentitiesOnly=yes/);

    const only = { agent: agent.socket, identitiesOnly: true };
    for (const file of [server.identity, server.identityKey.publicPath]) {
      const log = await login(server, { ...only, identityFiles: [file] });
      assert.equal(log.match(/publickey test/g)?.length, 1, log);
      // Named, it goes first even where the others may follow.
      await login(server, { agent: agent.socket, identityFiles: [file] });
    }
    const none = await refused(server, { ...only, identityFiles: [] });
    assert.match(none.message, /nothing was offered/);
  },
);

test("a key that the agent may use for some hosts only is used for those", withAgent, async () => {
  await using server = await startSshd();
  await using other = await startSshd();
  await other.authorize(server.identityKey.publicLine);
  const known = join(server.dir, "named_hosts");
  const line = server.hostKeys[0]?.publicLine ?? "";
  await writeFile(known, `here ${line}\n`);
  await using agent = await startAgent();
  const { status, stderr } = await agent.add("-q", "-h", "here", "-H", known, server.identity);
  assert.equal(status, 0, stderr);
  await login(server, { agent: agent.socket });
  await warned(async (warnings) => {
    await refused(other, { agent: agent.socket });
    assert.deepEqual(warnings, [
      "the agent did not sign with fairlead test (agent): it refused",
    ]);
  });
  // Without what the server has signed, the agent does not know where the signature is for.
  const [key] = await listAgentKeys(agent.socket);
  assert.ok(key);
  await assert.rejects(
    signWithAgent(agent.socket, key.blob, Buffer.from("data"), "ssh-ed25519"),
    /^Error: it refused$/,
  );
});

test(
  "a key for the hosts of an authority is used where its certificate is shown",
  withAgent,
  async () => {
    await using folder = await tempDir();
    const [authority, stranger] = [await makeKey(folder.path), await makeKey(folder.path)];
    /** A server whose host key this authority has signed. */
    const certified = async (signer: KeyPair) => {
      const host = await makeKey(folder.path);
      const sign = ["-q", "-s", signer.path, "-I", "a test", "-h", "-n", "here", host.publicPath];
      assert.equal((await run("ssh-keygen", sign)).status, 0);
      const config = [`HostCertificate ${host.path}-cert.pub`];
      return await startSshd({ hostKeys: [host], config });
    };
    await using server = await certified(authority);
    await using other = await certified(stranger);
    await other.authorize(server.identityKey.publicLine);
    const known = join(folder.path, "known_hosts");
    const lines = [authority, stranger].map((key) => `@cert-authority here ${key.publicLine}\n`);
    await writeFile(known, lines[0] ?? "");
    await using agent = await startAgent();
    const { status, stderr } = await agent.add("-q", "-h", "here", "-H", known, server.identity);
    assert.equal(status, 0, stderr);
    await writeFile(known, lines.join(""));
    const meet = async ({ host, port, user }: SshServer) => {
      const tunnel = await connect({
        ...{ host, port, username: user, identityFiles: [], agent: agent.socket },
        ...{ hostKeyAlias: "here", userKnownHosts: [known], globalKnownHosts: [] },
        strictHostKeyChecking: "yes",
      });
      await tunnel.close();
    };
    await meet(server);
    await warned(async (warnings) => {
      await assert.rejects(meet(other), { code: "auth-failed" });
      assert.deepEqual(warnings, [
        "the agent did not sign with fairlead test (agent): it refused",
      ]);
    });
  },
);

test("keys of an agent that are none are passed over", sshd, async () => {
  await using server = await startSshd({ config: ["MaxAuthTries 3"] });
  const blobs = [
    "",
    "garbage",
    sshString("ssh-dss"),
    sshString("ssh-ed25519-cert-v01@openssh.com"),
    sshString("ssh-rsa"),
  ];
  const path = join(server.dir, "agent");
  const keys = blobs.flatMap((blob) => [sshString(blob), sshString("\x1b[2Jkey")]);
  const list = Buffer.concat([Buffer.from([12]), uint32(blobs.length), ...keys]);
  const agent = createServer((client) => {
    client.on("error", () => {}).on("data", () => client.write(sshString(list)));
  });
  agent.listen(path);
  await once(agent, "listening");
  try {
    await warned(async (warnings) => {
      const log = await login(server, { agent: path, identityFiles: [server.identity] });
      // One of them might be a key, for all that can be seen here.
      assert.equal(log.match(/method publickey/g)?.length, 3, log);
      const [warning = ""] = warnings;
      assert.equal(warning, "certificate [2Jkey (agent) cannot be read: the data ends early");
    });
  } finally {
    agent.close();
  }
});

test("RSA signs with SHA-1 only for a user who names it", withAgent, async () => {
  await using old = await startSshd({ config: ["PubkeyAcceptedAlgorithms ssh-rsa"] });
  const key = await makeKey(old.dir, { type: "rsa" });
  await old.authorize(key.publicLine);
  await using agent = await startAgent([key]);
  await refused(old, { identityFiles: [key.path] });
  // Where both sides would take SHA-2, allowing SHA-1 changes nothing.
  const both = { pubkeyAcceptedAlgorithms: "+ssh-rsa" };
  await refused(old, { identityFiles: [key.path], ...both });
  for (const options of [{ identityFiles: [key.path] }, { agent: agent.socket }]) {
    const log = await login(old, { ...options, pubkeyAcceptedAlgorithms: "ssh-rsa" });
    assert.match(log, /pkalg ssh-rsa /);
  }

  await using modern = await startSshd({ config: ["PubkeyAcceptedAlgorithms rsa-sha2-*"] });
  await modern.authorize(key.publicLine);
  for (const algorithm of ["rsa-sha2-256", "rsa-sha2-512"]) {
    for (const options of [{ identityFiles: [key.path] }, { agent: agent.socket }]) {
      const log = await login(modern, { ...options, pubkeyAcceptedAlgorithms: `^${algorithm}` });
      assert.match(log, new RegExp(`pkalg ${algorithm} `));
    }
  }
});

test("dropbear, which is not OpenSSH, takes every kind of key", skipUnlessDropbear(), async () => {
  await using server = await startDropbear();
  for (const type of ["ed25519", "ecdsa", "rsa"] as const) {
    const key = await makeKey(server.dir, { type });
    await server.authorize(key.publicLine);
    await login(server, { identityFiles: [key.path] });
  }
});

test("an RSA key that is too short is not offered, and the warning says so", sshd, async () => {
  await using server = await startSshd();
  const key = await makeKey(server.dir, { type: "rsa", bits: 2048 });
  await server.authorize(key.publicLine);
  const identityFiles = [key.path];
  await login(server, { identityFiles, requiredRsaSize: 2048 });
  await warned(async (warnings) => {
    const { message } = await refused(server, { identityFiles, requiredRsaSize: 2049 });
    const reason = "is an RSA key of 2048 bits, and RequiredRSASize is 2049";
    assert.ok(message.endsWith(`; nothing was offered; left out: ${key.path} ${reason}`), message);
    assert.deepEqual(warnings, [
      `identity ${key.path} is not used: an RSA key of 2048 bits, and RequiredRSASize is 2049`,
    ]);
  });
});

test("a refusal names the keys that were left out, and not without end", sshd, async () => {
  await using server = await startSshd();
  const paths: string[] = [];
  for (let count = 0; count < 5; count++) paths.push((await makeKey(server.dir)).path);
  const options = { pubkeyAcceptedAlgorithms: "-ssh-ed25519" };
  const { message } = await refused(server, { identityFiles: paths, ...options });
  const off = paths.slice(0, 3).map((path) =>
    `${path} is of a type that PubkeyAcceptedAlgorithms leaves out (ssh-ed25519)`
  );
  assert.ok(message.endsWith(`; left out: ${off.join("; ")}; and 2 more`), message);
});

test("a list of algorithms that is wrong is refused before anything is sent", sshd, async () => {
  await using server = await startSshd();
  const before = server.log();
  await assert.rejects(login(server, { pubkeyAcceptedAlgorithms: "nonsense" }), {
    code: "algorithm-mismatch",
  });
  assert.equal(server.log(), before);
});
