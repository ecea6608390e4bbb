/**
 * fairlead beside ssh: how fast, how much processor time, how much memory. Every tool is measured
 * in turn in the same run, as a process of its own, through a real sshd on loopback.
 *
 *     deno task bench [--quick] [--only MEASURE,…] [--tools TOOL,…] [--rounds N] [--json]
 *
 * A whole run writes docs/benchmarks.md and docs/benchmarks.svg.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { ROOT } from "../tests/support/fairlead.ts";
import { chart } from "./bench/chart.ts";
import { CHART, circumstances, formatDocument } from "./bench/document.ts";
import { MEASURES } from "./bench/measures.ts";
import { readOptions, selects, type ToolName, usage } from "./bench/options.ts";
import { run } from "./bench/run.ts";
import { keepSection } from "./bench/section.ts";
import { fastestRuntimes } from "./bench/stage.ts";
import { figuresTable, targetsTable } from "./bench/tables.ts";
import { judge } from "./bench/targets.ts";
import { findTools } from "./bench/tools.ts";

async function main(args: readonly string[]): Promise<void> {
  if (process.platform !== "linux") throw new Error("it reads /proc, and so needs Linux");
  const options = readOptions(args, NAMES);
  const measures = MEASURES.filter(({ name }) =>
    options.only.length === 0 || options.only.some((word) => selects(word, name))
  );
  const tools = findTools(options.tools);
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      process.exitCode = 1;
      stop.abort();
    });
  }
  const begin = performance.now();
  const since = () => `${((performance.now() - begin) / 1_000).toFixed(0).padStart(4)} s`;
  const outcome = await run({
    measures,
    tools,
    quick: options.quick,
    workers: fastestRuntimes(),
    byName: options.only.length > 0,
    rounds: options.rounds,
    progress: (text) => console.error(`${since()}  ${text}`),
    signal: stop.signal,
  });
  const { results, others } = outcome;
  const verdicts = judge(results).filter(({ measured }) => measured !== undefined);
  const label = (name: ToolName) => tools.find((tool) => tool.name === name)?.label ?? name;
  if (options.json) {
    console.log(JSON.stringify({ others, figures: results, targets: verdicts }));
  } else {
    console.log(figuresTable(measures, tools, results) ?? "nothing was measured");
    if (verdicts.length > 0) console.log(`\n${targetsTable(verdicts, label)}`);
  }
  for (const failure of results.failures) {
    console.error(`failed: ${failure}`);
    process.exitCode = 1;
  }
  console.error(`${since()}  programs beside this one had ${percent(others)} of the processors`);
  if (others > DISTURBED) console.error("      that is too much to trust the figures");
  // What was stopped is no whole run.
  if (!options.write || stop.signal.aborted) return;
  const document = formatDocument({
    ...outcome,
    columns: tools,
    verdicts,
    date: new Date().toISOString().slice(0, 10),
    command: ["deno task bench", ...args].join(" "),
    circumstances: circumstances(),
  });
  const before = readFileSync(`${DOCS}benchmarks.md`, "utf8");
  writeFileSync(`${DOCS}benchmarks.md`, keepSection(document, before));
  writeFileSync(`${DOCS}benchmarks.svg`, chart(CHART, tools, results));
  const written = ["md", "svg"].map((ending) => `${DOCS}benchmarks.${ending}`);
  spawnSync(process.execPath, ["fmt", "--quiet", ...written], { stdio: "inherit" });
  console.error(`${since()}  wrote docs/benchmarks.md and docs/benchmarks.svg`);
}

const NAMES = MEASURES.map(({ name }) => name);
/** The share of the processors that others may have before the figures are in doubt. */
const DISTURBED = 0.05;
const DOCS = `${ROOT}docs/`;

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}

if (process.argv.includes("--help")) {
  console.log(usage(NAMES));
} else {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  }
}
