/**
 * The YAML of a fairlead.yaml, with messages that name the line and no secret.
 *
 * @module
 */
import { parse } from "@std/yaml";
import { messageOf } from "../errors.ts";
import type { Places } from "./places.ts";
import { ConfigError, MOST_PROBLEMS, type Problem } from "./problems.ts";
import { isSecret } from "./shown_value.ts";

/** Values in a file, aliases followed; real files have a few hundred. */
const MOST_VALUES = 100_000;

/**
 * Reads a text as YAML 1.2 has it.
 *
 * @param text The text.
 * @param shown How its file is shown.
 * @param places Where things stand in it.
 * @returns Its value, which has an end.
 * @throws {ConfigError} When it is none.
 */
export function parseYaml(text: string, shown: string, { repeated, tabbed }: Places): unknown {
  let value: unknown;
  try {
    value = parse(text, { schema: "core" });
  } catch (error) {
    if (tabbed.length > 0) throw new ConfigError(shown, tabMistakes(tabbed));
    if (error instanceof RangeError) throw new ConfigError(shown, [TOO_LARGE]);
    throw new ConfigError(shown, [yamlMistake(messageOf(error), text, repeated)]);
  }
  if (isTooLarge(value)) throw new ConfigError(shown, [TOO_LARGE]);
  return value;
}

const TOO_LARGE: Problem = { path: "", message: "there is too much in it, or no end of it" };

/** What the parser says, without the piece of the file that it shows. */
function yamlMistake(
  message: string,
  text: string,
  repeated: ReadonlyMap<number, number>,
): Problem {
  const place = / at line (\d+), column -?\d+:[^]*$/.exec(message);
  const reason = message.slice(0, place?.index ?? message.length);
  if (place === null) return { path: "", message: `this is no YAML: ${lowerCase(reason)}` };
  const line = Number(place[1]);
  const first = repeated.get(line);
  if (/duplicated key$/.test(reason)) {
    const also = first === undefined ? "" : `: line ${first} has it already`;
    return { line, path: "", message: `the same key twice${also}` };
  }
  // The parser names aliases and tags, and somebody's password may look like one.
  const keys = (text.split(/\r\n|\r|\n/)[line - 1] ?? "").match(/\b\w{1,40}\b(?=["']?\s{0,9}:)/g) ??
    [];
  const secret = keys.find((key) => isSecret([key]));
  if (secret !== undefined) {
    return { line, path: "", message: "this is no YAML", hint: `as in ${secret}: env:NAME` };
  }
  return { line, path: "", message: `this is no YAML: ${lowerCase(reason)}` };
}

function lowerCase(sentence: string): string {
  return sentence.slice(0, 1).toLowerCase() + sentence.slice(1);
}

/**
 * What is told of lines that a tab indents.
 *
 * @param lines The lines, from 1.
 * @returns A mistake for each, up to as many as are told.
 */
export function tabMistakes(lines: readonly number[]): Problem[] {
  return lines.slice(0, MOST_PROBLEMS).map((line) => ({
    line,
    path: "",
    message: "a tab indents this line: YAML wants spaces",
  }));
}

/** Aliases make much of little, and may hold themselves. */
function isTooLarge(value: unknown): boolean {
  let count = 0;
  const visit = (value: unknown, depth: number): boolean => {
    if (++count > MOST_VALUES || depth > 50) return true;
    if (typeof value !== "object" || value === null) return false;
    return Object.values(value).some((item) => visit(item, depth + 1));
  };
  return visit(value, 0);
}
