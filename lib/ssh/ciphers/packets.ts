/**
 * SSH's binary packets (RFC 4253 section 6) around a cipher that authenticates: the same interface
 * as ssh2's own classes have, with one buffer and one write a packet.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { randomFillSync } from "node:crypto";
import { type CipherSettings, LARGEST_PACKET } from "./settings.ts";

/** Bytes of the length field, and of the tag behind the packet. */
export const LENGTH_BYTES = 4;
export const TAG_BYTES = 16;

/** The least padding of a packet (RFC 4253 section 6). */
const MIN_PADDING = 4;
/**
 * Where a packet begins in its memory: the data of SSH_MSG_CHANNEL_DATA, 14 bytes on, is then
 * aligned. To copy 32 KiB to where they are not costs Bun 9.5 us instead of 0.5.
 */
const PACKET_AT = 2;
/** Bytes behind a packet: its tag, and room to encrypt to an aligned place of the same memory. */
export const TAIL_BYTES = TAG_BYTES + 10;
/** Random bytes that are asked for at once: on Node each question costs more than a small packet. */
const RANDOM_BYTES = 8_192;

/** What protects the packets of one direction, under one key. */
export interface Protection {
  /** What the length of a packet is a multiple of. */
  readonly blockLength: number;
  /** Forgets the key. Called once, and nothing else after it. */
  free(): void;
}

/** For the packets that are sent. */
export interface Encryption extends Protection {
  /**
   * Encrypts a packet.
   *
   * @param packet Length, padding length, payload and padding, and at least 26 bytes more; it is
   *   used up.
   * @param length The number of bytes between the length field and those.
   * @param seqno The packet's number.
   * @returns What is sent.
   */
  encrypt(packet: Buffer, length: number, seqno: number): Buffer;
}

/** For the packets that are received. */
export interface Decryption extends Protection {
  /**
   * Reads the length field, before anything vouches for it.
   *
   * @param data What was received.
   * @param at Where in it the packet begins.
   * @param seqno The packet's number.
   * @returns The number of bytes between the length field and the tag.
   */
  length(data: Buffer, at: number, seqno: number): number;
  /**
   * Verifies and decrypts a packet that is there as a whole.
   *
   * @param data What was received.
   * @param at Where in it the packet begins.
   * @param length What `length()` said.
   * @param seqno The packet's number.
   * @returns Padding length, payload and padding, in memory of their own; undefined where the tag
   *   is not right.
   */
  decrypt(data: Buffer, at: number, length: number, seqno: number): Buffer | undefined;
}

/** The packets that are sent, as ssh2's Protocol makes them. */
export class PacketCipher {
  /** The next packet's number; ssh2 sets it to 0 in a strict key exchange. */
  outSeqno: number;
  readonly #encryption: Encryption;
  readonly #onWrite: (data: Buffer) => void;
  readonly #settings: CipherSettings;
  #dead = false;

  /**
   * @param encryption The cipher, with its key.
   * @param seqno The next packet's number.
   * @param onWrite Sends bytes.
   * @param settings The connection's own.
   */
  constructor(
    encryption: Encryption,
    seqno: number,
    onWrite: (data: Buffer) => void,
    settings: CipherSettings,
  ) {
    this.#encryption = encryption;
    this.outSeqno = seqno;
    this.#onWrite = onWrite;
    this.#settings = settings;
  }

  /** Sends nothing from now on. */
  free(): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#encryption.free();
  }

  /**
   * Makes room for a packet.
   *
   * @param payloadLength Bytes of its payload.
   * @returns The packet, but for the payload: that belongs at 5.
   */
  allocPacket(payloadLength: number): Buffer {
    const { blockLength } = this.#encryption;
    let padding = blockLength - ((1 + payloadLength) & (blockLength - 1));
    if (padding < MIN_PADDING) padding += blockLength;
    const length = 1 + payloadLength + padding;
    if (length > LARGEST_PACKET) throw new RangeError("the packet is larger than any may be");
    const size = PACKET_AT + LENGTH_BYTES + length + TAIL_BYTES;
    const memory = this.#settings.sendBuffer?.take(size) ?? Buffer.allocUnsafe(size);
    const packet = memory.subarray(PACKET_AT);
    packet.writeUInt32BE(length, 0);
    packet[LENGTH_BYTES] = padding;
    fillRandomly(packet, LENGTH_BYTES + 1 + payloadLength, padding);
    return packet;
  }

  /**
   * Encrypts and sends a packet.
   *
   * @param packet What allocPacket() returned, with its payload.
   */
  encrypt(packet: Buffer): void {
    if (this.#dead) return;
    const data = this.#encryption.encrypt(packet, packet.readUInt32BE(0), this.outSeqno);
    this.outSeqno = (this.outSeqno + 1) >>> 0;
    // Where the result lies elsewhere, the packet itself is never sent.
    if (data.buffer !== packet.buffer) this.#settings.sendBuffer?.release(packet);
    this.#onWrite(data);
  }
}

