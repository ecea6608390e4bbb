/**
 * The byte stream below one SSH connection: what goes out leaves in as few pieces as possible and
 * never piles up.
 *
 * @module
 */
import { Socket } from "node:net";
import process from "node:process";
import type { Duplex } from "node:stream";
import { SendBuffer } from "./send_buffer.ts";

/**
 * Bytes that may wait in the socket before channels hold back. ssh2 ignores what write() returns
 * (SSH2_NOTES row 5), so without this a stalled link takes in a whole window per channel.
 */
const HIGH_WATER = 256 * 1024;

/** One SSH connection's stream, with its writes of one tick coalesced and its congestion known. */
export class Transport {
  /** The stream that ssh2 reads and writes. */
  readonly stream: Duplex;
  /** Memory for what is written; it comes back by itself once it was. */
  readonly sendBuffer = new SendBuffer();
  /** Called after each tick in which something was sent, between two packets. */
  onFlush: (() => void) | undefined;
  #lost = false;
  #held = false;
  #sent = 0;
  readonly #waiting: (() => void)[] = [];

  /**
   * @param stream A connected socket, or any other byte stream to the server. It must be done with
   *   a chunk when it calls back: its memory is used again.
   */
  constructor(stream: Duplex) {
    this.stream = stream;
    if (stream instanceof Socket) stream.setNoDelay(true);
    coalesceWrites(stream, {
      onWrite: (bytes) => this.#sent += bytes,
      onWritten: (chunk) => this.sendBuffer.release(chunk),
      onFlush: () => this.onFlush?.(),
    });
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

/** What becomes of what is written. */
interface WriteEvents {
  onWrite(bytes: number): void;
  /** The stream is done with a chunk. */
  onWritten(chunk: Uint8Array): void;
  /** After each tick in which something was written. */
  onFlush(): void;
}

/**
 * ssh2 writes each packet in two or three pieces. Sent one by one with Nagle's algorithm on, an
 * echo takes 44 ms on Deno; corked for the rest of the tick, 0.25 ms (SSH2_NOTES row 7).
 */
function coalesceWrites(stream: Duplex, events: WriteEvents): void {
  const write = stream.write.bind(stream) as (
    chunk: Uint8Array | string,
    written?: () => void,
  ) => boolean;
  let corked = false;
  stream.write = (chunk: Uint8Array | string): boolean => {
    events.onWrite(chunk.length);
    if (!corked) {
      corked = true;
      stream.cork();
      process.nextTick(() => {
        corked = false;
        stream.uncork();
        events.onFlush();
      });
    }
    return typeof chunk === "string" ? write(chunk) : write(chunk, () => events.onWritten(chunk));
  };
}
