/**
 * fairlead beside ssh: how fast, how much processor time, how much memory. Every tool is measured
 * in turn in the same run, as a process of its own, through a real sshd on loopback.
 *
 *     deno task bench [--quick] [--only MEASURE,…] [--tools TOOL,…] [--rounds N] [--json]
 *
 * A whole run writes docs/benchmarks.md and docs/benchmarks.svg.
 */
import process from "node:process";
import { MEASURES } from "./bench/measures.ts";
import { readOptions, selects, type ToolName, USAGE } from "./bench/options.ts";
import { openFilesLimit } from "./bench/proc.ts";
import { run } from "./bench/run.ts";
import { figuresTable, targetsTable } from "./bench/tables.ts";
import { judge } from "./bench/targets.ts";
import { findTools } from "./bench/tools.ts";

async function main(args: readonly string[]): Promise<void> {
  if (process.platform !== "linux") throw new Error("it reads /proc, and so needs Linux");
  const options = readOptions(args, MEASURES.map(({ name }) => name));
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
  const results = await run({
    measures,
    tools,
    quick: options.quick,
    byName: options.only.length > 0,
    rounds: options.rounds,
    progress: (text) => console.error(`${since()}  ${text}`),
    signal: stop.signal,
  });
  const verdicts = judge(results).filter(({ measured }) => measured !== undefined);
  if (options.json) {
    console.log(JSON.stringify({ figures: results, targets: verdicts }));
    return;
  }
  const label = (name: ToolName) => tools.find((tool) => tool.name === name)?.label ?? name;
  console.log(figuresTable(measures, tools, results));
  console.log(`\n${targetsTable(verdicts, label)}`);
  console.log(`\n${since().trim()}, at most ${openFilesLimit("self")} open files a process`);
}

if (process.argv.includes("--help")) {
  console.log(USAGE);
} else {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  }
}
