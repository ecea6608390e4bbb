/** What Linux says of a process: the time it took and the memory it holds. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

const TICKS = Number(spawnSync("getconf", ["CLK_TCK"], { encoding: "utf8" }).stdout) || 100;

/** Memory in bytes. */
export interface Memory {
  /** What of it is in memory, shared pages included. */
  readonly rss: number;
  /** The same, with its share of the shared pages only. */
  readonly pss: number;
}

/** Seconds of processor time that a process has taken, in the program and in the system. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // "pid (name) state …": the name may hold spaces. utime and stime are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** The memory that a process holds now. */
export function memory(pid: number): Memory {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const field = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(rollup)?.[1]) * 1024;
  return { rss: field("Rss"), pss: field("Pss") };
}

/** How many files a process may have open; Infinity where there is no limit. */
export function openFilesLimit(pid: number | "self"): number {
  const limits = readFileSync(`/proc/${pid}/limits`, "utf8");
  const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1];
  return soft === "unlimited" ? Infinity : Number(soft);
}
