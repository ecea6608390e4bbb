/**
 * What is wrong with a fairlead.yaml: all of it at once, each with its place.
 *
 * @module
 */
import { UsageError } from "../errors.ts";

/** Mistakes that are told of one file. */
export const MOST_PROBLEMS = 100;

/** One mistake. */
export interface Problem {
  /** The line, from 1, as near as it is known; undefined where it is about the whole file. */
  readonly line?: number | undefined;
  /** The key path, such as `tunnels.mail.port`; empty for the whole file. */
  readonly path: string;
  /** What was found, and what is wanted. */
  readonly message: string;
  /** What to do. */
  readonly hint?: string | undefined;
}

/** One mistake, to be shown alone. */
export class ConfigMistake extends UsageError {
  /** The class's name, as JavaScript prints it. */
  override name = "ConfigMistake";
  /** Where it is. */
  readonly place: { readonly file: string; readonly line?: number | undefined; path: string };

  /**
   * @param file The file, as it is shown.
   * @param problem The mistake.
   */
  constructor(file: string, problem: Problem) {
    super(problemText(file, { ...problem, hint: undefined }), problem.hint, "config-invalid");
    this.place = { file, line: problem.line, path: problem.path };
  }
}

/** A fairlead.yaml that cannot be used. */
export class ConfigError extends UsageError {
  /** The class's name, as JavaScript prints it. */
  override name = "ConfigError";
  /** All that is wrong, in the order of the file. */
  readonly mistakes: readonly ConfigMistake[];

  /**
   * Collects what was found.
   *
   * @param file The file, as it is shown.
   * @param problems All that is wrong; one at least.
   */
  constructor(file: string, problems: readonly Problem[]) {
    const sorted = [...problems].sort((one, other) => lineOf(one) - lineOf(other));
    const all = sorted.map((problem) => problemText(file, problem));
    super(all.join("\n"), undefined, "config-invalid");
    this.mistakes = sorted.map((problem) => new ConfigMistake(file, problem));
  }
}

/** What is about the whole file stands last. */
function lineOf({ line = Number.MAX_SAFE_INTEGER }: Problem): number {
  return line;
}

/**
 * One mistake as a line of text.
 *
 * @param file The file, as it is shown.
 * @param problem The mistake.
 * @returns `file:line: path: message; hint`.
 */
export function problemText(file: string, { line, path, message, hint }: Problem): string {
  const where = line === undefined ? file : `${file}:${line}`;
  return [where, ...(path === "" ? [] : [path]), message].join(": ") +
    (hint === undefined ? "" : `; ${hint}`);
}

/** A key path: names of mappings, positions in lists. */
export type Path = readonly (string | number)[];

/** Letters of a key that are shown. */
const MOST_LETTERS = 64;

/**
 * A key path as people write it. What is too long for a key is cut.
 *
 * @param path The path.
 * @returns `tunnels.mail.forwards[0].local`.
 */
export function formatPath(path: Path): string {
  return path.map((step, index) => {
    if (typeof step === "number") return `[${step}]`;
    const key = step.length > MOST_LETTERS ? `${step.slice(0, MOST_LETTERS)}…` : step;
    return index === 0 ? key : `.${key}`;
  }).join("");
}
