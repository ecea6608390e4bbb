/** Post-quantum key exchange with real peers, at the beginning and at every rekey. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import ssh2 from "ssh2";
import { serve } from "../../lib/server/server.ts";
import { HYBRID_METHODS } from "../../lib/ssh/hybrid_kex.ts";
import { offerMethods } from "../../lib/ssh/kex_methods.ts";
import { generateIdentity } from "../../lib/ssh/keys.ts";
import { connect, type ConnectOptions } from "../../mod.ts";
import { connectOptions } from "../support/fairlead.ts";
import { sshOptions, type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, patternReceived, transfer } from "../support/tcp.ts";
import { run, skipUnless, tempDir } from "../support/tools.ts";

const MIB = 1024 * 1024;
const SNTRUP = "sntrup761x25519-sha512@openssh.com";
const skip = skipUnless("sshd", "ssh", "ssh-keygen");

/** Whether the installed OpenSSH has a method; 9.2 has sntrup761 alone, 9.9 both. */
async function has(name: string): Promise<boolean> {
  return (await run("ssh", ["-Q", "kex"])).stdout.split("\n").includes(name);
}

function reach(server: SshServer, options: Partial<ConnectOptions> = {}): ConnectOptions {
  return {
    ...connectOptions(server),
    ...options,
  };
}

test("sshd takes each method that it has, and nothing is lost over many rekeys", skip, async () => {
  await using echo = await echoServer();
  let tried = 0;
  for (const name of HYBRID_METHODS.keys()) {
    if (!await has(name)) continue;
    tried++;
    // A server that has no other.
    await using sshd = await startSshd({ config: [`KexAlgorithms ${name}`] });
    await using tunnel = await connect(reach(sshd, { rekeyLimit: { bytes: 300_000 } }));
    await using forward = await tunnel.forwardLocal(`0:${echo.host}:${echo.port}`);
    const { bytes, sha256 } = await transfer(forward.port, { send: 3 * MIB });
    assert.deepEqual({ bytes, sha256 }, patternReceived(3 * MIB));
    assert.ok(sshd.log().includes(`kex: algorithm: ${name}`));
    assert.ok(sshd.log().split("SSH2_MSG_NEWKEYS received").length > 5, name);
  }
  assert.ok(tried > 0);
});

test("it is what is chosen by default, and a list without it does without", skip, async () => {
  await using sshd = await startSshd();
  await (await connect(reach(sshd))).close();
  assert.match(sshd.log(), /kex: algorithm: (?:sntrup761|mlkem768)x25519/);
  await (await connect(reach(sshd, { algorithms: { kex: "-*x25519-*" } }))).close();
  assert.match(sshd.log(), /kex: algorithm: curve25519-sha256/);
});

test("the stand-in is never taken where the user's list has it not", skip, async () => {
  await using sshd = await startSshd({ config: ["KexAlgorithms curve25519-sha256"] });
  await assert.rejects(connect(reach(sshd, { algorithms: { kex: SNTRUP } })), {
    code: "algorithm-mismatch",
    message: /it offers only curve25519-sha256$/,
  });
  await (await connect(reach(sshd, { algorithms: { kex: `${SNTRUP},curve25519-sha256` } })))
    .close();
});

test("the client's order decides, whatever is ours and what is ssh2's", skip, async () => {
  await using sshd = await startSshd();
  const kex = `ecdh-sha2-nistp384,${SNTRUP},curve25519-sha256`;
  await (await connect(reach(sshd, { algorithms: { kex } }))).close();
  assert.match(sshd.log(), /kex: algorithm: ecdh-sha2-nistp384/);
});

test("ssh takes it from our server, over many rekeys", skip, async () => {
  await using folder = await tempDir();
  const { privateKey, publicKey } = generateIdentity();
  const identity = join(folder.path, "id");
  await writeFile(identity, privateKey, { mode: 0o600 });
  await using server = await serve({ hostKeys: [privateKey], authorize: () => true });
  await using echo = await echoServer();
  const knownHosts = join(folder.path, "known_hosts");
  await writeFile(knownHosts, `[127.0.0.1]:${server.port} ${publicKey}\n`);
  const input = "fairlead".repeat(100_000);
  for (const name of HYBRID_METHODS.keys()) {
    if (!await has(name)) continue;
    const { status, stdout, stderr } = await run("ssh", [
      // The first of two values wins.
      ...["-v", "-o", "RekeyLimit=100K", "-o", `KexAlgorithms=${name}`],
      ...sshOptions({ identity, port: server.port, user: "me", knownHosts } as SshServer),
      ...["-W", `${echo.host}:${echo.port}`, "127.0.0.1"],
    ], { stdin: input });
    assert.equal(status, 0, stderr);
    assert.equal(stdout, input);
    assert.ok(stderr.includes(`kex: algorithm: ${name}`), stderr);
  }
});

test("ML-KEM goes from our client to our server, with new keys every 100 KB", async () => {
  const { privateKey } = generateIdentity();
  await using server = await serve({ hostKeys: [privateKey], authorize: () => true });
  await using echo = await echoServer();
  await using tunnel = await connect({
    host: server.host,
    port: server.port,
    hostKeys: server.publicKeys,
    privateKeys: [privateKey],
    identitiesOnly: true,
    agent: "none",
    algorithms: { kex: "mlkem768x25519-sha256" },
    rekeyLimit: { bytes: 100_000 },
  });
  await using forward = await tunnel.forwardLocal(`0:${echo.host}:${echo.port}`);
  const { bytes, sha256 } = await transfer(forward.port, { send: MIB });
  assert.deepEqual({ bytes, sha256 }, patternReceived(MIB));
});

test("a server that answers with something else ends the connection", async () => {
  const { privateKey, publicKey } = generateIdentity();
  const kex = ["mlkem768x25519-sha256"];
  const engine = new ssh2.Server({ hostKeys: [privateKey] }, (client) => {
    client.on("error", () => {});
    const protocol = (client as unknown as { _protocol: object })._protocol;
    offerMethods(protocol as never, kex);
    const { get, set } = Object.getOwnPropertyDescriptor(protocol, "_kex") ?? {};
    Object.defineProperty(protocol, "_kex", {
      get: () => get?.(),
      set: (next: { getPublicKey: () => Buffer; computeSecret: (key: Buffer) => unknown }) => {
        set?.(next);
        const { computeSecret } = next;
        next.computeSecret = (key) => {
          const secret = computeSecret(key);
          next.getPublicKey = () => Buffer.alloc(100);
          return secret;
        };
      },
    });
  });
  engine.listen(0, "127.0.0.1");
  await once(engine, "listening");
  const { port } = engine.address() as { port: number };
  await assert.rejects(
    connect({ host: "127.0.0.1", port, hostKeys: publicKey, identityFiles: [], agent: "none" }),
    { code: "protocol-error", message: /expected 1120 bytes, not 100/ },
  );
  engine.close();
});
