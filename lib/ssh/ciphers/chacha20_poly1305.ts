/**
 * chacha20-poly1305@openssh.com (OpenSSH's PROTOCOL.chacha20poly1305): two keys, one for the length
 * alone. The key of the tag is the beginning of the other's key stream, 64 bytes before the payload.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { timingSafeEqual } from "node:crypto";
import { chacha20, keyStreamStart, keyWords } from "./chacha20.ts";
import { type Decryption, type Encryption, LENGTH_BYTES, TAG_BYTES } from "./packets.ts";
import type { Poly1305 } from "./poly1305.ts";
import { LARGEST_PACKET } from "./settings.ts";

const BLOCK = 8;
/** The first block of the key stream, of which half is the key of the tag. */
const FIRST_BLOCK = 64;
/** Where in the room of the tag a packet begins: what is encrypted lies behind the first block. */
const PACKET_AT = FIRST_BLOCK - LENGTH_BYTES;

/** Bytes that a packet needs in the room of the tag. */
export const POLY1305_ROOM = FIRST_BLOCK + LARGEST_PACKET + TAG_BYTES;

/** Both keys of one direction. */
class Keys {
  readonly #main: Buffer;
  readonly #length: Uint32Array;

  constructor(key: Buffer) {
    this.#main = Buffer.from(key.subarray(0, 32));
    this.#length = keyWords(key.subarray(32));
  }

  free(): void {
    this.#main.fill(0);
    this.#length.fill(0);
  }

  /** Encrypts or decrypts a length field. */
  length(value: number, seqno: number): number {
    return (value ^ keyStreamStart(this.#length, seqno)) >>> 0;
  }

  /** One call for the tag's key and the payload: zeros in the first block give the key stream. */
  apply(data: Uint8Array, seqno: number): Buffer {
    return chacha20(this.#main, seqno, data);
  }
}

/** What both directions have. */
class ChaCha20 {
  readonly blockLength = BLOCK;
  protected readonly keys: Keys;
  protected readonly poly1305: Poly1305;

  /**
   * @param key 64 bytes.
   * @param poly1305 Shared by all connections, for nothing of it outlasts a call.
   */
  constructor(key: Buffer, poly1305: Poly1305) {
    this.keys = new Keys(key);
    this.poly1305 = poly1305;
  }

  /** Forgets the keys. */
  free(): void {
    this.keys.free();
  }
}

/** The packets that are sent. */
export class ChaCha20Encryption extends ChaCha20 implements Encryption {
  /** @inheritdoc */
  encrypt(packet: Buffer, length: number, seqno: number): Buffer {
    const { room } = this.poly1305;
    const tagAt = FIRST_BLOCK + length;
    packet.copy(room, PACKET_AT, 0, LENGTH_BYTES + length);
    // With room for the tag behind it.
    const output = this.keys.apply(room.subarray(0, tagAt + TAG_BYTES), seqno);
    output.writeUInt32BE(this.keys.length(length, seqno), PACKET_AT);
    room.set(output.subarray(PACKET_AT, tagAt), PACKET_AT);
    output.set(this.poly1305.tag(PACKET_AT, tagAt, output), tagAt);
    return output.subarray(PACKET_AT);
  }
}

/** The packets that are received. */
export class ChaCha20Decryption extends ChaCha20 implements Decryption {
  /** @inheritdoc */
  length(data: Buffer, at: number, seqno: number): number {
    return this.keys.length(data.readUInt32BE(at), seqno);
  }

  /** @inheritdoc */
  decrypt(data: Buffer, at: number, length: number, seqno: number): Buffer | undefined {
    const { room } = this.poly1305;
    const tagAt = at + LENGTH_BYTES + length;
    data.copy(room, PACKET_AT, at, tagAt);
    const output = this.keys.apply(room.subarray(0, FIRST_BLOCK + length), seqno);
    const tag = this.poly1305.tag(PACKET_AT, FIRST_BLOCK + length, output);
    if (!timingSafeEqual(tag, data.subarray(tagAt, tagAt + TAG_BYTES))) return undefined;
    return output.subarray(FIRST_BLOCK);
  }
}
