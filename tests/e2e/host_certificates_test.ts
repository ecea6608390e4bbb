/** Servers that are known by their authority alone, each judged by the real ssh as well. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { readFile, writeFile } from "node:fs/promises";
import { type AddressInfo, connect as connectTo, createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { connect, type ConnectOptions, SessionError } from "../../mod.ts";
import { connectOptions } from "../support/fairlead.ts";
import { type KeyOptions, type KeyPair, makeKey, publicKey } from "../support/keys.ts";
import { type SshServer, startSshd, trySsh } from "../support/sshd.ts";
import { run, skipUnless, tempDir } from "../support/tools.ts";
import { warned } from "../support/warnings.ts";

const skip = skipUnless("sshd", "ssh", "ssh-keygen");

/** Has an authority sign a host's key, and starts a server that shows both. */
async function certified(
  folder: string,
  authority: KeyPair,
  options: { sign?: string[]; host?: KeyOptions; config?: string[] } = {},
): Promise<SshServer> {
  const host = await makeKey(folder, options.host);
  const signed = await run("ssh-keygen", [
    ...["-q", "-s", authority.path, "-I", "a test", "-h"],
    ...options.sign ?? ["-n", "127.0.0.1"],
    host.publicPath,
  ]);
  assert.equal(signed.status, 0, signed.stderr);
  return await startSshd({
    hostKeys: [host],
    config: [`HostCertificate ${host.path}-cert.pub`, ...options.config ?? []],
  });
}

async function meet(server: SshServer, options: Partial<ConnectOptions>): Promise<void> {
  const tunnel = await connect({
    host: server.host,
    port: server.port,
    username: server.user,
    identityFiles: [server.identity],
    identitiesOnly: true,
    agent: "none",
    globalKnownHosts: [],
    strictHostKeyChecking: "yes",
    ...options,
  });
  await tunnel.close();
}

/** Whether ssh accepts the server, by these known_hosts. */
async function sshAccepts(server: SshServer, file: string, ...options: string[]): Promise<boolean> {
  const { status } = await trySsh(server, `UserKnownHostsFile=${file}`, ...options);
  return status === 0;
}

async function refusal(promise: Promise<void>): Promise<SessionError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof SessionError, String(error));
    return error;
  }
  assert.fail("nothing was refused");
}

const ED25519: KeyOptions = { type: "ed25519" };
const OTHERS: KeyOptions[] = [
  { type: "ecdsa", bits: 256 },
  { type: "ecdsa", bits: 384 },
  { type: "ecdsa", bits: 521 },
  { type: "rsa" },
];

test(
  "a host key of every type is known by its authority, and by one of every type",
  skip,
  async () => {
    await using folder = await tempDir();
    const file = join(folder.path, "known_hosts");
    const pairs = [
      [ED25519, ED25519],
      ...OTHERS.flatMap((one) => [[one, ED25519], [ED25519, one]]),
    ];
    for (const [host = ED25519, kind] of pairs) {
      const authority = await makeKey(folder.path, kind);
      await using server = await certified(folder.path, authority, { host });
      const text = `@cert-authority * ${publicKey(authority)}\n`;
      await writeFile(file, text);
      assert.ok(await sshAccepts(server, file));
      await meet(server, { userKnownHosts: [file] });
      assert.equal(await readFile(file, "utf8"), text);
    }
  },
);

test("every kind of key exchange carries a certificate", skip, async () => {
  await using folder = await tempDir();
  const file = join(folder.path, "known_hosts");
  const authority = await makeKey(folder.path);
  await writeFile(file, `@cert-authority 127.0.0.1 ${publicKey(authority)}\n`);
  for (const host of [{ type: "ed25519" }, { type: "rsa" }] as const) {
    await using server = await certified(folder.path, authority, { host });
    for (
      const kex of [
        "curve25519-sha256",
        "ecdh-sha2-nistp256",
        "diffie-hellman-group14-sha256",
        "diffie-hellman-group-exchange-sha256",
      ]
    ) {
      await meet(server, { userKnownHosts: [file], algorithms: { kex } });
    }
  }
});

test(
  "the certificate is shown again at every rekey, and nobody asks about it again",
  skip,
  async () => {
    await using folder = await tempDir();
    const file = join(folder.path, "known_hosts");
    const authority = await makeKey(folder.path);
    await writeFile(file, `@cert-authority 127.0.0.1 ${publicKey(authority)}\n`);
    await using server = await certified(folder.path, authority, { config: ["RekeyLimit 256K"] });
    await warned(async (warnings) => {
      const tunnel = await connect({ ...connectOptions(server), userKnownHosts: [file] });
      const command = await tunnel.exec("head -c 3000000 /dev/zero");
      let bytes = 0;
      for await (const chunk of command) bytes += chunk.length;
      await tunnel.close();
      assert.equal(bytes, 3_000_000);
      assert.deepEqual(warnings, []);
    });
    const rekeys = server.log().match(/rekeying in progress|set_newkeys: rekeying/g) ?? [];
    assert.ok(rekeys.length >= 5, `${rekeys.length} rekeys`);
  },
);

