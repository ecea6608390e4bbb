/** Time that passes only when a test says so. */
import { setImmediate as macrotask } from "node:timers/promises";
import type { Clock, Timer } from "../../lib/session/clock.ts";

/** The most that a timer of the machine can wait, in milliseconds. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** A clock in the test's hand. */
export class FakeClock implements Clock {
  #now = 0;
  #wall = Date.UTC(2026, 0, 1);
  readonly #timers = new Map<object, { readonly due: number; readonly callback: () => void }>();

  now(): number {
    return this.#now;
  }

  wall(): number {
    return this.#wall;
  }

  after(delay: number, callback: () => void): Timer {
    const timer = { cancel: () => void this.#timers.delete(timer) };
    const wait = Math.min(Math.max(0, delay), LONGEST_TIMER);
    this.#timers.set(timer, { due: this.#now + wait, callback });
    return timer;
  }

  /** Timers that have neither run out nor been cancelled. */
  get pending(): number {
    return this.#timers.size;
  }

  /**
   * Lets time pass. Timers run out in their order, those of the same moment in the order in which
   * they were set; between any two of them, before the first and after the last, promises settle.
   */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await macrotask();
      const next = this.#next();
      if (next === undefined || next[1].due > end) break;
      const [timer, { due, callback }] = next;
      this.#timers.delete(timer);
      this.#pass(due);
      callback();
    }
    this.#pass(end);
  }

  /**
   * The machine sleeps, or this process is stopped: the calendar goes on, timers and `now()` do
   * not. As after a real sleep, nothing happens until time passes again.
   */
  sleep(ms: number): void {
    this.#wall += ms;
  }

  #next() {
    let next: [object, { due: number; callback: () => void }] | undefined;
    for (const entry of this.#timers) {
      if (next === undefined || entry[1].due < next[1].due) next = entry;
    }
    return next;
  }

  #pass(until: number): void {
    this.#wall += until - this.#now;
    this.#now = until;
  }
}
