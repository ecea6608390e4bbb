/**
 * AES-GCM by the system's libcrypto: one context a direction, with the key set once.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { GcmKey } from "./aes_gcm.ts";
import type { LibCrypto, Pointer } from "./libcrypto.ts";
import { type Decryption, type Encryption, LENGTH_BYTES, TAG_BYTES } from "./packets.ts";

const BLOCK = 16;

/** EVP_CTRL_AEAD_GET_TAG and EVP_CTRL_AEAD_SET_TAG of openssl/evp.h. */
const GET_TAG = 0x10;
const SET_TAG = 0x11;

/** A context with its key. */
class Context {
  readonly blockLength = BLOCK;
  readonly #library: LibCrypto;
  readonly #key: GcmKey;
  readonly #encrypting: 0 | 1;
  /** Where libcrypto writes a length, and the nothing that is left at the end. */
  readonly #written = Buffer.alloc(4);
  readonly #rest = Buffer.alloc(BLOCK);
  #context: Pointer;

  constructor(library: LibCrypto, key: GcmKey, encrypting: 0 | 1) {
    this.#library = library;
    this.#key = key;
    this.#encrypting = encrypting;
    this.#context = library.EVP_CIPHER_CTX_new();
    const cipher = key.name === "aes-128-gcm"
      ? library.EVP_aes_128_gcm()
      : library.EVP_aes_256_gcm();
    try {
      if (this.#context === null || cipher === null) throw failure();
      this.#must(
        library.EVP_CipherInit_ex(this.#context, cipher, null, key.key, key.iv, encrypting),
      );
    } catch (error) {
      this.free();
      throw error;
    }
    // libcrypto has its own copy.
    key.free();
  }

  free(): void {
    const context = this.#context;
    this.#context = null;
    if (context !== null) this.#library.EVP_CIPHER_CTX_free(context);
  }

  /** Encrypts or decrypts a packet's body; the length before it is authenticated only. */
  protected apply(packet: Uint8Array, body: Uint8Array, output: Uint8Array): void {
    const context = this.#open();
    const library = this.#library;
    const { iv } = this.#key;
    this.#must(library.EVP_CipherInit_ex(context, null, null, null, iv, this.#encrypting));
    this.#must(library.EVP_CipherUpdate(context, null, this.#written, packet, LENGTH_BYTES));
    this.#must(library.EVP_CipherUpdate(context, output, this.#written, body, body.length));
    if (this.#written.readInt32LE() !== body.length) throw failure();
  }

  /** Whether the tag is right; always, where it was only made. */
  protected finish(): boolean {
    const context = this.#open();
    this.#key.count();
    return this.#library.EVP_CipherFinal_ex(context, this.#rest, this.#written) === 1;
  }

  protected tag(control: typeof GET_TAG | typeof SET_TAG, tag: Uint8Array): void {
    this.#must(this.#library.EVP_CIPHER_CTX_ctrl(this.#open(), control, TAG_BYTES, tag));
  }

  #open(): Pointer {
    if (this.#context === null) throw failure();
    return this.#context;
  }

  #must(result: number): void {
    if (result !== 1) throw failure();
  }
}

/** The packets that are sent. */
export class SystemGcmEncryption extends Context implements Encryption {
  /**
   * @param library The system's libcrypto.
   * @param key The key of this direction.
   */
  constructor(library: LibCrypto, key: GcmKey) {
    super(library, key, 1);
  }

  /** @inheritdoc */
  encrypt(packet: Buffer, length: number): Buffer {
    const tagAt = LENGTH_BYTES + length;
    const body = packet.subarray(LENGTH_BYTES, tagAt);
    this.apply(packet, body, body);
    if (!this.finish()) throw failure();
    this.tag(GET_TAG, packet.subarray(tagAt, tagAt + TAG_BYTES));
    return packet.subarray(0, tagAt + TAG_BYTES);
  }
}

/** The packets that are received. */
export class SystemGcmDecryption extends Context implements Decryption {
  /**
   * @param library The system's libcrypto.
   * @param key The key of this direction.
   */
  constructor(library: LibCrypto, key: GcmKey) {
    super(library, key, 0);
  }

  /** @inheritdoc */
  length(data: Buffer, at: number): number {
    return data.readUInt32BE(at);
  }

  /** @inheritdoc */
  decrypt(data: Buffer, at: number, length: number): Buffer | undefined {
    const bodyAt = at + LENGTH_BYTES;
    const tagAt = bodyAt + length;
    const plain = Buffer.allocUnsafe(length);
    this.apply(data.subarray(at, bodyAt), data.subarray(bodyAt, tagAt), plain);
    this.tag(SET_TAG, data.subarray(tagAt, tagAt + TAG_BYTES));
    return this.finish() ? plain : undefined;
  }
}

function failure(): Error {
  return new Error("the system's libcrypto failed");
}
