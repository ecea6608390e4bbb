/**
 * Waiting until the destinations of local forwards answer: `--ready=dial`.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Destination, type Dialer, formatAddress } from "../dialer.ts";
import { codeOf, ConnectionError, messageOf } from "../errors.ts";

/** Milliseconds until a destination is dialled again: at first, and at most. */
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 1_000;

/** A server that forbids it, or knows no such channels, will not come to another mind. */
const FINAL: readonly string[] = ["forwarding-prohibited", "not-supported"];

/**
 * Dials each destination until it answers.
 *
 * @param dialer What carries the forwards.
 * @param destinations Where they lead.
 * @param options Milliseconds that all of it may take, and what gives it up.
 * @returns When each has answered once.
 * @throws {ConnectionError} When one is forbidden, or has not answered in time.
 */
export async function answering(
  dialer: Pick<Dialer, "dial">,
  destinations: readonly Destination[],
  options: { readonly timeout: number; readonly signal: AbortSignal },
): Promise<void> {
  const { timeout, signal } = options;
  const over = new AbortController();
  const giveUp = () => over.abort();
  if (signal.aborted) giveUp();
  signal.addEventListener("abort", giveUp);
  const timer = setTimeout(giveUp, Math.min(timeout, 2 ** 31 - 1));
  try {
    await Promise.all(destinations.map((destination) => untilAnswer(dialer, destination, over)));
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Unanswered)) throw error;
    const last = error.last === undefined ? "" : `; the last reason: ${messageOf(error.last)}`;
    throw new ConnectionError(
      `${error.message} did not answer within ${timeout / 1000} s${last}`,
      { code: "timeout", hint: "--ready-timeout gives it more time", cause: error.last },
    );
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", giveUp);
    giveUp();
  }
}

/** Time is over. */
class Unanswered extends Error {
  readonly last: unknown;

  constructor(destination: Destination, last: unknown) {
    super(formatAddress(destination));
    this.last = last;
  }
}

async function untilAnswer(
  dialer: Pick<Dialer, "dial">,
  destination: Destination,
  over: AbortController,
): Promise<void> {
  const { signal } = over;
  let last: unknown;
  for (let pause = FIRST_PAUSE;; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
    try {
      signal.throwIfAborted();
      const stream = await dialer.dial(destination, { signal });
      stream.on("error", () => {});
      stream.destroy();
      return;
    } catch (error) {
      if (signal.aborted) throw new Unanswered(destination, last);
      // A destination that nothing listens on yet is what this waits for; anything else stays.
      if (!(error instanceof ConnectionError)) throw error;
      if (FINAL.includes(codeOf(error) ?? "")) throw error;
      last = error;
    }
    await sleep(pause, undefined, { signal }).catch(() => {});
  }
}
