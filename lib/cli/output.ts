/**
 * Everything a person or a script reads: data on stdout, the rest on stderr.
 *
 * @module
 */
import { openSync, writeSync } from "node:fs";
import process from "node:process";
import { configureSync, type LogLevel, type LogRecord } from "@logtape/logtape";
import { createColors } from "picocolors";
import { ConfigError, ConfigMistake } from "../config/problems.ts";
import { FairleadError, messageOf, systemCodeOf, UsageError } from "../errors.ts";
import type { Trace } from "./trace.ts";

/** How much is said, and in which form. */
export interface OutputOptions {
  /** -1 for errors only, 0 as usual, 1 to 3 for -v, -vv, -vvv. */
  readonly verbosity: number;
  /** One JSON object a line instead of words. */
  readonly json: boolean;
  /** Where log lines are appended to, instead of being shown. */
  readonly logFile?: string;
  /** What makes stdout carry data, so that nothing else may be there: -W, or a command. */
  readonly stdioForward?: unknown;
  readonly command?: unknown;
}

/** Where lines appear. */
export interface Screen {
  readonly color: boolean;
  /** Whether what a person reads is a terminal of this process, which can draw over it. */
  readonly terminal?: boolean;
  /** Shows a line that a script reads. */
  readonly out: (line: string) => void;
  /** Shows a line that a person reads. */
  readonly err: (line: string) => void;
}

/** This process's own stdout and stderr. */
export function terminalScreen(): Screen {
  let stdout: NodeJS.WriteStream | undefined;
  return {
    color: useColors(),
    terminal: process.stderr.isTTY === true && process.env["TERM"] !== "dumb",
    out: (line) => {
      // Not before it is needed: -W and a command have a handle of their own on it.
      stdout ??= process.stdout.on("error", () => {});
      stdout.write(`${line}\n`);
    },
    err: (line) => void process.stderr.write(`${line}\n`),
  };
}

/** Different warnings about connecting that are kept, so that none is shown twice. */
const MOST_WARNINGS = 1_000;
/** Version of the JSON lines' form. */
const JSON_VERSION = 1;

const LEVELS: readonly LogLevel[] = ["error", "warning", "info", "debug", "trace"];

/** Says things on behalf of one run. */
export class Output {
  readonly #options: OutputOptions;
  readonly #colors: ReturnType<typeof createColors>;
  /** Where lines about this run appear when they are no answer to anybody. */
  readonly #log: (line: string) => void;
  readonly #trace: Trace | undefined;
  /** What was warned of while connecting, and whether that is done again. */
  readonly #warned = new Set<string>();
  #again = false;
  /** Where everything else appears. */
  readonly screen: Screen;

  /**
   * Takes over the library's log as well.
   *
   * @param options How much, and in which form.
   * @param screen Where lines appear.
   * @param trace Where everything is written besides, at -vvv.
   * @throws {UsageError} When the log file cannot be opened.
   */
  constructor(options: OutputOptions, screen: Screen, trace?: Trace) {
    this.#options = options;
    this.screen = screen;
    const { logFile } = options;
    this.#log = logFile === undefined ? screen.err : appendTo(logFile);
    this.#colors = createColors(screen.color && logFile === undefined);
    this.#trace = trace;
    const shown = LEVELS.slice(0, options.verbosity + 2);
    configureSync({
      reset: true,
      sinks: {
        output: (record) => {
          const words = wordsOf(record);
          trace?.write(printable(`${record.level}: ${words}`));
          // Whoever asked for it is told of it, and is this process where the log is shown.
          if (record.properties["told"] === true) return;
          if (shown.includes(record.level) && !this.#isRepeated(record, words)) {
            this.#line(record.level, words);
          }
        },
      },
      loggers: [
        {
          category: "fairlead",
          sinks: ["output"],
          lowestLevel: (trace === undefined ? shown : LEVELS).at(-1) ?? "trace",
        },
        { category: ["logtape", "meta"], sinks: [], lowestLevel: "error" },
      ],
    });
  }

  /** What is warned of from now on while connecting has been said already, where it is the same. */
  connectsAgain(): void {
    this.#again = true;
  }

  /**
   * Says that something happened that a script may wait for.
   *
   * @param event The event's name and what belongs to it, for JSON.
   * @param words The same for a person, where one needs to know; nothing is said under -q.
   */
  event(event: { readonly event: string; readonly [key: string]: unknown }, words?: string): void {
    const { json, verbosity, command, stdioForward } = this.#options;
    const line = jsonLine(event);
    this.#trace?.write(line);
    const carriesData = command !== undefined || stdioForward !== undefined;
    if (json && carriesData) this.#log(line);
    else if (json) this.screen.out(line);
    else if (verbosity >= 0 && words !== undefined) this.#say("fairlead:", words);
  }

