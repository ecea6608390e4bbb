/**
 * A record of everything, for whoever cannot add -vvv to the command line: a ProxyCommand, a job, a
 * program that starts fairlead by itself.
 *
 * @module
 */
import { openSync, writeSync } from "node:fs";
import process from "node:process";
import { fileReason } from "../errors.ts";

/** The variable that names the file. */
const VARIABLE = "FAIRLEAD_TRACE";

/** The record of this process. */
export interface Trace {
  /**
   * Adds one line, with the time and the process's number before it.
   *
   * @param line What to add; several processes may write to one file.
   */
  readonly write: (line: string) => void;
  /** Why there is none although one was asked for. */
  readonly failure?: string;
}

/**
 * Opens the file that FAIRLEAD_TRACE names, to append to it.
 *
 * @returns The record; undefined where none was asked for.
 */
export function openTrace(): Trace | undefined {
  const path = process.env[VARIABLE];
  if (path === undefined || path === "") return undefined;
  try {
    const file = openSync(path, "a", 0o600);
    return {
      write: (line) => {
        try {
          writeSync(file, `${new Date().toISOString()} ${process.pid} ${line}\n`);
        } catch {
          // A full disk does not end what goes on besides.
        }
      },
    };
  } catch (error) {
    return { write: () => {}, failure: `${VARIABLE}=${path}: ${fileReason(error)}` };
  }
}
