import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { connect as connectSocket, type Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { serve, type SshServer } from "../lib/server/server.ts";
import { generateIdentity } from "../lib/ssh/keys.ts";
import { type EngineClient, newClient } from "../lib/ssh/ssh2.ts";
import { connect } from "../lib/tunnel/tunnel.ts";
import { echoServer, patternReceived, transfer } from "./support/tcp.ts";
import { tempDir, waitFor } from "./support/tools.ts";

const MESSAGES = 2_000;
/** Messages that are sent at once. */
const BURST = 20;
/** A channel number that nothing else here has. */
const PING = 123_456_789;
const USER = "somebody";
const HOST_KEY = generateIdentity();
const USER_KEY = generateIdentity();

test("whatever a client that is in sends, the server goes on and keeps nothing of it", async () => {
  await using folder = await tempDir();
  await using echo = await echoServer();
  await using server = await serve({
    hostKeys: [HOST_KEY.privateKey],
    authorize: ({ key }) => key !== undefined,
    allow: ({ host, port }) => host === "127.0.0.1" && port === echo.port,
    // A free port: others listen on this machine as well.
    allowListen: ({ port }) => port === 0,
    allowStreamLocal: (path) => path.startsWith(folder.path),
  });
  const seed = Math.trunc(Math.random() * 2 ** 32);
  const random = mulberry32(seed);
  const ports = [echo.port, echo.port, echo.port, 0, 0, 1, 65_536, 2 ** 32 - 1];
  const strange = messages(random, ports, folder.path);

  const answers = { confirmed: 0, refused: 0, succeeded: 0, failed: 0 };
  const callers: Socket[] = [];
  const attempt = async () => {
    const engine = await rawSsh(server);
    watch(engine, answers, (port) => callers.push(call(port)));
    return engine;
  };
  let engine = await attempt();
  let clients = 1;
  for (let sent = 0; sent < MESSAGES; sent += BURST) {
    for (let count = 0; count < BURST; count++) send(engine, strange());
    if (await answersStill(engine)) continue;
    // Some of it is reason enough to hang up.
    engine = await attempt();
    clients++;
  }
  engine.end();
  const what = `with seed ${seed}: ${clients} clients, ${JSON.stringify(answers)}`;
  assert.ok(clients < MESSAGES / BURST / 2, what);
  assert.ok(Object.values(answers).every((count) => count > 0) && callers.length > 0, what);
  await waitFor(() => server.connectionCount === 0, { what });
  assert.equal(server.channelCount + server.listenerCount, 0, what);
  await waitFor(() => echo.open === 0 && callers.every((caller) => caller.destroyed), { what });

  await using tunnel = await connect({
    host: server.host,
    port: server.port,
    username: USER,
    hostKeys: server.publicKeys,
    privateKeys: [USER_KEY.privateKey],
    identityFiles: [],
    agent: "none",
  });
  const spec = `0:127.0.0.1:${echo.port}`;
  for (const forward of [await tunnel.forwardLocal(spec), await tunnel.forwardRemote(spec)]) {
    const { bytes, sha256 } = await transfer(forward.port, { send: 100_000 });
    assert.deepEqual({ bytes, sha256 }, patternReceived(100_000));
  }
});

/** Messages of RFC 4254, each well-formed, nonsensical or cut short. */
function messages(random: () => number, ports: number[], dir: string): () => Buffer {
  const below = (limit: number) => Math.trunc(random() * limit);
  const one = <T>(list: readonly T[]): T => list[below(list.length)] as T;
  const number = () => one([0, 1, 2, below(50), 2 ** 31, 2 ** 32 - 1]);
  const size = () => one([0, 1, 255, 256, 32_768, 32_768, 2 ** 21, 2 ** 21, 2 ** 32 - 1]);
  const noise = (length: number) => Buffer.from(Array.from({ length }, () => below(256)));
  const host = () =>
    below(2) === 0
      ? "127.0.0.1"
      : one(["localhost", "", "*", "0.0.0.0", "::", "\0", "[", "x".repeat(300)]);
  const path = () =>
    one([join(dir, String(below(5))), dir, join(dir, "x".repeat(200)), "", "/", "x", "\0x"]);
  const tcp = () => [string(host()), uint32(one(ports))];
  const requests: Record<string, () => Buffer[]> = {
    "tcpip-forward": tcp,
    "cancel-tcpip-forward": tcp,
    "streamlocal-forward@openssh.com": () => [string(path())],
    "cancel-streamlocal-forward@openssh.com": () => [string(path())],
    "no-more-sessions@openssh.com": () => [],
    "keepalive@openssh.com": () => [],
    "unheard-of@example.com": () => [noise(below(50))],
  };
  const opens: Record<string, () => Buffer[]> = {
    "direct-tcpip": () => [...tcp(), ...tcp()],
    "direct-streamlocal@openssh.com": () => [string(path()), string(""), uint32(0)],
    "forwarded-tcpip": () => [...tcp(), ...tcp()],
    session: () => [],
    x11: tcp,
    "unheard-of@example.com": () => [noise(below(50))],
  };
  const request = () => {
    const name = one(Object.keys(requests));
    return [byte(80), string(name), byte(below(2)), ...requests[name]?.() ?? []];
  };
  const open = () => {
    const name = one([...Object.keys(opens), "direct-tcpip", "direct-tcpip"]);
    const head = [string(name), uint32(number()), uint32(size()), uint32(size())];
    return [byte(90), ...head, ...opens[name]?.() ?? []];
  };
  /** About a channel that may or may not be there, or may still be being opened. */
  const about = () => {
    const rest: Record<number, () => Buffer[]> = {
      91: () => [uint32(number()), uint32(size()), uint32(size())],
      92: () => [uint32(number()), string("no"), string("")],
      93: () => [uint32(below(2 ** 20))],
      94: () => [string(noise(below(2_000)))],
      95: () => [uint32(1), string(noise(below(2_000)))],
      96: () => [],
      97: () => [],
      98: () => [string(one(["shell", "exec", "x"])), byte(below(2)), string("")],
      99: () => [],
      100: () => [],
    };
    const type = 91 + below(10);
    return [byte(type), uint32(below(60)), ...rest[type]?.() ?? []];
  };
  return () => {
    const message = Buffer.concat(one([request, request, open, open, about])());
    return below(400) === 0 ? message.subarray(0, 1 + below(message.length)) : message;
  };
}

function byte(value: number): Buffer {
  return Buffer.from([value]);
}

function uint32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value);
  return buffer;
}

