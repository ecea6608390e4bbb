/**
 * Noticing that nobody uses a session any more.
 *
 * @module
 */
import type { Clock, Timer } from "./clock.ts";

/** Runs out when there has been no user for some time. */
export class Idleness {
  readonly #clock: Clock;
  readonly #timeout: number;
  readonly #isUsed: () => boolean;
  readonly #onIdle: () => void;
  #timer: Timer | undefined;
  #stopped = false;

  /**
   * @param clock Where time comes from.
   * @param timeout Milliseconds without a user; 0 for no limit.
   * @param isUsed Whether there is one now.
   * @param onIdle Called once, when there has been none for that long.
   */
  constructor(
    clock: Clock,
    timeout: number,
    isUsed: () => boolean,
    onIdle: () => void,
  ) {
    this.#clock = clock;
    this.#timeout = timeout;
    this.#isUsed = isUsed;
    this.#onIdle = onIdle;
  }

  /** To be called when a user has come or gone: the time begins anew. */
  changed(): void {
    this.#timer?.cancel();
    if (this.#timeout === 0 || this.#stopped) return;
    // Whoever waits for a link comes and goes without a word: the time runs beside it.
    this.#timer = this.#clock.after(this.#timeout, () => {
      if (this.#isUsed()) this.changed();
      else this.#onIdle();
    });
  }

  /** Stands still until something changes: while there is no link, nobody can use it. */
  pause(): void {
    this.#timer?.cancel();
  }

  /** Ends it. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }
}
