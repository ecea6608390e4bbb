/**
 * Where this user's background process is controlled.
 *
 * @module
 */
import { chmodSync, lstatSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { FairleadError, messageOf } from "../errors.ts";
import { missingPermission } from "../runtime.ts";

/** Bytes of a Unix socket's path: Linux has 107, macOS and BSD 103. */
const MOST_BYTES = 103;

/**
 * The path of the control socket, in a folder that nobody else can enter.
 *
 * @param environment The variables: XDG_RUNTIME_DIR.
 * @returns The path. Its folder is there.
 * @throws {FairleadError} Where there can be none, or the folder is not this user's own.
 */
export function controlSocketPath(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const uid = process.getuid?.();
  if (uid === undefined) {
    throw new FairleadError("the background process of named tunnels needs Unix sockets", {
      code: "not-supported",
      hint: "fairlead up --foreground does without",
    });
  }
  const { XDG_RUNTIME_DIR = "" } = environment;
  const folder = XDG_RUNTIME_DIR === ""
    ? join(tmpdir(), `fairlead-${uid}`)
    : join(XDG_RUNTIME_DIR, "fairlead");
  const path = join(folder, "control.sock");
  if (new TextEncoder().encode(path).length > MOST_BYTES) {
    throw new FairleadError(`${path}: longer than the path of a Unix socket can be`, {
      code: "address-not-available",
      hint: "XDG_RUNTIME_DIR can name a folder with a shorter path",
    });
  }
  claim(folder, uid);
  return path;
}

/** Whoever made it could have had it made: only what it is now counts. */
function claim(folder: string, uid: number): void {
  try {
    mkdirSync(folder, { mode: 0o700, recursive: true });
    const status = lstatSync(folder);
    if (!status.isDirectory()) throw new Error("it is no folder");
    if (status.uid !== uid) throw new Error("it belongs to another user");
    if ((status.mode & 0o077) !== 0) chmodSync(folder, 0o700);
  } catch (error) {
    // The folder is not to blame, and main() knows better what to say.
    if (missingPermission(error) !== undefined) throw error;
    throw new FairleadError(`${folder}, for the control socket: ${messageOf(error)}`, {
      code: "not-permitted",
      hint: "XDG_RUNTIME_DIR can name another folder of yours",
      cause: error,
    });
  }
}