test(
  "what ssh does not accept of a certificate is not accepted, with the reason",
  skip,
  async () => {
    await using folder = await tempDir();
    const file = join(folder.path, "known_hosts");
    const authority = await makeKey(folder.path);
    await writeFile(file, `@cert-authority 127.0.0.1 ${publicKey(authority)}\n`);
    const cases: [sign: string[], accepted: boolean, reason?: RegExp][] = [
      [["-n", "a.example,127.0.0.1"], true],
      [["-n", "127.*"], false, /it is for "127\.\*", not for 127\.0\.0\.1/],
      [[], true],
      [["-n", "127.0.0.1", "-V", "-1d:+1d"], true],
      [["-n", "a.example"], false, /it is for "a\.example", not for 127\.0\.0\.1/],
      [["-n", "127.0.0"], false, /it is for /],
      [["-n", "127.0.0.1", "-V", "20200101:20210101"], false, /it expired on 202\d-/],
      [["-n", "127.0.0.1", "-V", "+1d:+2d"], false, /it is not valid before 20/],
      [["-n", "127.0.0.1", "-O", "critical:no-such=1"], false, /critical option "no-such"/],
      [["-n", "127.0.0.1", "-O", "extension:no-such=1"], true],
    ];
    for (const [sign, accepted, reason] of cases) {
      await using server = await certified(folder.path, authority, { sign });
      assert.equal(await sshAccepts(server, file), accepted, sign.join(" "));
      await warned(async (warnings) => {
        const met = meet(server, { userKnownHosts: [file] });
        if (accepted) {
          await met;
          assert.deepEqual(warnings, []);
          return;
        }
        assert.match((await refusal(met)).message, /is not known: it is ED25519 SHA256:/);
        const [warning = ""] = warnings;
        assert.match(warning, /the host certificate of \[127\.0\.0\.1\]:\d+ is not accepted: /);
        assert.match(warning, reason ?? /$^/);
      });
    }
  },
);

test(
  "which lines of known_hosts vouch for a certificate, or revoke it, is as in ssh",
  skip,
  async () => {
    await using folder = await tempDir();
    const file = join(folder.path, "known_hosts");
    const authority = await makeKey(folder.path);
    await using server = await certified(folder.path, authority, {
      sign: ["-n", "127.0.0.1,db.example"],
    });
    await using expired = await certified(folder.path, authority, {
      sign: ["-n", "127.0.0.1", "-V", "20200101:20210101"],
    });
    const ca = publicKey(authority);
    const other = publicKey(await makeKey(folder.path));
    const plain = server.hostKeys.map(publicKey)[0] ?? "";
    const old = expired.hostKeys.map(publicKey)[0] ?? "";
    const port = `[127.0.0.1]:${server.port}`;
    const alias = ["db.example"];
    const cases: [
      lines: string[],
      accepted: boolean,
      alias?: string[] | undefined,
      server?: SshServer,
    ][] = [
      [[`@cert-authority ${port} ${ca}`], true],
      [[`@cert-authority 127.0.0.1 ${ca}`], true],
      [[`@cert-authority *,!127.0.0.1,!${port} ${ca}`], false],
      [[`@cert-authority * ${other}`], false],
      [[`@cert-authority * ${other}`, `@cert-authority * ${ca}`], true],
      [[`127.0.0.1 ${ca}`], false],
      [[`@cert-authority * ${ca}`, `@revoked * ${ca}`], false],
      [[`@cert-authority * ${ca}`, `@revoked * ${plain}`], false],
      [[`@cert-authority * ${ca}`, `@revoked * ${other}`], true],
      [[`@cert-authority * ${ca}`, `${port} ${other}`], true],
      [[`@cert-authority * ${other}`, `${port} ${plain}`], true],
      [[`${port} ${plain}`], true],
      [[`@cert-authority * ${ca}`, `* ${old}`], true, undefined, expired],
      [[`@cert-authority * ${ca}`], false, undefined, expired],
      [[`@cert-authority db.example ${ca}`], true, alias],
      [[`@cert-authority 127.0.0.1 ${ca}`], false, alias],
      [[`@cert-authority * ${ca}`], false, ["other.example"]],
    ];
    for (const [lines, accepted, names = [], target = server] of cases) {
      await writeFile(file, lines.join("\n"));
      const [name] = names;
      const theirs = name === undefined ? [] : [`HostKeyAlias=${name}`];
      const ours = name === undefined ? {} : { hostKeyAlias: name };
      assert.equal(await sshAccepts(target, file, ...theirs), accepted, lines.join("\n"));
      const meeting = meet(target, { ...ours, userKnownHosts: [file] });
      if (accepted) await meeting;
      else await refusal(meeting);
    }

    await writeFile(file, `@cert-authority * ${ca}\n`);
    const list = join(folder.path, "revoked");
    for (const [content, accepted] of [[ca, false], [plain, false], [other, true]] as const) {
      await writeFile(list, content);
      assert.equal(await sshAccepts(server, file, `RevokedHostKeys=${list}`), accepted);
      const meeting = meet(server, { userKnownHosts: [file], revokedHostKeys: list });
      if (accepted) await meeting;
      else assert.equal((await refusal(meeting)).code, "host-key-revoked");
    }
  },
);

