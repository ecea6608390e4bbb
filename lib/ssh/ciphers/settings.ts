/**
 * What a connection says of its ciphers.
 *
 * @module
 */

import type { SendBuffer } from "../send_buffer.ts";

/** Bytes of a packet that every peer takes, as ssh2 has it (RFC 4253 section 6.1). */
const USUAL_PACKET = 35_000;

/** Bytes of data that any packet has at most. */
export const LARGEST_DATA = 256 * 1024;

/** Bytes of the largest packet that is ever taken or sent: the data, and what goes with it. */
export const LARGEST_PACKET = LARGEST_DATA + 1024;

/** The settings of one connection; a change counts from the next packet, or exchange of keys, on. */
export interface CipherSettings {
  /** Whether AES-GCM may be the system's libcrypto's. */
  systemCrypto: boolean;
  /** Bytes that a received packet may have, without its length field and tag. */
  largestPacket: number;
  /** Memory for the packets that are sent; without it each has its own. */
  sendBuffer?: SendBuffer;
}

/** The settings of a connection of which nobody has said anything. */
export function usualSettings(): CipherSettings {
  return { systemCrypto: true, largestPacket: USUAL_PACKET };
}
