/** The benchmark's own parts. What it measures is never a test's pass or fail. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { chart } from "../scripts/bench/chart.ts";
import { CHART, formatDocument } from "../scripts/bench/document.ts";
import { MEASURES } from "../scripts/bench/measures.ts";
import type { Effort } from "../scripts/bench/probes.ts";
import { readOptions, selects, TOOL_NAMES, usage } from "../scripts/bench/options.ts";
import { Results } from "../scripts/bench/results.ts";
import { run } from "../scripts/bench/run.ts";
import { keepSection, withSection } from "../scripts/bench/section.ts";
import { formatStart } from "../scripts/bench/starts.ts";
import { connectTo } from "../scripts/bench/sockets.ts";
import { median, percentile } from "../scripts/bench/statistics.ts";
import { figuresTable, targetsTable } from "../scripts/bench/tables.ts";
import { judge, TARGETS } from "../scripts/bench/targets.ts";
import { findTools } from "../scripts/bench/tools.ts";
import { startWorker } from "../scripts/bench/workers.ts";
import { refusingPort } from "./support/tcp.ts";
import { descendants, skipUnless } from "./support/tools.ts";

const NAMES = MEASURES.map(({ name }) => name);
const KEYS = MEASURES.flatMap(({ metrics }) => metrics.map(({ key }) => key));
const COLUMNS = TOOL_NAMES.map((name) => ({ name, label: name }));

test("the median is the one in the middle, and a percentile one of the values", () => {
  assert.equal(median([5, 1, 3]), 3);
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.ok(Number.isNaN(median([])));
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.equal(percentile(hundred, 0.5), 50);
  assert.equal(percentile(hundred, 0.99), 99);
  assert.equal(percentile([7], 0.99), 7);
  assert.ok(Number.isNaN(percentile([], 0.5)));
});

test("a whole run writes the document, part of one does not unless it is told to", () => {
  const writes = (...args: string[]) => readOptions(args, NAMES).write;
  assert.equal(writes(), true);
  assert.equal(writes("--rounds", "2"), true);
  for (const part of [["--quick"], ["--only", "echo"], ["--tools", "ssh,bun"]]) {
    assert.equal(writes(...part), false);
    assert.equal(writes(...part, "--write"), true);
  }
});

test("measures are chosen by name, with or without the number", () => {
  assert.deepEqual(NAMES.filter((name) => selects("delay", name)), [
    "delay10",
    "delay50",
    "delay150",
  ]);
  assert.deepEqual(NAMES.filter((name) => selects("stream8", name)), ["stream8"]);
  assert.deepEqual(readOptions(["--only", "echo, delay"], NAMES).only, ["echo", "delay"]);
});

test("the tools keep their order, ssh first, whatever the order of --tools", () => {
  assert.deepEqual(readOptions(["--tools", "bun,ssh"], NAMES).tools, ["ssh", "bun"]);
  assert.deepEqual(readOptions([], NAMES).tools, [...TOOL_NAMES]);
  assert.deepEqual(readOptions(["--quick"], NAMES).tools, ["ssh", "deno", "deno-js", "bun"]);
  assert.deepEqual(readOptions(["--quick", "--tools", "node"], NAMES).tools, ["node"]);
});

test("a wrong argument is refused by name", () => {
  const refused = (args: string[], message: RegExp) =>
    assert.throws(() => readOptions(args, NAMES), message);
  refused(["--only", "speed"], /no measure "speed": start, stream1/);
  refused(["--tools", "telnet"], /no tool "telnet": ssh, deno/);
  refused(["--tools", ","], /names none/);
  refused(["--rounds", "0"], /from 1 to 100, not "0"/);
  refused(["--rounds", "1.5"], /not "1\.5"/);
  refused(["--fast"], /no option --fast; --help lists/);
  refused(["--quik"], /no option --quik; did you mean --quick\?/);
  refused(["--round=3"], /no option --round; did you mean --rounds\?/);
  refused(["-q"], /no option -q; --help lists/);
  refused(["echo"], /"echo" is no option; --help lists/);
});

test("--help names every measure and every tool", () => {
  const help = usage(NAMES);
  for (const name of [...NAMES, ...TOOL_NAMES]) assert.match(help, new RegExp(`\\b${name}\\b`));
  assert.deepEqual(help.split("\n").filter((line) => line.length > 100), []);
});

test("every target and every bar of the chart has a figure that is measured", () => {
  assert.equal(new Set(KEYS).size, KEYS.length);
  for (const { metric } of TARGETS) assert.ok(KEYS.includes(metric), metric);
  for (const { metric } of CHART) assert.ok(KEYS.includes(metric.key), metric.key);
});

test("a ratio is that of the medians, and there is none without ssh's figure", () => {
  const results = new Results();
  for (const down1 of [90, 110, 100]) results.add("ssh", { down1 });
  for (const down1 of [70, 300, 80]) results.add("deno", { down1, up1: 5 });
  assert.equal(results.ratio("deno", "down1"), 0.8);
  assert.equal(results.ratio("deno", "up1"), undefined);
  assert.equal(results.ratio("bun", "down1"), undefined);
  assert.deepEqual(JSON.parse(JSON.stringify(results)).ssh.down1, {
    median: 100,
    rounds: [90, 110, 100],
  });
});

test("a target is met at its bound, in either sense, and undecided where nothing was measured", () => {
  const results = new Results();
  results.add("ssh", { down1: 100, "echo-p50": 1, start: 100, "busy-up-p99": 1 });
  results.add("deno", {
    down1: 80,
    "echo-p50": 1.6,
    start: 350,
    idle1000: 41,
    "busy-up-p99": 3,
  });
  const verdicts = judge(results);
  const of = (metric: string) =>
    verdicts.find((verdict) => verdict.tool === "deno" && verdict.metric === metric);
  assert.equal(of("down1")?.met, true);
  assert.equal(of("echo-p50")?.met, false);
  assert.equal(of("busy-up-p99")?.met, true);
  assert.deepEqual([of("start")?.measured, of("start")?.met], [250, true]);
  assert.deepEqual([of("idle1000")?.measured, of("idle1000")?.met], [41, false]);
  assert.deepEqual([of("up1")?.measured, of("up1")?.met], [undefined, undefined]);

  const table = targetsTable(verdicts, (name) => name);
  assert.match(
    table,
    /one stream, download +\| deno +\| at least 0\.8× ssh \| +0\.80× ssh \| +yes/,
  );
  assert.match(table, /echo p50 +\| deno +\| +at most 1\.5× ssh \| +1\.60× ssh \| \*\*no\*\*/);
  assert.match(table, /one stream, upload +\| deno +\| at least 0\.8× ssh \| not measured \| +\|/);
});

