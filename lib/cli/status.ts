/**
 * `fairlead status`.
 *
 * @module
 */
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import type { ControlClient } from "../control/client.ts";
import type { Status } from "../control/status.ts";
import { UsageError } from "../errors.ts";
import { background, read, upTunnels } from "./named.ts";
import type { Output } from "./output.ts";
import { MOST_SAMPLES, RATE_WIDTH, Rates } from "./rates.ts";
import type { Rule } from "./rules.ts";
import { stopSignal } from "./signals.ts";
import { statusTable } from "./status_table.ts";
import { type CommonOptions, print, type Surroundings } from "./subcommand.ts";

/** Milliseconds between two looks. */
const PAUSE = 1_000;
/** Columns of a terminal from which on there is room for all samples, and for some. */
const [WIDE, USUAL] = [100, 70];
/** Columns of a table that nothing narrower is drawn for. */
const LEAST_WIDTH = 40;
const USUAL_SAMPLES = 9;

interface StatusOptions extends CommonOptions {
  watch: boolean;
}

/** The options that `status` has besides the common ones. */
export const STATUS_RULES: readonly Rule<StatusOptions>[] = [
  {
    flags: "--watch",
    help: "draw it anew each second, with the rate of each forward",
    apply: (options) => {
      options.watch = true;
    },
  },
];

const HELP = `usage: fairlead status [options] [name|group...]

Shows the tunnels that are up: their state and since when, their forwards with
real ports, connections that are open and in total, bytes each way, how often a
lost link came back, and what went wrong last.

  --watch  draw it anew each second, with the rate of each forward; Ctrl-C ends
  --json   one JSON object, with --watch one each second
`;

/**
 * Runs `fairlead status`.
 *
 * @param args What follows the word.
 * @param surroundings What it works with.
 * @returns The exit status.
 * @throws {FairleadError} For a name that no tunnel has.
 */
export async function runStatus(
  args: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  const line = read<StatusOptions>(args, surroundings, {
    word: "status",
    rules: STATUS_RULES,
    help: HELP,
    options: { watch: false },
  });
  if (line === undefined) return 0;
  const { options: { watch, json }, operands, output } = line;
  if (watch) return await watchStatus(operands, json, output);
  const client = await background();
  try {
    const status = await look(client, operands);
    if (json) output.event({ event: "status", ...status });
    else print(lines(status).join("\n") + "\n");
    return 0;
  } finally {
    client?.close();
  }
}

const NOBODY = "no tunnel is up; fairlead up brings up those of fairlead.yaml";

/** What there is where nothing runs is nothing, and no failure. */
async function look(
  client: ControlClient | undefined,
  words: readonly string[],
): Promise<Pick<Status, "tunnels"> & Partial<Status>> {
  const status = client === undefined ? { tunnels: [] } : await client.ask("status", {});
  return { ...status, tunnels: upTunnels(status.tunnels, words) };
}

function lines({ tunnels }: Pick<Status, "tunnels">, rates?: Rates): string[] {
  if (tunnels.length === 0) return [NOBODY];
  const { NO_COLOR, TERM } = process.env;
  const width = Math.max(LEAST_WIDTH, process.stdout.isTTY ? process.stdout.columns ?? 80 : 100);
  const samples = width >= WIDE ? MOST_SAMPLES : width >= USUAL ? USUAL_SAMPLES : 0;
  return statusTable(tunnels, {
    width,
    color: process.stdout.isTTY === true && (NO_COLOR ?? "") === "" && TERM !== "dumb",
    now: Date.now(),
    ...(rates === undefined ? {} : {
      aside: {
        title: samples > 0 ? "BYTES PER SECOND" : "BYTES/S",
        width: samples + RATE_WIDTH,
        of: (tunnel, forward) => rates.of(tunnel, forward, samples),
      },
    }),
  });
}

async function watchStatus(
  words: readonly string[],
  json: boolean,
  output: Output,
): Promise<number> {
  const stop = stopSignal();
  const inPlace = process.stdout.isTTY === true && process.env["TERM"] !== "dumb" && !json;
  const { LC_ALL, LC_CTYPE, LANG } = process.env;
  const unicode = /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || "");
  const rates = new Rates(unicode);
  const write = (text: string) => process.stdout.on("error", () => {}).write(text);
  let client: ControlClient | undefined;
  // The screen that was there comes back at the end.
  if (inPlace) write("\x1b[?1049h\x1b[?25l");
  try {
    while (!stop.first.aborted) {
      client ??= await background();
      const status = await look(client, words).catch((error: unknown) => {
        // The process may end while it is looked at; another one may begin.
        client = undefined;
        if (error instanceof UsageError) throw error;
        return { tunnels: [] };
      });
      rates.take(status.tunnels, performance.now());
      if (json) output.event({ event: "status", ...status });
      else if (inPlace) write(frame(lines(status, rates)));
      else write(lines(status, rates).join("\n") + "\n\n");
      await sleep(PAUSE, undefined, { signal: stop.first }).catch(() => {});
    }
    return 0;
  } finally {
    client?.close();
    if (inPlace) write("\x1b[?25h\x1b[?1049l");
  }
}

/** Each line over the old one, and nothing is cleared before: it does not flicker. */
function frame(lines: readonly string[]): string {
  const rows = process.stdout.rows ?? 24;
  const shown = lines.slice(0, rows - 1);
  const left = lines.length - shown.length;
  const last = left === 0 ? [] : left === 1 ? ["and 1 more line"] : [`and ${left} more lines`];
  return `\x1b[H${[...shown, ...last].map((line) => `${line}\x1b[K`).join("\r\n")}\x1b[J`;
}
