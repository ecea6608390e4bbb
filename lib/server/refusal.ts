/**
 * Why a channel is refused (RFC 4254 section 5.1), in the words that clients know from sshd.
 *
 * @module
 */
import { ConnectionError, systemCodeOf } from "../errors.ts";

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
  ["ENOENT", "No such file or directory"],
  ["ENOTDIR", "Not a directory"],
  ["ENAMETOOLONG", "File name too long"],
  ["ENOTFOUND", "Name or service not known"],
  ["EAI_AGAIN", "Temporary failure in name resolution"],
]);

const SHORTAGES: readonly string[] = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"];

/**
 * What a client is told of a destination that could not be reached.
 *
 * @param error What `connectSocket` threw.
 * @returns The reason code and sshd's words.
 */
export function refusalOf(error: unknown): Refusal {
  const code = systemCodeOf(error instanceof ConnectionError ? error.cause : error) ?? "";
  if (SHORTAGES.includes(code)) {
    return { reason: RESOURCE_SHORTAGE, description: "the server has no more sockets" };
  }
  const words = CONNECT_WORDS.get(code) ?? "Connection failed";
  return { reason: CONNECT_FAILED, description: words };
}
