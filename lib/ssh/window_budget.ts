/**
 * How much memory the peers of a tunnel may fill: the sum of all windows, shared out fairly.
 *
 * @module
 */

import { quoted } from "../errors.ts";

const MIB = 1024 * 1024;

/** Bytes of the budget when nobody says otherwise. */
const DEFAULT_BUDGET = 64 * MIB;
/** The smallest budget in bytes: room for one connection that is no pain. */
const SMALLEST_BUDGET = 64 * 1024;
/** The largest first window in bytes: that of OpenSSH. */
const LARGEST_OPENING = 2 * MIB;
/** The part of the budget that a channel may hold, whatever is left, while it moves data. */
const ENTITLED_SHARE = 1 / 64;
/** The most of that in bytes: half of OpenSSH's window. */
const MOST_ENTITLED = MIB;
/** Bytes that each channel gets, whatever the others hold: without a window it would never end. */
const FLOOR = 4 * 1024;
/** The same for the first window, where there are so few channels that it is not smaller anyway. */
const OPENING_FLOOR = 64 * 1024;
/** The part of the budget that the first of all channels opens with. */
const OPENING_SHARE = 1 / 32;
/** How fast first windows shrink as they add up: 40 KiB for the hundredth, FLOOR for the thousandth. */
const OPENING_DECAY = 12;

/**
 * Looks at what a caller wrote.
 *
 * @param bytes The budget; undefined for the default.
 * @throws {TypeError} When it is no number.
 * @throws {RangeError} When it is no whole number of bytes, or too small to work with.
 */
export function checkWindowBudget(bytes: unknown = DEFAULT_BUDGET): void {
  if (typeof bytes !== "number") {
    throw new TypeError(`a number of bytes is expected, not ${quoted(bytes)}`);
  }
  if (bytes < SMALLEST_BUDGET) {
    throw new RangeError(`at least ${SMALLEST_BUDGET} bytes are expected, not ${bytes}`);
  }
  if (!Number.isSafeInteger(bytes)) {
    throw new RangeError(
      `a whole number of bytes up to ${Number.MAX_SAFE_INTEGER} is expected, not ${bytes}`,
    );
  }
}

/**
 * What all channels of a tunnel have been granted and have not read yet, over all its connections.
 *
 * What a peer was granted cannot be taken back (RFC 4254 section 5.2). So nobody gets more than
 * what is left for all others afterwards: one busy channel comes to a half of the budget, two to a
 * third each, n to one part in n + 1. A channel that has more than its share because it came first
 * is not refilled until it has no longer.
 *
 * What those hold that are idle by now is out of reach, and they could hold all of it. So something
 * may exceed the budget: 64 KiB of what a channel opens with, and 1 MiB (or a 64th of a smaller
 * budget) for one that moves data and whose reader keeps up. With 5,000 channels open and idle that
 * never moved much, a third of the budget is still there.
 */
export class WindowBudget {
  readonly #bytes: number;
  #granted = 0;
  /** What channels that are still open began with. */
  #openings = 0;

  /**
   * @param bytes The budget; 64 MiB by default, infinite for none.
   */
  constructor(bytes = DEFAULT_BUDGET) {
    this.#bytes = bytes;
  }

  /** Bytes that may come, or have come and wait to be read. */
  get granted(): number {
    return this.#granted;
  }

  /** Bytes that a channel may hold, whatever is left, while it moves data and its reader keeps up. */
  get entitled(): number {
    return Math.min(MOST_ENTITLED, Math.floor(this.#bytes * ENTITLED_SHARE));
  }

  /** Whether so many channels hold so much that a newcomer must show first that it needs more. */
  get scarce(): boolean {
    return this.#granted > this.#bytes / 2;
  }

  /**
   * Takes the first window of a channel: small where there are many, and its first data tells
   * whether it needs more.
   *
   * @returns Bytes; `close()` takes the same number.
   */
  open(): number {
    const unused = Math.max(0, 1 - this.#openings / this.#bytes);
    const largest = Math.min(LARGEST_OPENING, this.#bytes * OPENING_SHARE);
    const wanted = Math.floor(largest * unused ** OPENING_DECAY);
    const opening = this.take(0, wanted, { floor: Math.min(wanted, OPENING_FLOOR) });
    this.#openings += opening;
    return opening;
  }

  /**
   * Takes more for a channel.
   *
   * @param held Bytes that it holds already.
   * @param wanted Bytes that it would like to hold.
   * @param limits `least`: what is less than this part of what it would hold then is not taken.
   *   `floor`: bytes that it may hold whatever the others do, 4 KiB at least.
   * @returns Bytes more; 0 where it has its share.
   */
  take(held: number, wanted: number, limits: { least?: number; floor?: number } = {}): number {
    const { least = 0, floor = 0 } = limits;
    const left = this.#bytes - this.#granted;
    const share = held + Math.max(0, Math.floor((left - held) / 2));
    const allowed = Math.max(FLOOR, floor, Math.min(wanted, share));
    const more = allowed - held;
    if (more <= 0 || more < allowed * least) return 0;
    this.#granted += more;
    return more;
  }

  /**
   * Gives back what was read, or cannot come any more.
   *
   * @param bytes How much.
   */
  give(bytes: number): void {
    this.#granted -= bytes;
  }

  /**
   * Forgets a channel's first window: it counts no longer among those that are open.
   *
   * @param opening What `open()` said.
   */
  close(opening: number): void {
    this.#openings -= opening;
  }
}
