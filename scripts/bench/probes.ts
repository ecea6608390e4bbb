/** How it is measured: transfers, echoes beside them, and what idle things cost. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Direction } from "./bulk.ts";
import { cpuSeconds, memory } from "./proc.ts";
import type { Contender, Stage } from "./stage.ts";
import type { Tool } from "./tools.ts";

const MB = 1e6;
const GB = 1e9;
const KiB = 1024;

/** Figures by the key of their metric; one that could not be had is a text that says why. */
export type Figures = Readonly<Record<string, number | string>>;

/** How long and how much. */
export interface Effort {
  /** Seconds of a transfer that count, and those before that do not. */
  readonly seconds: number;
  readonly warmUp: number;
  /** The same over a long link, in round trips, where that is longer. */
  readonly roundTrips: { readonly seconds: number; readonly warmUp: number };
  /** Milliseconds of the longest round trip over which uploads are measured too. */
  readonly uploads: number;
  /** Seconds of questions, and of those beside a transfer, which take longer. */
  readonly asking: number;
  readonly busyAsking: number;
  /** Idle connections: memory is read after each. The first is what the others are beyond. */
  readonly idle: readonly number[];
  /** Seconds to look at what an idle tool does. */
  readonly idleSeconds: number;
  /** Seconds after which memory is read. */
  readonly settle: number;
}

/** A transfer. */
export interface Transfer {
  readonly streams: number;
  readonly rtt: number;
  readonly warmUp: number;
  readonly seconds: number;
}

/** The rate and the processor time of transfers, first down and then up. */
export async function bothWays(
  stage: Stage,
  contender: Contender,
  { name, ...options }: Transfer & { name: string },
): Promise<Record<string, number>> {
  const figures: Record<string, number> = {};
  for (const direction of ["down", "up"] as const) {
    const { rate, cost } = await transfer(stage, contender, direction, options);
    figures[`${direction}${name}`] = rate;
    if (cost !== undefined) figures[`cpu-${direction}${name}`] = cost;
  }
  return figures;
}

/** Transfers for a while; what counts is what arrived at the receiving end. */
export async function transfer(
  stage: Stage,
  contender: Contender,
  direction: Direction,
  { streams, rtt, warmUp, seconds }: Transfer,
  meanwhile: () => Promise<void> = () => sleep(seconds * 1_000),
): Promise<{ rate: number; cost: number | undefined }> {
  const { to, pid } = await stage.tunnel(contender, rtt);
  const receiver = direction === "down" ? stage.bulkLoad : stage.bulkPeer;
  const sample = async () => ({
    cpu: pid === undefined ? undefined : cpuSeconds(pid),
    ...await receiver.ask("count"),
  });
  const port = direction === "down" ? to.source : to.sink;
  await stage.bulkLoad.ask("startStreams", { port, count: streams, direction });
  try {
    await sleep(warmUp * 1_000);
    const before = await sample();
    await meanwhile();
    const after = await sample();
    const bytes = after.bytes - before.bytes;
    const cost = after.cpu === undefined || before.cpu === undefined
      ? undefined
      : (after.cpu - before.cpu) / (bytes / GB);
    return { rate: bytes / MB / ((after.at - before.at) / 1_000), cost };
  } finally {
    await stage.bulkLoad.ask("stopStreams");
    // What is still on its way must not disturb the next.
    await sleep(100 + 2 * rtt);
  }
}

/** Echoes beside a transfer on the same session. */
export async function busyEcho(
  stage: Stage,
  contender: Contender,
  direction: Direction,
  effort: Effort,
): Promise<Figures> {
  const { to } = await stage.tunnel(contender, 0);
  let latency = { p50: NaN, p99: NaN };
  const options = { streams: 1, rtt: 0, warmUp: effort.warmUp, seconds: effort.busyAsking };
  const { rate } = await transfer(stage, contender, direction, options, async () => {
    latency = await stage.echoLoad.ask("echo", { port: to.echo, seconds: effort.busyAsking });
  });
  return {
    [`busy-${direction}-p50`]: latency.p50,
    [`busy-${direction}-p99`]: latency.p99,
    [`busy-${direction}`]: rate,
  };
}

/** Holds more and more connections that do nothing. */
export async function idle(stage: Stage, tool: Tool, effort: Effort): Promise<Figures> {
  const figures: Record<string, number | string> = {};
  await using tunnel = await stage.ownTunnel(tool);
  const [port = 0] = tunnel.ports;
  const pid = tunnel.pid ?? 0;
  try {
    // Whatever is made once, when it is first needed, is no connection's own.
    await stage.echoLoad.ask("connects", { port, seconds: 0.3, parallel: 4 });
    let first = NaN;
    for (const total of effort.idle) {
      const { held, error } = await stage.echoLoad.ask("hold", { port, total, parallel: 32 });
      await sleep(effort.settle * 1_000);
      const { rss, pss } = memory(pid);
      if (total === 1) {
        first = rss;
        figures["memory1"] = rss / MB;
        figures["memory1-pss"] = pss / MB;
        continue;
      }
      const before = cpuSeconds(pid);
      await sleep(effort.idleSeconds * 1_000);
      const busy = (cpuSeconds(pid) - before) / effort.idleSeconds;
      const failed = error === undefined ? undefined : `${held} at the most: ${error}`;
      figures[`idle${total}`] = failed ?? (rss - first) / (total - 1) / KiB;
      figures[`idle-cpu${total}`] = failed ?? busy * 1_000;
      if (failed !== undefined) break;
    }
  } finally {
    await stage.echoLoad.ask("release");
  }
  return figures;
}

/** What a tool with so many forwards costs. */
export async function costOf(
  stage: Stage,
  tool: Tool,
  forwards: number,
  { settle }: Effort,
): Promise<{ bytes: number; took: number }> {
  await using tunnel = await stage.ownTunnel(tool, forwards);
  await sleep(settle * 1_000);
  return { bytes: memory(tunnel.pid ?? 0).rss, took: tunnel.took };
}

/** For what cannot be measured without a tool. */
export function asTool(contender: Contender): Tool {
  if (contender === "direct") throw new Error("there is nothing to see without a tool");
  return contender;
}
