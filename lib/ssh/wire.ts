/**
 * The data types of the SSH protocols (RFC 4251 section 5): keys, certificates, signatures and an
 * agent's messages are all made of them.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/**
 * A `string`: its length, then its bytes.
 *
 * @param data The bytes; text is sent as UTF-8.
 * @returns The encoding.
 */
export function sshString(data: Buffer | string): Buffer {
  const bytes = typeof data === "string" ? Buffer.from(data) : data;
  return Buffer.concat([uint32(bytes.length), bytes]);
}

/**
 * A `uint32`.
 *
 * @param value A whole number below 2^32.
 * @returns The encoding.
 */
export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/**
 * An `mpint` that is not negative.
 *
 * @param magnitude The number's bytes, the highest first.
 * @returns The encoding, without needless zeros.
 */
export function mpint(magnitude: Buffer): Buffer {
  const start = magnitude.findIndex((byte) => byte !== 0);
  const bytes = start < 0 ? Buffer.alloc(0) : magnitude.subarray(start);
  return sshString((bytes[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes);
}

/** Reads one value after the other; each method throws a SyntaxError where the bytes end early. */
export class WireReader {
  readonly #bytes: Buffer;
  #position = 0;

  /** @param bytes What is read; nothing of it is copied. */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** Bytes that are still unread. */
  get left(): number {
    return this.#bytes.length - this.#position;
  }

  /** A `byte`. */
  byte(): number {
    return this.#take(1)[0] as number;
  }

  /** A `uint32`. */
  uint32(): number {
    return this.#take(4).readUInt32BE();
  }

  /** A `uint64`. */
  uint64(): bigint {
    return this.#take(8).readBigUInt64BE();
  }

  /** The bytes of a `string`. */
  string(): Buffer {
    return this.#take(this.uint32());
  }

  /** A `string` that is text. */
  text(): string {
    return this.string().toString("utf8");
  }

  #take(length: number): Buffer {
    if (length > this.left) throw new SyntaxError("the data ends early");
    this.#position += length;
    return this.#bytes.subarray(this.#position - length, this.#position);
  }
}
