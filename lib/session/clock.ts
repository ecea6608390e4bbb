/**
 * Time, as a session sees it: replaced in tests, where hours pass in no time.
 *
 * @module
 */

/** A timer that has not run out yet. */
export interface Timer {
  /** Stops it; nothing happens where it has run out. */
  cancel(): void;
}

/** Where time comes from. */
export interface Clock {
  /** Milliseconds that only ever grow; they may stand still while the machine sleeps. */
  now(): number;
  /** Milliseconds of the calendar, which go on while the machine sleeps. */
  wall(): number;
  /**
   * Calls back later.
   *
   * @param delay Milliseconds from now.
   * @param callback What to do then.
   * @returns The timer.
   */
  after(delay: number, callback: () => void): Timer;
}

/** The most that a timer can wait, in milliseconds. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** The machine's own time. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after: (delay, callback) => {
    const timer = setTimeout(callback, Math.min(delay, LONGEST_TIMER));
    return { cancel: () => clearTimeout(timer) };
  },
};
