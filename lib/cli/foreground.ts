/**
 * Whether the terminal hands this process its signals.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";

/** How this process stands to a terminal. */
export type TerminalPlace =
  /** What is typed there, Ctrl-C above all, reaches its whole process group. */
  | "foreground"
  /** It has a terminal that another process group holds. */
  | "background"
  /** It has none. */
  | "none";

/**
 * Looks where this process stands.
 *
 * @returns Its place at this moment.
 */
export function terminalPlace(): TerminalPlace {
  const [group, foreground] = processGroups() ?? [];
  if (group === undefined || foreground === undefined || foreground <= 0) return "none";
  return group === foreground ? "foreground" : "background";
}

/** @returns Our process group, and the one in the foreground of our terminal. */
function processGroups(): [number, number] | undefined {
  try {
    const stat = readFileSync("/proc/self/stat", "utf8");
    // The name of the program, in brackets, may hold anything.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return [Number(fields[2]), Number(fields[5])];
  } catch {
    // No /proc, as on macOS and BSD.
    const asked = spawnSync("ps", ["-o", "pgid=,tpgid=", "-p", String(process.pid)], {
      encoding: "utf8",
    });
    const [, group, foreground] = /^\s*(\d+)\s+(-?\d+)/.exec(asked.stdout ?? "") ?? [];
    if (group === undefined) return undefined;
    return [Number(group), Number(foreground)];
  }
}
