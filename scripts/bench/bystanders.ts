/** Programs that are none of the bench's, and use the processors while it measures. */
import { availableParallelism } from "node:os";
import process from "node:process";
import { descendants, processes } from "../../tests/support/tools.ts";
import { cpuSeconds } from "./proc.ts";

/** The kernel's own threads are the children of this one; some of their work is done for us. */
const KERNEL = 2;

/** Adds up what the others take. */
export class Bystanders {
  #taken = 0;
  #seconds = 0;

  /** Looks on while something is measured. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    const before = snapshot();
    const begin = performance.now();
    const result = await work();
    this.#seconds += (performance.now() - begin) / 1_000;
    for (const [pid, seconds] of snapshot()) this.#taken += seconds - (before.get(pid) ?? 0);
    return result;
  }

  /** The share of the machine's processors that they had, between 0 and 1. */
  get share(): number {
    if (this.#seconds === 0) return 0;
    return Math.max(0, this.#taken) / this.#seconds / availableParallelism();
  }
}

/** Seconds of processor time by process. */
function snapshot(): Map<number, number> {
  const ours = new Set([process.pid, ...descendants(process.pid).map(({ pid }) => pid)]);
  const others = processes().filter(({ pid, parent }) =>
    !ours.has(pid) && pid !== KERNEL && parent !== KERNEL
  );
  return new Map(others.flatMap(({ pid }): [number, number][] => {
    try {
      return [[pid, cpuSeconds(pid)]];
    } catch {
      return []; // It ended while we looked.
    }
  }));
}
