/** Small TCP peers for transfer tests. Every one half-closes, and none keeps what it reads. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  type AddressInfo,
  connect,
  createServer,
  type NetConnectOpts,
  type Server,
  type Socket,
} from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort, type Stoppable, stoppable } from "./tools.ts";

/** What came over a connection until its FIN. */
export interface Received {
  bytes: number;
  /** Hexadecimal. */
  sha256: string;
}

/** A listening peer. */
export interface Peer extends Stoppable {
  readonly host: string;
  readonly port: number;
  /** How many connections came so far. */
  readonly connections: number;
  /** How many of them are open now. */
  readonly open: number;
  /** How many bytes came so far, over all connections. */
  readonly bytes: number;
  /** What went wrong on connections; a reset is listed here and ends nothing else. */
  readonly errors: Error[];
  /** What connection number `index` sends until its FIN; rejects if it breaks before. */
  received(index?: number): Promise<Received>;
}

/** Where a peer listens. */
export interface PeerOptions {
  /** Default: 127.0.0.1. */
  host?: string;
  /** Default: a free one. */
  port?: number;
}

/** Sends back what it gets, and its FIN after the client's. */
export function echoServer(options: PeerOptions = {}): Promise<Peer> {
  return listen(options, async (socket, read) => {
    await read((chunk) => write(socket, chunk));
    await end(socket);
  });
}

/** Reads until the client's FIN, then answers `<sha256> <bytes>\n`, see `parseReceipt`. */
export function sinkServer(options: PeerOptions = {}): Promise<Peer> {
  return listen(options, async (socket, read) => {
    const { sha256, bytes } = await read();
    await write(socket, Buffer.from(`${sha256} ${bytes}\n`));
    await end(socket);
  });
}

/** What a `sinkServer` says that it got. */
export function parseReceipt(answer: Uint8Array): Received {
  const [sha256 = "", bytes = ""] = Buffer.from(answer).toString("latin1").trim().split(" ");
  return { sha256, bytes: Number(bytes) };
}

/** Sends `pattern(bytes, seed)` at once and ends its side; reads and drops what comes. */
export function sourceServer(bytes: number, seed = 1, options: PeerOptions = {}): Promise<Peer> {
  return serverEndsFirst({ ...options, answerBytes: bytes, seed });
}

/** Reads until the client's FIN, and only then sends `pattern(answerBytes, seed)` and ends. */
export function questionAnswer(
  options: PeerOptions & { answerBytes: number; seed?: number },
): Promise<Peer> {
  return listen(options, async (socket, read) => {
    await read();
    await writeAll(socket, pattern(options.answerBytes, options.seed));
    await end(socket);
  });
}

/** Sends `pattern(answerBytes, seed)` and ends its side at once, then reads until the client's FIN. */
export function serverEndsFirst(
  options: PeerOptions & { answerBytes: number; seed?: number },
): Promise<Peer> {
  return listen(options, async (socket, read) => {
    const reading = read();
    reading.catch(() => {}); // It is awaited below, after the writing.
    await writeAll(socket, pattern(options.answerBytes, options.seed));
    await end(socket);
    await reading;
  });
}

/** Sends `pattern(bytes, seed)` and then breaks the connection with a RST. */
export function resetAfter(bytes: number, seed = 1, options: PeerOptions = {}): Promise<Peer> {
  return listen(options, async (socket, read) => {
    read().catch(() => {});
    await writeAll(socket, pattern(bytes, seed));
    // A RST throws away what the other side has not read yet: let it arrive first.
    await sleep(50);
    socket.resetAndDestroy();
  });
}

/** Accepts, and reads nothing until `resume()`; then it reads until the FIN and ends too. */
export async function pausedReader(
  options: PeerOptions = {},
): Promise<Peer & { resume(): void }> {
  const { promise, resolve: resume } = Promise.withResolvers<void>();
  const peer = await listen(options, async (socket, read) => {
    await Promise.race([promise, once(socket, "close")]);
    await read();
    await end(socket);
  });
  return Object.assign(peer, { resume });
}

/** Reads no faster than `bytesPerSecond` on each connection, then ends as the client did. */
export function slowReader(options: PeerOptions & { bytesPerSecond: number }): Promise<Peer> {
  return listen(options, async (socket, read) => {
    await read(throttle(options.bytesPerSecond));
    await end(socket);
  });
}

