/** New keys in the middle of everything: nothing is lost, nobody is asked, nothing piles up. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import ssh2 from "ssh2";
import { serve } from "../../lib/server/server.ts";
import { DEFAULT_ALGORITHMS } from "../../lib/ssh/algorithms.ts";
import { connectHost } from "../../lib/ssh/host.ts";
import { generateIdentity } from "../../lib/ssh/keys.ts";
import { connect, type ConnectOptions } from "../../mod.ts";
import { connectOptions } from "../support/fairlead.ts";
import { CIPHER_PATHS } from "../support/packet_ciphers.ts";
import { sshOptions, type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, patternReceived, transfer } from "../support/tcp.ts";
import { run, skipUnless, tempDir, waitFor } from "../support/tools.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const skip = skipUnless("sshd", "ssh-keygen");

function reach(server: SshServer, options: Partial<ConnectOptions> = {}): ConnectOptions {
  return {
    ...connectOptions(server),
    ...options,
  };
}

/** How often the server has exchanged keys, the first time included. */
function exchanges(server: SshServer): number {
  return server.log().split("\n").filter((line) => /: SSH2_MSG_NEWKEYS received/.test(line)).length;
}

test("20 MiB each way at once, with new keys every MiB, come back unchanged", skip, async () => {
  await using sshd = await startSshd();
  await using echo = await echoServer();
  await using tunnel = await connect(reach(sshd, { rekeyLimit: { bytes: MIB } }));
  await using forward = await tunnel.forwardLocal(`0:${echo.host}:${echo.port}`);
  const { bytes, sha256 } = await transfer(forward.port, { send: 20 * MIB, seed: 3 });
  assert.deepEqual({ bytes, sha256 }, patternReceived(20 * MIB, 3));
  const count = exchanges(sshd);
  // What is on its way while keys are exchanged belongs to the next MiB.
  assert.ok(count >= 12 && count <= 42, `${count} exchanges`);
});

test("both sides may ask for new keys, also at the same time", skip, async () => {
  await using sshd = await startSshd({ config: ["RekeyLimit 512K"] });
  await using echo = await echoServer();
  await using tunnel = await connect(reach(sshd, { rekeyLimit: { bytes: 512 * KIB } }));
  await using forward = await tunnel.forwardLocal(`0:${echo.host}:${echo.port}`);
  const sizes = [5 * MIB, 3 * MIB + 1, 4 * MIB - 1];
  const got = await Promise.all(sizes.map((send, seed) => transfer(forward.port, { send, seed })));
  assert.deepEqual(
    got.map(({ bytes, sha256 }) => ({ bytes, sha256 })),
    sizes.map((size, seed) => patternReceived(size, seed)),
  );
  assert.ok(exchanges(sshd) >= 10, `${exchanges(sshd)} exchanges`);
});

interface Suite {
  readonly name: string;
  readonly cipher: string;
  readonly hmac?: string;
  readonly systemCrypto?: boolean;
}

const CTR = DEFAULT_ALGORITHMS.cipher.filter((cipher) => cipher.endsWith("-ctr"));
const SUITES: readonly Suite[] = [
  ...CTR.flatMap((cipher) =>
    DEFAULT_ALGORITHMS.hmac.map((hmac) => ({ name: cipher, cipher, hmac }))
  ),
  ...CIPHER_PATHS,
];

test("every cipher and every MAC goes on with new keys", skip, async () => {
  await using sshd = await startSshd();
  await using echo = await echoServer();
  for (const { name, systemCrypto = true, ...algorithms } of SUITES) {
    const before = exchanges(sshd);
    await using tunnel = await connect(reach(sshd, {
      // Post-quantum keys, as there are by default, take most of the time, and have tests.
      algorithms: { ...algorithms, kex: "curve25519-sha256" },
      systemCrypto,
      rekeyLimit: { bytes: 100_000 },
    }));
    await using forward = await tunnel.forwardLocal(`0:${echo.host}:${echo.port}`);
    const { bytes, sha256 } = await transfer(forward.port, { send: MIB + 1 });
    assert.deepEqual({ bytes, sha256 }, patternReceived(MIB + 1), name);
    assert.ok(exchanges(sshd) - before >= 3, `${name}: ${exchanges(sshd) - before}`);
  }
});

test("the smallest limit makes keys for every packet and comes to rest", skip, async () => {
  await using sshd = await startSshd();
  await using echo = await echoServer();
  await using tunnel = await connect(reach(sshd, { rekeyLimit: { bytes: 1 } }));
  await using forward = await tunnel.forwardLocal(`0:${echo.host}:${echo.port}`);
  const { bytes } = await transfer(forward.port, { send: 100 });
  assert.equal(bytes, 100);
  await sleep(200);
  const before = exchanges(sshd);
  assert.ok(before > 2);
  await sleep(500);
  assert.equal(exchanges(sshd), before);
});

test("keys grow old by seconds as well, where nothing is sent", skip, async () => {
  await using sshd = await startSshd();
  await using tunnel = await connect(reach(sshd, { rekeyLimit: { seconds: 1 } }));
  await waitFor(() => exchanges(sshd) >= 3, { timeout: 5_000, what: "two exchanges" });
  await tunnel.close();
});

