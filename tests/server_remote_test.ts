import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, connect as connectSocket, createServer, type Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { SocksClient } from "socks";
import { serve, type ServeOptions, type SshServer } from "../lib/server/server.ts";
import { generateIdentity } from "../lib/ssh/keys.ts";
import { type EngineClient, newClient } from "../lib/ssh/ssh2.ts";
import { connect, type Tunnel } from "../lib/tunnel/tunnel.ts";
import { knownHostsLine } from "./support/keys.ts";
import {
  digest,
  echoServer,
  pattern,
  patternReceived,
  pausedReader,
  questionAnswer,
  type Received,
  refusingPort,
  serverEndsFirst,
  transfer,
} from "./support/tcp.ts";
import {
  freePort,
  need,
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
const SSH = skipUnless("ssh");
/** Elsewhere 127.0.0.2 is nobody's. */
const LINUX = process.platform === "linux" ? SSH : { skip: "127.0.0.0/8 is Linux's" };
const CURL = skipUnless("ssh", "curl");

test("ssh -R through the server loses nothing, whichever side ends first", SSH, async () => {
  await using peers = await threePeers();
  await using client = await realClient();
  const fixed = await freePort();
  await using ssh = await client.forward(
    ...["-R", `${fixed}:127.0.0.1:${peers.echo.port}`],
    ...["-R", `0:127.0.0.1:${peers.answers.port}`],
    ...["-R", `localhost:0:127.0.0.1:${peers.ends.port}`],
  );
  assert.equal(client.server.listenerCount, 3);
  const allocated = [...ssh.stderr().matchAll(/Allocated port (\d+) for remote forward/g)];
  const ports = [fixed, ...allocated.map(([, port]) => Number(port))];
  await peers.proveWith(ports.map((port) => ({ port, host: "127.0.0.1" })));
  await waitFor(() => client.server.channelCount === 0);
  await ssh.stop();
  await waitFor(() => client.server.connectionCount === 0 && client.server.listenerCount === 0);
  await refused(fixed);
});

test("ssh -W through the server loses nothing, whichever side ends first", SSH, async () => {
  await using peers = await threePeers();
  await using hasty = await endsAfter(BYTES);
  await using client = await realClient();
  for (const peer of [peers.echo, peers.answers]) {
    const got = await client.pipe(`127.0.0.1:${peer.port}`, "first");
    assert.deepEqual(got, { status: 0, ...patternReceived(BYTES) });
    assert.deepEqual(await peer.received(), patternReceived(BYTES));
  }
  // ssh itself sends nothing more once the destination has ended.
  const got = await client.pipe(`127.0.0.1:${hasty.port}`, "last");
  assert.deepEqual(got, { status: 0, ...patternReceived(BYTES) });
  assert.deepEqual(hasty.got, [patternReceived(BYTES)]);
  await waitFor(() => client.server.connectionCount === 0);
});

test("ssh -D through the server serves curl by SOCKS 4a and 5", CURL, async () => {
  await using web = await webServer();
  const refusing = await refusingPort();
  await using client = await realClient();
  const port = await freePort();
  await using _ssh = await client.forward("-D", `127.0.0.1:${port}`);
  for (const version of ["--socks4a", "--socks5-hostname"]) {
    const fetch = (to: number) => curl(client.dir, version, port, to);
    assert.deepEqual(await fetch(web.port), { status: 0, ...patternReceived(BYTES) }, version);
    assert.deepEqual(web.uploads.splice(0), [patternReceived(BYTES)]);
    assert.equal((await fetch(refusing.port)).status, 97, version);
  }
  await waitFor(() => client.server.channelCount === 0);
});

test("ssh -D through the server half-closes, whichever end is first", SSH, async () => {
  await using asked = await questionAnswer({ answerBytes: BYTES });
  await using hasty = await serverEndsFirst({ answerBytes: BYTES });
  await using client = await realClient();
  const port = await freePort();
  await using _ssh = await client.forward("-D", `127.0.0.1:${port}`);
  for (const peer of [asked, hasty]) {
    const { socket } = await SocksClient.createConnection({
      proxy: { host: "127.0.0.1", port, type: 5 },
      command: "connect",
      destination: { host: peer.host, port: peer.port },
    });
    // The npm client has no option for it.
    Object.assign(socket, { allowHalfOpen: true });
    const chunks: Buffer[] = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    const ended = once(socket, "end");
    if (peer === hasty) await ended;
    for (const chunk of pattern(BYTES)) socket.write(chunk);
    socket.end();
    await ended;
    assert.deepEqual(digest(chunks), patternReceived(BYTES));
    assert.deepEqual(await peer.received(), patternReceived(BYTES));
  }
  await waitFor(() => client.server.channelCount === 0);
});

test("a remote forward of ours carries bytes, and reverse SOCKS serves curl", CURL, async () => {
  await using peers = await threePeers();
  await using web = await webServer();
  await using folder = await tempDir();
  await using server = await serveUserKey();
  {
    await using tunnel = await connectTo(server);
    const forwards = await Promise.all(
      peers.all.map(({ port }) => tunnel.forwardRemote(`0:127.0.0.1:${port}`)),
    );
    await peers.proveWith(forwards.map(({ port }) => ({ port, host: "127.0.0.1" })));
    const socks = await tunnel.forwardRemote("0");
    assert.equal(server.listenerCount, 4);
    for (const version of ["--socks4a", "--socks5-hostname"]) {
      const got = await curl(folder.path, version, socks.port, web.port);
      assert.deepEqual(got, { status: 0, ...patternReceived(BYTES) }, version);
    }
    await socks.close();
    assert.equal(server.listenerCount, 3);
    await refused(socks.port);
  }
  await waitFor(() => server.connectionCount === 0 && server.listenerCount === 0);
});

test("ssh -O cancel ends the listener, and not what it has accepted", SSH, async () => {
  await using echo = await echoServer();
  await using client = await realClient();
  const control = ["-S", join(client.dir, "control")];
  const port = await freePort();
  await using _ssh = await client.forward("-M", ...control, "-R", `${port}:127.0.0.1:${echo.port}`);
  const socket = connectSocket(port, "127.0.0.1");
  await exchange(socket, "before");
  const command = (verb: string, spec: string) =>
    client.run([...control, "-O", verb, "-R", spec, "host"]);
  const cancelled = await command("cancel", `${port}:127.0.0.1:${echo.port}`);
  assert.equal(cancelled.status, 0, cancelled.stderr);
  await waitFor(() => client.server.listenerCount === 0);
  await refused(port);
  await exchange(socket, "after");
  // The port is free for another, and so is one that the server chooses.
  const again = await command("forward", `${port}:127.0.0.1:${echo.port}`);
  assert.equal(again.status, 0, again.stderr);
  const chosen = await command("forward", `0:127.0.0.1:${echo.port}`);
  assert.equal(chosen.status, 0, chosen.stderr);
  for (const to of [port, Number(chosen.stdout)]) {
    assertReceived(await transfer(to, { send: 1_000 }), 1_000);
  }
  await closeSocket(socket);
});

test(
  "GatewayPorts says where a remote forward listens, and the owner has the last word",
  LINUX,
  async () => {
    await using echo = await echoServer();
    const asked: string[] = [];
    const allowListen: ServeOptions["allowListen"] = ({ host, port }, username) => {
      asked.push(`${username} ${host} ${port === 0 ? 0 : "fixed"}`);
      return host !== "127.0.0.3";
    };
    // All of 127.0.0.0/8 is this machine's, but only one address of it is loopback's own.
    const listensOn = async (
      gatewayPorts: "no" | "yes" | "clientspecified",
      bind: string,
      hosts = ["127.0.0.1", "127.0.0.2"],
    ) => {
      await using client = await realClient({ allowListen, gatewayPorts });
      const port = await freePort();
      const spec = `${bind}${port}:127.0.0.1:${echo.port}`;
      await using _ssh = await client.forward("-R", spec);
      return await Promise.all(hosts.map((host) => reachable(host, port)));
    };
    assert.deepEqual(await listensOn("no", "*:"), [true, false]);
    assert.deepEqual(await listensOn("no", "0.0.0.0:"), [true, false]);
    assert.deepEqual(await listensOn("no", "127.0.0.2:"), [true, false]);
    assert.deepEqual(await listensOn("yes", "localhost:"), [true, true]);
    assert.deepEqual(await listensOn("clientspecified", ""), [true, false]);
    assert.deepEqual(await listensOn("clientspecified", "*:"), [true, true]);
    assert.deepEqual(await listensOn("clientspecified", "0.0.0.0:"), [true, true]);
    assert.deepEqual(await listensOn("clientspecified", "127.0.0.2:"), [false, true]);
    assert.deepEqual(
      asked,
      ["localhost", "localhost", "localhost", "*", "localhost", "*", "0.0.0.0", "127.0.0.2"]
        .map((host) => `${USER} ${host} fixed`),
    );
    if (await hasLoopback6()) {
      assert.deepEqual(await listensOn("no", "[::1]:", ["127.0.0.1", "::1"]), [false, true]);
      assert.deepEqual(await listensOn("no", "", ["127.0.0.1", "::1"]), [true, true]);
    }
    await using client = await realClient({ allowListen, gatewayPorts: "clientspecified" });
    await client.isRefused(`127.0.0.3:0:127.0.0.1:9`);
    assert.equal(asked.at(-1), `${USER} 127.0.0.3 0`);
    assert.equal(client.server.listenerCount, 0);
  },
);

test("what cannot be listened on is refused, and the client goes on", SSH, async () => {
  await using echo = await echoServer();
  await using client = await realClient({
    allowListen: ({ port }) => {
      if (port === 1) throw new Error("the list of ports cannot be read");
      return port !== 2;
    },
  });
  const port = await freePort();
  await using _ssh = await client.forward("-R", `${port}:127.0.0.1:${echo.port}`);
  await client.isRefused(`${port}:127.0.0.1:9`); // Another client's.
  await client.isRefused(`${echo.port}:127.0.0.1:9`); // Somebody else's.
  await client.isRefused("1:127.0.0.1:9");
  await client.isRefused("2:127.0.0.1:9");
  assertReceived(await transfer(port, { send: 1_000 }), 1_000);

  await using tunnel = await connectTo(client.server);
  await assert.rejects(tunnel.forwardRemote("2:127.0.0.1:9"), { code: "forwarding-prohibited" });
  await assert.rejects(tunnel.forwardRemote(`${port}:127.0.0.1:9`), { code: "address-in-use" });
  const spec = `0:127.0.0.1:${echo.port}`;
  const forwards = await Promise.all(Array.from({ length: 100 }, () => tunnel.forwardRemote(spec)));
  await assert.rejects(tunnel.forwardRemote(spec), { name: "ForwardError" });
  await forwards[0]?.close();
  await (await tunnel.forwardRemote(spec)).close();
});

test("nothing is left when ssh is killed in the middle of a transfer", SSH, async () => {
  await using reader = await pausedReader();
  await using client = await realClient();
  const { server } = client;
  const port = await freePort();
  await using other = await connectTo(server);
  await using _forward = await other.forwardRemote(`0:127.0.0.1:${reader.port}`);
  await using ssh = await client.forward("-R", `${port}:127.0.0.1:${reader.port}`);
  const sockets = [1, 2, 3].map(() => connectSocket(port, "127.0.0.1"));
  const ends = sockets.map((socket) => {
    const end = ended(socket);
    socket.write(Buffer.alloc(20_000_000));
    return end;
  });
  // Who reads nothing holds back who writes, all the way.
  await waitFor(() => reader.open === 3 && server.channelCount === 3);
  await sleep(200);
  assert.ok(sockets.every(({ writableLength }) => writableLength > 0));
  process.kill(ssh.pid, "SIGKILL");
  await waitFor(() => server.connectionCount === 1);
  assert.equal(server.listenerCount, 1, "the other client's");
  await waitFor(() => server.channelCount === 0);
  await refused(port);
  const codes = await Promise.all(ends);
  assert.ok(codes.every((code) => code === "ECONNRESET" || code === "EPIPE"), String(codes));
});

test("a client hears of a connection in its own words, and may refuse it", async () => {
  await using server = await serveUserKey();
  const engine = await rawSsh(server);
  for (const host of ["", "*", "localhost", "0.0.0.0", "::", "127.0.0.1", "my.other.name"]) {
    const port = await new Promise<number>((resolve, reject) => {
      engine.forwardIn(host, 0, (error, port) => error ? reject(error) : resolve(port));
    });
    const coming = once(engine, "tcp connection");
    const socket = connectSocket(port, "127.0.0.1");
    const end = ended(socket);
    const [info, , reject] = await coming;
    assert.deepEqual(info, {
      destIP: host,
      destPort: port,
      srcIP: "127.0.0.1",
      srcPort: socket.localPort,
    });
    reject();
    assert.equal(await end, "ECONNRESET");
  }
  assert.equal(server.channelCount, 0);
  assert.equal(server.listenerCount, 7);
  engine.end();
  await waitFor(() => server.connectionCount === 0 && server.listenerCount === 0);
});

test("close ends the listeners and waits for what they have accepted", async () => {
  await using echo = await echoServer();
  for (const force of [false, true]) {
    const server = await serveUserKey();
    const tunnel = await connectTo(server);
    const { port } = await tunnel.forwardRemote(`0:127.0.0.1:${echo.port}`);
    const socket = connectSocket(port, "127.0.0.1");
    const end = ended(socket);
    await exchange(socket, "x");
    let over = false;
    const closing = server.close({ force }).then(() => over = true);
    if (!force) {
      await waitFor(() => server.listenerCount === 0);
      await refused(port);
      await exchange(socket, "still here");
      assert.equal(over, false);
      socket.end();
    }
    assert.equal(await end, force ? "ECONNRESET" : undefined);
    await closing;
    assert.equal(server.connectionCount + server.channelCount + server.listenerCount, 0);
    await tunnel.close();
  }
});

function serveUserKey(options: Partial<ServeOptions> = {}): Promise<SshServer> {
  const blob = USER_KEY.publicKey.split(" ")[1];
  return serve({
    hostKeys: [HOST_KEY.privateKey],
    authorize: ({ key }) => key?.blob.toString("base64") === blob,
    allowListen: () => true,
    ...options,
  });
}

function connectTo(server: SshServer): Promise<Tunnel> {
  return connect({
    host: server.host,
    port: server.port,
    username: USER,
    hostKeys: server.publicKeys,
    privateKeys: [USER_KEY.privateKey],
    identityFiles: [],
    agent: "none",
  });
}

/** ssh2's client alone. */
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

/** Our server, with the real ssh to go at it. */
async function realClient(options: Partial<ServeOptions> = {}) {
  const folder = await tempDir();
  const dir = folder.path;
  const server = await serveUserKey(options);
  const knownHosts = join(dir, "known_hosts");
  const identity = join(dir, "id");
  const line = (publicKey: string) => `${knownHostsLine("127.0.0.1", server.port, publicKey)}\n`;
  await writeFile(knownHosts, server.publicKeys.map(line).join(""));
  await writeFile(identity, USER_KEY.privateKey, { mode: 0o600 });
  const args = [
    ...["-F", "none", "-i", identity, "-p", String(server.port), "-l", USER],
    ...["-o", "HostName=127.0.0.1", "-o", `UserKnownHostsFile=${knownHosts}`],
    ...["-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes"],
    ...["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes"],
    ...["-o", "ExitOnForwardFailure=yes"],
  ];
  return {
    server,
    dir,
    run: (more: string[]) => run("ssh", [...args, ...more], { timeout: 10_000 }),
    forward: async (...more: string[]) => {
      const ssh = start("ssh", [...args, "-v", "-N", ...more, "host"]);
      const remote = more.filter((word) => word === "-R").length;
      await waitFor(() => {
        assert.ok(ssh.running(), ssh.stderr());
        const up = ssh.stderr().match(/remote forward success/g)?.length ?? 0;
        return up === remote && ssh.stderr().includes("Entering interactive session");
      }, { what: "ssh forwarding" });
      return ssh;
    },
    isRefused: async (spec: string) => {
      const { status, stderr } = await run("ssh", [...args, "-N", "-R", spec, "host"]);
      assert.equal(status, 255);
      assert.match(stderr, /remote port forwarding failed for listen port/);
    },
    /** Sends a pattern through `ssh -W`, and reads the answer. */
    pipe: async (to: string, end: "first" | "last") => {
      const ssh = spawn(need("ssh"), [...args, "-W", to, "host"], {
        stdio: ["pipe", "pipe", "inherit"],
      });
      const exit = once(ssh, "exit");
      const hash = createHash("sha256");
      let bytes = 0;
      ssh.stdout.on("data", (chunk) => {
        bytes += chunk.length;
        hash.update(chunk);
      });
      const read = once(ssh.stdout, "end");
      for (const chunk of pattern(BYTES)) {
        if (!ssh.stdin.write(chunk)) await once(ssh.stdin, "drain");
      }
      if (end === "last") await read;
      ssh.stdin.end();
      await read;
      return { status: (await exit)[0], bytes, sha256: hash.digest("hex") };
    },
    [Symbol.asyncDispose]: async () => {
      await server.close({ force: true });
      await folder.stop();
    },
  };
}

/** Destinations for each order of ending. */
async function threePeers() {
  const echo = await echoServer();
  const answers = await questionAnswer({ answerBytes: BYTES });
  const ends = await serverEndsFirst({ answerBytes: BYTES });
  const all = [echo, answers, ends];
  return {
    echo,
    answers,
    ends,
    all,
    /** Sends through three forwards, one for each. */
    proveWith: async (targets: readonly { port: number; host: string }[]) => {
      assert.equal(targets.length, all.length);
      for (const [index, target] of targets.entries()) {
        const end = index === 2 ? "last" : "first";
        assertReceived(await transfer(target, { send: BYTES, end }), BYTES);
        assert.deepEqual(await all[index]?.received(), patternReceived(BYTES));
      }
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(all.map((peer) => peer.stop()));
    },
  };
}

/** Reads so many bytes, answers as many, and ends without waiting for the client's end. */
async function endsAfter(bytes: number): Promise<{ port: number; got: Received[] } & Stoppable> {
  const got: Received[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const chunks: Uint8Array[] = [];
    let count = 0;
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      count += chunk.length;
      if (count !== bytes) return;
      got.push(digest(chunks));
      socket.end(Buffer.concat([...pattern(bytes)]));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return stoppable({ port: (server.address() as AddressInfo).port, got }, () => {
    server.close();
    return Promise.resolve();
  });
}

/** Answers with a pattern, and remembers what was sent to it. */
async function webServer(): Promise<{ port: number; uploads: Received[] } & Stoppable> {
  const uploads: Received[] = [];
  const server = createHttpServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      uploads.push(digest(chunks));
      response.end(Buffer.concat([...pattern(BYTES)]));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return stoppable({ port: (server.address() as AddressInfo).port, uploads }, async () => {
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
}

/** Sends a pattern to a web server through a SOCKS proxy; the name is for the far side. */
async function curl(dir: string, version: string, proxy: number, port: number) {
  const upload = join(dir, "upload");
  await writeFile(upload, Buffer.concat([...pattern(BYTES)]));
  const child = spawn(need("curl"), [
    ...["-s", "-q", "--noproxy", "", version, `127.0.0.1:${proxy}`, "-H", "Expect:"],
    ...["--data-binary", `@${upload}`, `http://localhost:${port}/`],
  ], { stdio: ["ignore", "pipe", "inherit"] });
  const exit = once(child, "exit");
  const chunks: Uint8Array[] = [];
  child.stdout.on("data", (chunk) => chunks.push(chunk));
  await once(child.stdout, "end");
  return { status: (await exit)[0], ...digest(chunks) };
}

function assertReceived(actual: Received, bytes: number): void {
  const { sha256 } = actual;
  assert.deepEqual({ bytes: actual.bytes, sha256 }, patternReceived(bytes));
}

async function exchange(socket: Socket, text: string): Promise<void> {
  socket.write(text);
  assert.equal(String((await once(socket, "data"))[0]), text);
}

/** How a connection ended: the error's code, or undefined. */
function ended(socket: Socket): Promise<string | undefined> {
  let code: string | undefined;
  socket.on("error", (error) => code = (error as NodeJS.ErrnoException).code);
  socket.resume();
  return new Promise((resolve) => socket.once("close", () => resolve(code)));
}

async function closeSocket(socket: Socket): Promise<void> {
  const end = ended(socket);
  socket.end();
  await end;
}

async function refused(port: number): Promise<void> {
  assert.equal(await reachable("127.0.0.1", port), false);
}

async function hasLoopback6(): Promise<boolean> {
  return await freePort("::1").then(() => true, () => false);
}

async function reachable(host: string, port: number): Promise<boolean> {
  const socket = connectSocket(port, host);
  const connected = new Promise<boolean>((resolve) => {
    socket.once("connect", () => resolve(true));
    socket.once("error", () => resolve(false));
  });
  const answer = await connected;
  socket.on("error", () => {});
  socket.destroy();
  return answer;
}
