/**
 * One attempt to connect that can be given up at any moment.
 *
 * @module
 */
import { SessionError } from "../errors.ts";
import type { Clock, Timer } from "./clock.ts";
import type { Attempt, Connect, Link } from "./link.ts";

/** What may end an attempt besides its own failure. */
export interface AttemptBounds {
  /** Gives it up. */
  readonly signal: AbortSignal;
  /** What it fails with then. */
  readonly cancelled: () => SessionError;
  /** Where time comes from. */
  readonly clock: Clock;
  /** Milliseconds for all of it; for ever where there is no end. */
  readonly most: number;
}

/**
 * Makes one connection. Not every step of it can be given up, since the resolver and an agent answer
 * when they like: what comes after the end of the wish is not kept.
 *
 * @param connect Makes it.
 * @param attempt What concerns this attempt alone.
 * @param bounds What may end it.
 * @returns The connection.
 * @throws {SessionError} When it fails, was given up, or takes too long.
 */
export function attemptOnce(
  connect: Connect,
  attempt: Omit<Attempt, "signal">,
  { signal, cancelled, clock, most }: AttemptBounds,
): Promise<Link> {
  const own = new AbortController();
  return new Promise((resolve, reject) => {
    const settle = () => {
      timer?.cancel();
      signal.removeEventListener("abort", cancel);
    };
    const giveUp = (reason: SessionError) => {
      settle();
      reject(reason);
      own.abort();
    };
    const cancel = () => giveUp(cancelled());
    const late = () => giveUp(new SessionError("it took too long", { code: "timeout" }));
    const timer: Timer | undefined = most === Infinity ? undefined : clock.after(most, late);
    if (signal.aborted) return cancel();
    signal.addEventListener("abort", cancel, { once: true });
    connect({ ...attempt, signal: own.signal })
      .then((link) => {
        if (own.signal.aborted) link.destroy();
        else resolve(link);
      }, reject)
      .finally(settle);
  });
}
