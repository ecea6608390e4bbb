/**
 * A process and those that it has started.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import process from "node:process";

/**
 * Signals a process and its descendants. A process group of its own would be simpler, but it has
 * no access to the terminal, and a proxy command may have to ask there.
 *
 * @param pid The process; it must not have been waited for yet, or the number may be another's.
 * @param signal What to send.
 */
export function signalTree(pid: number, signal: NodeJS.Signals): void {
  // Found first and signalled then: who has lost its parent is found no more.
  for (const one of [pid, ...descendants(pid)]) {
    try {
      process.kill(one, signal);
    } catch {
      // It has gone already.
    }
  }
}

function descendants(pid: number): number[] {
  const all = process.platform === "win32" ? [] : parents();
  const found: number[] = [];
  for (let level = [pid]; level.length > 0;) {
    level = all.filter(([, parent]) => level.includes(parent)).map(([child]) => child);
    found.push(...level);
  }
  return found;
}

/** Each process with its parent. */
function parents(): [pid: number, parent: number][] {
  try {
    return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap(parentOf);
  } catch {
    // No /proc, as on macOS.
    const { stdout } = spawnSync("ps", ["-axo", "pid=,ppid="], { encoding: "utf8" });
    return (stdout ?? "").trim().split("\n").map((line) => {
      const [pid, parent] = line.trim().split(/\s+/).map(Number);
      return [pid ?? -1, parent ?? -1];
    });
  }
}

function parentOf(pid: string): [pid: number, parent: number][] {
  try {
    // "pid (name) state parent …": the name may hold spaces and brackets.
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const [, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return [[Number(pid), Number(parent)]];
  } catch {
    return []; // It ended meanwhile.
  }
}
