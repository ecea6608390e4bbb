/** Clients of a forwarded port that keep count of what becomes of them. */
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type Stoppable, stoppable, waitFor } from "./tools.ts";

/** A connection that is cut within this time was not worth its acceptance: it counts as refused. */
const AT_ONCE = 100;

/** What became of callers. */
export interface Tally {
  /** Had their answer. */
  served: number;
  /** Could not connect, or were cut at once although they came after the fault. */
  refused: number;
  /** Were connected when the link was lost, and cut. */
  lost: number;
  /** Waited as long as callers may, and were cut. */
  expired: number;
  /** Were still waiting when the count ended. */
  hung: number;
}

/** Callers that come one after the other, whatever happens. */
export interface SteadyCallers extends Stoppable {
  /** How many wait for an answer now. */
  readonly waiting: number;
  /** What has become of those who are no longer waiting. */
  readonly tally: Tally;
  /** Says that the fault begins now: who is cut from now on and came before it is lost. */
  fault(): void;
  /** Milliseconds from a moment of performance.now() to the first byte after it. */
  firstByteAfter(moment: number, timeout?: number): Promise<number>;
  /** Calls no more, and waits until nobody waits any longer. */
  finish(timeout?: number): Promise<Tally>;
}

/** How callers come. */
export interface CallerOptions {
  /** Milliseconds between two; default 50. */
  every?: number;
  /** Milliseconds after which one that is cut had waited as long as it may; default 30,000. */
  park?: number;
}

/** Calls an echo behind a local port again and again: connect, say a word, have it back. */
export function steadyCallers(port: number, options: CallerOptions = {}): SteadyCallers {
  const { every = 50, park = 30_000 } = options;
  const tally: Tally = { served: 0, refused: 0, lost: 0, expired: 0, hung: 0 };
  const open = new Set<Socket>();
  const answers: number[] = [];
  let fault = Infinity;
  let calls = 0;

  const call = () => {
    const begun = performance.now();
    const word = `call ${++calls}`;
    const socket = connect({ port, host: "127.0.0.1" });
    let connected = false;
    let answer = "";
    open.add(socket);
    socket.on("connect", () => {
      connected = true;
      socket.write(word);
    });
    socket.on("data", (data) => {
      if (answer === "") answers.push(performance.now());
      answer += String(data);
      if (answer === word) socket.destroy();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      if (!open.delete(socket)) return;
      const waited = performance.now() - begun;
      if (answer === word) tally.served++;
      else if (!connected) tally.refused++;
      else if (waited > 0.95 * park) tally.expired++;
      else if (begun > fault && waited < AT_ONCE) tally.refused++;
      else tally.lost++;
    });
  };
  const timer = setInterval(call, every);
  call();

  const stop = () => {
    clearInterval(timer);
    for (const socket of open) {
      tally.hung++;
      open.delete(socket);
      socket.destroy();
    }
    return Promise.resolve();
  };
  return stoppable<Omit<SteadyCallers, keyof Stoppable>>({
    get waiting() {
      return open.size;
    },
    tally,
    fault: () => void (fault = performance.now()),
    firstByteAfter: async (moment, timeout = 60_000) => {
      const first = await waitFor(() => answers.find((at) => at >= moment), {
        timeout,
        what: "an answer",
      });
      return first - moment;
    },
    finish: async (timeout = 10_000) => {
      clearInterval(timer);
      const deadline = performance.now() + timeout;
      while (open.size > 0 && performance.now() < deadline) await sleep(10);
      await stop();
      return tally;
    },
  }, stop);
}

/** Connections that have talked and stay open. */
export interface HeldOpen extends Stoppable {
  /** How many are open still. */
  readonly open: number;
  /** How those that ended did, and when by performance.now(). */
  readonly ends: readonly { readonly how: "reset" | "closed"; readonly at: number }[];
  /** Waits until none is open, and tells how long after a moment the last one ended. */
  allEnded(moment: number, timeout?: number): Promise<number>;
}

/** Opens connections to an echo behind a local port, has one word back from each, and keeps them. */
export async function holdOpen(port: number, count: number): Promise<HeldOpen> {
  const open = new Set<Socket>();
  const ends: { how: "reset" | "closed"; at: number }[] = [];
  await Promise.all(Array.from({ length: count }, async () => {
    const socket = connect({ port, host: "127.0.0.1" });
    let how: "reset" | "closed" = "closed";
    open.add(socket);
    socket.on("error", () => how = "reset");
    socket.on("close", () => {
      if (open.delete(socket)) ends.push({ how, at: performance.now() });
    });
    socket.write("hold");
    await new Promise<void>((resolve, reject) => {
      socket.once("data", () => resolve());
      socket.once("close", () => reject(new Error("the connection to be held was cut")));
    });
  }));
  return stoppable<Omit<HeldOpen, keyof Stoppable>>({
    get open() {
      return open.size;
    },
    ends,
    allEnded: async (moment, timeout = 10_000) => {
      await waitFor(() => open.size === 0, { timeout, what: "the end of what was open" });
      return Math.max(...ends.map(({ at }) => at)) - moment;
    },
  }, () => {
    for (const socket of open) {
      open.delete(socket);
      socket.destroy();
    }
    return Promise.resolve();
  });
}
