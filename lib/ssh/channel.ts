/**
 * One SSH channel as an ordinary Node stream that can be trusted: half-close, backpressure, errors
 * and 'close' as the stream documentation has them.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { Duplex } from "node:stream";
import { ConnectionError } from "../errors.ts";
import { logger } from "../log.ts";
import { LARGEST_DATA } from "./ciphers/settings.ts";
import type { EngineChannel } from "./ssh2.ts";
import type { Transport } from "./transport.ts";
import type { ChannelWindow } from "./window.ts";

const log = logger("ssh");

/** Bytes that a peer must be ready to take in one packet; ssh2 sends 0 bytes for ever to 0. */
export const MIN_PACKET = 256;

/** Bytes that wait on each side of a channel before its writer is told to pause. */
const HIGH_WATER = 64 * 1024;

/** A piece of data below this many bytes is taken for the last one of what the peer had to say. */
const BURST = 16 * 1024;
/** The part of a window that is worth a message where one piece comes after the other. */
const REFILL = 1 / 8;

/**
 * A channel of RFC 4254 section 5.
 *
 * - `end()` sends EOF; reading goes on until the peer's EOF. When both have been sent, CLOSE
 *   follows. The stream closes with the peer's CLOSE: what was written last may until then be on its
 *   way behind the peer, and sshd drops it when the connection ends.
 * - When the peer closes, what it sent can still be read to its end; what is written after that
 *   is dropped, as OpenSSH does, and the stream closes as soon as it was read.
 * - `destroy()` sends CLOSE at once.
 * - When the connection below is lost, the stream fails with `connection-lost`: a cut answer must
 *   never look like a whole one.
 */
export class SshChannel extends Duplex {
  readonly #codec: EngineChannel;
  readonly #transport: Transport;
  #received: "open" | "eof" | "closed" = "open";
  #waitingWrite: (() => void) | undefined;
  readonly #window: ChannelWindow;
  /** Bytes that were received and are not read yet, when that was last counted. */
  #unread = 0;
  /** Bytes of the last piece. */
  #piece = 0;
  #granting = false;
  /** Called whenever something moves in it, in either direction. */
  onActivity: (() => void) | undefined;

