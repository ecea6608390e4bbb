/**
 * Connecting to the destination of a direct-tcpip channel (RFC 4254 section 7.2), and saying why
 * that failed in the words that clients know from sshd.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { connect, type Socket } from "node:net";
import type { Destination } from "../dialer.ts";
import { systemCodeOf } from "../errors.ts";

/** Why a channel is refused (RFC 4254 section 5.1). */
export interface Refusal {
  /** The reason code. */
  readonly reason: number;
  /** The reason in words. */
  readonly description: string;
}

/** The destination, or the type of channel, is not allowed. */
export const PROHIBITED = 1;
/** The destination could not be reached. */
export const CONNECT_FAILED = 2;
/** The type of channel does not exist. */
export const UNKNOWN_TYPE = 3;
/** The server has no room for it. */
export const RESOURCE_SHORTAGE = 4;

/** What may be said about one dial. */
export interface DialTcpOptions {
  /** Milliseconds for all of it. */
  readonly timeout: number;
  /** Gives it up. */
  readonly signal: AbortSignal;
}

const CONNECT_WORDS: ReadonlyMap<string, string> = new Map([
  ["ECONNREFUSED", "Connection refused"],
  ["ECONNRESET", "Connection reset by peer"],
  ["ETIMEDOUT", "Connection timed out"],
  ["EHOSTUNREACH", "No route to host"],
  ["ENETUNREACH", "Network is unreachable"],
  ["EADDRNOTAVAIL", "Cannot assign requested address"],
  ["EACCES", "Permission denied"],
  ["EPERM", "Operation not permitted"],
  ["EINVAL", "Invalid argument"],
  ["ENOTFOUND", "Name or service not known"],
  ["EAI_AGAIN", "Temporary failure in name resolution"],
]);

const SHORTAGES: readonly string[] = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"];

/**
 * Connects to a destination, trying each of its addresses in turn.
 *
 * @param destination A name or an address, and a port.
 * @param options Deadline and signal.
 * @returns A connected socket that half-closes.
 * @throws {Error} The system's error; {@linkcode refusalOf} has the words for it.
 */
export async function dialTcp(
  destination: Destination,
  { timeout, signal }: DialTcpOptions,
): Promise<Socket> {
  const deadline = performance.now() + timeout;
  let last: unknown;
  for (const { address } of await resolve(destination.host)) {
    signal.throwIfAborted();
    const left = deadline - performance.now();
    if (left <= 0) throw last ?? timedOut();
    try {
      return await attempt({ host: address, port: destination.port }, left, signal);
    } catch (error) {
      last = error;
    }
  }
  throw last;
}

/**
 * What a client is told of a destination that could not be reached.
 *
 * @param error What {@linkcode dialTcp} threw.
 * @returns The reason code and sshd's words.
 */
export function refusalOf(error: unknown): Refusal {
  const code = systemCodeOf(error) ?? "";
  if (SHORTAGES.includes(code)) {
    return { reason: RESOURCE_SHORTAGE, description: "the server has no more sockets" };
  }
  const words = CONNECT_WORDS.get(code) ?? "Connection failed";
  return { reason: CONNECT_FAILED, description: words };
}

function attempt(address: Destination, timeout: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...address, allowHalfOpen: true, noDelay: true });
    const settle = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", cancel);
    };
    const fail = (error: unknown) => {
      settle();
      socket.destroy();
      reject(error);
    };
    const cancel = () => fail(signal.reason);
    const timer = setTimeout(() => fail(timedOut()), timeout);
    signal.addEventListener("abort", cancel, { once: true });
    // It stays: whatever comes between this and the relay must not end the process.
    socket.on("error", fail);
    socket.once("connect", () => {
      settle();
      resolve(socket);
    });
  });
}

async function resolve(host: string): Promise<readonly { address: string }[]> {
  try {
    const found = await lookup(host, { all: true });
    if (found.length > 0) return found;
  } catch (error) {
    if (systemCodeOf(error) === "EAI_AGAIN") throw error;
    // The runtimes have several codes for the rest.
  }
  throw Object.assign(new Error("no such host"), { code: "ENOTFOUND" });
}

function timedOut(): Error {
  return Object.assign(new Error("no answer in time"), { code: "ETIMEDOUT" });
}
