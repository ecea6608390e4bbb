/**
 * Poly1305, from the WebAssembly module that comes with ssh2. Used without its wrapper, which copies
 * what it is given onto a stack and off again.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import createPoly1305 from "ssh2/lib/protocol/crypto/poly1305.js";

/** Bytes of a key. */
const KEY_BYTES = 32;
const TAG_BYTES = 16;

/** What of the module is used; addresses are offsets in HEAPU8. */
interface Poly1305Module {
  readonly HEAPU8: Uint8Array;
  _malloc(bytes: number): number;
  _poly1305_auth(
    tag: number,
    first: number,
    firstLength: number,
    second: number,
    secondLength: number,
    key: number,
  ): void;
}

/** A place for one message, and what makes its tag. */
export interface Poly1305 {
  /** The module's own memory: what is to have a tag is put here. */
  readonly room: Buffer;
  /**
   * Makes a tag.
   *
   * @param from Where in `room` the message begins.
   * @param to Where it ends.
   * @param key At least 32 bytes, of which the first 32 count.
   * @returns 16 bytes, in the module's memory: they are there until the next call.
   */
  tag(from: number, to: number, key: Uint8Array): Buffer;
}

/**
 * Loads the module.
 *
 * @param bytes The size of `room`.
 * @returns Poly1305, of one message at a time.
 */
export async function loadPoly1305(bytes: number): Promise<Poly1305> {
  const module = await createPoly1305() as Poly1305Module;
  const address = module._malloc(bytes);
  const key = module._malloc(KEY_BYTES);
  const tag = module._malloc(TAG_BYTES);
  // Nothing is allocated after this, so the memory never moves.
  const { buffer } = module.HEAPU8;
  const room = Buffer.from(buffer, address, bytes).fill(0);
  const keyRoom = Buffer.from(buffer, key, KEY_BYTES);
  const tagRoom = Buffer.from(buffer, tag, TAG_BYTES);
  return {
    room,
    tag: (from, to, keyBytes) => {
      keyRoom.set(keyBytes.subarray(0, KEY_BYTES));
      module._poly1305_auth(tag, address + from, to - from, 0, 0, key);
      return tagRoom;
    },
  };
}