/**
 * A port on which nobody listens, and which no server of a test or of the system is given. None is
 * given to a connection either: who connects to his own port meets himself, and is not refused.
 */
export async function refusingPort(): Promise<{ host: string; port: number }> {
  return { host: "127.0.0.1", port: await freePort("127.0.0.1", REFUSING) };
}

/** Below those of `freePort`. */
const REFUSING = [10_000, 12_000] as const;

/** What a client's `transfer` is to do. */
export interface TransferOptions {
  /** How many bytes of `pattern(send, seed)`; default 0. Or exactly these bytes. */
  send?: number | Uint8Array;
  seed?: number;
  host?: string;
  /**
   * When to half-close: "first" as soon as all is sent (the default), "last" after the server.
   *
   * On Deno 2.9.6 a TCP socket that receives a FIN and never a byte before it fails each write
   * that cannot be done at once with EPIPE (denoland/deno, libs/core/uv_compat/tcp.rs). So a
   * client that sends nothing and ends first cannot be served by a peer that runs on Deno and has
   * much to say.
   */
  end?: "first" | "last";
  /** Reads the answer no faster than this. */
  bytesPerSecond?: number;
  /** Rejects when it takes longer; default 60 seconds. */
  timeout?: number;
}

/** What a `transfer` got. */
export interface Transferred extends Received {
  /** The answer's first KiB. */
  head: Buffer;
  milliseconds: number;
}

/** A client that sends, half-closes, and reads until the server's FIN. Rejects on any error. */
export async function transfer(
  target: number | NetConnectOpts,
  options: TransferOptions = {},
): Promise<Transferred> {
  const { send = 0, seed = 1, host = "127.0.0.1", timeout = 60_000 } = options;
  const begun = performance.now();
  const socket = connect({
    ...(typeof target === "number" ? { port: target, host } : target),
    allowHalfOpen: true,
  });
  const timer = setTimeout(() => {
    socket.destroy(new Error(`the transfer did not end in ${timeout} ms`));
  }, timeout);
  const heads: Buffer[] = [];
  let kept = 0;
  const slow = options.bytesPerSecond === undefined ? undefined : throttle(options.bytesPerSecond);
  try {
    const reading = receive(socket, (chunk) => {
      if (kept < 1024) {
        const part = chunk.subarray(0, 1024 - kept);
        kept += part.length;
        heads.push(Buffer.from(part));
      }
      return slow?.(chunk);
    });
    reading.catch(() => {}); // It is awaited below, with the writing.
    const writing = (async () => {
      await writeAll(socket, typeof send === "number" ? pattern(send, seed) : [send]);
      if (options.end === "last") await reading;
      await end(socket);
    })();
    const [received] = await Promise.all([reading, writing]);
    return { ...received, head: Buffer.concat(heads), milliseconds: performance.now() - begun };
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

/** N bytes that look random and are the same every time, in chunks that nobody writes to again. */
export function* pattern(bytes: number, seed = 1, chunkBytes = 65_536): Generator<Buffer> {
  // xorshift32. Zero would stay zero for ever.
  let state = (Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995) | 0 || 1;
  let spare = Buffer.alloc(0);
  for (let left = bytes; left > 0;) {
    const size = Math.min(chunkBytes, left);
    const words = new Int32Array(Math.ceil(Math.max(0, size - spare.length) / 4));
    for (let i = 0; i < words.length; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      words[i] = state;
    }
    const fresh = Buffer.from(words.buffer);
    // The words' bytes left over begin the next chunk, so the chunk size changes no byte.
    const all = spare.length === 0 ? fresh : Buffer.concat([spare, fresh]);
    spare = all.subarray(size);
    yield all.subarray(0, size);
    left -= size;
  }
}

/** What someone who reads `pattern(bytes, seed)` without a mistake has received. */
export function patternReceived(bytes: number, seed = 1): Received {
  return digest(pattern(bytes, seed));
}

/** The count and SHA-256 of bytes, or of chunks. */
export function digest(data: Uint8Array | Iterable<Uint8Array>): Received {
  const hash = createHash("sha256");
  let bytes = 0;
  for (const chunk of data instanceof Uint8Array ? [data] : data) {
    bytes += chunk.length;
    hash.update(chunk);
  }
  return { bytes, sha256: hash.digest("hex") };
}

type OnChunk = (chunk: Buffer) => void | Promise<void> | undefined;
type Read = (onChunk?: OnChunk) => Promise<Received>;

/** A server whose connections are each served by `serve`, alone: one that fails ends alone. */
async function listen(
  options: PeerOptions,
  serve: (socket: Socket, read: Read) => Promise<void>,
): Promise<Peer> {
  const { host = "127.0.0.1", port = 0 } = options;
  const sockets = new Set<Socket>();
  const results: PromiseWithResolvers<Received>[] = [];
  const errors: Error[] = [];
  let connections = 0;
  let bytes = 0;

  const resultOf = (index: number) => {
    while (results.length <= index) {
      const result = Promise.withResolvers<Received>();
      result.promise.catch(() => {}); // Not every test asks.
      results.push(result);
    }
    return results[index] as PromiseWithResolvers<Received>;
  };

  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const result = resultOf(connections++);
    sockets.add(socket);
    socket.on("error", (error) => errors.push(error));
    socket.on("close", () => sockets.delete(socket));
    const read: Read = (onChunk) => {
      const reading = receive(socket, (chunk) => {
        bytes += chunk.length;
        return onChunk?.(chunk);
      });
      reading.then(result.resolve, result.reject);
      return reading;
    };
    serve(socket, read).catch((error) => {
      result.reject(error);
      socket.destroy();
    });
  });
  server.listen({ port, host });
  await once(server, "listening");

  return stoppable<Omit<Peer, keyof Stoppable>>({
    host,
    port: portOf(server),
    get connections() {
      return connections;
    },
    get open() {
      return sockets.size;
    },
    get bytes() {
      return bytes;
    },
    errors,
    received: (index = 0) => resultOf(index).promise,
  }, async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await closed;
  });
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** Reads to the FIN. While `onChunk` is not done with a chunk, nothing more is read. */
function receive(socket: Socket, onChunk: OnChunk): Promise<Received> {
  return new Promise((resolve, reject) => {
    const hash = createHash("sha256");
    let bytes = 0;
    socket.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      hash.update(chunk);
      const busy = onChunk(chunk);
      if (busy === undefined) return;
      socket.pause();
      busy.then(() => socket.resume(), (error) => socket.destroy(error));
    });
    socket.once("end", () => resolve({ bytes, sha256: hash.digest("hex") }));
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("the connection broke before the FIN")));
    if (socket.destroyed) reject(new Error("the connection broke before the FIN"));
  });
}

