/**
 * aes128-gcm@openssh.com and aes256-gcm@openssh.com (RFC 5647) with the runtime's own AES.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { type CipherGCMTypes, createCipheriv, createDecipheriv } from "node:crypto";
import { type Decryption, type Encryption, LENGTH_BYTES, TAG_BYTES } from "./packets.ts";

const BLOCK = 16;
/** Where in the memory of a packet the result goes, so that its body is aligned as the data was. */
const OUTPUT_AT = 10;

/** A key and its initialization vector. */
export class GcmKey {
  /** As node:crypto and OpenSSL call the cipher. */
  readonly name: CipherGCMTypes;
  /** 16 or 32 bytes. */
  readonly key: Buffer;
  /** 12 bytes: 4 that stay, and a counter of 64 bits. */
  readonly iv: Buffer;

  /**
   * @param name `aes-128-gcm` or `aes-256-gcm`.
   * @param key 16 or 32 bytes.
   * @param iv 12 bytes.
   */
  constructor(name: CipherGCMTypes, key: Buffer, iv: Buffer) {
    this.name = name;
    this.key = Buffer.from(key);
    this.iv = Buffer.from(iv);
  }

  /** Counts on for the next packet (RFC 5647 section 7.1). */
  count(): void {
    const { iv } = this;
    for (let index = 11; index >= 4; index--) {
      iv[index] = (iv[index] as number) + 1;
      if (iv[index] !== 0) return;
    }
  }

  /** Forgets it. */
  free(): void {
    this.key.fill(0);
  }
}

/** What both directions have. */
class Gcm {
  readonly blockLength = BLOCK;
  protected readonly key: GcmKey;

  /** @param key The key of this direction. */
  constructor(key: GcmKey) {
    this.key = key;
  }

  /** Forgets the key. */
  free(): void {
    this.key.free();
  }
}

/** The packets that are sent. */
export class GcmEncryption extends Gcm implements Encryption {
  /** @inheritdoc */
  encrypt(packet: Buffer, length: number): Buffer {
    const { name, key, iv } = this.key;
    const cipher = createCipheriv(name, key, iv);
    cipher.setAAD(packet.subarray(0, LENGTH_BYTES));
    const body = cipher.update(packet.subarray(LENGTH_BYTES, LENGTH_BYTES + length));
    cipher.final();
    const output = packet.subarray(OUTPUT_AT, OUTPUT_AT + LENGTH_BYTES + length + TAG_BYTES);
    output.writeUInt32BE(length, 0);
    output.set(body, LENGTH_BYTES);
    output.set(cipher.getAuthTag(), LENGTH_BYTES + length);
    this.key.count();
    return output;
  }
}

/** The packets that are received. */
export class GcmDecryption extends Gcm implements Decryption {
  /** @inheritdoc */
  length(data: Buffer, at: number): number {
    return data.readUInt32BE(at);
  }

  /** @inheritdoc */
  decrypt(data: Buffer, at: number, length: number): Buffer | undefined {
    const { name, key, iv } = this.key;
    const bodyAt = at + LENGTH_BYTES;
    const tagAt = bodyAt + length;
    const decipher = createDecipheriv(name, key, iv);
    decipher.setAAD(data.subarray(at, bodyAt));
    decipher.setAuthTag(data.subarray(tagAt, tagAt + TAG_BYTES));
    const plain = decipher.update(data.subarray(bodyAt, tagAt));
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    this.key.count();
    return plain;
  }
}
