/**
 * How much a peer may send before it must wait: as much as the path holds, within a budget.
 *
 * @module
 */
import type { RoundTrip } from "./round_trip.ts";
import type { WindowBudget } from "./window_budget.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** Bytes that a window grows to before the round trip was measured: the window of OpenSSH. */
const USUAL = 2 * MIB;
/** Bytes that no window exceeds. */
const LARGEST = 64 * MIB;
/**
 * Bytes more than the path holds, at most. sshd reads ahead from a destination as far as the window
 * goes, and from 16 MiB on moves all of it in memory for each packet: 20 MB/s at 100 % of its
 * processor.
 */
const AHEAD = 8 * MIB;
/** Bytes within a round trip that make a transfer of it: the way is measured. */
const BULK = 256 * KIB;
/** Bytes that a channel must have carried before it grows where little is left. */
const CARRIED = 32 * KIB;
/** Milliseconds of a round trip that was not measured yet. */
const UNKNOWN_ROUND_TRIP = 50;
/** Milliseconds: whatever is shorter is as good as this, and a clock may be coarse. */
const SHORTEST_ROUND_TRIP = 1;
/** What is remembered of the best round trip after each later one. */
const MEMORY = 7 / 8;

/**
 * The receive window of one channel: what came within the best round trip of late, and as much
 * again, up to 8 MiB. That is more than the path holds (the bandwidth-delay product), so that the
 * peer never waits, and it grows as fast as TCP's slow start. A reader that is slow gets no more
 * than it takes.
 */
export class ChannelWindow {
  readonly #budget: WindowBudget;
  readonly #roundTrip: RoundTrip | undefined;
  readonly #now: () => number;
  readonly #opening: number;
  /** What it is refilled to at least. */
  #least: number;
  /** What the peer may still send. */
  #open: number;
  /** The same, and what was received and is not read yet. */
  #held: number;
  #carried = 0;
  /** When the present round trip began, and what came since. */
  #since = -Infinity;
  #recent = 0;
  /** What came within one round trip at best. */
  #best = 0;
  #ended = false;
  #closed = false;

  /**
   * @param budget Where its bytes come from.
   * @param roundTrip The way to the peer; without one the window does not outgrow 2 MiB.
   * @param now Milliseconds of a clock that never goes back.
   */
  constructor(
    budget: WindowBudget,
    roundTrip?: RoundTrip,
    now: () => number = () => performance.now(),
  ) {
    this.#budget = budget;
    this.#roundTrip = roundTrip;
    this.#now = now;
    this.#opening = budget.open();
    this.#least = this.#open = this.#held = this.#opening;
  }

  /** Bytes that the peer may still send. */
  get open(): number {
    return this.#open;
  }

  /**
   * Counts what the peer has sent.
   *
   * @param bytes How much.
   * @returns false where it was more than its window.
   */
  receive(bytes: number): boolean {
    const keepsUp = this.#keepsUp;
    this.#open -= bytes;
    this.#carried += bytes;
    // Whoever does not keep up with a small window needs no larger one.
    if (keepsUp) this.#count(bytes);
    return this.#open >= 0;
  }

  /**
   * Counts what the reader has taken of it.
   *
   * @param bytes How much.
   */
  read(bytes: number): void {
    if (!this.#closed) this.#give(bytes);
  }

  /**
   * Refills it.
   *
   * @param least The part of the window below which it is not worth a message.
   * @returns Bytes that the peer is to be granted, or 0.
   */
  refill(least: number): number {
    if (this.#ended) return 0;
    const moves = this.#carried >= CARRIED && this.#keepsUp;
    const floor = moves ? Math.min(this.#least, this.#budget.entitled) : 0;
    return this.#take(this.#size, { least, floor });
  }

  /**
   * Makes room for a piece that is to be read as a whole.
   *
   * @param bytes Its length.
   * @returns Bytes that the peer is to be granted, or 0.
   */
  fit(bytes: number): number {
    return this.#ended ? 0 : this.#take(bytes, { floor: bytes });
  }

  /** Nothing more can come; what was received may still wait to be read. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#give(Math.max(0, this.#open));
    this.#open = 0;
  }

  /** Gives everything back, read or not. */
  close(): void {
    if (this.#closed) return;
    this.end();
    this.#closed = true;
    this.#give(this.#held);
    this.#budget.close(this.#opening);
  }

  #take(wanted: number, limits: { least?: number; floor: number }): number {
    const more = this.#budget.take(this.#held, wanted, limits);
    this.#open += more;
    this.#held += more;
    return more;
  }

  /** Whether little waits to be read. */
  get #keepsUp(): boolean {
    return this.#held - this.#open < this.#size / 4;
  }

  #give(bytes: number): void {
    this.#held -= bytes;
    this.#budget.give(bytes);
  }

  #count(bytes: number): void {
    const now = this.#now();
    const span = Math.max(SHORTEST_ROUND_TRIP, this.#roundTrip?.shortest ?? UNKNOWN_ROUND_TRIP);
    if (now - this.#since > span) {
      this.#since = now;
      this.#recent = 0;
      this.#best *= MEMORY;
    }
    this.#recent += bytes;
    this.#best = Math.max(this.#best, this.#recent);
    if (this.#recent >= BULK) this.#roundTrip?.refresh();
    if (this.#recent < this.#least / 2 || this.#least >= USUAL) return;
    if (this.#budget.scarce && this.#carried < CARRIED) return;
    this.#least = Math.min(4 * this.#least, USUAL);
  }

  /** What it is to be refilled to. */
  get #size(): number {
    if (!this.#roundTrip?.measured) return this.#least;
    const fitting = this.#best + Math.min(this.#best, AHEAD);
    return Math.floor(Math.min(LARGEST, Math.max(this.#least, fitting)));
  }
}
