/**
 * Bulk transfers, at either end: who sends does nothing else, and who receives only counts. Runs in
 * a worker (worker.ts).
 */
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { connectTo } from "./sockets.ts";

/** Seen from the client of the tunnel: it receives, or it sends. */
export type Direction = "down" | "up";

/** Bytes received so far by all sinks of this process, and when that was, in milliseconds. */
export interface Count {
  readonly bytes: number;
  readonly at: number;
}

const BLOCK = new Uint8Array(256 * 1024).fill(0x5a);

let received = 0;
let streams: Socket[] = [];

/** Serves a port that sends without end, and one that swallows all. */
export async function serveBulk(): Promise<{ source: number; sink: number }> {
  return { source: await listen(send), sink: await listen(swallow) };
}

/** Starts transfers that go on until `stopStreams`. */
export async function startStreams(
  { port, count, direction }: { port: number; count: number; direction: Direction },
): Promise<void> {
  const sockets = await Promise.all(Array.from({ length: count }, () => connectTo(port)));
  streams.push(...sockets);
  for (const socket of sockets) (direction === "down" ? swallow : send)(socket);
}

/** Ends them at once, whatever is on its way. */
export function stopStreams(): Promise<void> {
  for (const socket of streams) socket.destroy();
  streams = [];
  return Promise.resolve();
}

/** What arrived so far. */
export function count(): Promise<Count> {
  return Promise.resolve({ bytes: received, at: performance.now() });
}

function send(socket: Socket): void {
  const more = () => {
    if (socket.destroyed) return;
    // Where the system takes all at once, the other sockets must have their turn too.
    if (socket.write(BLOCK)) setImmediate(more);
  };
  socket.on("drain", more);
  socket.on("end", () => socket.destroy());
  socket.resume();
  more();
}

function swallow(socket: Socket): void {
  socket.on("data", (chunk) => received += chunk.length);
  socket.on("end", () => socket.destroy());
}

/** Listens on a free port of this machine. */
export function listen(serve: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    serve(socket);
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
      resolve((server.address() as AddressInfo).port);
    });
  });
}
