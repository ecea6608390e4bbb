/** What is measured, and how. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Direction } from "./bulk.ts";
import { cpuSeconds, memory } from "./proc.ts";
import type { Contender, Stage } from "./stage.ts";
import type { Tool } from "./tools.ts";

/** One figure. */
export interface Metric {
  readonly key: string;
  readonly label: string;
  readonly unit: string;
  /** Which of two is the better one. */
  readonly better: "more" | "less";
  readonly digits: number;
}

/** Figures by the key of their metric; one that could not be had is a text that says why. */
export type Figures = Readonly<Record<string, number | string>>;

/** How long and how much. */
export interface Effort {
  /** Seconds of a transfer that count, and those before that do not. */
  readonly seconds: number;
  readonly warmUp: number;
  /** Round trips of a long link for both of them. */
  readonly roundTrips: number;
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

/** One way to measure, which gives one or more figures. */
export interface Measure {
  readonly name: string;
  readonly title: string;
  readonly metrics: readonly Metric[];
  /** Milliseconds of the link's round trip. */
  readonly rtt: number;
  /** In how many rounds a quick run does it; where it is asked for by name, in all. */
  readonly quick: number;
  /** Whether it starts tools of its own, not those that all other measures share. */
  readonly own: boolean;
  /** Whether there is something to see without a tool. */
  readonly direct: boolean;
  run(stage: Stage, contender: Contender, effort: Effort): Promise<Figures>;
}

const MB = 1e6;
const GB = 1e9;
const KiB = 1024;

const speed = (key: string, label: string): Metric => ({
  key,
  label,
  unit: "MB/s",
  better: "more",
  digits: 0,
});
const time = (key: string, label: string, digits = 2): Metric => ({
  key,
  label,
  unit: "ms",
  better: "less",
  digits,
});
const cpu = (key: string, label: string): Metric => ({
  key,
  label,
  unit: "s/GB",
  better: "less",
  digits: 2,
});

/** Numbers of idle connections of a full run. */
export const IDLE = [1, 100, 1_000, 5_000] as const;
const FORWARDS = 500;

/** All of them, in the order in which they are done. */
export const MEASURES: readonly Measure[] = [
  {
    name: "start",
    title: "Start",
    metrics: [time("start", "start to listening", 0)],
    rtt: 0,
    quick: 5,
    own: true,
    direct: false,
    run: async (stage, contender) => {
      await using tunnel = await stage.ownTunnel(asTool(contender));
      return { start: tunnel.took };
    },
  },
  ...[1, 8, 64].map((streams): Measure => ({
    name: `stream${streams}`,
    title: streams === 1 ? "One stream" : `${streams} streams`,
    metrics: [
      speed(`down${streams}`, "download"),
      speed(`up${streams}`, "upload"),
      cpu(`cpu-down${streams}`, "client's processor time, download"),
      cpu(`cpu-up${streams}`, "client's processor time, upload"),
    ],
    rtt: 0,
    quick: streams === 1 ? 5 : streams === 8 ? 2 : 0,
    own: false,
    direct: true,
    run: (stage, contender, effort) =>
      bothWays(stage, contender, { ...effort, streams, rtt: 0, name: String(streams) }),
  })),
  {
    name: "echo",
    title: "Echo of 64 bytes",
    metrics: [time("echo-p50", "p50", 3), time("echo-p99", "p99", 3)],
    rtt: 0,
    quick: 5,
    own: false,
    direct: true,
    run: async (stage, contender, { asking }) => {
      const { to } = await stage.tunnel(contender, 0);
      const { p50, p99 } = await stage.echoLoad.ask("echo", { port: to.echo, seconds: asking });
      return { "echo-p50": p50, "echo-p99": p99 };
    },
  },
  {
    name: "fairness",
    title: "Echo of 64 bytes beside a transfer on the same session",
    metrics: (["down", "up"] as const).flatMap((direction) => [
      time(`busy-${direction}-p50`, `${direction}load, p50`),
      time(`busy-${direction}-p99`, `${direction}load, p99`),
      speed(`busy-${direction}`, `the ${direction}load meanwhile`),
    ]),
    rtt: 0,
    quick: 2,
    own: false,
    direct: false,
    run: async (stage, contender, effort) => ({
      ...await busyEcho(stage, contender, "down", effort),
      ...await busyEcho(stage, contender, "up", effort),
    }),
  },
  {
    name: "connect",
    title: "New connections",
    metrics: [
      time("connect-p50", "connect and echo, p50"),
      time("connect-p99", "connect and echo, p99"),
      {
        key: "connects",
        label: "16 at a time",
        unit: "per second",
        better: "more",
        digits: 0,
      },
    ],
    rtt: 0,
    quick: 5,
    own: false,
    direct: true,
    run: async (stage, contender, { asking }) => {
      const { to } = await stage.tunnel(contender, 0);
      const ask = { port: to.echo, seconds: asking };
      const { p50, p99 } = await stage.echoLoad.ask("connects", { ...ask, parallel: 1 });
      const { perSecond } = await stage.echoLoad.ask("connects", { ...ask, parallel: 16 });
      return { "connect-p50": p50, "connect-p99": p99, connects: perSecond };
    },
  },
  ...[10, 50, 150].map((rtt): Measure => ({
    name: `delay${rtt}`,
    title: `Over ${rtt} ms there and back`,
    metrics: [
      speed(`delay${rtt}-down`, "download"),
      speed(`delay${rtt}-up`, "upload"),
    ],
    rtt,
    quick: rtt === 10 ? 0 : 1,
    own: false,
    direct: true,
    run: async (stage, contender, effort) => {
      const link = Math.max(effort.seconds, effort.roundTrips * rtt / 1_000);
      const options = { warmUp: link, seconds: link, streams: 1, rtt };
      const down = await transfer(stage, contender, "down", options);
      if (rtt > effort.uploads) return { [`delay${rtt}-down`]: down.rate };
      const up = await transfer(stage, contender, "up", options);
      return { [`delay${rtt}-down`]: down.rate, [`delay${rtt}-up`]: up.rate };
    },
  })),
  {
    name: "idle",
    title: "Idle connections",
    metrics: [
      { key: "memory1", label: "memory with one", unit: "MB", better: "less", digits: 1 },
      ...IDLE.slice(1).flatMap((count): Metric[] => [
        {
          key: `idle${count}`,
          label: `memory each, of ${count}`,
          unit: "KiB",
          better: "less",
          digits: 1,
        },
        {
          key: `idle-cpu${count}`,
          label: `processor time with ${count}`,
          unit: "ms/s",
          better: "less",
          digits: 1,
        },
      ]),
    ],
    rtt: 0,
    quick: 1,
    own: true,
    direct: false,
    run: (stage, contender, effort) => idle(stage, asTool(contender), effort),
  },
  {
    name: "forwards",
    title: `${FORWARDS} forwards`,
    metrics: [
      { key: "forward-memory", label: "memory each", unit: "KiB", better: "less", digits: 1 },
      time("forward-time", "time each until all listen"),
    ],
    rtt: 0,
    quick: 0,
    own: true,
    direct: false,
    run: async (stage, contender, effort) => {
      const tool = asTool(contender);
      const one = await costOf(stage, tool, 1, effort);
      const all = await costOf(stage, tool, FORWARDS, effort);
      return {
        "forward-memory": (all.bytes - one.bytes) / (FORWARDS - 1) / KiB,
        "forward-time": (all.took - one.took) / (FORWARDS - 1),
      };
    },
  },
];

interface Transfer {
  readonly streams: number;
  readonly rtt: number;
  readonly warmUp: number;
  readonly seconds: number;
}

async function bothWays(
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
async function transfer(
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

async function busyEcho(
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

async function idle(stage: Stage, tool: Tool, effort: Effort): Promise<Figures> {
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
      const { rss } = memory(pid);
      if (total === 1) {
        first = rss;
        figures["memory1"] = rss / MB;
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

async function costOf(
  stage: Stage,
  tool: Tool,
  forwards: number,
  { settle }: Effort,
): Promise<{ bytes: number; took: number }> {
  await using tunnel = await stage.ownTunnel(tool, forwards);
  await sleep(settle * 1_000);
  return { bytes: memory(tunnel.pid ?? 0).rss, took: tunnel.took };
}

function asTool(contender: Contender): Tool {
  if (contender === "direct") throw new Error("there is nothing to see without a tool");
  return contender;
}
