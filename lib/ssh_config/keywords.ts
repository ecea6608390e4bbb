/**
 * One keyword of ssh_config(5), wherever it is said.
 *
 * @module
 */
import { FairleadError, messageOf, UsageError } from "../errors.ts";
import { logger } from "../log.ts";
import { nearest } from "../nearest.ts";
import { ALIASES, FORGOTTEN, KEYWORDS } from "./keyword_table.ts";
import { matchesPatternList } from "../ssh/patterns.ts";
import { NotSupported } from "./rules.ts";
import { emptySettings, type Settings } from "./settings.ts";
import { splitWords } from "./words.ts";

const log = logger("ssh_config");

/** A line of a file. */
export interface FilePlace {
  readonly path: string;
  readonly line: number;
  /** Whether what stands there is meant for this host. */
  readonly active: boolean;
}

/**
 * Applies one keyword.
 *
 * @param settings What was said so far; changed in place.
 * @param keyword A keyword of ssh_config(5), in any case.
 * @param given Its value as ssh_config has it; or its words, where nothing is left to be split.
 * @param origin Where it was said: a line of a file; or for the message: `-p`, `-o Port`.
 * @throws {UsageError} When the keyword or the value is wrong, or cannot be honoured.
 */
export function applyKeyword(
  settings: Settings,
  keyword: string,
  given: string | readonly string[],
  origin: string | FilePlace,
): void {
  const name = keyword.toLowerCase();
  const known = BY_NAME.get(name);
  if (known === undefined) {
    if (FORGOTTEN.has(name)) return;
    if (matchesPatternList(name, (settings.ignoreUnknown ?? "").toLowerCase())) return;
    throw unknownKeyword(keyword, origin);
  }
  const inFile = typeof origin !== "string";
  const where = placeOf(origin, known);
  const active = !inFile || origin.active;
  const first = !settings.origins.has(known);
  try {
    const rule = KEYWORDS[known] as (typeof KEYWORDS)[string];
    rule.apply(active ? settings : emptySettings(), wordsOf(given, rule.form), {
      inFile,
      note: (reason) => {
        if (active && first) log.debug(`${where}: without effect: ${reason}`);
      },
    });
    if (active && first) settings.origins.set(known, where);
  } catch (error) {
    // What another host is not supported with is no matter here, nor what has been decided before.
    if (error instanceof NotSupported && !(active && first)) return;
    throw mistake(error, where, inFile ? undefined : given, known);
  }
}

/**
 * What is said about a keyword in a message of its own, later than it was read.
 *
 * @param settings Where it was read into.
 * @param keyword The keyword, spelt as ssh_config(5) does.
 * @param error What is wrong.
 * @returns The error to throw.
 */
export function laterMistake(settings: Settings, keyword: string, error: unknown): UsageError {
  return mistake(error, settings.origins.get(keyword) ?? keyword, undefined, keyword);
}

/**
 * Whether a keyword's value can be several words, such as `RekeyLimit 1G 1h`.
 *
 * @param keyword The keyword, in any case.
 * @returns Whether it is to be split; not for what is no keyword.
 */
export function takesWords(keyword: string): boolean {
  const known = BY_NAME.get(keyword.toLowerCase());
  return known !== undefined && KEYWORDS[known]?.form === "words";
}

const BY_NAME: ReadonlyMap<string, string> = new Map([
  ...Object.keys(KEYWORDS).map((name) => [name.toLowerCase(), name] as const),
  ...Object.entries(ALIASES),
]);

/** What is refused and takes a no; the others take none. */
const YES_OR_NO = ["CanonicalizeHostname", "ProxyUseFdpass", "Tunnel"];

function placeOf(origin: string | FilePlace, known: string): string {
  return typeof origin === "string" ? origin : `${origin.path}:${origin.line}: ${known}`;
}

function wordsOf(given: string | readonly string[], form: "word" | "words" | "line"): string[] {
  // Its quotes are counted in any case, as ssh does.
  const split = typeof given === "string" ? splitWords(given) : [...given];
  const line = typeof given === "string" ? given.replace(/^[ \t\r=]+/, "") : given.join(" ");
  const words = form === "line" ? [line] : split;
  if (words.join("") === "") throw new SyntaxError("the value is missing");
  if (form === "word" && words.length > 1) {
    throw new SyntaxError("expected one value; one with spaces needs quotes");
  }
  return words;
}

function mistake(
  error: unknown,
  where: string,
  given: string | readonly string[] | undefined,
  keyword: string,
): UsageError {
  const said = given === undefined
    ? ""
    : typeof given === "string"
    ? `=${given}`
    : given.map((word) => word === "" ? "" : ` ${word}`).join("");
  const refused = error instanceof NotSupported && given === undefined &&
    keyword !== "RefuseConnection";
  const hint = error instanceof FairleadError
    ? error.hint
    : refused
    ? `-o ${keyword}=${YES_OR_NO.includes(keyword) ? "no" : "none"} goes on without it`
    : undefined;
  const code = /:\d+: \w+$/.test(where) ? "config-invalid" : "usage";
  return new UsageError(`${where}${said}: ${messageOf(error)}`, hint, code);
}

function unknownKeyword(keyword: string, origin: string | FilePlace): UsageError {
  const guess = nearest(keyword, [...BY_NAME.values()]);
  const hint = guess === undefined
    ? "the names are those of ssh_config(5)"
    : `did you mean ${guess}?`;
  if (typeof origin === "string") return new UsageError(`-o ${keyword}: no such option`, hint);
  const words = `${origin.path}:${origin.line}: ${keyword}: no such keyword`;
  return new UsageError(
    words,
    `${hint}${guess === undefined ? "; IgnoreUnknown passes over it" : ""}`,
    "config-invalid",
  );
}
