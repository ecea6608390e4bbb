/**
 * The signals that end the program.
 *
 * @module
 */
import { constants } from "node:os";
import process from "node:process";
import { isIgnored } from "../runtime.ts";

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
 * Catches the signals that end a program from now on.
 *
 * @returns What the program can watch.
 */
export function stopSignal(): StopSignal {
  const first = new AbortController();
  const second = new AbortController();
  let number = 0;
  onEndingSignal((name) => {
    if (first.signal.aborted) return second.abort();
    number = constants.signals[name];
    first.abort();
  });
  return { first: first.signal, second: second.signal, status: () => 128 + number };
}

/**
 * Catches the signals that end a program from now on: SIGINT, SIGTERM and SIGHUP. What was ignored
 * when it was started stays so, as in ssh.
 *
 * @param take Called with each that comes.
 */
export function onEndingSignal(take: (signal: NodeJS.Signals) => void): void {
  // Asked of all first: with the first that is listened to, Deno ends the ignoring of the others.
  const ignored = SIGNALS.filter(isIgnored);
  for (const name of SIGNALS) process.on(name, ignored.includes(name) ? ignore : () => take(name));
}

function ignore(): void {}
