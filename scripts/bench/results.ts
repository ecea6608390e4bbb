/** The figures of a run. */
import type { Metric } from "./measures.ts";
import type { Figures } from "./probes.ts";
import { median } from "./statistics.ts";

/** Collects the figures of all rounds; `who` is the name of a tool, or "direct". */
export class Results {
  readonly #values = new Map<string, number[]>();
  readonly #reasons = new Map<string, string>();
  /** What failed altogether. */
  readonly failures: string[] = [];

  /** Adds what one round gave. */
  add(who: string, figures: Figures): void {
    for (const [metric, value] of Object.entries(figures)) {
      const key = keyOf(who, metric);
      if (typeof value === "string") {
        this.#reasons.set(key, value);
      } else if (Number.isFinite(value)) {
        const values = this.#values.get(key) ?? [];
        values.push(value);
        this.#values.set(key, values);
      }
    }
  }

  /** Notes that a measure failed, and so gave none of its figures. */
  fail(who: string, metrics: readonly Metric[], reason: string): void {
    this.failures.push(reason);
    for (const { key } of metrics) this.#reasons.set(keyOf(who, key), "failed");
  }

  /** The median of all rounds; undefined where there is no figure. */
  get(who: string, metric: string): number | undefined {
    const values = this.#values.get(keyOf(who, metric));
    return values === undefined ? undefined : median(values);
  }

  /** Why there is no figure. */
  reason(who: string, metric: string): string | undefined {
    return this.#reasons.get(keyOf(who, metric));
  }

  /** The median in relation to that of `ssh` in the same run. */
  ratio(who: string, metric: string): number | undefined {
    const [value, base] = [this.get(who, metric), this.get("ssh", metric)];
    return value === undefined || base === undefined || base === 0 ? undefined : value / base;
  }

  /** All of it, for --json: the figures of each round by tool and metric. */
  toJSON(): Record<string, Record<string, { median: number; rounds: number[] }>> {
    const all: ReturnType<Results["toJSON"]> = {};
    for (const [key, rounds] of this.#values) {
      const [who = "", metric = ""] = key.split("/");
      (all[who] ??= {})[metric] = { median: median(rounds), rounds };
    }
    return all;
  }
}

function keyOf(who: string, metric: string): string {
  return `${who}/${metric}`;
}