test("a table has a line for what was measured, with the ratio, or the reason why there is none", () => {
  const results = new Results();
  results.add("ssh", { down1: 200.4, idle1000: 30 });
  results.add("bun", { down1: 100.2, idle1000: "900 at the most: EMFILE" });
  results.add("direct", { down1: 1000 });
  const idle = MEASURES.find(({ name }) => name === "idle");
  assert.ok(idle);
  results.fail("node", idle.metrics, "idle node: it ended");
  const table = figuresTable(MEASURES, COLUMNS, results) ?? "";
  assert.match(
    table,
    /One stream: download +\| MB\/s \| +200 \| +\| +\| +100 \(0\.50\) \| +\| +1000 \|/,
  );
  assert.match(table, /of 1000 +\| KiB +\| +30\.0 \| .* 900 at the most: EMFILE \| +failed \|/);
  assert.doesNotMatch(table, /upload/);
  assert.deepEqual(results.failures, ["idle node: it ended"]);
  assert.equal(figuresTable(MEASURES, COLUMNS, new Results()), undefined);
  const lengths = table.split("\n").map((line) => line.length);
  assert.equal(new Set(lengths).size, 1, "all lines are as long");
});

test("in the chart, what is better than ssh goes to the right, whether more or less is better", () => {
  const results = new Results();
  results.add("ssh", { down1: 100, "echo-p50": 1 });
  results.add("deno", { down1: 200, "echo-p50": 2 });
  results.add("bun", { down1: 50, "echo-p50": 0.5 });
  const picked = CHART.filter(({ metric }) => ["down1", "echo-p50"].includes(metric.key));
  const svg = chart(picked, COLUMNS, results);
  const middle = Number(/class="ssh" d="M([\d.]+) /.exec(svg)?.[1]);
  const bars = [
    ...svg.matchAll(/class="tool(\d)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="10"/g),
  ]
    .map(([, tool, x, width]) => ({ tool: Number(tool), x: Number(x), width: Number(width) }));
  // The bars of Deno and of Bun, for each of the two figures.
  assert.deepEqual(bars.map(({ tool }) => tool), [0, 2, 0, 2]);
  assert.deepEqual(bars.map(({ x }) => x >= middle), [true, false, false, true]);
  assert.ok(
    bars.every(({ width }) => Math.abs(width - (bars[0]?.width ?? 0)) < 0.2),
    "twice is as far as half",
  );
  assert.equal([...svg.matchAll(/</g)].length, [...svg.matchAll(/>/g)].length);
});

test("the document holds the targets, a table for each measure, and how and where it was made", () => {
  const results = new Results();
  results.add("ssh", { down1: 100 });
  results.add("deno", { down1: 80 });
  const text = formatDocument({
    results,
    rounds: 5,
    others: 0.02,
    columns: COLUMNS,
    verdicts: judge(results),
    date: "2026-01-31",
    command: "deno task bench",
    circumstances: ["fairlead 0, commit abc", "two cores"],
  });
  assert.match(text, /^# .*\n\nWritten by `deno task bench` on 2026-01-31/);
  assert.match(text, /Medians of 5 rounds/);
  assert.match(
    text,
    /### One stream\n\n\| .*\n.*\n\| download +\| MB\/s \| 100 \| 80 \(0\.80\) \|/,
  );
  assert.doesNotMatch(text, /### Start/);
  assert.match(text, /had 2 % of the processors/);
  assert.match(text, /- fairlead 0, commit abc\n- two cores\n/);
});

test("the section on starts has medians, and ratios to ssh's", () => {
  const section = formatStart({
    figures: [
      { label: "ssh", size: 1_200_000, version: [5, 4, 6], listening: [100, 110, 90] },
      { label: "binary", size: 108_600_000, version: [150, 40, 50], listening: [200, 150, 10] },
      { label: "source", size: undefined, version: [100, 100, 100], listening: [300, 300, 300] },
    ],
    date: "2026-01-31",
    others: 0.1,
    circumstances: ["ssh: OpenSSH", "two cores"],
  });
  assert.match(section, /^## .*\n\nMeasured on 2026-01-31: medians of 3 rounds/);
  assert.match(section, /\| ssh +\| 1\.2 MB +\| +5 \(1\.0\) \| +100 \(1\.0\) \|/);
  assert.match(section, /\| binary +\| 108\.6 MB +\| +50 \(10\.0\) \| +150 \(1\.5\) \|/);
  assert.match(section, /\| source +\| +\| +100 \(20\.0\) \| +300 \(3\.0\) \|/);
  assert.match(section, /had 10 % of the processors/);
  assert.match(section, /- ssh: OpenSSH\n- two cores$/);
});

test("a new document keeps the section on starts, which its own bench replaces", () => {
  const old = withSection("# Old\n\nfigures\n", "## Starts\n\nfirst\n");
  assert.match(old, /^# Old\n\nfigures\n\n<!-- .*task bench:start.* -->\n\n## Starts\n\nfirst\n/);
  const fresh = keepSection("# New\n\nother figures\n", old);
  assert.match(
    fresh,
    /^# New\n\nother figures\n\n<!-- .* -->\n\n## Starts\n\nfirst\n\n<!-- .* -->\n$/,
  );
  assert.equal(keepSection(fresh, old), fresh);
  assert.equal(withSection(fresh, "## Starts\n\nsecond"), fresh.replace("first", "second"));
  assert.equal(withSection(`${fresh}\nthe end\n`, "## Starts\n\nfirst"), `${fresh}\nthe end\n`);
  assert.equal(keepSection("# New\n", "# Old\n"), "# New\n");
});

const EFFORT: Effort = {
  // Beside other tests a tenth of a second can pass without a byte.
  seconds: 0.3,
  warmUp: 0.05,
  roundTrips: { warmUp: 2, seconds: 50 },
  uploads: 1_000,
  asking: 0.05,
  busyAsking: 0.05,
  idle: [1, 5],
  idleSeconds: 0.1,
  settle: 0.05,
};

/** What runs the worker here: the runtime of the tests. */
const OWN = "deno" in process.versions
  ? [process.execPath, "run", "-A", "--no-check"]
  : [process.execPath];

test(
  "a run measures ssh, and leaves no process behind",
  {
    ...skipUnless("ssh", "sshd"),
    ...existsSync("/proc/self/smaps_rollup") ? {} : { skip: "no /proc" },
  },
  async () => {
    const before = descendants(process.pid).map(({ pid }) => pid);
    const measures = MEASURES.filter(({ name }) =>
      ["start", "stream1", "echo", "connect", "delay10", "idle"].includes(name)
    );
    const { results, rounds } = await run({
      measures,
      tools: findTools(["ssh"]),
      quick: false,
      effort: EFFORT,
      workers: { load: OWN, link: OWN },
      byName: false,
      rounds: 1,
      progress: () => {},
      signal: new AbortController().signal,
    });
    assert.deepEqual([rounds, results.failures], [1, []]);
    // Memory may shrink, and little time may be none at all; the others are above 0.
    const positive = measures.flatMap(({ name, metrics }) =>
      name === "idle" ? [] : metrics.filter(({ key }) => !key.startsWith("cpu"))
    );
    for (const { key } of positive) assert.ok((results.get("ssh", key) ?? 0) > 0, key);
    const after = descendants(process.pid).map(({ pid }) => pid);
    assert.deepEqual(after.filter((pid) => !before.includes(pid)), []);
  },
);

test("a long link takes the time that it was told, there and back, and carries more meanwhile", async () => {
  await using worker = startWorker(OWN);
  const delayed = await worker.ask("serveDelay", {
    to: await worker.ask("serveEcho"),
    delay: 20,
  });
  const { p50 } = await worker.ask("echo", { port: delayed, seconds: 0.1 });
  assert.ok(p50 >= 40, `${p50} ms`);
  const socket = await connectTo(delayed);
  const sent = randomBytes(4 * 1024 * 1024);
  const received: Uint8Array[] = [];
  socket.on("data", (chunk) => received.push(chunk));
  const ended = once(socket, "end");
  socket.end(sent);
  await ended;
  assert.ok(Buffer.concat(received).equals(sent), "every byte in its place, and then the end");
});

test("a worker says what failed, and goes on", async () => {
  await using worker = startWorker(OWN);
  const refusing = await refusingPort();
  await assert.rejects(
    worker.ask("echo", { port: refusing.port, seconds: 1 }),
    /echo: .*ECONNREFUSED/,
  );
  const held = await worker.ask("hold", { port: refusing.port, total: 5, parallel: 2 });
  assert.equal(held.held, 0);
  assert.match(held.error ?? "", /ECONNREFUSED/);
  assert.equal((await worker.ask("count")).bytes, 0);
});