  /**
   * @param codec ssh2's channel, whose own streams nobody uses.
   * @param transport The connection it belongs to.
   * @param window What the peer was offered; it ends with the channel.
   */
  constructor(codec: EngineChannel, transport: Transport, window: ChannelWindow) {
    super({ highWaterMark: HIGH_WATER, autoDestroy: false });
    this.#codec = codec;
    this.#transport = transport;
    // Some peers take any size at all; no packet of ours is so large.
    codec.outgoing.packetSize = Math.min(codec.outgoing.packetSize, LARGEST_DATA);
    this.#window = window;
    // Ours counts. At exactly 0 ssh2 would drop what comes, without a word.
    codec.incoming.window = Infinity;
    codec.push = (chunk) => {
      this.#receive(chunk);
      return false;
    };
    // It may fail before whoever dialled has it in hand; they will find it destroyed.
    this.on("error", () => this.destroy());
    this.once("end", () => {
      if (this.#received === "closed") this.destroy();
    });
  }

  override _read(): void {
    this.onActivity?.();
  }

  /** @inheritdoc */
  override read(size?: number): Buffer | null {
    const chunk: Buffer | null = super.read(size);
    // _read() is not called for the last of what waits.
    if (chunk !== null) this.wasRead();
    // Node waits for as much as was asked for; the window may be smaller.
    else if (size !== undefined && size > this.readableLength) this.#tell(this.#window.fit(size));
    return chunk;
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, callback: () => void): void {
    // ssh2 never calls back when the channel closes during a write (SSH2_NOTES row 1).
    this.#waitingWrite = callback;
    this.onActivity?.();
    const done = () => {
      if (this.#waitingWrite !== callback) return;
      this.onActivity?.();
      this.#waitingWrite = undefined;
      callback();
    };
    const send = () => {
      if (this.#waitingWrite !== callback) return;
      if (this.#received === "closed" || this.#transport.lost) done();
      else if (this.#transport.congested) this.#transport.whenClear(send);
      else this.#codec._write(chunk, encoding, done);
    };
    send();
  }

  /** What was corked leaves as one piece: an SSH connection inside this one writes small ones. */
  override _writev(chunks: { chunk: Buffer }[], callback: () => void): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), "binary", callback);
  }

  override _final(callback: () => void): void {
    if (this.#received !== "closed" && !this.#transport.lost) {
      this.#trace("send EOF");
      this.#codec.eof();
      if (this.#received === "eof") this.#sendClose();
    }
    callback();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#waitingWrite = undefined;
    this.#window.close();
    this.#sendClose();
    callback(error);
  }

  /** Bytes that were received and that nobody has read. */
  protected get unread(): number {
    return this.readableLength;
  }

  /**
   * Counts a piece of data against the window, before it is passed on.
   *
   * @param bytes Its length.
   * @returns false where the peer may not have sent it; the channel is destroyed then.
   */
  protected wasReceived(bytes: number): boolean {
    this.#unread += bytes;
    this.#piece = bytes;
    if (this.#window.receive(bytes)) return true;
    // ssh2 takes whatever a peer sends, as much as it likes.
    const message = "the peer sent more than its window";
    this.destroy(new ConnectionError(message, { code: "protocol-error" }));
    return false;
  }

  /**
   * Counts what was read meanwhile, and grants the peer as much as that makes room for.
   *
   * Where one piece comes after the other, not for each of them. But after a small one the peer
   * gets its whole window again. sshd leaves Nagle's algorithm on, and holds back an
   * EOF behind data that our kernel acknowledges only after 40 ms: a packet of ours carries the
   * acknowledgement at once. A connection that asks, is answered and ends takes 44 ms through ssh,
   * and 1 ms with this.
   */
  protected wasRead(): void {
    const read = this.#unread - this.unread;
    if (read <= 0) return;
    this.#unread -= read;
    this.#window.read(read);
    if (this.#granting) return;
    this.#granting = true;
    process.nextTick(() => this.#grant());
  }

  #receive(chunk: Buffer | null): void {
    if (this.destroyed) return;
    this.onActivity?.();
    if (chunk !== null) {
      if (!this.wasReceived(chunk.length)) return;
      this.push(chunk);
      this.wasRead();
      return;
    }
    if (this.#transport.lost) {
      this.destroy(new ConnectionError("the SSH connection was lost", { code: "connection-lost" }));
      return;
    }
    this.#window.end();
    const first = this.#received === "open";
    if (this.#codec.incoming.state === "closed") this.#peerClosed();
    else this.#peerEnded();
    if (first) this.push(null);
  }

  #grant(): void {
    this.#granting = false;
    if (!this.#open) return;
    this.#tell(this.#window.refill(this.#piece < BURST && this.#unread === 0 ? 0 : REFILL));
  }

  /** Tells the peer what it was granted. */
  #tell(bytes: number): void {
    const { outgoing, _client } = this.#codec;
    if (bytes > 0 && this.#open) _client._protocol.channelWindowAdjust(outgoing.id, bytes);
  }

  #peerEnded(): void {
    this.#trace("received EOF");
    this.#received = "eof";
    if (this.writableFinished) this.#sendClose();
  }

  #peerClosed(): void {
    this.#trace("received CLOSE");
    this.#received = "closed";
    const dropped = this.#waitingWrite;
    this.#waitingWrite = undefined;
    dropped?.();
    if (this.readableEnded) this.destroy();
  }

  #sendClose(): void {
    if (!this.#open) return;
    this.#trace("send CLOSE");
    this.#codec.close();
  }

  /** Whether neither side has sent CLOSE. */
  get #open(): boolean {
    const { state } = this.#codec.outgoing;
    return !this.#transport.lost && (state === "open" || state === "eof");
  }

  #trace(transition: string): void {
    log.debug("channel {id}: {transition}", { id: this.#codec.incoming.id, transition });
  }
}
