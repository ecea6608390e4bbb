/**
 * Which command a command line means.
 *
 * @module
 */
import process from "node:process";
import { personPrompter } from "./askpass.ts";
import { FairleadError, UsageError } from "../errors.ts";
import { findForeground, type Foreground, goToBackground } from "./background.ts";
import { runControlCommand } from "./control_command.ts";
import { concludePersist, handOver } from "./control_master.ts";
import { checkTask, forward } from "./forward.ts";
import { type CommandLine, conclude, helpText, readCommandLine } from "./options.ts";
import { Output, type Screen, terminalScreen } from "./output.ts";
import { answerQuery } from "./query.ts";
import { dumpConfig } from "../ssh_config/dump.ts";
import { type HostConfig, readHost } from "../ssh_config/host_config.ts";
import { permissionError } from "./permissions.ts";
import { type Settings, verbosityOf } from "../ssh_config/settings.ts";
import { type SignalPhases, signalPhases } from "./signal_phases.ts";
import { type StopSignal, stopSignal } from "./signals.ts";
import type { Subcommand } from "./subcommand.ts";
import { SUBCOMMANDS } from "./subcommands.ts";
import { readStdinKey, type Secrets, takeSecrets, withStdinKey } from "./secrets.ts";
import { openTrace, type Trace } from "./trace.ts";
import { versionLine } from "./version.ts";
import { checkForwards, runWith } from "./with.ts";
import { type LocalTask, readWithLine, withHelpText } from "./with_options.ts";

/** SSH or forwarding failed; ssh uses the same. */
const FAILED = 255;
/** The command line is wrong. */
const USAGE = 2;

/**
 * Runs one command line to its end.
 *
 * @param args The arguments, without the program's name.
 * @returns The exit status.
 */
export async function main(args: readonly string[]): Promise<number> {
  // Only a script says both: a host may be called complete.
  if (args[0] === "complete" && args[1] === "--shell") {
    return await (await import("./complete.ts")).runComplete(args.slice(1));
  }
  // A reader that went away (head, a closed terminal) is no reason to fail.
  process.stderr.on("error", () => {});
  const foreground = await findForeground();
  const screen = foreground?.screen ?? terminalScreen();
  const trace = openTrace();
  let output = new Output({ verbosity: 0, json: asksForJson(args) }, screen, trace);
  let status: number;
  try {
    // What few runs need is not loaded by all of them.
    if (args[0] === "demo") {
      return await (await import("./demo_command.ts")).runDemo(args.slice(1));
    }
    if (args[0] === "completions") {
      return (await import("./completions.ts")).runCompletions(args.slice(1));
    }
    if (args[0] === "man") return (await import("./manual.ts")).runManual(args.slice(1));
    const subcommand = await subcommandOf(args[0]);
    if (subcommand !== undefined) {
      const use = (other: Output) => output = other;
      return await subcommand(args.slice(1), { screen, trace, use });
    }
    const { settings, show, query, task } = readLine(args);
    // Before anything else is started: Match exec runs programs as well.
    const secrets = takeSecrets(settings);
    if (show === "help") return say(args[0] === "with" ? withHelpText() : helpText());
    if (show === "version") return say(`${versionLine()}\n`);
    if (show === "query") return say(answerQuery(query));
    const outputNow = () => outputFor(settings, screen, trace, task);
    output = outputNow();
    if (trace?.failure !== undefined) output.warn(trace.failure);
    const { logLevel, command } = settings;
    const local = task === undefined ? undefined : { task, signals: signalPhases() };
    const stop = local?.signals.before ?? stopSignal();
    const host = await readConfig(settings, stop);
    if (host === undefined) return stop.status();
    if (show === "config") return say(dumpConfig(host));
    // A file can say how much is to be said, and by a command what stdout is for.
    if (settings.logLevel !== logLevel || settings.command !== command) {
      output = outputNow();
    }
    status = local === undefined
      ? await connectAndForward(args, host, secrets, output, stop, foreground)
      : await connectAndRun(host, secrets, output, local);
  } catch (thrown) {
    const error = permissionError(thrown) ?? thrown;
    status = error instanceof UsageError ? USAGE : FAILED;
    output.error(error, status);
    if (!(error instanceof FairleadError) && error instanceof Error) {
      output.warn("this is a mistake in fairlead itself; -vvv shows where");
    }
  }
  if (foreground?.left === false) await foreground.leave(status);
  return status;
}