test(
  "a certificate that is not asked for is not shown: a named key, a fixed list, no authority",
  skip,
  async () => {
    await using folder = await tempDir();
    const file = join(folder.path, "known_hosts");
    const authority = await makeKey(folder.path);
    await using server = await certified(folder.path, authority);
    await writeFile(file, `@cert-authority * ${publicKey(authority)}\n`);
    await meet(server, { hostKeys: server.hostKeys.map(publicKey) });
    const serverHostKey = "ssh-ed25519";
    const { code } = await refusal(
      meet(server, { userKnownHosts: [file], algorithms: { serverHostKey } }),
    );
    assert.equal(code, "host-key-unknown");
    assert.equal(await sshAccepts(server, file, `HostKeyAlgorithms=${serverHostKey}`), false);

    await writeFile(file, "");
    await meet(server, { userKnownHosts: [file], strictHostKeyChecking: "accept-new" });
    const added = await readFile(file, "utf8");
    assert.equal(added, `[127.0.0.1]:${server.port} ${server.hostKeys.map(publicKey)[0]}\n`);
  },
);

test(
  "somebody in between who shows a certificate of another host's key gets no further",
  skip,
  async () => {
    await using folder = await tempDir();
    const file = join(folder.path, "known_hosts");
    const authority = await makeKey(folder.path);
    for (const type of ["ed25519", "rsa"] as const) {
      await using server = await certified(folder.path, authority, { host: { type } });
      await using other = await certified(folder.path, authority, { host: { type } });
      const [shown, replacement] = await Promise.all([server, other].map(async ({ hostKeys }) => {
        const line = await readFile(`${hostKeys[0]?.path}-cert.pub`, "utf8");
        return Buffer.from(line.split(" ")[1] ?? "", "base64");
      }));
      assert.ok(shown !== undefined && replacement?.length === shown.length);
      for (const [instead, accepted] of [[shown, true], [replacement, false]] as const) {
        await using middle = await replacing(server.port, shown, instead);
        await writeFile(file, `@cert-authority * ${publicKey(authority)}\n`);
        const meeting = meet({ ...server, port: middle.port }, { userKnownHosts: [file] });
        if (accepted) await meeting;
        else assert.match((await refusal(meeting)).message, /signature verification failed/);
        assert.ok(middle.replaced() > 0);
      }
    }
  },
);

/** A way to a port that replaces bytes in the first answers, before anything is encrypted. */
async function replacing(port: number, from: Buffer, to: Buffer): Promise<
  { port: number; replaced(): number } & AsyncDisposable
> {
  let replaced = 0;
  const server = createServer((client) => {
    const upstream = connectTo(port, "127.0.0.1");
    client.pipe(upstream);
    let held = Buffer.alloc(0);
    upstream.on("data", (data: Buffer) => {
      if (replaced > 0) {
        client.write(data);
        return;
      }
      held = Buffer.concat([held, data]);
      const at = held.indexOf(from);
      // The certificate comes in one packet, which may come in several pieces.
      const complete = at >= 0 ? held.length : Math.max(0, held.lastIndexOf(from.subarray(0, 16)));
      if (at >= 0) {
        to.copy(held, at);
        replaced++;
      }
      client.write(held.subarray(0, complete || held.length));
      held = Buffer.from(held.subarray(complete || held.length));
    });
    for (const [one, two] of [[client, upstream], [upstream, client]] as const) {
      one.on("error", () => two.destroy());
      one.on("close", () => two.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    replaced: () => replaced,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
