/**
 * Writes dist/SHA256SUMS, as sha256sum does, for what a release has of it:
 *
 *     deno run -A scripts/build/sums.ts [FOLDER]
 */
import { createHash } from "node:crypto";
import { closeSync, openSync, readdirSync, readSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { runBuild } from "../arguments.ts";
import { DIST } from "./project.ts";

/** The file's name. */
export const SUMS = "SHA256SUMS";

/** Files of a release: binaries, the bundle, the package, the manual page, the installer. */
const RELEASED = /^(?:fairlead[-.]|install\.sh$)/;

/**
 * Writes it anew; other files and folders beside do not matter.
 *
 * @param folder Where the files lie.
 * @returns Where it lies.
 */
export function writeSums(folder: string): string {
  const names = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && RELEASED.test(entry.name))
    .map(({ name }) => name)
    .sort();
  const lines = names.map((name) => `${sha256(join(folder, name))}  ${name}\n`);
  const path = join(folder, SUMS);
  // At once: who verifies meanwhile shall see either the old sums or the new.
  const fresh = join(folder, `.${SUMS}.${process.pid}`);
  writeFileSync(fresh, lines.join(""));
  renameSync(fresh, path);
  return path;
}

/**
 * The SHA-256 of a file.
 *
 * @param path The file, of any size.
 * @returns In hexadecimal digits.
 */
export function sha256(path: string): string {
  const hash = createHash("sha256");
  const chunk = new Uint8Array(1 << 20);
  const file = openSync(path, "r");
  try {
    for (;;) {
      const count = readSync(file, chunk);
      if (count === 0) return hash.digest("hex");
      hash.update(chunk.subarray(0, count));
    }
  } finally {
    closeSync(file);
  }
}

if (import.meta.main) await runBuild("build:sums", () => writeSums(DIST));