/** Holds each chunk back until its time has come. */
function throttle(bytesPerSecond: number): OnChunk {
  const begun = performance.now();
  let bytes = 0;
  return (chunk) => {
    bytes += chunk.length;
    const early = begun + (bytes / bytesPerSecond) * 1000 - performance.now();
    return early > 1 ? sleep(early) : undefined;
  };
}

async function writeAll(socket: Socket, chunks: Iterable<Uint8Array>): Promise<void> {
  for (const chunk of chunks) {
    const full = write(socket, chunk);
    if (full !== undefined) await full;
  }
}

/** Writes; a promise comes back only when the socket's buffer is full, or broken. */
function write(socket: Socket, chunk: Uint8Array): Promise<void> | undefined {
  if (socket.destroyed) return Promise.reject(new Error("the connection broke while writing"));
  if (socket.write(chunk)) return undefined;
  return settled(socket, (done) => socket.once("drain", done));
}

/** Sends the FIN, and waits until it is on its way. */
async function end(socket: Socket): Promise<void> {
  if (socket.destroyed) throw new Error("the connection broke while writing");
  await settled(socket, (done) => socket.end(done));
}

/** Waits for what `begin` begins; a connection that closes before it rejects. */
function settled(
  socket: Socket,
  begin: (done: (error?: Error | null) => void) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error | null) => {
      socket.off("drain", done);
      socket.off("close", broken);
      socket.off("error", done);
      if (error) reject(error);
      else resolve();
    };
    const broken = () => done(new Error("the connection broke while writing"));
    socket.once("close", broken);
    socket.once("error", done);
    begin(done);
  });
}
