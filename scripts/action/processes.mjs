// @ts-check
/**
 * Processes that others have started.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

/** Milliseconds between two looks. */
const PAUSE = 50;
/** Milliseconds that a process has to end after a signal. */
const SIGNAL_TIMEOUT = 3_000;

/**
 * Whether a process runs.
 *
 * @param {number} pid Its id.
 * @returns {boolean} False as well for one that has ended and that nobody has asked for its status:
 *   in a job's container nobody ever does.
 */
export function runs(pid) {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !/^ [ZX]/.test(stat.slice(stat.lastIndexOf(")") + 1));
  } catch {
    // No /proc, as on macOS and Windows.
    return true;
  }
}

/**
 * Waits until something holds.
 *
 * @param {() => boolean} condition What.
 * @param {number} timeout Milliseconds.
 * @returns {Promise<boolean>} Whether it held in time.
 */
export async function until(condition, timeout) {
  const deadline = performance.now() + timeout;
  while (!condition()) {
    if (performance.now() > deadline) return false;
    await sleep(PAUSE);
  }
  return true;
}

/**
 * Ends a process: first it is asked to.
 *
 * @param {number} pid Its id.
 */
export async function end(pid) {
  for (const signal of /** @type {const} */ (["SIGTERM", "SIGKILL"])) {
    if (!runs(pid)) return;
    try {
      process.kill(pid, signal);
    } catch {
      return; // It has ended meanwhile.
    }
    await until(() => !runs(pid), SIGNAL_TIMEOUT);
  }
}
