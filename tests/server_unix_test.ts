import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { existsSync, statSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { connect as connectSocket, createServer, type Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { serve, type ServeOptions, type SshServer } from "../lib/server/server.ts";
import { generateIdentity } from "../lib/ssh/keys.ts";
import { connect, type Tunnel } from "../lib/tunnel/tunnel.ts";
import { knownHostsLine } from "./support/keys.ts";
import { digest, pattern, patternReceived, type Received, transfer } from "./support/tcp.ts";
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
const SSH = skipUnless("ssh");
const ORDERS = ["client", "destination"] as const;

for (const letter of ["L", "R"] as const) {
  test(
    `ssh -${letter} joins Unix sockets and ports in all four ways, and loses nothing`,
    SSH,
    async () => {
      await using client = await realClient();
      const specs: string[] = [];
      const trials: (() => Promise<void>)[] = [];
      const peers: Stoppable[] = [];
      for (const from of ["tcp", "unix"] as const) {
        for (const to of ["tcp", "unix"] as const) {
          for (const first of ORDERS) {
            const name = `${from}-${to}-${first}`;
            const peer = await listenPeer(to, join(client.dir, `${name}.to`), first);
            const target = from === "unix"
              ? { path: join(client.dir, `${name}.from`) }
              : { host: "127.0.0.1", port: await freePort() };
            peers.push(peer);
            specs.push(
              `-${letter}`,
              `${target.path ?? `localhost:${target.port}`}:${peer.address}`,
            );
            trials.push(async () => {
              const end = first === "client" ? "first" : "last";
              assertReceived(await transfer(target, { send: BYTES, end }), name);
              await waitFor(() => peer.received.length > 0, { what: name });
              assert.deepEqual(peer.received, [patternReceived(BYTES)], name);
            });
          }
        }
      }
      await using ssh = await client.forward(...specs);
      assert.equal(client.server.listenerCount, letter === "R" ? 8 : 0);
      for (const trial of trials) await trial();
      await waitFor(() => client.server.channelCount === 0);
      await ssh.stop();
      await waitFor(() => client.server.connectionCount === 0 && client.server.listenerCount === 0);
      if (letter === "R") assert.equal(existsSync(join(client.dir, "unix-tcp-client.from")), false);
      await Promise.all(peers.map((peer) => peer.stop()));
    },
  );
}

test(
  "a Unix socket on the server is its user's alone, and goes with its listener",
  SSH,
  async () => {
    await using client = await realClient();
    await using peer = await listenPeer("tcp", "", "client");
    const path = join(client.dir, "listener");
    const control = ["-S", join(client.dir, "control")];
    const spec = `${path}:${peer.address}`;
    await using ssh = await client.forward("-M", ...control, "-R", spec);
    assert.equal((statSync(path).mode & 0o777).toString(8), "600");
    const socket = connectSocket(path);
    socket.write("x");
    await waitFor(() => peer.open() === 1);
    const cancelled = await client.run([...control, "-O", "cancel", "-R", spec, "host"]);
    assert.equal(cancelled.status, 0, cancelled.stderr);
    await waitFor(() => client.server.listenerCount === 0 && !existsSync(path));
    assert.equal(peer.open(), 1, "what it accepted goes on");
    const again = await client.run([...control, "-O", "forward", "-R", spec, "host"]);
    assert.equal(again.status, 0, again.stderr);
    process.kill(ssh.pid, "SIGKILL");
    await waitFor(() => client.server.connectionCount === 0);
    assert.equal(client.server.listenerCount, 0);
    assert.equal(existsSync(path), false);
    await waitFor(() => peer.open() === 0);
    socket.destroy();
  },
);

test("a socket file that is in the way gives way only where that was asked for", async () => {
  await using folder = await tempDir();
  const stale = join(folder.path, "stale");
  const made = createServer().listen(join(folder.path, "made"));
  await once(made, "listening");
  await rename(join(folder.path, "made"), stale);
  await new Promise((resolve) => made.close(resolve));
  const live = join(folder.path, "live");
  const listening = createServer().listen(live);
  await once(listening, "listening");
  const file = join(folder.path, "file");
  await writeFile(file, "");
  for (const streamLocalBindUnlink of [false, true]) {
    await using server = await serveUserKey({ streamLocalBindUnlink });
    await using tunnel = await connectTo(server);
    const spec = (path: string) => ({ listen: { path }, destination: { path: "/nowhere" } });
    for (const path of [live, file, join(folder.path, "no", "folder")]) {
      await assert.rejects(tunnel.forwardRemote(spec(path)), path);
    }
    if (streamLocalBindUnlink) await tunnel.forwardRemote(spec(stale));
    else await assert.rejects(tunnel.forwardRemote(spec(stale)));
  }
  listening.close();
});

test("Unix sockets are for nobody unless the owner says so, by the path as it will be used", async () => {
  await using folder = await tempDir();
  await using peer = await listenPeer("unix", join(folder.path, "peer"), "client");
  const forbidden = { code: "forwarding-prohibited", message: /this Unix socket is not allowed/ };
  const listenSpec = (path: string) => ({ listen: { path }, destination: { path: peer.address } });
  {
    await using server = await serveUserKey({ allowStreamLocal: undefined as never });
    await using tunnel = await connectTo(server);
    await assert.rejects(tunnel.dial({ path: peer.address }), forbidden);
    await assert.rejects(tunnel.forwardRemote(listenSpec(join(folder.path, "new"))), {
      code: "forwarding-prohibited",
    });
  }
  const asked: string[] = [];
  await using server = await serveUserKey({
    allowStreamLocal: (path, username, use) => {
      asked.push(`${username} ${use} ${path}`);
      if (path.endsWith("unknown")) throw new Error("the list of paths cannot be read");
      return path === peer.address || path === join(folder.path, "new");
    },
  });
  await using tunnel = await connectTo(server);
  await assert.rejects(tunnel.dial({ path: `${peer.address}/../other` }), forbidden);
  await assert.rejects(tunnel.dial({ path: join(folder.path, "unknown") }), forbidden);
  await assert.rejects(tunnel.dial({ path: "relative" }), saying(/not an absolute path/));
  await assert.rejects(tunnel.dial({ path: "\0abstract" }), saying(/not an absolute path/));
  await assert.rejects(tunnel.dial({ path: `${peer.address}\0` }), saying(/not an absolute path/));
  await assert.rejects(tunnel.forwardRemote(listenSpec(join(folder.path, "other"))));
  await assert.rejects(tunnel.forwardRemote(listenSpec("relative")));
  assert.deepEqual(asked, [
    `${USER} connect ${join(folder.path, "other")}`,
    `${USER} connect ${join(folder.path, "unknown")}`,
    `${USER} listen ${join(folder.path, "other")}`,
  ]);
  const stream = await tunnel.dial({ path: `${folder.path}/./peer` });
  await waitFor(() => peer.open() === 1);
  stream.destroy();
  await tunnel.forwardRemote(listenSpec(`${folder.path}//new`));
  const socket = connectSocket(join(folder.path, "new"));
  await waitFor(() => peer.open() === 1);
  socket.destroy();
});

test("a Unix socket that nobody listens on, or that does not exist, is refused in words", async () => {
  await using folder = await tempDir();
  const file = join(folder.path, "file");
  await writeFile(file, "");
  await using server = await serveUserKey();
  await using tunnel = await connectTo(server);
  const missing = join(folder.path, "missing");
  await assert.rejects(tunnel.dial({ path: missing }), saying(/No such file or directory/));
  await assert.rejects(tunnel.dial({ path: file }), saying(/Connection refused/));
  await assert.rejects(tunnel.dial({ path: `/${"x".repeat(300)}` }), { name: "ConnectionError" });
  await assert.rejects(tunnel.forwardRemote({
    listen: { path: `/${"x".repeat(300)}` },
    destination: { path: missing },
  }));
  await waitFor(() => server.channelCount === 0 && server.listenerCount === 0);
});

/** An error that has the server's words in it, or beneath it. */
function saying(words: RegExp): (error: Error) => true {
  return (error) => {
    assert.match(`${error.message} ${error.cause}`, words);
    return true;
  };
}

function serveUserKey(options: Partial<ServeOptions> = {}): Promise<SshServer> {
  const blob = USER_KEY.publicKey.split(" ")[1];
  return serve({
    hostKeys: [HOST_KEY.privateKey],
    authorize: ({ key }) => key?.blob.toString("base64") === blob,
    allowListen: () => true,
    allowStreamLocal: () => true,
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
    [Symbol.asyncDispose]: async () => {
      await server.close({ force: true });
      await folder.stop();
    },
  };
}

interface Peer extends Stoppable {
  /** As a forward's destination. */
  readonly address: string;
  readonly received: Received[];
  open(): number;
}

/** Sends a pattern, before or after the client's end, and remembers what the client sent. */
async function listenPeer(
  kind: "tcp" | "unix",
  path: string,
  first: (typeof ORDERS)[number],
): Promise<Peer> {
  const received: Received[] = [];
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, async (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    const reading = readToEnd(socket);
    if (first === "client") await reading;
    socket.end(Buffer.concat([...pattern(BYTES)]));
    received.push(await reading);
  });
  const address = kind === "unix" ? path : `127.0.0.1:${await freePort()}`;
  if (kind === "unix") server.listen(path);
  else server.listen(Number(address.split(":")[1]), "127.0.0.1");
  await once(server, "listening");
  return stoppable({ address, received, open: () => sockets.size }, () => {
    server.close();
    for (const socket of sockets) socket.destroy();
    return Promise.resolve();
  });
}

/** Never settles where the connection breaks. */
function readToEnd(socket: Socket): Promise<Received> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  return new Promise((resolve) => socket.once("end", () => resolve(digest(chunks))));
}

function assertReceived({ bytes, sha256 }: Received, what: string): void {
  assert.deepEqual({ bytes, sha256 }, patternReceived(BYTES), what);
}
