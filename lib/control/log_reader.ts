/**
 * Reading what the background process has logged, while it goes on logging.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { closeSync, fstatSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { isMapping } from "./lines.ts";
import { type LogLine, OLD_FILES } from "./log_file.ts";

/** Milliseconds between two looks for more. */
const PAUSE = 200;
const CHUNK = 64 * 1024;

/**
 * All lines that there are, the oldest first.
 *
 * @param path The newest file.
 * @returns The lines. What is no line of ours, as a runtime writes it that crashes, is one as well.
 */
export function readLog(path: string): LogLine[] {
  const lines: LogLine[] = [];
  for (let number = OLD_FILES; number >= 0; number--) {
    try {
      const text = readFileSync(number === 0 ? path : `${path}.${number}`, "utf8");
      lines.push(...text.split("\n").filter((line) => line !== "").map(parseLine));
    } catch {
      // There are not that many.
    }
  }
  return lines;
}

/**
 * Follows a log from its end on, over new files and new processes.
 *
 * @param path The newest file; it need not be there yet.
 * @param signal Ends it.
 * @yields Each line that is written from now on.
 */
export async function* followLog(path: string, signal: AbortSignal): AsyncGenerator<LogLine> {
  let file = open(path);
  let position = file === undefined ? 0 : fstatSync(file).size;
  let rest = Buffer.alloc(0);
  try {
    while (!signal.aborted) {
      if (file !== undefined) {
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
  if (file === undefined) return open(path);
  const own = fstatSync(file).ino;
  const files = Array.from({ length: OLD_FILES + 1 }, (_, number) => {
    return number === 0 ? path : `${path}.${number}`;
  });
  const at = files.findIndex((path) => inodeOf(path) === own);
  if (at === 0) return undefined;
  // Where it is gone for good, the oldest that is left is the next one.
  const next = at > 0 ? files[at - 1] : files.findLast((path) => inodeOf(path) !== undefined);
  return next === undefined ? undefined : open(next);
}

function inodeOf(path: string): number | undefined {
  try {
    return statSync(path).ino;
  } catch {
    return undefined;
  }
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
