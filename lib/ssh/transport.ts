/**
 * The byte stream below one SSH connection: what goes out leaves in as few pieces as possible and
 * never piles up.
 *
 * @module
 */
import { Socket } from "node:net";
import process from "node:process";
import type { Duplex } from "node:stream";

/**
 * Bytes that may wait in the socket before channels hold back. ssh2 ignores what write() returns
 * (SSH2_NOTES row 5), so without this a stalled link takes in a whole window per channel.
 */
const HIGH_WATER = 256 * 1024;

/** One SSH connection's stream, with its writes of one tick coalesced and its congestion known. */
export class Transport {
  /** The stream that ssh2 reads and writes. */
  readonly stream: Duplex;
  /** Called after each tick in which something was sent, between two packets. */
  onFlush: (() => void) | undefined;
  #lost = false;
  #held = false;
  #sent = 0;
  readonly #waiting: (() => void)[] = [];

  /**
   * @param stream A connected socket, or any other byte stream to the server.
   */
  constructor(stream: Duplex) {
    this.stream = stream;
    if (stream instanceof Socket) stream.setNoDelay(true);
    coalesceWrites(stream, (bytes) => this.#sent += bytes, () => this.onFlush?.());
    stream.on("drain", () => this.#release());
    // Before ssh2's own listeners: from the first of these events on, its protocol object throws
    // on every use.
    for (const event of ["end", "error", "close"]) {
      stream.once(event, () => {
        this.#lost = true;
        this.#release();
        // Nothing more can come; a socket that half-closes would stay open for ever.
        if (event === "end") stream.destroy();
      });
    }
  }

  /**
   * Counts as lost from now on: ssh2 has given the connection up. Its last word may still leave, but
   * a peer that does not hang up would keep the stream open for ever.
   *
   * @param timeout Milliseconds until the stream is destroyed.
   */
  fail(timeout: number): void {
    if (this.#lost) return;
    this.#lost = true;
    const timer = setTimeout(() => this.stream.destroy(), timeout);
    this.stream.once("close", () => clearTimeout(timer));
    this.#release();
  }

  /** Whether the stream has ended or failed: nothing can be sent any more. */
  get lost(): boolean {
    return this.#lost;
  }

  /** Whether so much waits to be sent that a channel should hold back. */
  get congested(): boolean {
    return !this.#lost && (this.#held || this.stream.writableLength > HIGH_WATER);
  }

  /** Bytes that were given to the stream so far. */
  get sent(): number {
    return this.#sent;
  }

  /** Counts as congested from now on: while keys are exchanged, ssh2 would queue without bound. */
  hold(): void {
    this.#held = true;
  }

  /** Takes `hold()` back. */
  resume(): void {
    this.#held = false;
    this.#release();
  }

  /**
   * Calls back once the congestion is over, in the order of asking.
   *
   * @param callback What to do then; it must look at `congested` again.
   */
  whenClear(callback: () => void): void {
    this.#waiting.push(callback);
  }

  #release(): void {
    for (const callback of this.#waiting.splice(0)) callback();
  }
}

/**
 * ssh2 writes each packet in two or three pieces. Sent one by one with Nagle's algorithm on, an
 * echo takes 44 ms on Deno; corked for the rest of the tick, 0.25 ms (SSH2_NOTES row 7).
 */
function coalesceWrites(
  stream: Duplex,
  written: (bytes: number) => void,
  flushed: () => void,
): void {
  const write = stream.write.bind(stream) as (chunk: Uint8Array | string) => boolean;
  let corked = false;
  stream.write = (chunk: Uint8Array | string): boolean => {
    written(chunk.length);
    if (!corked) {
      corked = true;
      stream.cork();
      process.nextTick(() => {
        corked = false;
        stream.uncork();
        flushed();
      });
    }
    return write(chunk);
  };
}
