/**
 * The signals that end the program.
 *
 * @module
 */
import { constants } from "node:os";
import process from "node:process";

/** A request from outside to stop. */
export interface StopSignal {
  /** Aborts at the first signal. */
  readonly first: AbortSignal;
  /** Aborts at the second one: no more waiting. */
  readonly second: AbortSignal;
  /** The exit status that a shell expects: 128 and the first signal's number. */
  readonly status: () => number;
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Catches SIGINT, SIGTERM and SIGHUP from now on.
 *
 * @returns What the program can watch.
 */
export function stopSignal(): StopSignal {
  const first = new AbortController();
  const second = new AbortController();
  let number = 0;
  for (const name of SIGNALS) {
    process.on(name, () => {
      if (first.signal.aborted) return second.abort();
      number = constants.signals[name];
      first.abort();
    });
  }
  return { first: first.signal, second: second.signal, status: () => 128 + number };
}
