/** What is measured: names, figures, and which probe gives them. */
import {
  asTool,
  bothWays,
  busyEcho,
  costOf,
  type Effort,
  type Figures,
  idle,
  transfer,
} from "./probes.ts";
import type { Contender, Stage } from "./stage.ts";

/** One figure. */
export interface Metric {
  readonly key: string;
  readonly label: string;
  readonly unit: string;
  /** Which of two is the better one. */
  readonly better: "more" | "less";
  readonly digits: number;
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
      const options = {
        warmUp: Math.max(effort.warmUp, effort.roundTrips.warmUp * rtt / 1_000),
        seconds: Math.max(effort.seconds, effort.roundTrips.seconds * rtt / 1_000),
        streams: 1,
        rtt,
      };
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
      {
        key: "memory1-pss",
        label: "the same, shared pages by share",
        unit: "MB",
        better: "less",
        digits: 1,
      },
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
