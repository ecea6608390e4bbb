/**
 * Whether a libcrypto does what it should: what it makes of known answers, and of random packets
 * beside the runtime's own AES.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { randomBytes, randomInt } from "node:crypto";
import { GcmEncryption, GcmKey } from "./aes_gcm.ts";
import type { LibCrypto } from "./libcrypto.ts";
import { LENGTH_BYTES, TAIL_BYTES } from "./packets.ts";
import { SystemGcmDecryption, SystemGcmEncryption } from "./system_aes_gcm.ts";

/** Packets of each key length that both must agree on, and the most blocks of one. */
const PACKETS = 6;
const MOST_BLOCKS = 64;

/** Bytes that are encrypted at a time to learn the speed, and how often: the best time counts. */
const SPEED_BYTES = 16_384;
const SPEED_TIMES = 4;

/**
 * Two packets of 16 bytes of 7 each, under the key 0, 1, 2… and an initialization vector whose
 * counter carries between them. OpenSSL, BoringSSL and RustCrypto agree on them.
 */
const KNOWN = {
  "aes-128-gcm": [
    "00000010ec7b0eada3421342ac7b1e32e2598a6576a9b031bb1d1562f9a1d36a72dc99ad",
    "000000101802a59ffd986e09a03c679da57aa8bb33fac27a4b0ea680a72dcb1a86b97a52",
  ],
  "aes-256-gcm": [
    "00000010f73e7497a8c586b3c671cdb38f8042957d4d0fadc38ae5421ca80062b066c16e",
    "00000010b891a7d3a1fd4020e2712223f335797cf149c847b991909069ba2aa873771e76",
  ],
} as const;

type Name = keyof typeof KNOWN;

/**
 * Tries it.
 *
 * @param library The library.
 * @returns Whether it can be relied on.
 * @throws {Error} When a function of it fails.
 */
export function isSound(library: LibCrypto): boolean {
  const names = Object.keys(KNOWN) as Name[];
  return names.every((name) => knowsAnswers(library, name) && agrees(library, name));
}

/**
 * Measures it.
 *
 * @param library The library.
 * @returns Bytes of AES-128-GCM a second.
 */
export function speed(library: LibCrypto): number {
  const newKey = newKeys("aes-128-gcm");
  const cipher = new SystemGcmEncryption(library, newKey());
  const packet = newPacket(SPEED_BYTES);
  let best = Infinity;
  for (let time = 0; time < SPEED_TIMES; time++) {
    const start = performance.now();
    cipher.encrypt(packet, SPEED_BYTES);
    best = Math.min(best, performance.now() - start);
  }
  cipher.free();
  return SPEED_BYTES / best * 1000;
}

function knowsAnswers(library: LibCrypto, name: Name): boolean {
  const key = Buffer.from(Array.from({ length: keyLength(name) }, (_, index) => index));
  const iv = Buffer.from([0, 1, 2, 3, ...Array(8).fill(255)]);
  const cipher = new SystemGcmEncryption(library, new GcmKey(name, key, iv));
  const right = KNOWN[name].every((answer) => {
    const packet = newPacket(16).fill(7, LENGTH_BYTES);
    return cipher.encrypt(packet, 16).toString("hex") === answer;
  });
  cipher.free();
  return right;
}

function agrees(library: LibCrypto, name: Name): boolean {
  const newKey = newKeys(name);
  const theirs = new SystemGcmEncryption(library, newKey());
  const ours = new GcmEncryption(newKey());
  const reader = new SystemGcmDecryption(library, newKey());
  const misled = new SystemGcmDecryption(library, newKey());
  const right = Array.from({ length: PACKETS }, () => 16 * randomInt(1, MOST_BLOCKS)).every(
    (length, index) => {
      const packet = newPacket(length);
      const encrypted = theirs.encrypt(Buffer.from(packet), length);
      if (!encrypted.equals(ours.encrypt(Buffer.from(packet), length))) return false;
      if (index === 0) {
        const changed = Buffer.from(encrypted);
        changed[randomInt(changed.length)]! ^= 1 << randomInt(8);
        if (misled.decrypt(changed, 0, length) !== undefined) return false;
      }
      const plain = reader.decrypt(encrypted, 0, length);
      return plain?.equals(packet.subarray(LENGTH_BYTES, LENGTH_BYTES + length)) === true;
    },
  );
  for (const cipher of [theirs, ours, reader, misled]) cipher.free();
  return right;
}

/** The same new key again and again: whoever gets one counts and forgets it. */
function newKeys(name: Name): () => GcmKey {
  const key = randomBytes(keyLength(name));
  const iv = randomBytes(12);
  return () => new GcmKey(name, key, iv);
}

function newPacket(length: number): Buffer {
  const packet = randomBytes(LENGTH_BYTES + length + TAIL_BYTES);
  packet.writeUInt32BE(length, 0);
  return packet;
}

function keyLength(name: Name): number {
  return name === "aes-128-gcm" ? 16 : 32;
}
