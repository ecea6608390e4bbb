/**
 * The kinds of keywords: how a value is taken, and how `-G` prints it again.
 *
 * @module
 */
import type { KeywordSettings, Settings } from "./settings.ts";
import { yesNo } from "./values.ts";

/**
 * What becomes of a keyword: it is `honoured`; it is read for what a `later` version does with it;
 * it is `accepted` without effect, whatever it says; or it is `refused` unless it says no.
 */
export type Policy = "honoured" | "accepted" | "refused";

/** Where a keyword stands. */
export interface Saying {
  /** Whether it is in a file, which may be meant for other programs as well. */
  readonly inFile: boolean;
  /** Called with what a keyword has no effect for. */
  note(reason: string): void;
}

/** One keyword of ssh_config(5). */
export interface Keyword {
  readonly policy: Policy;
  /** Why it has no effect, or why it is refused. */
  readonly reason?: string;
  /** One word; several; or what stands in the line, to its end. */
  readonly form: "word" | "words" | "line";
  /** The words that it can be, where there is no other; as ssh_config(5) prefers them. */
  readonly choices?: readonly string[];
  /**
   * Takes a value.
   *
   * @throws {SyntaxError} When it is wrong.
   * @throws {NotSupported} When it is refused.
   */
  apply(settings: Settings, words: readonly string[], saying: Saying): void;
  /** What `-G` prints for it, line by line; missing where it prints nothing. */
  print?(settings: Settings): readonly string[];
}

/** A value is right, and fairlead cannot do what it asks for. */
export class NotSupported extends SyntaxError {}

type Value<Field extends keyof KeywordSettings> = Exclude<KeywordSettings[Field], undefined>;

interface Options<T> {
  readonly policy?: Policy;
  readonly reason?: string;
  readonly form?: Keyword["form"];
  /** The words that it can be; where it is read by yesNo they need not be said. */
  readonly choices?: readonly string[];
  /** What `-G` prints where nothing was said. */
  readonly unset?: string;
  /** How `-G` prints it, or does not: by default yes, no, or the value as it is. */
  readonly print?: (value: T) => string | undefined;
}

/**
 * A keyword whose first value counts.
 *
 * @param field Where it goes.
 * @param read How it is read; throws SyntaxError.
 * @param options How it is taken and printed.
 * @returns The keyword.
 */
export function value<Field extends keyof KeywordSettings>(
  field: Field,
  read: (word: string, words: readonly string[]) => Value<Field>,
  options: Options<Value<Field>> = {},
): Keyword {
  const { policy = "honoured", form = "word", unset, print = plain, reason } = options;
  const { choices = (read as unknown) === yesNo ? ["yes", "no"] : undefined } = options;
  return {
    policy,
    form,
    ...(choices === undefined ? {} : { choices }),
    ...(reason === undefined ? {} : { reason }),
    apply: (settings, words) => {
      const said = read(words.join(" "), words);
      if (settings[field] === undefined) settings[field] = said as unknown as Settings[Field];
    },
    print: (settings) => {
      const said = settings[field] as Value<Field> | undefined;
      const shown = said === undefined ? unset : print(said);
      return shown === undefined ? [] : [shown];
    },
  };
}

/**
 * A keyword whose values add up, each once.
 *
 * @param field Where they go.
 * @param unset What `-G` prints where nothing was said.
 * @returns The keyword.
 */
export function files(
  field: "identityFiles" | "certificateFiles",
  unset: readonly string[] = [],
): Keyword {
  return {
    policy: "honoured",
    form: "word",
    apply: (settings, [path = ""]) => {
      const all = settings[field] ??= [];
      if (all.includes(path)) return;
      // As many as ssh takes.
      if (all.length >= 100) throw new SyntaxError("there are more than 100");
      all.push(path);
    },
    print: (settings) => settings[field] ?? unset,
  };
}

/**
 * A keyword that has no effect.
 *
 * @param reason Why.
 * @returns The keyword.
 */
export function accepted(reason: string): Keyword {
  return {
    policy: "accepted",
    reason,
    form: "words",
    apply: (_settings, _words, saying) => saying.note(reason),
  };
}

/**
 * A keyword for what a session with a shell has besides: who writes it for one host of a file wants
 * his forwards all the same, who writes it on the command line wants just that.
 *
 * @param reason Why it has no effect.
 * @param harmless What may be said besides no and none.
 * @returns The keyword.
 */
export function shellOnly(reason: string, harmless: readonly string[] = []): Keyword {
  return {
    policy: "accepted",
    reason,
    form: "words",
    apply: (_settings, words, saying) => {
      if (isHarmless(words, harmless)) return;
      if (!saying.inFile) throw new NotSupported(reason);
      saying.note(reason);
    },
  };
}

/**
 * A keyword that is refused unless it says that it is off: without it less would be checked, or the
 * connection would go elsewhere.
 *
 * @param reason Why it cannot be honoured.
 * @param harmless What may be said besides no and none.
 * @returns The keyword.
 */
export function refused(reason: string, harmless: readonly string[] = []): Keyword {
  return {
    policy: "refused",
    reason,
    form: "words",
    apply: (_settings, words) => {
      if (!isHarmless(words, harmless)) throw new NotSupported(reason);
    },
  };
}

function isHarmless(words: readonly string[], more: readonly string[]): boolean {
  const [word = ""] = words;
  return words.length === 1 && ["no", "false", "none", ...more].includes(word.toLowerCase());
}

function plain(value: unknown): string {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (!Array.isArray(value)) return String(value);
  return value.length === 0 ? "none" : value.join(" ");
}
