/**
 * A wait between two attempts that can be cut short.
 *
 * @module
 */
import type { Clock, Timer } from "./clock.ts";

/** A wait that has begun. */
export class Pause {
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #until: number;
  #finish: () => void = () => {};
  /** Settles when it is over, or given up. */
  readonly over: Promise<void>;

  /**
   * @param clock Where time comes from.
   * @param delay Milliseconds.
   * @param signal Gives it up.
   */
  constructor(clock: Clock, delay: number, signal: AbortSignal) {
    this.#clock = clock;
    this.#until = clock.now() + delay;
    this.over = new Promise((resolve) => {
      this.#finish = () => {
        this.#timer?.cancel();
        signal.removeEventListener("abort", this.#finish);
        resolve();
      };
      signal.addEventListener("abort", this.#finish, { once: true });
      this.#timer = clock.after(delay, this.#finish);
      if (signal.aborted) this.#finish();
    });
  }

  /**
   * Has it end sooner.
   *
   * @param delay Milliseconds from now at most.
   */
  hasten(delay: number): void {
    const until = this.#clock.now() + delay;
    if (until >= this.#until) return;
    this.#until = until;
    this.#timer?.cancel();
    this.#timer = this.#clock.after(delay, this.#finish);
  }
}
