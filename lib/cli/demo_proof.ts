/**
 * The demo's proof: the same search, over what was captured with and without the tunnel.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

/**
 * Looks for secrets in both captures. A search that finds nothing proves something only where the
 * same search does find it.
 *
 * @param encrypted What was captured on the protected way; none may be in it.
 * @param plain What was captured on the open way; all must be in it.
 * @param secrets What to look for, by what people call it.
 * @throws {Error} That says which secret was found where it must not be, or was not found where it
 *   must be.
 */
export function prove(
  encrypted: Buffer,
  plain: Buffer,
  secrets: ReadonlyMap<string, string>,
): void {
  for (const [name, secret] of secrets) {
    if (encrypted.includes(secret)) {
      throw new Error(`${name} is readable between client and SSH server`);
    }
    if (!plain.includes(secret)) {
      throw new Error(`${name} is not found where it must be: the search proves nothing`);
    }
  }
}