  /** Whether lines can be drawn in place: they go to a terminal, and to a person. */
  get isTerminal(): boolean {
    const { json, verbosity, logFile } = this.#options;
    return this.screen.terminal === true && !json && verbosity >= 0 && logFile === undefined;
  }

  /**
   * Draws a line that will be drawn over, no wider than the terminal.
   *
   * @param words The line.
   */
  draw(words: string): void {
    const columns = process.stderr.columns ?? 80;
    this.screen.err(printable(`fairlead: ${words}`).slice(0, columns - 1));
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
   * Shows what the server says before authentication.
   *
   * @param text Its text. It comes from a server that nobody has shown an identity to yet: it must
   *   not move the cursor.
   */
  banner(text: string): void {
    if (this.#options.verbosity < 0 || this.#options.json) return;
    for (const line of text.replace(/\r?\n$/, "").split(/\r?\n/)) {
      this.#log(line.split("\t").map(printable).join("\t"));
    }
  }

  /**
   * Says why something failed, in one line. What ends the program is shown even where there is a
   * log file.
   *
   * @param error What was thrown.
   * @param status The program's exit status, where it ends for this.
   */
  error(error: unknown, status?: number): void {
    if (error instanceof ConfigError) {
      for (const mistake of error.mistakes) this.error(mistake, status);
      return;
    }
    const { code, hint } = error instanceof FairleadError
      ? error
      : { code: "internal", hint: undefined };
    const message = messageOf(error);
    const whole = error instanceof Error ? error.stack : undefined;
    this.#trace?.write(jsonLine({ event: "error", code, message, hint, status, stack: whole }));
    // Where the mistake is in what was written, the place in the program says nothing.
    const stack = this.#options.verbosity >= 3 && !(error instanceof UsageError)
      ? whole
      : undefined;
    const lines: string[] = [];
    if (this.#options.json) {
      const place = error instanceof ConfigMistake ? error.place : {};
      const fields = { event: "error", code, message, hint, ...place, status, stack };
      lines.push(jsonLine(fields));
    } else {
      const words = hint === undefined ? message : `${message}; ${hint}`;
      lines.push(`${this.#colors.red("fairlead:")} ${printable(words)}`);
      if (stack !== undefined) lines.push(...stack.split("\n").map(printable));
    }
    for (const line of lines) {
      this.#log(line);
      if (status !== undefined && this.#log !== this.screen.err) this.screen.err(line);
    }
  }

  /** A day without a server makes thousands of attempts, each with the same things to warn of. */
  #isRepeated({ category, level }: LogRecord, words: string): boolean {
    const [, part] = category;
    if (level !== "warning" || part === undefined) return false;
    if (part === "session") this.connectsAgain();
    if (part !== "ssh") return false;
    const known = this.#warned.has(words) || this.#warned.size >= MOST_WARNINGS;
    if (!known) this.#warned.add(words);
    return this.#again && known;
  }

  #line(level: LogLevel, words: string): void {
    if (this.#options.json) {
      this.#log(jsonLine({ event: "log", level, message: words }));
    } else {
      const grave = level === "warning" || level === "error";
      this.#say(grave ? this.#colors.yellow("fairlead:") : "fairlead:", words);
    }
  }

  #say(prefix: string, words: string): void {
    this.#log(`${prefix} ${printable(words)}`);
  }
}

function wordsOf({ message }: LogRecord): string {
  return message.map((part) => typeof part === "string" ? part : String(part)).join("");
}

function appendTo(path: string): (line: string) => void {
  try {
    const file = openSync(path, "a", 0o600);
    return (line) => {
      try {
        writeSync(file, `${line}\n`);
      } catch {
        // A full disk does not end what goes on besides.
      }
    };
  } catch (error) {
    const reason = systemCodeOf(error) === "ENOENT"
      ? "its folder does not exist"
      : systemCodeOf(error) === "EISDIR"
      ? "it is a folder"
      : systemCodeOf(error) === "EACCES"
      ? "permission denied"
      : messageOf(error);
    throw new UsageError(`-E ${path}: ${reason}`);
  }
}

function useColors(): boolean {
  const { NO_COLOR, TERM } = process.env;
  return process.stderr.isTTY === true && (NO_COLOR ?? "") === "" && TERM !== "dumb";
}

/** JSON leaves some control characters as they are; a terminal acts on them. */
function jsonLine(fields: object): string {
  const text = JSON.stringify({ v: JSON_VERSION, ...fields });
  return text.replace(/[\x7f-\x9f]/g, (char) => `\\u00${char.charCodeAt(0).toString(16)}`);
}

/**
 * What others named (a file, a key, a host) or said must not move the cursor.
 *
 * @param words Their words.
 * @returns The same, with ? in place of control characters.
 */
export function printable(words: string): string {
  // deno-lint-ignore no-control-regex -- they are what this is about
  return words.replace(/[\x00-\x1f\x7f-\x9f]/g, "?");
}
