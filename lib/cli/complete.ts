/**
 * `fairlead complete`: what the scripts of `fairlead completions` ask at each press of Tab. The same
 * definitions answer that read the command line, so that there is nothing to keep in step.
 *
 *     fairlead complete --shell SHELL --word=BEGUN -- WORDS...
 *     fairlead complete --shell bash --word=PIECE --line=LINE
 *
 * The first line of the answer is `words`, and the others are the words, in most shells with a tab
 * and a description; or it is `files N`, the rest of the word after N characters being a file; or
 * `command N`, what follows the Nth `--` being a command line of its own.
 *
 * It connects to nothing, runs nothing, and says nothing of what goes wrong: the user is in the
 * middle of writing a line.
 *
 * @module
 */
import process from "node:process";
import { expandHome } from "../ssh_config/tokens.ts";
import { FIRST_WORDS, type Shell } from "./commands.ts";
import { type Option, optionsOf, placeOf } from "./complete_place.ts";
import { type Candidate, offerAt } from "./complete_values.ts";
import { splitLine } from "./complete_words.ts";
import { RULES } from "./rules.ts";
import { COMMON_RULES } from "./subcommand.ts";
import { SUBCOMMAND_RULES } from "./subcommand_rules.ts";
import { READY_RULES } from "./with_options.ts";

/** What is asked. */
export interface Question {
  readonly shell: Shell;
  /** The whole words before the cursor, without the program's name. */
  readonly words: readonly string[];
  /** The word at the cursor, up to it. */
  readonly current: string;
  /** Characters of it that the shell does not take for a part of the word. */
  readonly kept: number;
}

/**
 * Answers one press of Tab on stdout.
 *
 * @param args What follows the word `complete`.
 * @returns The exit status: 0, or 1 where there is no answer.
 */
export async function runComplete(args: readonly string[]): Promise<number> {
  try {
    const text = answer(readQuestion(args));
    process.stdout.on("error", () => {});
    await new Promise<void>((resolve) => process.stdout.write(text, () => resolve()));
    return 0;
  } catch {
    return 1;
  }
}

/**
 * What the scripts pass on.
 *
 * @param args What follows the word `complete`.
 * @returns The question.
 */
export function readQuestion(args: readonly string[]): Question {
  const end = args.indexOf("--");
  const options = end < 0 ? args : args.slice(0, end);
  const word = optionOf(options, "--word=") ?? "";
  const shell = (options[1] ?? "") as Shell;
  const line = optionOf(options, "--line=");
  if (line === undefined) return { shell, words: args.slice(end + 1), current: word, kept: 0 };
  const all = splitLine(line);
  const current = all.at(-1) ?? "";
  const piece = splitLine(word).at(-1) ?? "";
  const kept = current.endsWith(piece) ? current.length - piece.length : 0;
  return { shell, words: all.slice(1, -1), current, kept };
}

/**
 * Answers a question.
 *
 * @param question What is asked.
 * @returns Lines for the shell's script.
 */
export function answer({ shell, words, current, kept }: Question): string {
  const main = optionsOf(RULES);
  const withOptions = [...optionsOf(READY_RULES), ...main];
  const { with: _, ...others } = FIRST_WORDS;
  const own = Object.fromEntries(Object.keys(others).map((word) => [word, ownOptions(word)]));
  const found = placeOf(words, current, { main, with: withOptions, own });
  if (found.place.kind === "command") return `command ${found.place.separators}\n`;
  const configFile = found.configFile === undefined ? undefined : expandHome(found.configFile);
  const [first = ""] = words;
  const options = first === "with"
    ? withOptions
    : Object.hasOwn(own, first)
    ? own[first] ?? []
    : main;
  const { before, candidates } = offerAt({ ...found, configFile }, current, options);
  if (candidates === "files") return `files ${Math.max(0, before - kept)}\n`;
  const prefix = current.slice(0, before);
  // It goes back as it is, without the quotes that it was typed with.
  if (!HARMLESS_PREFIX.test(prefix)) return "words\n";
  const lines = fitting(candidates, { typed: current.slice(before), shell })
    .map(({ text, help = "" }) => {
      const word = `${prefix}${text}`.slice(kept);
      return `${shell === "bash" || help === "" ? word : `${word}\t${help}`}\n`;
    });
  return `words\n${lines.join("")}`;
}

function ownOptions(word: string): Option[] {
  const rules = SUBCOMMAND_RULES[word];
  return rules === undefined ? [] : optionsOf([...rules, ...COMMON_RULES]);
}

/** What no shell acts on, wherever in a word it stands; all that anything is called by good people. */
const HARMLESS = /^[\p{L}\p{N}_@%+=:,./-]+$/u;
/** The same, with the letter that puts algorithms first. */
const HARMLESS_PREFIX = /^[\p{L}\p{N}_@%+=:,./^-]*$/u;

function fitting(
  candidates: readonly Candidate[],
  { typed, shell }: { readonly typed: string; readonly shell: Shell },
): Candidate[] {
  return candidates.filter(({ text }) => {
    if (!HARMLESS.test(text)) return false;
    if (text.startsWith(typed)) return true;
    // fish looks into descriptions as well: what was begun as a name would become an option.
    if (typed !== "" && text.startsWith("-") && !typed.startsWith("-")) return false;
    // These have rules of their own, and may find a word by its middle.
    return shell === "zsh" || shell === "fish";
  });
}

function optionOf(options: readonly string[], name: string): string | undefined {
  return options.find((option) => option.startsWith(name))?.slice(name.length);
}
