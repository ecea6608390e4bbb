/**
 * What the commands of named tunnels have in common: how their words are read, and what they work
 * with.
 *
 * @module
 */
import process from "node:process";
import { UsageError } from "../errors.ts";
import { type Grammar, readOptions } from "./options.ts";
import type { Output, Screen } from "./output.ts";
import type { Rule } from "./rules.ts";
import type { Trace } from "./trace.ts";

/** What a command works with. */
export interface Surroundings {
  /** Where to say things: how much, and in which form, `output()` of what was read says. */
  readonly screen: Screen;
  readonly trace: Trace | undefined;
  /** Has main() say through it, too, why the command failed. */
  readonly use: (output: Output) => void;
}

/** A command that is a first word of its own. */
export type Subcommand = (
  args: readonly string[],
  surroundings: Surroundings,
) => Promise<number> | number;

/** What every one of them can be told. */
export interface CommonOptions {
  help: boolean;
  json: boolean;
  /** -1 for -q, 1 to 3 for -v, -vv and -vvv. */
  verbosity: number;
}

/** The options that every one of them has. */
export const COMMON_RULES: readonly Rule<CommonOptions>[] = [
  {
    flags: "--json",
    help: "one JSON object a line instead of words",
    apply: (options) => {
      options.json = true;
    },
  },
  {
    flags: "-q",
    help: "say nothing but errors",
    apply: (options) => {
      options.verbosity = -1;
    },
  },
  {
    flags: "-v",
    help: "say more; -vv and -vvv say still more",
    apply: (options) => {
      options.verbosity = Math.min(3, Math.max(0, options.verbosity) + 1);
    },
  },
  {
    flags: "-h, --help",
    help: "this text",
    apply: (options) => {
      options.help = true;
    },
  },
];

/** @returns What nobody has said anything of. */
export function commonOptions(): CommonOptions {
  return { help: false, json: false, verbosity: 0 };
}

/**
 * Reads the words of such a command: options may stand among the operands, none after `--`.
 *
 * @param args What follows the first word.
 * @param options Where to put what the options say.
 * @param rules The options that the command has besides the common ones.
 * @param command The first word, for messages.
 * @returns The operands.
 * @throws {UsageError} When an option is wrong.
 */
export function readWords<Options extends CommonOptions>(
  args: readonly string[],
  options: Options,
  rules: readonly Rule<Options>[],
  command: string,
): string[] {
  const grammar: Grammar<Options> = {
    rules: [...rules, ...COMMON_RULES],
    seeHelp: `fairlead ${command} --help lists what there is`,
  };
  const operands: string[] = [];
  let left = [...args];
  while (left.length > 0) {
    const rest = readOptions(options, left, grammar);
    if (left[left.length - rest.length - 1] === "--") return [...operands, ...rest];
    const [operand, ...more] = rest;
    if (operand !== undefined) operands.push(operand);
    left = more;
  }
  return operands;
}

/**
 * Refuses operands that a command does not take.
 *
 * @param operands What was given.
 * @param most How many it takes.
 * @param form How the command is written.
 * @throws {UsageError} When there are more.
 */
export function refuseMore(operands: readonly string[], most: number, form: string): void {
  const more = operands[most];
  if (more !== undefined) throw new UsageError(`unexpected argument ${JSON.stringify(more)}`, form);
}

/**
 * Prints a text that was asked for.
 *
 * @param text The text.
 * @returns The exit status.
 */
export function print(text: string): number {
  process.stdout.on("error", () => {}).write(text);
  return 0;
}
