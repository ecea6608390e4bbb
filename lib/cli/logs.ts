/**
 * `fairlead logs`.
 *
 * @module
 */
import process from "node:process";
import { createColors } from "picocolors";
import type { ConfigFile } from "../config/load.ts";
import { logFilePath, type LogLine } from "../control/log_file.ts";
import { followLog, readLog } from "../control/log_reader.ts";
import { nearest } from "../nearest.ts";
import { wholeNumber } from "../ssh_config/values.ts";
import { configOf, read } from "./named.ts";
import { type Output, printable } from "./output.ts";
import { readWord, type Rule } from "./rules.ts";
import { stopSignal } from "./signals.ts";
import { type CommonOptions, print, type Surroundings } from "./subcommand.ts";

const USUAL_LINES = 100;

interface LogsOptions extends CommonOptions {
  follow: boolean;
  lines: number;
}

/** The options that `logs` has besides the common ones. */
export const LOGS_RULES: readonly Rule<LogsOptions>[] = [
  {
    flags: "-f, --follow",
    help: "show what is logged from now on, too",
    apply: (options) => {
      options.follow = true;
    },
  },
  {
    flags: "-n, --lines <n>",
    help: "so many lines of what is there (100), or all",
    apply: (options, value) => {
      options.lines = value === "all"
        ? Infinity
        : readWord("-n", value, wholeNumber(0, 1_000_000_000));
    },
  },
];

const HELP = `usage: fairlead logs [options] [name|group...]

Shows what the background process has logged, about the tunnels that are named
or all; also when it has ended.

  -f, --follow     show what is logged from now on, too; Ctrl-C ends
  -n, --lines <n>  so many lines of what is there (100), or all
  --json           the lines as they are in the file, one JSON object each
`;

/**
 * Runs `fairlead logs`.
 *
 * @param args What follows the word.
 * @param surroundings What it works with.
 * @returns The exit status.
 */
export async function runLogs(
  args: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  const line = read<LogsOptions>(args, surroundings, {
    word: "logs",
    rules: LOGS_RULES,
    help: HELP,
    options: { follow: false, lines: USUAL_LINES },
  });
  if (line === undefined) return 0;
  const { options: { follow, lines, json }, operands, output } = line;
  const { NO_COLOR, TERM } = process.env;
  const colors = createColors(
    process.stdout.isTTY === true && (NO_COLOR ?? "") === "" && TERM !== "dumb",
  );
  const path = logFilePath();
  const show = (line: LogLine) => print(`${json ? JSON.stringify(line) : text(line, colors)}\n`);
  const stop = stopSignal();
  const { lines: all, end } = readLog(path);
  const meant = operands.length === 0 ? undefined : namesOf(operands, all, output);
  const isMeant = ({ tunnel }: LogLine) =>
    meant === undefined || (tunnel !== undefined && meant.has(tunnel));
  for (const line of lines === 0 ? [] : all.filter(isMeant).slice(-lines)) show(line);
  if (!follow) return 0;
  for await (const line of followLog(path, stop.first, end)) {
    if (isMeant(line)) show(line);
  }
  return 0;
}

/** What the words mean: tunnels that were logged, and those of the nearest file with their groups. */
function namesOf(
  words: readonly string[],
  lines: readonly LogLine[],
  output: Output,
): ReadonlySet<string> {
  const file = tunnelsOfFile();
  const logged = lines.flatMap(({ tunnel }) => tunnel ?? []);
  const callings = new Set([...logged, ...file.flatMap(({ name, groups }) => [name, ...groups])]);
  for (const word of words.filter((word) => !callings.has(word))) {
    const guess = nearest(word, [...callings]);
    const hint = guess === undefined ? "" : `; did you mean ${guess}?`;
    output.warn(`nothing is logged of a tunnel ${word}${hint}`);
  }
  const grouped = file.filter(({ groups }) => groups.some((group) => words.includes(group)));
  return new Set([...words, ...grouped.map(({ name }) => name)]);
}

/** A log can be read where no file is, or a broken one. */
function tunnelsOfFile(): ConfigFile["tunnels"] {
  try {
    return configOf(undefined).tunnels;
  } catch {
    return [];
  }
}

function text(
  { time, level, tunnel, message }: LogLine,
  colors: ReturnType<typeof createColors>,
): string {
  const paint = level === "error" || level === "fatal"
    ? colors.red
    : level === "warning"
    ? colors.yellow
    : (words: string) => words;
  const about = tunnel === undefined ? "" : `${tunnel}: `;
  const when = time === "" ? "" : `${localTime(time)} `;
  return `${when}${paint(printable(`${about}${message}`))}`;
}

/** As a person's own clock shows it. */
function localTime(time: string): string {
  const date = new Date(time);
  const offset = date.getTimezoneOffset() * 60_000;
  return new Date(date.getTime() - offset).toISOString().slice(0, 19).replace("T", " ");
}
