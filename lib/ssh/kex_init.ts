/**
 * SSH_MSG_KEXINIT (RFC 4253 section 7.1): what each side can do, and what comes of it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { EngineProtocol } from "./ssh2.ts";

/** The number of SSH_MSG_KEXINIT. */
const KEXINIT = 20;
/** Where the lists begin: behind the message's number and a cookie of 16 bytes. */
const LISTS = 17;

/** The lists of a KEXINIT that something is chosen from, in the order of the message. */
export interface KexInit {
  /** Key exchange methods, and signs such as `kex-strict-s-v00@openssh.com`. */
  readonly kex: readonly string[];
  /** Signature algorithms for the server's host key. */
  readonly serverHostKey: readonly string[];
  /** Ciphers from the client to the server. */
  readonly cipherOut: readonly string[];
  /** Ciphers from the server to the client. */
  readonly cipherIn: readonly string[];
  /** MACs from the client to the server. */
  readonly macOut: readonly string[];
  /** MACs from the server to the client. */
  readonly macIn: readonly string[];
}

/**
 * Reads a KEXINIT.
 *
 * @param payload The message, with its number.
 * @returns Its lists; undefined where it is malformed.
 */
export function parseKexInit(payload: Buffer): KexInit | undefined {
  const lists: string[][] = [];
  let at = LISTS;
  while (lists.length < 6) {
    if (at + 4 > payload.length) return undefined;
    const end = at + 4 + payload.readUInt32BE(at);
    if (end > payload.length) return undefined;
    const text = payload.toString("latin1", at + 4, end);
    lists.push(text === "" ? [] : text.split(","));
    at = end;
  }
  const [kex, serverHostKey, cipherOut, cipherIn, macOut, macIn] = lists as [
    string[],
    string[],
    string[],
    string[],
    string[],
    string[],
  ];
  return { kex, serverHostKey, cipherOut, cipherIn, macOut, macIn };
}

/**
 * Puts another list of key exchange methods into a KEXINIT.
 *
 * @param payload A well-formed message.
 * @param kex The methods.
 * @returns A new message, the same but for that.
 */
export function replaceKex(payload: Buffer, kex: readonly string[]): Buffer {
  const names = Buffer.from(kex.join(","), "latin1");
  const length = Buffer.alloc(4);
  length.writeUInt32BE(names.length);
  const rest = payload.subarray(LISTS + 4 + payload.readUInt32BE(LISTS));
  return Buffer.concat([payload.subarray(0, LISTS), length, names, rest]);
}

/**
 * Whether a name in a list of key exchange methods is none, but the sign of an extension (RFC 8308,
 * strict key exchange).
 *
 * @param name The name.
 * @returns Whether it is.
 */
export function isSign(name: string): boolean {
  return /^(?:ext-info-|kex-strict-)/.test(name);
}

/**
 * Shows each KEXINIT of the peer before ssh2 reads it; ssh2 itself keeps it from everybody.
 *
 * @param protocol The protocol machine, before it has received anything.
 * @param look Called with the message; what it returns is what whoever watches next, and in the
 *   end ssh2, reads.
 */
export function watchKexInit(protocol: EngineProtocol, look: (payload: Buffer) => Buffer): void {
  watchMessages(protocol, (payload) => payload[0] === KEXINIT ? look(payload) : payload);
}

/**
 * The same for every message.
 *
 * @param protocol The protocol machine, before it has received anything.
 * @param look Called with the message; what it returns is what is read in its place.
 */
export function watchMessages(protocol: EngineProtocol, look: (payload: Buffer) => Buffer): void {
  const { _packetRW: packets } = protocol;
  const before = packets.read;
  const reader = {
    read: (data: Buffer) => look(before.read(data)),
    cleanup: () => before.cleanup(),
  };
  // ssh2 makes another reader at each exchange of keys. Without compression they all do nothing.
  Object.defineProperty(packets, "read", { get: () => reader, set: () => {}, configurable: true });
}
