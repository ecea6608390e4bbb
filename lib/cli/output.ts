/**
 * Everything a person or a script reads: data on stdout, the rest on stderr.
 *
 * @module
 */
import process from "node:process";
import { configureSync, type LogLevel, type LogRecord } from "@logtape/logtape";
import { createColors } from "picocolors";
import { FairleadError, messageOf } from "../errors.ts";

/** How much is said, and in which form. */
export interface OutputOptions {
  /** -1 for errors only, 0 as usual, 1 to 3 for -v, -vv, -vvv. */
  readonly verbosity: number;
  /** One JSON object a line instead of words. */
  readonly json: boolean;
}

/** Version of the JSON lines' form. */
const JSON_VERSION = 1;

const LEVELS: readonly LogLevel[] = ["error", "warning", "info", "debug", "trace"];

/** Says things on behalf of one run. */
export class Output {
  readonly #options: OutputOptions;
  readonly #colors = createColors(useColors());

  /**
   * Takes over the library's log as well.
   *
   * @param options How much, and in which form.
   */
  constructor(options: OutputOptions) {
    this.#options = options;
    configureSync({
      reset: true,
      sinks: { output: (record) => this.#log(record) },
      loggers: [
        {
          category: "fairlead",
          sinks: ["output"],
          lowestLevel: LEVELS[options.verbosity + 1] ?? "trace",
        },
        { category: ["logtape", "meta"], sinks: [], lowestLevel: "error" },
      ],
    });
  }

  /**
   * Says that something happened that a script may wait for.
   *
   * @param event The event's name and what belongs to it, for JSON.
   * @param words The same for a person; nothing is said under -q.
   */
  event(event: { readonly event: string; readonly [key: string]: unknown }, words: string): void {
    if (this.#options.json) print(process.stdout, JSON.stringify({ v: JSON_VERSION, ...event }));
    else if (this.#options.verbosity >= 0) say("fairlead:", words);
  }

  /**
   * Says that something is not as it should be; the program goes on.
   *
   * @param words What, in words.
   */
  warn(words: string): void {
    if (this.#options.verbosity >= 0) this.#line("warning", words);
  }

  /**
   * Says why something failed, in one line.
   *
   * @param error What was thrown.
   * @param status The program's exit status, where it ends for this.
   */
  error(error: unknown, status?: number): void {
    const { code, hint } = error instanceof FairleadError
      ? error
      : { code: "internal", hint: undefined };
    const message = messageOf(error);
    const stack = this.#options.verbosity >= 3 && error instanceof Error ? error.stack : undefined;
    if (this.#options.json) {
      const fields = { event: "error", code, message, hint, status, stack };
      print(process.stderr, JSON.stringify({ v: JSON_VERSION, ...fields }));
    } else {
      const words = hint === undefined ? message : `${message}; ${hint}`;
      say(this.#colors.red("fairlead:"), words);
      if (stack !== undefined) print(process.stderr, stack);
    }
  }

  #log(record: LogRecord): void {
    const words = record.message.map((part) => typeof part === "string" ? part : String(part));
    this.#line(record.level, words.join(""));
  }

  #line(level: LogLevel, words: string): void {
    if (this.#options.json) {
      const line = { v: JSON_VERSION, event: "log", level, message: words };
      print(process.stderr, JSON.stringify(line));
    } else {
      const grave = level === "warning" || level === "error";
      say(grave ? this.#colors.yellow("fairlead:") : "fairlead:", words);
    }
  }
}

function useColors(): boolean {
  const { NO_COLOR, TERM } = process.env;
  return process.stderr.isTTY === true && (NO_COLOR ?? "") === "" && TERM !== "dumb";
}

/** One line for a person. What others named (a file, a key, a host) must not move the cursor. */
function say(prefix: string, words: string): void {
  // deno-lint-ignore no-control-regex -- they are what this is about
  print(process.stderr, `${prefix} ${words.replace(/[\x00-\x1f\x7f-\x9f]/g, "?")}`);
}

function print(stream: NodeJS.WriteStream, line: string): void {
  stream.write(`${line}\n`);
}