/** A word is a subcommand only as the very first argument: `fairlead -- demo` is a host. */
function readLine(
  args: readonly string[],
): CommandLine & { readonly task?: LocalTask | undefined } {
  return args[0] === "with" ? readWithLine(args.slice(1)) : readCommandLine(args);
}

/** Named tunnels have commands of their own. */
async function subcommandOf(word = ""): Promise<Subcommand | undefined> {
  return Object.hasOwn(SUBCOMMANDS, word) ? await SUBCOMMANDS[word]?.() : undefined;
}

/** Before the line is read; what follows -- is another program's. */
function asksForJson(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return (end < 0 ? args : args.slice(0, end)).includes("--json");
}

function outputFor(
  settings: Settings,
  screen: Screen,
  trace: Trace | undefined,
  task: LocalTask | undefined,
): Output {
  const verbosity = verbosityOf(settings);
  // A command has stdout, wherever it runs.
  const command = task?.command ?? settings.command;
  return new Output({ ...settings, verbosity, command }, screen, trace);
}

/** @returns The host; undefined where a signal came first. */
async function readConfig(settings: Settings, stop: StopSignal): Promise<HostConfig | undefined> {
  try {
    const host = await readHost(settings, { signal: stop.first });
    conclude(settings);
    return host;
  } catch (error) {
    if (stop.first.aborted) return undefined;
    throw error;
  }
}

async function connectAndRun(
  host: HostConfig,
  secrets: Secrets,
  output: Output,
  local: { readonly task: LocalTask; readonly signals: SignalPhases },
): Promise<number> {
  const { settings } = host;
  checkForwards(settings.forwards, local.task.command.args);
  const { before } = local.signals;
  const stdinKey = settings.keyFromStdin ? await readStdinKey(before.first) : undefined;
  if (before.first.aborted) return before.status();
  const person = { prompter: personPrompter(), secrets: withStdinKey(secrets, stdinKey) };
  return await runWith(host, local.task, output, local.signals, person);
}

async function connectAndForward(
  args: readonly string[],
  host: HostConfig,
  secrets: Secrets,
  output: Output,
  stop: StopSignal,
  foreground: Foreground | undefined,
): Promise<number> {
  const { settings } = host;
  const { controlCommand } = settings;
  if (controlCommand !== undefined) {
    return await runControlCommand(controlCommand, settings, output);
  }
  const prompter = foreground?.prompter ?? personPrompter();
  if (foreground === undefined) checkTask(settings, output);
  const handed = await handOver(settings, output);
  if (handed !== undefined) return handed;
  concludePersist(settings);
  const wantsKey = settings.keyFromStdin && foreground === undefined;
  const stdinKey = wantsKey ? await readStdinKey(stop.first) : foreground?.stdinKey;
  if (stop.first.aborted) return stop.status();
  if (settings.forkAfterAuthentication && foreground === undefined) {
    const { environment } = secrets;
    return await goToBackground(args, { prompter, stdinKey, environment }, output.screen, stop);
  }
  return await forward(host, output, stop, {
    prompter,
    secrets: withStdinKey(secrets, stdinKey),
    up: async () => {
      if (foreground === undefined) return;
      const { pid } = process;
      output.event({ event: "background", pid }, `in the background, as process ${pid}`);
      await foreground.leave(0);
    },
  });
}

function say(text: string): number {
  process.stdout.on("error", () => {}).write(text);
  return 0;
}