/**
 * The packets that are received, as ssh2's Protocol reads them. What was received is done with when
 * decrypt() returns: nothing that is handed on lies in it.
 */
export class PacketDecipher {
  /** The next packet's number; ssh2 sets it to 0 in a strict key exchange. */
  inSeqno: number;
  /** Takes each payload; ssh2 puts another one here when keys are exchanged anew. */
  _onPayload: (payload: Buffer) => number | false | undefined;
  readonly #decryption: Decryption;
  readonly #settings: CipherSettings;
  #dead = false;
  /** A packet that is not all there: its first bytes, and how many they are. */
  readonly #head = Buffer.alloc(LENGTH_BYTES);
  #gathered = 0;
  #packet: Buffer | undefined;
  #length = 0;

  /**
   * @param decryption The cipher, with its key.
   * @param seqno The next packet's number.
   * @param onPayload Takes each payload; what it returns other than undefined ends the reading.
   * @param settings The connection's own.
   */
  constructor(
    decryption: Decryption,
    seqno: number,
    onPayload: (payload: Buffer) => number | false | undefined,
    settings: CipherSettings,
  ) {
    this.#decryption = decryption;
    this.inSeqno = seqno;
    this._onPayload = onPayload;
    this.#settings = settings;
  }

  /** Reads nothing from now on. */
  free(): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#packet = undefined;
    this.#decryption.free();
  }

  /**
   * Reads packets. What comes behind one that is not right is never read.
   *
   * @param data What was received.
   * @param at Where to begin.
   * @param end Where to stop.
   * @returns Where another decipher is to go on; undefined when all was read.
   * @throws {Error} When a packet is not right.
   */
  decrypt(data: Buffer, at: number, end: number): number | undefined {
    while (at < end && !this.#dead) {
      let payload: Buffer;
      if (this.#gathered === 0 && this.#isWhole(data, at, end)) {
        payload = this.#open(data, at, this.#length);
        at += LENGTH_BYTES + this.#length + TAG_BYTES;
      } else {
        at = this.#gather(data, at, end);
        const packet = this.#packet;
        if (packet === undefined || this.#missing > 0) return undefined;
        this.#gathered = 0;
        payload = this.#open(packet, 0, this.#length);
      }
      const verdict = this._onPayload(payload);
      if (verdict !== undefined) return verdict === false ? at : verdict;
    }
    return undefined;
  }

  #isWhole(data: Buffer, at: number, end: number): boolean {
    if (end - at < LENGTH_BYTES) return false;
    this.#length = this.#readLength(data, at);
    return end - at >= LENGTH_BYTES + this.#length + TAG_BYTES;
  }

  /** Before anything is allocated for it. */
  #readLength(data: Buffer, at: number): number {
    const length = this.#decryption.length(data, at, this.inSeqno);
    const { blockLength } = this.#decryption;
    if (
      length > this.#settings.largestPacket || length < blockLength ||
      (length & (blockLength - 1)) !== 0
    ) {
      return this.#fail("Bad packet length");
    }
    return length;
  }

  get #missing(): number {
    return LENGTH_BYTES + this.#length + TAG_BYTES - this.#gathered;
  }

  /** Puts what there is to the rest of its packet; returns where it ends. */
  #gather(data: Buffer, at: number, end: number): number {
    if (this.#gathered < LENGTH_BYTES) {
      const count = Math.min(LENGTH_BYTES - this.#gathered, end - at);
      data.copy(this.#head, this.#gathered, at, at + count);
      this.#gathered += count;
      at += count;
      if (this.#gathered < LENGTH_BYTES) {
        return at;
      }
      this.#length = this.#readLength(this.#head, 0);
      this.#packet = this.#room(LENGTH_BYTES + this.#length + TAG_BYTES);
      this.#head.copy(this.#packet);
    }
    const count = Math.min(this.#missing, end - at);
    if (this.#packet !== undefined) data.copy(this.#packet, this.#gathered, at, at + count);
    this.#gathered += count;
    return at + count;
  }

  #room(bytes: number): Buffer {
    const before = this.#packet;
    return before === undefined || before.length < bytes ? Buffer.allocUnsafe(bytes) : before;
  }

  #open(data: Buffer, at: number, length: number): Buffer {
    const plain = this.#decryption.decrypt(data, at, length, this.inSeqno);
    if (plain === undefined) return this.#fail("Invalid MAC");
    const padding = plain[0] as number;
    if (padding < MIN_PADDING || padding >= length) return this.#fail("Bad padding length");
    this.inSeqno = (this.inSeqno + 1) >>> 0;
    return plain.subarray(1, length - padding);
  }

  #fail(reason: string): never {
    this.free();
    throw new Error(reason);
  }
}

const random = Buffer.alloc(RANDOM_BYTES);
let used = RANDOM_BYTES;

function fillRandomly(packet: Buffer, at: number, count: number): void {
  if (used + count > RANDOM_BYTES) {
    randomFillSync(random);
    used = 0;
  }
  random.copy(packet, at, used, used + count);
  used += count;
}
