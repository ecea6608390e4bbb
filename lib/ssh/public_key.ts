/**
 * Public keys and certificates as lines of text: what `.pub` files hold.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { readFile, stat } from "node:fs/promises";
import { keyTypeOf } from "./key_algorithms.ts";

/** Bytes of a public key's file; real ones have a few thousand. */
const MAX_FILE = 1024 * 1024;

/**
 * The public key or certificate in a file.
 *
 * @param path The file's path.
 * @returns It, as SSH encodes it; undefined where the file holds none.
 * @throws {Error} When the file cannot be read.
 */
export async function readPublicKeyFile(path: string): Promise<Buffer | undefined> {
  const info = await stat(path);
  // A device or a pipe could go on for ever.
  if (!info.isFile() || info.size > MAX_FILE) return undefined;
  return parsePublicKey(await readFile(path, "utf8"));
}

/**
 * The public key or certificate in a line of text: type, base64, comment.
 *
 * @param text The line; others may stand around it.
 * @returns It, as SSH encodes it; undefined where there is none.
 */
export function parsePublicKey(text: string): Buffer | undefined {
  const [, type, base64 = ""] = /^[ \t]*([a-z0-9@.-]+)[ \t]+([A-Za-z0-9+/]+=*)/m.exec(text) ?? [];
  const blob = Buffer.from(base64, "base64");
  return type !== undefined && keyTypeOf(blob) === type ? blob : undefined;
}
