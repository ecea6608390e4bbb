/**
 * The files that `Include` means.
 *
 * @module
 */
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join, parse } from "node:path";
import process from "node:process";
import { expandHome } from "./tokens.ts";

/** The folder of the system's files. */
export const SYSTEM_FOLDER: string = process.platform === "win32"
  ? join(process.env["ProgramData"] ?? "C:\\ProgramData", "ssh")
  : "/etc/ssh";

/** More than anybody has in one folder. */
const MOST_FILES = 1_000;

/**
 * Finds the files.
 *
 * @param path What Include says, tokens and variables expanded: `*`, `?` and `[…]` as in a shell.
 * @param ofUser Whether it stands in a file of the user's, and not in the system's.
 * @returns Their paths, sorted; none where nothing fits.
 * @throws {SyntaxError} When a system file includes something of a home folder, or there are too
 *   many.
 */
export function includedFiles(path: string, ofUser: boolean): string[] {
  if (path.startsWith("~") && !ofUser) {
    throw new SyntaxError(`${path}: a system file cannot include what is in a home folder`);
  }
  const folder = ofUser ? join(homedir(), ".ssh") : SYSTEM_FOLDER;
  const home = expandHome(path);
  const whole = isAbsolute(home) ? home : join(folder, home);
  if (!/[*?[]/.test(whole)) return existsSync(whole) ? [whole] : [];
  const { root } = parse(whole);
  const parts = whole.slice(root.length).split(/[\\/]/).filter((part) => part !== "");
  let found = [root];
  for (const part of parts) {
    found = found.flatMap((folder) => namesFor(folder, part).map((name) => join(folder, name)));
    if (found.length > MOST_FILES) throw new SyntaxError(`${path}: more than ${MOST_FILES} files`);
  }
  return found.filter((file) => existsSync(file)).sort();
}

function namesFor(folder: string, part: string): string[] {
  if (!/[*?[]/.test(part)) return [part];
  const pattern = toRegExp(part);
  try {
    return readdirSync(folder).filter((name) =>
      pattern.test(name) && (part.startsWith(".") || !name.startsWith("."))
    );
  } catch {
    // No folder, or none that may be read.
    return [];
  }
}

/** glob(7): a `*` does not stand for more than one folder's name. */
function toRegExp(part: string): RegExp {
  const source = part.replace(/\[(!?)(\]?[^\]]*)\]|\*+|[^]/g, (found, not: string, set: string) => {
    if (set !== undefined) return `[${not === "!" ? "^" : ""}${set.replace(/[\\\]^[]/g, "\\$&")}]`;
    if (found.startsWith("*")) return ".*";
    return found === "?" ? "." : found.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  });
  return new RegExp(`^${source}$`, "su");
}
