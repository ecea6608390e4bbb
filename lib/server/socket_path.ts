/**
 * Paths of Unix sockets, as clients write them.
 *
 * @module
 */
import { isAbsolute, normalize } from "node:path";
import type { UnixAddress } from "../dialer.ts";

/**
 * The one spelling of a path that its owner judges and that is then used.
 *
 * @param address The socket, in a client's words.
 * @returns The path without `.` and `..`. undefined where it is relative, since the server's own
 *   folder is nobody's business, and where a NUL would make it another name than it seems.
 */
export function socketPath({ path }: UnixAddress): string | undefined {
  return isAbsolute(path) && !path.includes("\0") ? normalize(path) : undefined;
}