function string(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([uint32(bytes.length), bytes]);
}

/** The same numbers from the same seed. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
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
  engine.setNoDelay(true);
  return engine;
}

interface Answers {
  confirmed: number;
  refused: number;
  succeeded: number;
  failed: number;
}

/** Counts answers, and tells of ports that the server chose to listen on. */
function watch(engine: EngineClient, answers: Answers, listening: (port: number) => void): void {
  const handlers = handlersOf(engine);
  handlers["CHANNEL_OPEN_CONFIRMATION"] = () => answers.confirmed++;
  handlers["CHANNEL_OPEN_FAILURE"] = () => answers.refused++;
  handlers["REQUEST_FAILURE"] = () => answers.failed++;
  handlers["REQUEST_SUCCESS"] = (_protocol, data) => {
    answers.succeeded++;
    if (data instanceof Uint8Array) listening(Buffer.from(data).readUInt32BE());
  };
}

function handlersOf(engine: EngineClient): Record<string, (...values: unknown[]) => void> {
  return engine._protocol._handlers as never;
}

/** Keeps a listener of the server busy. */
function call(port: number): Socket {
  const socket = connectSocket(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.resume();
  socket.write("hello");
  return socket;
}

/** Whether the server answers, after all that was sent before, or has hung up. */
function answersStill(engine: EngineClient): Promise<boolean> {
  const handlers = handlersOf(engine);
  const { CHANNEL_OPEN_FAILURE: count } = handlers;
  return new Promise((resolve) => {
    const settle = (answered: boolean) => {
      if (count !== undefined) handlers["CHANNEL_OPEN_FAILURE"] = count;
      engine.off("close", hungUp);
      resolve(answered);
    };
    const hungUp = () => settle(false);
    engine.once("close", hungUp);
    handlers["CHANNEL_OPEN_FAILURE"] = (protocol, recipient, ...rest) => {
      if (recipient === PING) settle(true);
      else count?.(protocol, recipient, ...rest);
    };
    send(engine, Buffer.concat([byte(90), string("ping"), ...[PING, 0, 32_768].map(uint32)]));
  });
}

/** Sends a message as it is, which no method of ssh2 does. */
function send(engine: EngineClient, message: Buffer): void {
  const { _packetRW: { write }, _cipher: cipher } = engine._protocol as unknown as {
    _packetRW: {
      write: { allocStart: number; alloc(size: number): Buffer; finalize(packet: Buffer): Buffer };
    };
    _cipher: { encrypt(packet: Buffer): void };
  };
  const packet = write.alloc(message.length);
  packet.set(message, write.allocStart);
  cipher.encrypt(write.finalize(packet));
}
