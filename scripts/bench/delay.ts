/**
 * A long link: it passes bytes on a fixed time after they came, in both directions, at any rate.
 * Runs in a worker (worker.ts) of its own.
 */
import { connect, type Socket } from "node:net";
import { listen } from "./bulk.ts";

/** Bytes on their way in one direction, at the most; a gigabyte a second over 150 ms needs 75 MB. */
const BUFFER = 512 * 1024 * 1024;

/** Serves a port that leads to another, `delay` milliseconds away in each direction. */
export function serveDelay({ to, delay }: { to: number; delay: number }): Promise<number> {
  return listen((client) => {
    const server = connect({ host: "127.0.0.1", port: to, noDelay: true, allowHalfOpen: true });
    server.on("error", () => server.destroy());
    const both = [client, server];
    lane(client, server, delay);
    lane(server, client, delay);
    // A broken end breaks the other; one that ended well has been passed on by its lane.
    for (const socket of both) {
      socket.on("close", (broken) => broken && both.forEach((other) => other.destroy()));
    }
  });
}

/** What is on its way; without a chunk, the end. */
interface Parcel {
  readonly due: number;
  readonly chunk: Uint8Array | undefined;
}

function lane(from: Socket, to: Socket, delay: number): void {
  const parcels: Parcel[] = [];
  let first = 0;
  let bytes = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const deliver = () => {
    timer = undefined;
    const now = performance.now();
    for (let next = parcels[first]; next !== undefined; next = parcels[++first]) {
      if (next.due > now) {
        timer = setTimeout(deliver, next.due - now);
        break;
      }
      if (next.chunk === undefined) {
        to.end();
      } else {
        bytes -= next.chunk.length;
        to.write(next.chunk);
      }
    }
    // Not with every parcel: it moves all that are left.
    if (first > 1_024 || first === parcels.length) {
      parcels.splice(0, first);
      first = 0;
    }
    if (from.isPaused() && bytes + to.writableLength < BUFFER) from.resume();
  };
  const take = (chunk: Uint8Array | undefined) => {
    parcels.push({ due: performance.now() + delay, chunk });
    bytes += chunk?.length ?? 0;
    if (bytes + to.writableLength > BUFFER) from.pause();
    timer ??= setTimeout(deliver, delay);
  };
  from.on("data", take);
  from.on("end", () => take(undefined));
  to.on("drain", deliver);
}
