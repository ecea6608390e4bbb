/**
 * Reading what the background process has logged, while it goes on logging.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { closeSync, fstatSync, openSync, readFileSync, readSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { isMapping } from "./lines.ts";
import { type LogLine, OLD_FILES } from "./log_file.ts";

/** Milliseconds between two looks for more. */
const PAUSE = 200;
const CHUNK = 64 * 1024;

/** How far a log has been read: to follow it from there on loses nothing and repeats nothing. */
export interface LogPlace {
  /** The inode of the file. */
  readonly file: number;
  /** Bytes of it. */
  readonly position: number;
}

/**
 * All lines that there are, the oldest first.
 *
 * @param path The newest file.
 * @returns The lines, and where they end; what is no line of ours, as a runtime writes it that
 *   crashes, is one as well.
 */
export function readLog(path: string): { lines: LogLine[]; end: LogPlace | undefined } {
  // The newest first: where one is made older meanwhile it is met again, and known by its number.
  const texts = new Map<number, string>();
  let end: LogPlace | undefined;
  for (const name of namesOf(path)) {
    const file = open(name);
    if (file === undefined) continue;
    const { ino } = fstatSync(file);
    if (!texts.has(ino)) {
      const bytes = readFileSync(file);
      texts.set(ino, bytes.toString("utf8"));
      end ??= { file: ino, position: bytes.length };
    }
    closeSync(file);
  }
  const lines = [...texts.values()].reverse().flatMap((text) => text.split("\n"));
  return { lines: lines.filter((line) => line !== "").map(parseLine), end };
}

/**
 * Follows a log, over new files and new processes.
 *
 * @param path The newest file; it need not be there yet.
 * @param signal Ends it.
 * @param from What was read before; without it, all that there is comes first.
 * @yields Each line that comes after.
 */
export async function* followLog(
  path: string,
  signal: AbortSignal,
  from?: LogPlace,
): AsyncGenerator<LogLine> {
  let file = openAt(path, from?.file);
  let position = file === undefined || fstatSync(file).ino !== from?.file ? 0 : from.position;
  let rest = Buffer.alloc(0);
  try {
    while (!signal.aborted) {
      if (file !== undefined) {
        // The oldest file was begun anew.
        if (fstatSync(file).size < position) position = 0;
        for (let chunk = read(file, position); chunk.length > 0; chunk = read(file, position)) {
          position += chunk.length;
          rest = Buffer.concat([rest, chunk]);
          for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
            const line = rest.subarray(0, end).toString("utf8");
            rest = rest.subarray(end + 1);
            if (line !== "") yield parseLine(line);
          }
        }
      }
      const next = successor(path, file);
      // Whoever writes goes on in the new one alone: what the old one has is all there will be.
      if (next !== undefined && (file === undefined || read(file, position).length === 0)) {
        if (file !== undefined) closeSync(file);
        file = next;
        position = 0;
        rest = Buffer.alloc(0);
        continue;
      }
      if (next !== undefined) {
        closeSync(next);
        continue;
      }
      await sleep(PAUSE, undefined, { signal }).catch(() => {});
    }
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** @returns The paths that there can be, the newest first. */
function namesOf(path: string): string[] {
  return Array.from(
    { length: OLD_FILES + 1 },
    (_, number) => number === 0 ? path : `${path}.${number}`,
  );
}

/** @returns The file of this number, open; where it is gone, or none is meant, the oldest. */
function openAt(path: string, inode: number | undefined): number | undefined {
  const { own, next } = seek(path, inode);
  if (own === undefined) return next;
  if (next !== undefined) closeSync(next);
  return own;
}

/**
 * Opens the file of this number, and the one that was begun after it; where it is gone for good, the
 * oldest that is left is the next one. Files become older meanwhile: it looks in that direction, so
 * that it meets them, and asks none for its number but what it has open.
 */
function seek(
  path: string,
  inode: number | undefined,
): { own: number | undefined; next: number | undefined } {
  let next: number | undefined;
  for (const name of namesOf(path)) {
    const file = open(name);
    if (file === undefined) continue;
    if (fstatSync(file).ino === inode) return { own: file, next };
    if (next !== undefined) closeSync(next);
    next = file;
  }
  return { own: undefined, next };
}

function open(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch {
    return undefined;
  }
}

function read(file: number, position: number): Buffer {
  const chunk = Buffer.alloc(CHUNK);
  return chunk.subarray(0, readSync(file, chunk, 0, CHUNK, position));
}

/** @returns The file that was begun after this one, open; several may have been meanwhile. */
function successor(path: string, file: number | undefined): number | undefined {
  const { own, next } = seek(path, file === undefined ? undefined : fstatSync(file).ino);
  if (own !== undefined) closeSync(own);
  return next;
}

function parseLine(line: string): LogLine {
  try {
    const value: unknown = JSON.parse(line);
    if (isMapping(value) && typeof value["message"] === "string") {
      return value as unknown as LogLine;
    }
  } catch {
    // A runtime's own last words.
  }
  return { time: "", level: "error", message: line };
}
