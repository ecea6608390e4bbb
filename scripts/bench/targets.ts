/** What fairlead wants to reach beside ssh, and whether it does. */
import type { ToolName } from "./options.ts";
import type { Results } from "./results.ts";

/** One aim. */
export interface Target {
  readonly label: string;
  readonly tool: ToolName;
  readonly metric: string;
  /** What is held against the bound: the ratio to ssh, the figure itself, or its distance to ssh's. */
  readonly kind: "ratio" | "value" | "beyond";
  readonly bound: number;
  readonly sense: "at least" | "at most";
  /** Of a figure that is no ratio. */
  readonly unit?: string;
}

/** How a target fared; both are undefined where it was not measured. */
export interface Verdict extends Target {
  readonly measured: number | undefined;
  readonly met: boolean | undefined;
}

const least = (label: string, tool: ToolName, metric: string, bound: number): Target => ({
  label,
  tool,
  metric,
  kind: "ratio",
  bound,
  sense: "at least",
});
const most = (label: string, tool: ToolName, metric: string, bound: number): Target => ({
  label,
  tool,
  metric,
  kind: "ratio",
  bound,
  sense: "at most",
});

/** All of them. */
export const TARGETS: readonly Target[] = [
  least("one stream, download", "deno", "down1", 0.8),
  least("one stream, upload", "deno", "up1", 0.8),
  least("one stream, download", "deno-js", "down1", 0.5),
  least("one stream, upload", "deno-js", "up1", 0.5),
  least("one stream, download", "bun", "down1", 1),
  least("one stream, upload", "bun", "up1", 1),
  most("client's processor time a GB, download", "deno", "cpu-down1", 1.7),
  most("client's processor time a GB, upload", "deno", "cpu-up1", 1.7),
  most("client's processor time a GB, download", "deno-js", "cpu-down1", 3),
  most("client's processor time a GB, upload", "deno-js", "cpu-up1", 3),
  least("8 streams, download", "deno", "down8", 0.9),
  least("8 streams, upload", "deno", "up8", 0.9),
  most("echo p50", "deno", "echo-p50", 1.5),
  most("echo p99", "deno", "echo-p99", 2),
  most("echo p99 beside a download", "deno", "busy-down-p99", 3),
  most("echo p99 beside an upload", "deno", "busy-up-p99", 3),
  most("connect and echo p50", "deno", "connect-p50", 1.6),
  least("download over 50 ms", "deno", "delay50-down", 5),
  least("download over 150 ms", "deno", "delay150-down", 10),
  {
    label: "memory for each of 1000 idle connections",
    tool: "deno",
    metric: "idle1000",
    kind: "value",
    bound: 40,
    sense: "at most",
    unit: "KiB",
  },
  {
    label: "start to listening, beyond ssh's",
    tool: "deno",
    metric: "start",
    kind: "beyond",
    bound: 250,
    sense: "at most",
    unit: "ms",
  },
];

/** Holds the results against the targets. */
export function judge(results: Results): Verdict[] {
  return TARGETS.map((target) => {
    const measured = measure(target, results);
    const met = measured === undefined
      ? undefined
      : target.sense === "at least"
      ? measured >= target.bound
      : measured <= target.bound;
    return { ...target, measured, met };
  });
}

function measure({ tool, metric, kind }: Target, results: Results): number | undefined {
  if (kind === "ratio") return results.ratio(tool, metric);
  const value = results.get(tool, metric);
  if (kind === "value") return value;
  const base = results.get("ssh", metric);
  return value === undefined || base === undefined ? undefined : value - base;
}
