/**
 * What a connection says of its ciphers. ssh2 makes them again at each exchange of keys, and tells
 * them no more of the connection than two functions of its own: by these it is known.
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

/** What of ssh2's protocol machine outlives its ciphers. */
export interface CipherOwner {
  /** Sends bytes. */
  readonly _onWrite: (data: never) => void;
  /** Takes each payload. */
  readonly _onPayload: (payload: never) => unknown;
}

const known = new WeakMap<object, CipherSettings>();

/**
 * The settings of a connection, to be changed.
 *
 * @param protocol ssh2's protocol machine, new.
 * @returns What its ciphers look at.
 */
export function cipherSettings(protocol: CipherOwner): CipherSettings {
  const settings = settingsOf(protocol._onWrite);
  known.set(protocol._onWrite, settings);
  known.set(protocol._onPayload, settings);
  return settings;
}

/**
 * The same by what ssh2 tells a cipher.
 *
 * @param callback One of the protocol machine's two functions.
 * @returns The connection's settings, or the usual ones where it has none.
 */
export function settingsOf(callback: (data: never) => unknown): CipherSettings {
  return known.get(callback) ?? { systemCrypto: true, largestPacket: USUAL_PACKET };
}
