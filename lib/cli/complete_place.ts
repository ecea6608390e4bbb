/**
 * Where in a command line the cursor is, by ssh's grammar: what a word there would be.
 *
 * @module
 */
import type { Rule } from "./rules.ts";

/** An option, as a command line can have it. */
export interface Option {
  /** Its names, such as `-V` and `--version`. */
  readonly names: readonly string[];
  /** The name of its argument, where it takes one. */
  readonly argument: string | undefined;
  /** The line in --help; none where it is only there to be accepted or refused. */
  readonly help: string | undefined;
}

/** What of a rule is shown. */
export type OptionText = Pick<Rule, "flags" | "help">;

/** What the word at the cursor is. */
export type Place =
  | { readonly kind: "first" | "destination" | "option" | "separator" | "nothing" }
  /** A word after a first word of fairlead's own. */
  | { readonly kind: "argument"; readonly of: string }
  /** The value of an option, behind so many characters of the word. */
  | { readonly kind: "value"; readonly option: string; readonly before: number }
  /** A part of a local command, which follows the last of so many `--`. */
  | { readonly kind: "command"; readonly separators: number };

/** The cursor, and what was said before it. */
export interface Found {
  readonly place: Place;
  /** The value of -F, or of --config, where it was given. */
  readonly configFile: string | undefined;
}

/** The options of the kinds of command lines. */
export interface Grammars {
  readonly main: readonly Option[];
  readonly with: readonly Option[];
  /** Those of the other first words, where they have any. */
  readonly own: Readonly<Record<string, readonly Option[]>>;
}

/**
 * What rules say of options.
 *
 * @param rules The rules.
 * @returns An option for each.
 */
export function optionsOf(rules: readonly OptionText[]): Option[] {
  return rules.map(({ flags, help }) => {
    const [, names = "", argument] = /^(.*?)(?: <(.*)>)?$/.exec(flags) ?? [];
    return { names: names.split(", "), argument, help };
  });
}

/**
 * Finds out what the word at the cursor is.
 *
 * @param words The whole words before it, without the program's name.
 * @param current The part of it that stands before the cursor; empty where it is yet to begin.
 * @param grammars The options that there are.
 * @returns Where it is.
 */
export function placeOf(words: readonly string[], current: string, grammars: Grammars): Found {
  const [first, ...more] = words;
  if (first === undefined) {
    const kind = current.startsWith("-") ? "option" : "first";
    return { place: kind === "first" ? { kind } : optionAt(current, grammars.main), ...NOTHING };
  }
  if (first === "with") return walk(more, current, grammars.with, { local: true });
  if (Object.hasOwn(grammars.own, first)) {
    return walkOwn(first, more, current, grammars.own[first] ?? []);
  }
  return walk(words, current, grammars.main, { local: false });
}

const NOTHING = { configFile: undefined };

function walk(
  words: readonly string[],
  current: string,
  options: readonly Option[],
  { local }: { readonly local: boolean },
): Found {
  let configFile: string | undefined;
  let waiting: string | undefined;
  let destination = false;
  let ended = false;
  let separators = 0;
  const found = (place: Place): Found => ({ place, configFile });
  for (const word of words) {
    if (waiting !== undefined) {
      if (waiting === "-F") configFile = word;
      waiting = undefined;
    } else if (word === "--" && (!ended || local)) {
      separators++;
      // Behind the host a command follows, before it the host.
      if (destination) return found(local ? { kind: "command", separators } : { kind: "nothing" });
      ended = true;
    } else if (!ended && word.startsWith("-") && word !== "-") {
      const { option, value } = readOption(word, options);
      if (option !== undefined && value === undefined) waiting = option;
      if (option === "-F" && value !== undefined) configFile = value;
    } else if (!destination) {
      destination = true;
    } else {
      // What the server is to run.
      return found({ kind: "nothing" });
    }
  }
  if (waiting !== undefined) return found({ kind: "value", option: waiting, before: 0 });
  if (!ended && current.startsWith("-")) return found(optionAt(current, options));
  if (!destination) return found({ kind: "destination" });
  return found({ kind: local ? "separator" : "nothing" });
}

/** The same after another first word, where options stand among what else there is. */
function walkOwn(
  first: string,
  words: readonly string[],
  current: string,
  options: readonly Option[],
): Found {
  let configFile: string | undefined;
  let waiting: string | undefined;
  const found = (place: Place): Found => ({ place, configFile });
  for (const word of words) {
    if (waiting !== undefined) {
      if (NAMES_FILE.has(waiting)) configFile = word;
      waiting = undefined;
    } else if (word === "--") {
      // The one command that is read: ssh's.
      return found(first === "import" ? { kind: "command", separators: 1 } : { kind: "nothing" });
    } else {
      const { option, value } = word.startsWith("-") ? readOption(word, options) : {};
      if (option !== undefined && value === undefined) waiting = option;
      if (option !== undefined && NAMES_FILE.has(option)) configFile = value;
    }
  }
  if (waiting !== undefined) return found({ kind: "value", option: waiting, before: 0 });
  const place = current.startsWith("-") ? optionAt(current, options) : undefined;
  return found(place?.kind === "value" ? place : { kind: "argument", of: first });
}

/** Options that name the file which names come from. */
const NAMES_FILE: ReadonlySet<string> = new Set(["-F", "--config"]);

/** @returns The option that takes a value, and the value where it is in the same word. */
function readOption(
  word: string,
  options: readonly Option[],
): { option?: string; value?: string; before?: number } {
  if (word.startsWith("--")) {
    const [, name = "", value] = /^([^=]*)(?:=([^]*))?$/.exec(word) ?? [];
    if (!takesValue(name, options)) return {};
    if (value === undefined) return { option: name };
    return { option: name, value, before: name.length + 1 };
  }
  for (let at = 1; at < word.length; at++) {
    const letter = `-${word.charAt(at)}`;
    if (!takesValue(letter, options)) continue;
    if (at === word.length - 1) return { option: letter };
    return { option: letter, value: word.slice(at + 1), before: at + 1 };
  }
  return {};
}

function takesValue(name: string, options: readonly Option[]): boolean {
  return options.some((option) => option.argument !== undefined && option.names.includes(name));
}

/** A word that begins with a dash: the name of an option, or a value that follows in the word. */
function optionAt(current: string, options: readonly Option[]): Place {
  const { option, before } = readOption(current, options);
  if (option === undefined || before === undefined) return { kind: "option" };
  return { kind: "value", option, before };
}
