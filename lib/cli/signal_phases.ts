/**
 * Signals where a command of this machine runs: before it, they stop everything; while it runs,
 * they are the command's; after it, they end what is still waited for.
 *
 * @module
 */
import { constants } from "node:os";
import process from "node:process";
import { onEndingSignal, type StopSignal } from "./signals.ts";

/** Who gets a signal, as time goes by. */
export interface SignalPhases {
  /** The signals until a command takes them. */
  readonly before: StopSignal;
  /** From now on signals are handed to this, SIGQUIT as well. */
  passTo(take: (signal: NodeJS.Signals) => void): void;
  /** From now on the next signal aborts what is returned. */
  after(): AbortSignal;
}

/**
 * Catches the signals that end a program from now on.
 *
 * @returns Who gets them.
 */
export function signalPhases(): SignalPhases {
  const first = new AbortController();
  const second = new AbortController();
  let number = 0;
  let take = (signal: NodeJS.Signals): void => {
    if (first.signal.aborted) return second.abort();
    number = constants.signals[signal];
    first.abort();
  };
  onEndingSignal((signal) => take(signal));
  return {
    before: { first: first.signal, second: second.signal, status: () => 128 + number },
    passTo: (next) => {
      take = next;
      // A command may live on with it, and then so must we.
      if (process.platform !== "win32") process.on("SIGQUIT", () => take("SIGQUIT"));
    },
    after: () => {
      const over = new AbortController();
      take = () => over.abort();
      return over.signal;
    },
  };
}
