/**
 * A process beside the bench that carries load, so that neither the bench nor what is measured
 * shares its event loop. It takes commands as lines of JSON and answers each with one; it ends when
 * there is nobody left to command it.
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { count, serveBulk, startStreams, stopStreams } from "./bulk.ts";
import { serveDelay } from "./delay.ts";
import { connects, echo, hold, release, serveEcho } from "./echo.ts";

const COMMANDS = {
  serveBulk,
  startStreams,
  stopStreams,
  count,
  serveEcho,
  echo,
  connects,
  hold,
  release,
  serveDelay,
};

/** What a worker can do. */
export type Commands = typeof COMMANDS;

/** A line to a worker. */
export interface Question {
  readonly id: number;
  readonly command: keyof Commands;
  readonly options: unknown;
}

/** A line from it. */
export interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

// Ctrl-C on a terminal is for the bench, which ends us when it is done.
process.on("SIGINT", () => {});
const lines = createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const { id, command, options } = JSON.parse(line) as Question;
  let answer: Answer;
  try {
    const run = COMMANDS[command] as (options: unknown) => Promise<unknown>;
    answer = { id, result: await run(options) };
  } catch (error) {
    answer = { id, error: error instanceof Error ? error.message : String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});
lines.on("close", () => process.exit());