test("without a limit of the user's, 20 MiB need no new keys", skip, async () => {
  await using sshd = await startSshd();
  await using echo = await echoServer();
  await using tunnel = await connect(reach(sshd));
  await using forward = await tunnel.forwardLocal(`0:${echo.host}:${echo.port}`);
  await transfer(forward.port, { send: 20 * MIB });
  assert.equal(exchanges(sshd), 1);
});

test("while a server does not answer with its keys, a channel takes nothing in", skip, async () => {
  await using sshd = await startSshd();
  await using echo = await echoServer();
  await using tunnel = await connect(reach(sshd, { rekeyLimit: { seconds: 1 } }));
  const stream = await tunnel.dial({ host: echo.host, port: echo.port });
  sshd.signalSessions("SIGSTOP");
  await sleep(1_300);
  let taken = 0;
  const chunk = Buffer.alloc(64 * KIB, 7);
  for (let sent = 0; sent < 2 * MIB; sent += chunk.length) stream.write(chunk, () => taken++);
  await sleep(300);
  assert.equal(taken, 0, "it would be ssh2's whole window, for each channel");
  sshd.signalSessions("SIGCONT");
  stream.end();
  let received = 0;
  for await (const data of stream) received += data.length;
  assert.equal(received, 2 * MIB);
});

test("a server that falls silent during the exchange loses the session", skip, async () => {
  await using sshd = await startSshd();
  const options = { ...reach(sshd, { rekeyLimit: { seconds: 1 } }), rekeyTimeout: 500 };
  const client = await connectHost(options);
  sshd.signalSessions("SIGSTOP");
  const begun = performance.now();
  const reason = await client.closed;
  sshd.signalSessions("SIGCONT");
  assert.equal(reason?.code, "timeout");
  assert.equal(reason?.message, "the server fell silent for 0.5 s while keys were exchanged");
  assert.ok(performance.now() - begun < 5_000);
});

/** A server of ssh2's own whose connection, and its protocol machine, are the test's. */
async function rawServer() {
  const { privateKey, publicKey } = generateIdentity();
  let connection: ssh2.Connection | undefined;
  const server = new ssh2.Server({ hostKeys: [privateKey] }, (client) => {
    connection = client;
    client.on("authentication", (context) => context.accept());
    client.on("error", () => {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const options: ConnectOptions = {
    host: "127.0.0.1",
    port,
    hostKeys: publicKey,
    identityFiles: [],
    agent: "none",
  };
  return {
    options,
    connection: () => connection as ssh2.Connection,
    [Symbol.dispose]: () => void server.close(),
  };
}

test("another host key in the middle of a session ends it", async () => {
  using server = await rawServer();
  const client = await connectHost(server.options);
  const protocol = (server.connection() as unknown as {
    _protocol: { _hostKeys: Record<string, unknown> };
  })._protocol;
  const other = ssh2.utils.parseKey(generateIdentity().privateKey);
  protocol._hostKeys["ssh-ed25519"] = other;
  server.connection().rekey();
  const reason = await client.closed;
  assert.equal(reason?.code, "host-key-changed");
  assert.match(reason?.message ?? "", /showed another host key when keys were exchanged anew$/);
});

test("the host key is judged once, whoever asks for new keys", async () => {
  using server = await rawServer();
  let asked = 0;
  await using folder = await tempDir();
  const { hostKeys: _, ...options } = server.options;
  const client = await connectHost({
    ...options,
    userKnownHosts: [join(folder.path, "known_hosts")],
    globalKnownHosts: [],
    rekeyLimit: { seconds: 1 },
    prompter: {
      confirmHostKey: () => {
        asked++;
        return Promise.resolve(true);
      },
    } as never,
  });
  let exchanged = 0;
  server.connection().on("rekey", () => exchanged++);
  server.connection().rekey();
  await waitFor(() => exchanged >= 2, { timeout: 5_000, what: "an exchange by each side" });
  assert.equal(asked, 1);
  await client.close();
});

test("a limit that makes no sense is refused", async () => {
  for (const rekeyLimit of [{ bytes: 0 }, { seconds: -1 }, { bytes: 1.5 }, { seconds: NaN }]) {
    await assert.rejects(connect({ host: "127.0.0.1", port: 1, rekeyLimit }), RangeError);
  }
});

test("ssh -o RekeyLimit gets everything from our server", skipUnless("ssh"), async () => {
  await using folder = await tempDir();
  const { privateKey, publicKey } = generateIdentity();
  const identity = join(folder.path, "id");
  await writeFile(identity, privateKey, { mode: 0o600 });
  await using server = await serve({ hostKeys: [privateKey], authorize: () => true });
  await using echo = await echoServer();
  const knownHosts = join(folder.path, "known_hosts");
  await writeFile(knownHosts, `[127.0.0.1]:${server.port} ${publicKey}\n`);
  const input = Buffer.alloc(3 * MIB, "fairlead");
  const { status, stdout, stderr } = await run("ssh", [
    ...sshOptions({ identity, port: server.port, user: "me", knownHosts } as SshServer),
    ...["-v", "-o", "RekeyLimit=100K", "-W", `${echo.host}:${echo.port}`, "127.0.0.1"],
  ], { stdin: input });
  assert.equal(status, 0, stderr);
  assert.equal(stdout, input.toString());
  assert.ok(stderr.split("SSH2_MSG_NEWKEYS received").length > 10);
});
