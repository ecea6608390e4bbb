/**
 * The main command: connect, set everything up, and go on until it is done or told to stop.
 *
 * @module
 */
import { codeOf, systemCodeOf, UsageError } from "../errors.ts";
import type { Forward } from "../forward/forward.ts";
import { forwardStdio } from "../forward/stdio.ts";
import type { Prompter } from "../ssh/prompter.ts";
import type { Tunnel } from "../tunnel/tunnel.ts";
import { nearest } from "../nearest.ts";
import { FIRST_WORDS } from "./commands.ts";
import { drain, sayDraining } from "./drain.ts";
import { listen } from "./listen.ts";
import { runMetrics } from "./metrics_option.ts";
import { endsWithLink, open } from "./open.ts";
import type { Output } from "./output.ts";
import { attend } from "./remote_command.ts";
import type { HostConfig } from "../ssh_config/host_config.ts";
import type { Settings } from "../ssh_config/settings.ts";
import type { Secrets } from "./secrets.ts";
import type { StopSignal } from "./signals.ts";
import { takeStdio } from "./stdio.ts";

/** The status of a -W whose reader has gone. */
const FAILED = 255;

/** What differs between a run at a terminal and one in the background. */
export interface Surroundings {
  /** Whom to ask, where somebody may be asked. */
  readonly prompter: Prompter | undefined;
  /** What needs no asking. */
  readonly secrets: Secrets;
  /** Called once everything is up: the moment that -f waits for. */
  up(): Promise<void>;
}

/** What a run goes on for, besides its forwards. */
interface Task {
  readonly status: Promise<number>;
}

/** A whole run, as far as its parts know each other. */
interface Run {
  readonly tunnel: Tunnel;
  readonly forwards: readonly Forward[];
  readonly output: Output;
  readonly stop: StopSignal;
}

/**
 * Forwards until the session ends, the command or the connection of -W does, or a signal comes.
 *
 * @param host Where to, and what is asked for.
 * @param output Where to say things.
 * @param stop The signals.
 * @param surroundings Whom to ask, and whom to tell.
 * @returns The exit status.
 * @throws {FairleadError} When the session or the forwards cannot be had, or the session is lost.
 */
export async function forward(
  host: HostConfig,
  output: Output,
  stop: StopSignal,
  surroundings: Surroundings,
): Promise<number> {
  const { settings } = host;
  const tunnel = await open(host, surroundings, output, stop);
  if (tunnel === undefined) return stop.status();
  try {
    const forwards = await listen(tunnel, settings, output, stop.first);
    const task = await begin(tunnel, settings, stop);
    const metrics = await runMetrics({ host, tunnel, forwards }, output);
    try {
      await surroundings.up();
      return await run({ tunnel, forwards, output, stop }, task);
    } finally {
      await metrics?.close();
    }
  } catch (error) {
    // What is bound until now goes too; a lost session says more than what it took with it.
    const final = tunnel.state === "failed" || endsWithLink(settings);
    const lost = final && codeOf(error) === "connection-lost" ? await tunnel.closed : undefined;
    await tunnel.close({ force: true });
    if (stop.first.aborted) return stop.status();
    throw lost ?? error;
  }
}

/**
 * Refuses what this program does not do: a shell.
 *
 * @param settings What the command line asked for.
 * @param output Where to warn of a command that is not run.
 * @throws {UsageError} When there is nothing to do.
 */
export function checkTask(settings: Settings, output: Output): void {
  const noCommand = settings.sessionType === "none";
  if (noCommand && settings.command !== undefined) {
    const option = settings.stdioForward === undefined ? "-N" : "-W";
    output.warn(`the command is not run, because of ${option}`);
    delete settings.command;
  }
  if (noCommand || settings.command !== undefined || settings.forwards.length > 0) return;
  const meant = nearest(settings.host ?? "", Object.keys(FIRST_WORDS));
  throw new UsageError(
    "nothing to forward, and no command to run; fairlead opens no shell",
    `${meant === undefined ? "" : `did you mean "fairlead ${meant}"? Else `}` +
      "give at least one of -L, -R, -D and -W, as in -L [bind:]port:host:hostport",
  );
}

/** @returns What the run goes on for; undefined where that is the forwards alone. */
async function begin(
  tunnel: Tunnel,
  settings: Settings,
  stop: StopSignal,
): Promise<Task | undefined> {
  const { stdioForward, command, stdinNull = false } = settings;
  const signal = stop.first;
  if (stdioForward !== undefined) {
    const dialer = { dial: () => tunnel.dial(stdioForward, { signal }) };
    return task(
      forwardStdio(stdioForward, dialer, takeStdio({ stdinNull })).then(() => 0, (error) => {
        // As for ssh, a reader that has gone is no news.
        if (systemCodeOf(error) === "EPIPE") return FAILED;
        throw error;
      }),
    );
  }
  if (command === undefined) return undefined;
  const started = await tunnel.exec(command, { signal });
  return task(attend(started, takeStdio({ stdinNull })));
}

function task(status: Promise<number>): Task {
  // It may fail before anybody has come to wait for it.
  status.catch(() => {});
  return { status };
}

async function run(run: Run, task: Task | undefined): Promise<number> {
  const { tunnel, stop } = run;
  const lost = tunnel.closed.then((reason) => {
    if (reason !== undefined) throw reason;
    return "closed" as const;
  });
  const stopped = new Promise<"stopped">((resolve) => {
    if (stop.first.aborted) resolve("stopped");
    stop.first.addEventListener("abort", () => resolve("stopped"));
  });
  let end = await Promise.race([stopped, lost, ...(task === undefined ? [] : [task.status])]);
  if (typeof end === "number") {
    const status = end;
    // As ssh does after a command's end, without a limit.
    sayDraining(run, (named) => `waiting for ${named} to finish`);
    end = await Promise.race([stopped, tunnel.close().then(() => lost)]);
    if (end !== "stopped") return status;
  }
  if (end === "stopped") {
    await drain(run, stop.second, "a second signal ends at once");
    return stop.status();
  }
  return 0;
}
