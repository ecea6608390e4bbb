/**
 * Which fairlead.yaml is meant, and whether it may be believed.
 *
 * @module
 */
import { closeSync, fstatSync, openSync, readFileSync, realpathSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import process from "node:process";
import { fileReason, UsageError } from "../errors.ts";
import { isOwn, onlyUserWrites } from "../ssh_config/permissions.ts";

/** Names that the file may have, the usual one first. */
export const CONFIG_NAMES: readonly string[] = ["fairlead.yaml", "fairlead.yml"];

/** Bytes of a file; real ones have a few thousand. */
const MOST_BYTES = 1024 * 1024;

/** Where to look. */
export interface Surroundings {
  /** The file that was named, where one was. */
  readonly file?: string | undefined;
  /** The working folder. */
  readonly cwd: string;
  /** The user's own folder. */
  readonly home: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/**
 * Finds the file: the one that was named, else the nearest one from the working folder upwards, else
 * the user's own.
 *
 * @param surroundings Where to look.
 * @returns Its absolute path; undefined where there is none.
 */
export function findConfig({ file, cwd, home, environment }: Surroundings): string | undefined {
  if (file !== undefined) return resolve(cwd, file);
  for (let folder = resolve(cwd);; folder = dirname(folder)) {
    const found = configIn(folder);
    if (found !== undefined) return found;
    if (folder === dirname(folder)) break;
  }
  return configIn(userFolder(home, environment));
}

/** The folder of the user's own fairlead.yaml, as the system has such folders. */
function userFolder(home: string, environment: Surroundings["environment"]): string {
  const { XDG_CONFIG_HOME = "", APPDATA = "" } = environment;
  if (process.platform === "win32" && APPDATA !== "") return join(APPDATA, "fairlead");
  return join(XDG_CONFIG_HOME === "" ? join(home, ".config") : XDG_CONFIG_HOME, "fairlead");
}

function configIn(folder: string): string | undefined {
  return CONFIG_NAMES.map((name) => join(folder, name)).find((path) => {
    try {
      return statSync(path).isFile();
    } catch {
      return false;
    }
  });
}

/**
 * Reads a file that nobody else could have written: it names programs (ProxyCommand), keys and
 * hosts.
 *
 * @param path Its absolute path.
 * @param shown How it is shown.
 * @returns Its text.
 * @throws {UsageError} `config-invalid` where it cannot be read, is too large, or others can write
 *   it.
 */
export function readConfigFile(path: string, shown: string): string {
  const refuse = (reason: string, hint?: string) =>
    new UsageError(`${shown}: ${reason}`, hint, "config-invalid");
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    throw refuse(fileReason(error));
  }
  try {
    // Of what was opened, and not of what has the name by then.
    const status = fstatSync(file);
    if (!status.isFile()) throw refuse("it is no file");
    if (!isOwn(status)) {
      throw refuse("it belongs to another user, who could have written anything into it");
    }
    if (!onlyUserWrites(status)) {
      throw refuse("others can write it", `chmod go-w ${shown} takes that away`);
    }
    if (status.size > MOST_BYTES) throw refuse("it is larger than 1 MiB");
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}

/**
 * How a file is shown: from the working folder where that is shorter.
 *
 * @param path Its absolute path.
 * @param cwd The working folder.
 * @returns A path that leads there.
 */
export function shownPath(path: string, cwd: string): string {
  const near = relative(real(cwd), real(path));
  return near !== "" && near.length < path.length ? near : path;
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
