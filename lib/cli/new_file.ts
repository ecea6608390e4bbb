/**
 * A file that is written for a person, and takes the place of no other.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { fileReason, systemCodeOf, UsageError } from "../errors.ts";

/** Others may read it; a fairlead.yaml that they can write is refused. */
const MODE = 0o644;

/**
 * Writes a new file.
 *
 * @param path Where to.
 * @param text What.
 * @param options Whether a file that is there is replaced; what to do where it is not.
 * @throws {UsageError} When there is one already, or it cannot be written.
 */
export function writeNewFile(
  path: string,
  text: string,
  { force = false, hint }: { readonly force?: boolean; readonly hint: string },
): void {
  try {
    writeFileSync(path, text, { flag: force ? "w" : "wx", mode: MODE });
  } catch (error) {
    if (systemCodeOf(error) === "EEXIST") throw new UsageError(`${path} exists already`, hint);
    const reason = systemCodeOf(error) === "ENOENT"
      ? "its folder does not exist"
      : fileReason(error);
    throw new UsageError(`${path}: ${reason}`);
  }
}
