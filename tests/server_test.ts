import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { connect as connectSocket, type Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { AuthAttempt, Authorize } from "../lib/server/auth.ts";
import { serve, type ServeOptions, type SshServer } from "../lib/server/server.ts";
import { SshClient } from "../lib/ssh/client.ts";
import { pinnedVerifier } from "../lib/ssh/pinned_keys.ts";
import { fingerprint } from "../lib/ssh/known_hosts.ts";
import { generateIdentity, textIdentity } from "../lib/ssh/keys.ts";
import { type EngineClient, newClient, parseKey, type SshKey } from "../lib/ssh/ssh2.ts";
import { connect, type ConnectOptions, type Tunnel } from "../lib/tunnel/tunnel.ts";
import { type KeyPair, knownHostsLine, makeKey } from "./support/keys.ts";
import {
  echoServer,
  patternReceived,
  pausedReader,
  questionAnswer,
  refusingPort,
  serverEndsFirst,
  transfer,
} from "./support/tcp.ts";
import {
  freePort,
  run,
  skipUnless,
  start,
  type Stoppable,
  stoppable,
  tempDir,
  waitFor,
} from "./support/tools.ts";

const BYTES = 3_000_000;
const USER = "somebody";
const HOST_KEY = generateIdentity();
const USER_KEY = generateIdentity();
const SSH = skipUnless("ssh", "ssh-keygen");

test("what is sent through the server arrives whole, whichever side ends first", async () => {
  await using echo = await echoServer();
  await using answers = await questionAnswer({ answerBytes: BYTES });
  await using ends = await serverEndsFirst({ answerBytes: BYTES });
  await using server = await serveUserKey();
  {
    await using tunnel = await connectTo(server);
    const through = async (port: number, send: number) => {
      await using forward = await tunnel.forwardLocal(`0:127.0.0.1:${port}`);
      return await transfer(forward.port, { send });
    };
    assertReceived(await through(echo.port, BYTES), BYTES);
    assertReceived(await through(answers.port, BYTES), BYTES);
    assertReceived(await through(ends.port, BYTES), BYTES);
    assert.deepEqual(await answers.received(), patternReceived(BYTES));
    assert.deepEqual(await ends.received(), patternReceived(BYTES));
    await waitFor(() => server.channelCount === 0);
    assert.equal(server.connectionCount, 1);
  }
  await waitFor(() => server.connectionCount === 0);
});

test("a destination that fails or is not allowed is refused with the reason in words", async () => {
  const refusing = await refusingPort();
  await using server = await serveUserKey({
    allow: ({ host, port }, username) => {
      if (port === 25) throw new Error("the list of destinations cannot be read");
      return username === USER && host !== "10.0.0.1";
    },
  });
  await using tunnel = await connectTo(server);
  const dial = (host: string, port: number) => tunnel.dial({ host, port });
  await assert.rejects(dial("127.0.0.1", refusing.port), {
    code: "connect-refused",
    message: /Connection refused/,
  });
  await assert.rejects(dial("no-such-host.invalid", 80), {
    code: "name-not-found",
    message: /(Name or service not known|name resolution)/,
  });
  await assert.rejects(dial("10.0.0.1", 80), {
    code: "forwarding-prohibited",
    message: /this destination is not allowed/,
  });
  await assert.rejects(dial("127.0.0.1", 25), { code: "forwarding-prohibited" });
  await assert.rejects(dial("127.0.0.1", 0), { code: "connect-failed" });
  await waitFor(() => server.channelCount === 0);
});

test("a destination that does not answer in time is given up", async () => {
  await using silent = await silentPort();
  await using server = await serveUserKey({ connectTimeout: 100 });
  await using tunnel = await connectTo(server);
  await assert.rejects(tunnel.dial({ host: "127.0.0.1", port: silent.port }), {
    code: "timeout",
    message: /Connection timed out/,
  });
  await waitFor(() => server.channelCount === 0);
});

test("a key is asked about first, and counts only when its holder has signed", async () => {
  const seen: AuthAttempt[] = [];
  const hostKey = generateIdentity();
  await using server = await serve({
    hostKeys: [hostKey.privateKey, HOST_KEY.privateKey],
    authorize: (attempt) => {
      seen.push(attempt);
      return attempt.method === "publickey";
    },
  });
  assert.deepEqual(server.publicKeys, [hostKey.publicKey], "one host key of each type");
  {
    await using _tunnel = await connectTo(server);
  }
  assert.deepEqual(seen.map(({ username, method, key }) => [username, method, key?.proved]), [
    [USER, "none", undefined],
    [USER, "publickey", false],
    [USER, "publickey", true],
  ]);
  assert.equal(
    seen[2]?.key?.fingerprint,
    fingerprint((parseKey(USER_KEY.publicKey) as SshKey).getPublicSSH()),
  );

  // Somebody with the public half only.
  const key = parseKey(USER_KEY.publicKey) as SshKey;
  const impostor = textIdentity("other", generateIdentity().privateKey);
  await assert.rejects(
    SshClient.connect({
      host: server.host,
      port: server.port,
      username: USER,
      hostKeys: pinnedVerifier(server.publicKeys),
      credentials: {
        identities: [{ ...impostor, publicKey: () => Promise.resolve(key.getPublicSSH()) }],
      },
    }),
    { code: "auth-failed" },
  );
  assert.deepEqual(seen.slice(3).map(({ key }) => key?.proved), [undefined, false]);
});

test("passwords are judged, by either method, and only those methods that are on", async () => {
  const password = "correct horse";
  const authorize: Authorize = (attempt) => attempt.password === password;
  for (const method of ["password", "keyboard-interactive"] as const) {
    const methods: string[] = [];
    await using server = await serve({
      hostKeys: [HOST_KEY.privateKey],
      authMethods: [method],
      authorize: (attempt) => {
        methods.push(attempt.method);
        return authorize(attempt);
      },
    });
    const options = { privateKeys: [], password };
    await (await connectTo(server, options)).close();
    await assert.rejects(connectTo(server, { ...options, password: "wrong" }), {
      code: "auth-failed",
    });
    assert.deepEqual(methods, ["none", method, "none", method]);
  }
});

test("whoever cannot be judged does not come in", async () => {
  await using server = await serve({
    hostKeys: [HOST_KEY.privateKey],
    authorize: () => {
      throw new Error("the list of users cannot be read");
    },
  });
  await assert.rejects(connectTo(server), { code: "auth-failed" });
});

test("after six failed attempts the server hangs up", async () => {
  let offered = 0;
  await using server = await serve({
    hostKeys: [HOST_KEY.privateKey],
    authorize: ({ method }) => {
      if (method === "publickey") offered++;
      return false;
    },
  });
  const privateKeys = Array.from({ length: 8 }, () => generateIdentity().privateKey);
  await assert.rejects(connectTo(server, { privateKeys }));
  assert.equal(offered, 6);
  await waitFor(() => server.connectionCount === 0);
});

test("a client that says nothing, or nothing sensible, is hung up on", async () => {
  await using server = await serveUserKey({ loginGraceTime: 300 });
  const clients = [
    rawClient(server, ""),
    rawClient(server, "SSH-2.0-silent\r\n"),
    rawClient(server, "GET / HTTP/1.1\r\n\r\n"),
    rawClient(server, `SSH-2.0-garbage\r\n${"x".repeat(100_000)}`),
  ];
  const left = rawClient(server, "SSH-2.0-left\r\n");
  left.end();
  await Promise.all([...clients, left].map(closed));
  await waitFor(() => server.connectionCount === 0);
  // The server itself goes on.
  await (await connectTo(server)).close();
});

test("clients that are still to log in cannot take all the places", async () => {
  await using server = await serveUserKey({ loginGraceTime: 10_000 });
  const early = Array.from({ length: 100 }, () => rawClient(server, ""));
  await waitFor(() => server.connectionCount === 100);
  const late = rawClient(server, "");
  await closed(late);
  assert.equal(server.connectionCount, 100);
  for (const socket of early) socket.destroy();
  await waitFor(() => server.connectionCount === 0);
  await (await connectTo(server)).close();
});

test("a client that ignores its window, or takes no bytes at all, does no harm", async () => {
  await using reader = await pausedReader();
  await using server = await serveUserKey();
  await using bystander = await connectTo(server);
  await using echo = await echoServer();
  const { promise, resolve } = Promise.withResolvers<unknown>();

  const greedy = await rawSsh(server);
  openRaw(greedy, reader.port, 32_768, resolve);
  const channel = await promise as { outgoing: { id: number } };
  // Not a part of 2 MiB: what comes when exactly nothing is left, ssh2 drops by itself.
  const chunk = Buffer.alloc(30_000);
  let sent = 0;
  for (; sent < 2_048 && server.connectionCount === 2; sent++) {
    protocolOf(greedy).channelData(channel.outgoing.id, chunk);
    await sleep(0);
  }
  await waitFor(() => server.connectionCount === 1, { what: "hanging up on the greedy client" });
  assert.ok(sent > 60 && sent < 2_048, `after ${sent} packets`);

  const tiny = await rawSsh(server);
  const refused = Promise.withResolvers<unknown>();
  openRaw(tiny, echo.port, 0, refused.reject);
  await assert.rejects(refused.promise, /packet size is too small/);
  tiny.end();

  const forward = await bystander.forwardLocal(`0:127.0.0.1:${echo.port}`);
  assertReceived(await transfer(forward.port, { send: 1_000 }), 1_000);
});

test("close waits for open channels and lets no new ones in, unless forced", async () => {
  await using echo = await echoServer();
  for (const force of [false, true]) {
    const server = await serveUserKey();
    const tunnel = await connectTo(server);
    const stream = await tunnel.dial({ host: "127.0.0.1", port: echo.port });
    stream.on("error", () => {});
    stream.write("x");
    await once(stream, "data");
    let over = false;
    const closing = server.close({ force }).then(() => over = true);
    if (force) {
      await closing;
      await waitFor(() => stream.destroyed);
    } else {
      await assert.rejects(tunnel.dial({ host: "127.0.0.1", port: echo.port }), {
        code: "resource-shortage",
        message: /shutting down/,
      });
      assert.equal(over, false);
      stream.end();
      stream.resume();
      await closing;
    }
    assert.equal(server.connectionCount, 0);
    assert.equal(server.channelCount, 0);
    await waitFor(() => echo.open === 0);
    await assert.rejects(once(connectSocket(server.port, server.host), "connect"), {
      code: "ECONNREFUSED",
    });
    await tunnel.close();
  }
});

test("a host key that cannot be used is refused by its number, never by its text", async () => {
  const authorize = () => false;
  for (const text of [HOST_KEY.publicKey, "nonsense", ""]) {
    await assert.rejects(serve({ hostKeys: [HOST_KEY.privateKey, text], authorize }), {
      code: "identity-unreadable",
      message: /^host key 2 cannot be used: (?!.*AAAA)/,
    });
  }
  await assert.rejects(serve({ hostKeys: [], authorize }), TypeError);
});

test("ssh -L through the server loses nothing, whichever side ends first", SSH, async () => {
  await using echo = await echoServer();
  await using answers = await questionAnswer({ answerBytes: BYTES });
  await using ends = await serverEndsFirst({ answerBytes: BYTES });
  await using client = await realClient();
  const { server } = client;
  const forwards = [echo, answers, ends].map(({ port }) => `127.0.0.1:${port}`);
  await using ssh = await client.forward(...forwards);
  for (const port of ssh.ports) {
    assertReceived(await transfer(port, { send: BYTES }), BYTES);
  }
  assert.deepEqual(await answers.received(), patternReceived(BYTES));
  assert.deepEqual(await ends.received(), patternReceived(BYTES));
  await waitFor(() => server.channelCount === 0);
  await ssh.stop();
  await waitFor(() => server.connectionCount === 0);
});

test("ssh says why the server opened no channel, and goes on", SSH, async () => {
  const refusing = await refusingPort();
  await using echo = await echoServer();
  await using client = await realClient({ allow: ({ port }) => port !== 1 });
  await using ssh = await client.forward(
    `127.0.0.1:${refusing.port}`,
    "no-such-host.invalid:80",
    "127.0.0.1:1",
    `127.0.0.1:${echo.port}`,
  );
  for (const port of ssh.ports.slice(0, 3)) {
    // ssh accepted it; all that it can do now is to hang up.
    const socket = connectSocket(port, "127.0.0.1");
    socket.on("error", () => {});
    socket.resume();
    await closed(socket);
  }
  assert.match(ssh.stderr(), /open failed: connect failed: Connection refused/);
  assert.match(ssh.stderr(), /open failed: connect failed: (Name or service|Temporary failure)/);
  assert.match(ssh.stderr(), /open failed: administratively prohibited: this destination/);
  assertReceived(await transfer(ssh.ports[3] ?? 0, { send: 1_000 }), 1_000);
});

test("ssh gets in with each kind of key, and not with a wrong one", SSH, async () => {
  await using echo = await echoServer();
  await using client = await realClient();
  const { server, dir } = client;
  const through = (key: KeyPair, ...more: string[]) =>
    client.run([...more, "-W", `127.0.0.1:${echo.port}`, "host"], {
      identity: key,
      stdin: "hello",
    });
  for (const type of ["ed25519", "ecdsa", "rsa"] as const) {
    const key = await makeKey(dir, { type });
    const refused = await through(key);
    assert.equal(refused.status, 255);
    assert.match(refused.stderr, /Permission denied \(publickey,password,keyboard-interactive\)/);
    client.authorized.push(key.publicLine);
    const { status, stdout, stderr } = await through(key);
    assert.deepEqual([status, stdout], [0, "hello"], stderr);
    if (type !== "rsa") continue;
    const sha1 = await through(key, "-o", "PubkeyAcceptedAlgorithms=ssh-rsa");
    assert.equal(sha1.status, 255, "SHA-1 signatures are refused");
  }
  await waitFor(() => server.connectionCount === 0);
});

test("an RSA host key signs with SHA-2 but never with SHA-1", SSH, async () => {
  await using folder = await tempDir();
  const rsa = await makeKey(folder.path, { type: "rsa" });
  await using client = await realClient({ hostKeys: [await readFile(rsa.path, "utf8")] });
  await using echo = await echoServer();
  const through = (algorithm: string) =>
    client.run(["-o", `HostKeyAlgorithms=${algorithm}`, "-W", `127.0.0.1:${echo.port}`, "host"], {
      stdin: "hello",
    });
  assert.equal((await through("rsa-sha2-512")).stdout, "hello");
  assert.equal((await through("rsa-sha2-256")).stdout, "hello");
  assert.equal((await through("ssh-rsa")).status, 255);
});

test("ssh gets no shell, no command and no remote forward", SSH, async () => {
  await using client = await realClient();
  const command = await client.run(["host", "true"]);
  assert.equal(command.status, 255);
  assert.match(command.stderr, /administratively prohibited: this server only forwards/);
  const options = ["-o", "ExitOnForwardFailure=yes"];
  const remote = await client.run([...options, "-N", "-R", "0:127.0.0.1:9", "host"]);
  assert.equal(remote.status, 255);
  assert.match(remote.stderr, /remote port forwarding failed/);
});

test("a client that vanishes ends its own connections and nobody else's", SSH, async () => {
  await using echo = await echoServer();
  await using client = await realClient();
  await using other = await connectTo(client.server);
  const stream = await other.dial({ host: "127.0.0.1", port: echo.port });
  await using ssh = await client.forward(`127.0.0.1:${echo.port}`);
  const socket = connectSocket(ssh.ports[0] ?? 0, "127.0.0.1");
  socket.on("error", () => {});
  socket.write("x");
  await once(socket, "data");
  assert.equal(echo.open, 2);
  process.kill(ssh.pid, "SIGKILL");
  await waitFor(() => echo.open === 1 && client.server.connectionCount === 1);
  stream.write("still here");
  assert.equal(String((await once(stream, "data"))[0]), "still here");
  stream.destroy();
});

function serveUserKey(options: Partial<ServeOptions> = {}): Promise<SshServer> {
  return serve({
    hostKeys: [HOST_KEY.privateKey],
    authorize: authorizeKeys([USER_KEY.publicKey]),
    ...options,
  });
}

/** The list may grow. */
function authorizeKeys(lines: readonly string[]): Authorize {
  return ({ key }) => lines.some((line) => line.split(" ")[1] === key?.blob.toString("base64"));
}

function connectTo(server: SshServer, options: Partial<ConnectOptions> = {}): Promise<Tunnel> {
  return connect({
    host: server.host,
    port: server.port,
    username: USER,
    hostKeys: server.publicKeys,
    privateKeys: [USER_KEY.privateKey],
    identityFiles: [],
    agent: "none",
    ...options,
  });
}

function assertReceived(actual: { bytes: number; sha256: string }, bytes: number): void {
  const { sha256 } = actual;
  assert.deepEqual({ bytes: actual.bytes, sha256 }, patternReceived(bytes));
}

/** A port where connections are neither accepted nor refused: its listener is stopped, and full. */
async function silentPort(): Promise<{ port: number } & Stoppable> {
  const folder = await tempDir();
  const script = join(folder.path, "listen.cjs");
  await writeFile(
    script,
    `const server = require("node:net").createServer();
     server.listen({ host: "127.0.0.1", port: 0, backlog: 1 }, () => {
       console.log(server.address().port);
     });`,
  );
  const deno = "deno" in process.versions ? ["run", "-A"] : [];
  const listener = start(process.execPath, [...deno, script]);
  const port = Number(await waitFor(() => listener.stdout().trim()));
  listener.kill("SIGSTOP");
  const sockets: Socket[] = [];
  let full = false;
  while (!full) {
    const socket = connectSocket(port, "127.0.0.1");
    socket.on("error", () => {});
    sockets.push(socket);
    const connected = once(socket, "connect").then(() => false, () => false);
    full = await Promise.race([connected, sleep(100, true)]);
  }
  return stoppable({ port }, async () => {
    for (const socket of sockets) socket.destroy();
    listener.kill("SIGKILL");
    await listener.stop();
    await folder.stop();
  });
}

/** A TCP client that says one thing, and reads. */
function rawClient(server: SshServer, text: string): Socket {
  const socket = connectSocket(server.port, server.host);
  socket.on("error", () => {});
  socket.resume();
  socket.write(text);
  return socket;
}

/** Unlike once(), it does not mind a reset. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

interface RawProtocol {
  channelData(id: number, data: Buffer): void;
  directTcpip(channel: number, window: number, maxPacket: number, config: object): void;
}

/** ssh2's client alone, for what ours would never do. */
async function rawSsh(server: SshServer): Promise<EngineClient> {
  const engine = newClient();
  engine.on("error", () => {});
  engine.connect({
    host: server.host,
    port: server.port,
    username: USER,
    privateKey: USER_KEY.privateKey,
    hostVerifier: () => true,
  });
  await once(engine, "ready");
  return engine;
}

function protocolOf(engine: EngineClient): RawProtocol {
  return engine._protocol as unknown as RawProtocol;
}

/** Opens a channel that says how large a packet it takes; `opened` gets the channel or an error. */
function openRaw(
  engine: EngineClient,
  port: number,
  maxPacket: number,
  opened: (answer: unknown) => void,
): void {
  const channels = engine._chanMgr as unknown as { add(wait: object): number };
  const wait = (error: unknown, channel: unknown) => opened(error ?? channel);
  const id = channels.add(Object.assign(wait, { type: "direct-tcpip" }));
  protocolOf(engine).directTcpip(id, 2 ** 21, maxPacket, {
    srcIP: "127.0.0.1",
    srcPort: 1,
    dstIP: "127.0.0.1",
    dstPort: port,
  });
}

/** Our server, with the real ssh to go at it. */
async function realClient(options: Partial<ServeOptions> = {}) {
  const folder = await tempDir();
  const dir = folder.path;
  const key = await makeKey(dir);
  const authorized = [key.publicLine, USER_KEY.publicKey];
  const server = await serve({
    hostKeys: [HOST_KEY.privateKey],
    authorize: authorizeKeys(authorized),
    ...options,
  });
  const knownHosts = join(dir, "known_hosts");
  const line = (publicKey: string) => `${knownHostsLine("127.0.0.1", server.port, publicKey)}\n`;
  await writeFile(knownHosts, server.publicKeys.map(line).join(""));
  const args = (identity: KeyPair) => [
    ...["-F", "none", "-i", identity.path, "-p", String(server.port), "-l", USER],
    ...["-o", "HostName=127.0.0.1", "-o", `UserKnownHostsFile=${knownHosts}`],
    ...["-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes"],
    ...["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes"],
  ];
  return {
    server,
    dir,
    authorized,
    run: (more: string[], { identity = key, stdin = "" } = {}) =>
      run("ssh", [...args(identity), ...more], { stdin, timeout: 10_000 }),
    forward: async (...destinations: string[]) => {
      const ports = await Promise.all(destinations.map(() => freePort()));
      const specs = destinations.flatMap((to, index) => ["-L", `127.0.0.1:${ports[index]}:${to}`]);
      const ssh = start("ssh", [...args(key), "-v", "-N", ...specs, "host"]);
      await waitFor(() => ssh.stderr().includes("Entering interactive session"), {
        what: "ssh logging in",
      });
      return Object.assign(ssh, { ports });
    },
    [Symbol.asyncDispose]: async () => {
      await server.close({ force: true });
      await folder.stop();
    },
  };
}
