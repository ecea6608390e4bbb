/**
 * `fairlead up`.
 *
 * @module
 */
import process from "node:process";
import type { ControlClient } from "../control/client.ts";
import type { Call, ControlEvent, TunnelMethods } from "../control/protocol.ts";
import { BACKGROUND, startBackground } from "../control/start.ts";
import type { Status } from "../control/status.ts";
import { Supervisor } from "../control/supervisor.ts";
import { codeOf, FairleadError, UsageError } from "../errors.ts";
import { personPrompter } from "./askpass.ts";
import { closeTunnels, keptMetrics, runInBackground, serveInFront } from "./background_process.ts";
import { background, chosen, CONFIG_RULE, configOf, type FileOptions, read } from "./named.ts";
import type { Output } from "./output.ts";
import { Progress } from "./progress.ts";
import type { Rule } from "./rules.ts";
import { type StopSignal, stopSignal } from "./signals.ts";
import type { Surroundings } from "./subcommand.ts";
import { VERSION } from "./version.ts";

/** A tunnel, or a forward, is not up. */
const FAILED = 255;

interface UpOptions extends FileOptions {
  foreground: boolean;
  metrics: string | undefined;
}

/** The options that `up` has besides the common ones. */
export const UP_RULES: readonly Rule<UpOptions>[] = [
  {
    flags: "--foreground",
    help: "stay here, and keep the tunnels in this process",
    apply: (options) => {
      options.foreground = true;
    },
  },
  {
    flags: "--metrics <address>",
    help: "serve Prometheus metrics there, as in 127.0.0.1:9090",
    apply: (options, value) => {
      if (value === "") throw new UsageError("--metrics: the value is missing");
      options.metrics = value;
    },
  },
  CONFIG_RULE as Rule<UpOptions>,
];

const HELP = `usage: fairlead up [options] [name|group...]

Brings up the tunnels of fairlead.yaml that are named, or all of them, and those
that they depend on. They are kept by a background process of yours; this
command ends once every one is up.

  --foreground         stay here, and keep the tunnels in this process; Ctrl-C
                       takes them down; ends by itself when none is up any more
  --metrics <address>  serve Prometheus metrics there, as in 127.0.0.1:9090
  --config <file>      this fairlead.yaml, and not the nearest one
  --json               one JSON object a line instead of words
  -q, -v               say less, or more

Ctrl-C gives up what is not up yet. A link that is lost is waited for, and a
forward that could not listen is tried again. Status: 0 when all of it is up,
255 when any tunnel or forward is not, 2 when the file or the command line is
wrong.
See also: fairlead status, logs, reload, down.
`;

/**
 * Runs `fairlead up`.
 *
 * @param args What follows the word.
 * @param surroundings What it works with.
 * @returns The exit status.
 * @throws {FairleadError} When the file is wrong, or the background process cannot be had.
 */
export async function runUp(args: readonly string[], surroundings: Surroundings): Promise<number> {
  if (args[0] === BACKGROUND && process.send !== undefined) return await runInBackground();
  const line = read<UpOptions>(args, surroundings, {
    word: "up",
    rules: UP_RULES,
    help: HELP,
    options: { foreground: false, metrics: undefined, config: undefined },
  });
  if (line === undefined) return 0;
  const { options: { foreground, metrics, config }, operands, output } = line;
  const params = {
    ...chosen(configOf(config), operands),
    ...(metrics === undefined ? {} : { metrics }),
  };
  if (params.tunnels.length === 0) throw new UsageError("the file has no tunnels");
  const stop = stopSignal();
  if (foreground) return await stay(params, output, stop);
  const progress = new Progress(output, params.tunnels);
  const client = await background() ?? await begun();
  stop.first.addEventListener("abort", () => client.close());
  try {
    const prompter = progress.pausing(personPrompter());
    const status = await client.ask("up", params, { onEvent: progress.onEvent, prompter });
    return conclude(status, params, progress);
  } catch (error) {
    progress.end();
    if (stop.first.aborted) return stop.status();
    throw error;
  } finally {
    client.close();
  }
}

async function begun(): Promise<ControlClient> {
  await startBackground();
  const client = await background();
  if (client !== undefined) return client;
  throw new FairleadError("the background process ended at once", {
    code: "connection-lost",
    hint: "`fairlead logs` may say why",
  });
}

/** The same in this process, until a signal comes or nothing that is up is left to keep. */
async function stay(
  params: TunnelMethods["up"]["params"],
  output: Output,
  stop: StopSignal,
): Promise<number> {
  let end = () => {};
  const ended = new Promise<void>((resolve) => end = resolve);
  let news: (event: ControlEvent) => void = () => {};
  const supervisor = new Supervisor({
    version: VERSION,
    onEmpty: () => end(),
    onEvent: (event) => news(event),
  });
  const metrics = keptMetrics(() => supervisor.status(), output);
  const server = await serveInFront(supervisor, metrics).catch((error: unknown) => {
    if (codeOf(error) !== "address-in-use") throw error;
    throw new FairleadError("another process keeps your tunnels already", {
      code: "address-in-use",
      hint: "fairlead down --all ends it; fairlead status shows them",
    });
  });
  const progress = new Progress(output, params.tunnels);
  const call: Call = {
    signal: stop.first,
    event: progress.onEvent,
    prompter: progress.pausing(personPrompter()),
  };
  stop.first.addEventListener("abort", () => end());
  try {
    if (params.metrics !== undefined) await metrics.serveMetrics(params.metrics);
    conclude(await supervisor.up(params, call), params, progress);
    const endUnlessUp = () => {
      if (supervisor.status().tunnels.every(({ state }) => state === "failed")) end();
    };
    endUnlessUp();
    // From now on nobody else says when a link is lost, or who takes a tunnel down.
    news = (event) => {
      progress.onEvent(event);
      endUnlessUp();
    };
    await ended;
    if (stop.first.aborted) return stop.status();
    return supervisor.size === 0 ? 0 : FAILED;
  } catch (error) {
    progress.end();
    if (stop.first.aborted) return stop.status();
    throw error;
  } finally {
    const closing = server?.close();
    await closeTunnels(supervisor, stop);
    await Promise.all([closing, metrics.close()]);
  }
}

/** @returns 0 when everything that was asked for is up. */
function conclude(
  status: Status,
  { tunnels }: TunnelMethods["up"]["params"],
  progress: Progress,
): number {
  const wanted = new Set(tunnels.map(({ name }) => name));
  const own = status.tunnels.filter(({ name }) => wanted.has(name));
  progress.end(own);
  const up = own.every(({ state, forwards }) =>
    state === "open" && forwards.every((forward) => forward.state === "listening")
  );
  return up ? 0 : FAILED;
}
