/** Questions and answers: the echo, and what asks it. Runs in a worker (worker.ts). */
import type { Socket } from "node:net";
import { listen } from "./bulk.ts";
import { connectTo } from "./sockets.ts";
import { percentile } from "./statistics.ts";

/** Times in milliseconds, and how many there are. */
export interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly samples: number;
}

/** Bytes of a question. */
const SIZE = 64;
const QUESTION = new Uint8Array(SIZE).fill(0x65);
/** Milliseconds in which the questions do not count: a runtime compiles what it runs often. */
const WARM_UP = 500;
/** Milliseconds to wait for one answer. */
const PATIENCE = 20_000;

let held: Socket[] = [];

/** Serves a port that sends back what comes. */
export function serveEcho(): Promise<number> {
  return listen((socket) => {
    socket.on("data", (chunk) => socket.write(chunk));
    socket.on("end", () => socket.end());
  });
}

/** Asks over one connection, one question after the other, for so many seconds. */
export async function echo(
  { port, seconds }: { port: number; seconds: number },
): Promise<Latency> {
  const socket = await connectTo(port);
  try {
    const warm = performance.now() + WARM_UP;
    while (performance.now() < warm) await ask(socket);
    const times: number[] = [];
    const end = performance.now() + seconds * 1_000;
    for (let now = performance.now(); now < end;) {
      await ask(socket);
      const after = performance.now();
      times.push(after - now);
      now = after;
    }
    return latency(times);
  } finally {
    socket.destroy();
  }
}

/** Makes connections, `parallel` at a time, each for one question, for so many seconds. */
export async function connects(
  { port, seconds, parallel }: { port: number; seconds: number; parallel: number },
): Promise<Latency & { perSecond: number }> {
  const warm = performance.now() + WARM_UP;
  while (performance.now() < warm) await connectAndAsk(port);
  const times: number[] = [];
  const begin = performance.now();
  const end = begin + seconds * 1_000;
  const caller = async () => {
    for (let now = performance.now(); now < end;) {
      await connectAndAsk(port);
      const after = performance.now();
      times.push(after - now);
      now = after;
    }
  };
  await Promise.all(Array.from({ length: parallel }, caller));
  const took = (performance.now() - begin) / 1_000;
  return { ...latency(times), perSecond: times.length / took };
}

/** Opens connections until so many are held; each has been through once, and then does nothing. */
export async function hold(
  { port, total, parallel }: { port: number; total: number; parallel: number },
): Promise<{ held: number; error?: string }> {
  let missing = total - held.length;
  let error: string | undefined;
  const caller = async () => {
    while (missing > 0 && error === undefined) {
      missing--;
      try {
        const socket = await connectTo(port);
        held.push(socket);
        await ask(socket);
      } catch (cause) {
        error ??= cause instanceof Error ? cause.message : String(cause);
      }
    }
  };
  await Promise.all(Array.from({ length: parallel }, caller));
  return { held: held.length, ...(error === undefined ? {} : { error }) };
}

/** Lets go of all that is held. */
export function release(): Promise<void> {
  for (const socket of held) socket.destroy();
  held = [];
  return Promise.resolve();
}

async function connectAndAsk(port: number): Promise<void> {
  const socket = await connectTo(port);
  await ask(socket);
  socket.destroy();
}

/** Sends a question and waits until all of the answer is there. */
function ask(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    let missing = SIZE;
    const settle = (error?: Error) => {
      clearTimeout(timer);
      socket.off("data", data);
      socket.off("close", close);
      error === undefined ? resolve() : reject(error);
    };
    const data = (chunk: Uint8Array) => {
      missing -= chunk.length;
      if (missing <= 0) settle();
    };
    const close = () => settle(new Error("a connection was closed before its answer"));
    const timer = setTimeout(
      () => settle(new Error(`no answer in ${PATIENCE / 1_000} s`)),
      PATIENCE,
    );
    socket.on("data", data);
    socket.on("close", close);
    socket.write(QUESTION);
  });
}

function latency(times: readonly number[]): Latency {
  return {
    p50: percentile(times, 0.5),
    p99: percentile(times, 0.99),
    samples: times.length,
  };
}
