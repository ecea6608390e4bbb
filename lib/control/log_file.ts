/**
 * What the background process logs: one JSON object a line, in files of bounded size.
 *
 * @module
 */
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { configureSync, type LogRecord } from "@logtape/logtape";

/** Bytes of one file. */
const MOST_BYTES = 1024 * 1024;
/** Older files that are kept. */
export const OLD_FILES = 3;
/** Letters of one message. */
const MOST_LETTERS = 4_000;

/** One line. */
export interface LogLine {
  /** ISO 8601. */
  readonly time: string;
  readonly level: string;
  /** The tunnel that it is about, where it is about one. */
  readonly tunnel?: string;
  readonly message: string;
}

/**
 * Where the background process logs: in the user's folder for such files.
 *
 * @param environment The variables: XDG_STATE_HOME.
 * @returns The path of the newest file.
 */
export function logFilePath(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const { XDG_STATE_HOME = "" } = environment;
  const state = XDG_STATE_HOME === "" ? join(homedir(), ".local", "state") : XDG_STATE_HOME;
  return join(state, "fairlead", "fairlead.log");
}

/** A file that lines are appended to. What was written is there, even if the process is killed. */
export class LogFile {
  readonly #path: string;
  readonly #most: number;
  #file: number;
  #size: number;
  /** The inode of the file that it began with: this process's own stderr goes there. */
  readonly #first: number;

  /**
   * Opens it, for this user alone. The file that is there now is never removed: what a runtime has
   * to say when it crashes goes to it, however many files have been begun meanwhile.
   *
   * @param path Its path; its folder is made.
   * @param most Bytes until it becomes an old file and a new one is begun.
   */
  constructor(path: string, most: number = MOST_BYTES) {
    this.#path = path;
    this.#most = most;
    mkdirSync(dirname(path), { mode: 0o700, recursive: true });
    this.#file = openSync(path, "a", 0o600);
    const { ino, size } = fstatSync(this.#file);
    this.#size = size;
    this.#first = ino;
  }

  /** Its descriptor at this moment, for what a child writes. */
  get descriptor(): number {
    return this.#file;
  }

  /**
   * Appends one line. A full disk does not end what goes on besides.
   *
   * @param line The line.
   */
  write(line: LogLine): void {
    const message = line.message.length > MOST_LETTERS
      ? `${line.message.slice(0, MOST_LETTERS)}…`
      : line.message;
    const bytes = new TextEncoder().encode(`${JSON.stringify({ ...line, message })}\n`);
    try {
      if (this.#size > 0 && this.#size + bytes.length > this.#most) this.#rotate();
      writeSync(this.#file, bytes);
      this.#size += bytes.length;
    } catch {
      // There is no other place to say it.
    }
  }

  /** Closes it. */
  close(): void {
    closeSync(this.#file);
  }

  /** Where no new file can be had, it goes on in this one, and the old ones stay. */
  #rotate(): void {
    const [beginning, oldest] = [`${this.#path}.new`, `${this.#path}.${OLD_FILES}`];
    let next: number;
    try {
      if (statSync(oldest, { throwIfNoEntry: false })?.ino === this.#first) {
        renameSync(oldest, beginning);
        truncateSync(beginning);
      }
      next = openSync(beginning, "a", 0o600);
    } catch {
      return;
    }
    rmSync(oldest, { force: true });
    for (let number = OLD_FILES - 1; number >= 0; number--) {
      const from = number === 0 ? this.#path : `${this.#path}.${number}`;
      try {
        renameSync(from, `${this.#path}.${number + 1}`);
      } catch {
        // There are not that many yet.
      }
    }
    renameSync(beginning, this.#path);
    closeSync(this.#file);
    this.#file = next;
    this.#size = 0;
  }
}

/**
 * Has the library log into a file.
 *
 * @param file The file.
 */
export function logInto(file: LogFile): void {
  configureSync({
    reset: true,
    sinks: { file: (record) => file.write(lineOf(record)) },
    loggers: [
      { category: "fairlead", sinks: ["file"], lowestLevel: "info" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "error" },
    ],
  });
}

function lineOf({ timestamp, level, message, properties }: LogRecord): LogLine {
  const { tunnel } = properties;
  return {
    time: new Date(timestamp).toISOString(),
    level,
    ...(typeof tunnel === "string" ? { tunnel } : {}),
    message: message.map((part) => typeof part === "string" ? part : String(part)).join(""),
  };
}
