/** docs/benchmarks.md: the figures, and what is needed to judge them. */
import { cpus, totalmem } from "node:os";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { ROOT } from "../../tests/support/fairlead.ts";
import { VERSION } from "../../lib/cli/version.ts";
import { bun, node } from "../runtimes.ts";
import type { ChartLine } from "./chart.ts";
import { MEASURES, type Metric } from "./measures.ts";
import { openFilesLimit } from "./proc.ts";
import type { Outcome } from "./run.ts";
import { type Column, figuresTable, targetsTable } from "./tables.ts";
import type { Verdict } from "./targets.ts";
import { versionOf } from "./tools.ts";

/** What a document says beside the figures. */
export interface Document extends Outcome {
  readonly columns: readonly Column[];
  readonly verdicts: readonly Verdict[];
  /** The day, as `2026-01-31`. */
  readonly date: string;
  /** The command that made it. */
  readonly command: string;
  /** The program, its version, and the machine: a line each. */
  readonly circumstances: readonly string[];
}

/** What the chart shows. */
export const CHART: readonly ChartLine[] = [
  ["download, one stream", "down1"],
  ["upload, one stream", "up1"],
  ["download, 8 streams", "down8"],
  ["upload, 8 streams", "up8"],
  ["download over 50 ms", "delay50-down"],
  ["download over 150 ms", "delay150-down"],
  ["upload over 50 ms", "delay50-up"],
  ["processor time, download", "cpu-down1"],
  ["processor time, upload", "cpu-up1"],
  ["echo, median", "echo-p50"],
  ["echo beside a download, p99", "busy-down-p99"],
  ["connect and echo, median", "connect-p50"],
  ["start to listening", "start"],
  ["memory of an idle connection", "idle1000"],
].map(([label = "", key = ""]) => ({ label, metric: { key, better: metricOf(key).better } }));

/** Writes it. */
export function formatDocument(document: Document): string {
  const { results, columns, verdicts, rounds, others, date, command, circumstances } = document;
  const label = (name: string) => columns.find((column) => column.name === name)?.label ?? name;
  const sections = MEASURES.flatMap((measure) => {
    const table = figuresTable([measure], columns, results, { titles: false });
    return table === undefined ? [] : [`### ${measure.title}`, table];
  });
  return [
    "# fairlead beside ssh",
    `Written by \`${command}\` on ${date}; not to be changed by hand.`,
    "![Bars: how many times as good as ssh](benchmarks.svg)",
    "## Targets",
    "Ratios to `ssh` with its default cipher, in the same run.",
    targetsTable(verdicts, label),
    "## Figures",
    `Medians of ${rounds} rounds; in brackets the ratio to ssh's. "No tunnel" is the same load ` +
    "straight at its destination: what this machine allows.",
    ...sections,
    "## How it is measured",
    HOW,
    `Programs beside the benchmark had ${(others * 100).toFixed(0)} % of the processors meanwhile.`,
    "## Where",
    circumstances.map((line) => `- ${line}`).join("\n"),
    "",
  ].join("\n\n");
}

/** The versions and the machine. */
export function circumstances(): string[] {
  const commit = git("rev-parse", "--short", "HEAD");
  const changed = git("status", "--porcelain", "--", "lib", "cli.ts") !== "";
  return [
    `fairlead ${VERSION}, commit ${commit}${changed ? " with changes" : ""}`,
    `${versionOf("ssh", "-V")}; sshd of the same package`,
    `Deno ${process.versions["deno"]}, Bun ${versionOf(bun(), "--version")}, ` +
    `Node ${versionOf(node(), "--version").replace(/^v/, "")}`,
    `${machine()}; at most ${openFilesLimit("self")} open files a process`,
  ];
}

/** The machine, in a line. */
export function machine(): string {
  const [first] = cpus();
  return `${cpus().length} cores, ${first?.model.trim()}, ` +
    `${(totalmem() / 2 ** 30).toFixed(0)} GiB; Linux ${versionOf("uname", "-r")}`;
}

const HOW = `
One run starts sshd and all tools, and does every measure with every tool in turn, round after
round, so that what disturbs the machine disturbs all alike. Each tool is a process of its own with
the command line that a user would give, through local forwards on loopback. No round begins with
the same tool as the one before.

- **Transfers** go on for a fixed time, of which the beginning does not count. What counts is what
  has arrived at the receiving end. Processor time is the client process's own, user and system.
- **Echo** asks over one connection, 64 bytes at a time, each question after the answer to the one
  before; the first half second does not count. Beside a transfer, another process makes one on
  the same session.
- **Connect and echo** begins with connecting to the forward and ends with the answer to 64 bytes;
  the first half second does not count.
- **Long links** are a process between client and sshd that passes bytes on half a round trip after
  they came, at any rate and with 512 MiB of room in each direction. It models no loss and no
  congestion; its "no tunnel" figure is its own ceiling. A transfer runs for 20 round trips before it
  counts (9 in a quick run).
- **Memory** is the resident set; each of the idle connections has carried one question. It is what
  the process has beyond the first connection (or forward), divided by their number.
- **Start** ends when the forward accepts a connection.

Source, sink, echo and load are processes of their own, and share the machine's cores with what is
measured. "Deno without FFI" runs without \`--allow-ffi\`, and so with JavaScript's own ciphers.
`.trim();

function metricOf(key: string): Metric {
  const metric = MEASURES.flatMap(({ metrics }) => metrics).find((metric) => metric.key === key);
  if (metric === undefined) throw new Error(`there is no metric "${key}"`);
  return metric;
}

function git(...args: string[]): string {
  return spawnSync("git", args, { cwd: ROOT, encoding: "utf8" }).stdout?.trim() ?? "";
}
