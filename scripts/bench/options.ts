/** The bench's own command line. */
import { parseArgs } from "node:util";
import { refuseStrangers, words } from "../arguments.ts";

/** What is compared. The first is what all others are measured by. */
export const TOOL_NAMES = ["ssh", "deno", "deno-js", "bun", "node"] as const;

/** The short name of a program that is compared. */
export type ToolName = typeof TOOL_NAMES[number];

/** What a run is to do. */
export interface BenchOptions {
  /** Shorter and fewer: for a look before and after a change. */
  readonly quick: boolean;
  /** Names of measures, or their beginnings (`delay` for `delay10`); empty for all. */
  readonly only: readonly string[];
  readonly tools: readonly ToolName[];
  /** How often everything is measured; undefined for what belongs to the mode. */
  readonly rounds: number | undefined;
  /** Whether docs/benchmarks.md and its chart are written. */
  readonly write: boolean;
  readonly json: boolean;
}

/** How to call it, with the names of all measures. */
export function usage(measures: readonly string[]): string {
  return USAGE.replace("MEASURES", inLines(measures, 90).join(",\n  "));
}

const USAGE = `usage: deno task bench [options]

  --quick               a look in under two minutes: shorter, without Node, not all measures
  --only NAME[,NAME]    some measures alone, with or without the number: delay for delay10, …
  --tools NAME[,NAME]   some of ${TOOL_NAMES.join(", ")}
  --rounds N            how often each is measured (default: 5; with --quick some less often)
  --write               write docs/benchmarks.md and its chart, also after part of it
  --json                print the figures as one JSON object

measures:
  MEASURES
`;

const OPTIONS = {
  quick: { type: "boolean", default: false },
  only: { type: "string", default: "" },
  tools: { type: "string" },
  rounds: { type: "string" },
  write: { type: "boolean" },
  json: { type: "boolean", default: false },
} as const;

/** Reads the arguments; throws an Error that says what is wrong. */
export function readOptions(args: readonly string[], measures: readonly string[]): BenchOptions {
  refuseStrangers(args, OPTIONS);
  const { values } = parseArgs({ args: [...args], options: OPTIONS });
  const only = words(values.only);
  for (const word of only) {
    if (!measures.some((measure) => selects(word, measure))) {
      throw new Error(`there is no measure "${word}": ${measures.join(", ")}`);
    }
  }
  const asked: readonly string[] = values.tools !== undefined
    ? words(values.tools)
    : TOOL_NAMES.filter((name) => !(values.quick && name === "node"));
  const stranger = asked.find((name) => !(TOOL_NAMES as readonly string[]).includes(name));
  if (stranger !== undefined) {
    throw new Error(`there is no tool "${stranger}": ${TOOL_NAMES.join(", ")}`);
  }
  const tools = TOOL_NAMES.filter((name) => asked.includes(name));
  if (tools.length === 0) throw new Error("--tools names none");
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds >= 1 && rounds <= 100)) {
    throw new Error(`--rounds takes a number from 1 to 100, not "${values.rounds}"`);
  }
  const whole = !values.quick && only.length === 0 && tools.length === TOOL_NAMES.length;
  return {
    quick: values.quick,
    only,
    tools,
    rounds,
    write: values.write ?? whole,
    json: values.json,
  };
}

/** Whether a word of --only means this measure: its name, or its name without the number. */
export function selects(word: string, measure: string): boolean {
  return word === measure || word === measure.replace(/\d+$/, "");
}

function inLines(names: readonly string[], width: number): string[] {
  const lines: string[] = [];
  for (const name of names) {
    const last = lines.at(-1);
    if (last === undefined || last.length + name.length + 2 > width) lines.push(name);
    else lines[lines.length - 1] = `${last}, ${name}`;
  }
  return lines;
}
