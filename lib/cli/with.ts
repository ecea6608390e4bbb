/**
 * `fairlead with`: a command of this machine runs while the forwards are up.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { UsageError } from "../errors.ts";
import type { Forward } from "../forward/forward.ts";
import type { Destination } from "../dialer.ts";
import type { HostConfig } from "../ssh_config/host_config.ts";
import type { ForwardRequest } from "../ssh_config/settings.ts";
import type { Tunnel } from "../tunnel/tunnel.ts";
import { drain } from "./drain.ts";
import { checkNames, checkPlaceholders, fillPlaceholders, variablesOf } from "./environment.ts";
import type { Surroundings } from "./forward.ts";
import { listen } from "./listen.ts";
import { runMetrics } from "./metrics_option.ts";
import { runLocally } from "./local_command.ts";
import { open } from "./open.ts";
import type { Output } from "./output.ts";
import { prompterGate } from "../ssh/prompter_gate.ts";
import { answering } from "./ready.ts";
import type { SignalPhases } from "./signal_phases.ts";
import type { LocalTask, Readiness } from "./with_options.ts";

/** Milliseconds after the command's end in which the signal that ended it may still reach us. */
const LATE_SIGNAL = 200;

/**
 * Looks whether there is something that a command could use, and whether it is named rightly.
 *
 * @param requests The forwards that are asked for, on the command line and in files.
 * @param args The arguments of the command.
 * @throws {UsageError} When there is none, two have the same name, or an argument misspells one.
 */
export function checkForwards(
  requests: readonly ForwardRequest[],
  args: readonly string[],
): void {
  if (requests.length === 0) {
    throw new UsageError(
      "with: nothing to forward",
      "give at least one of -L, -R and -D, as in -L db=0:db.internal:5432",
    );
  }
  const specs = requests.map(({ spec }) => spec);
  checkNames(specs);
  checkPlaceholders(args, specs);
}

/**
 * Connects, sets everything up, runs the command, and closes what was set up.
 *
 * @param host Where to, and what is asked for.
 * @param task The command, and when the forwards are ready for it.
 * @param output Where to say things.
 * @param signals Who gets which signal when.
 * @param person Whom to ask, where somebody may be asked, and what they have said already.
 * @returns The command's status; 128+n where signal n came before it was run.
 * @throws {FairleadError} When the session or a forward cannot be had: the command is not run.
 */
export async function runWith(
  host: HostConfig,
  task: LocalTask,
  output: Output,
  signals: SignalPhases,
  person: Omit<Surroundings, "up">,
): Promise<number> {
  const { command: { program, args }, readiness } = task;
  const stop = signals.before;
  // A link that is lost is made anew while the command reads from the terminal.
  const gate = person.prompter && prompterGate(person.prompter, "the command has the terminal");
  const tunnel = await open(host, { ...person, prompter: gate?.prompter }, output, stop);
  if (tunnel === undefined) return stop.status();
  const forwards = await setUp(tunnel, host, readiness, output, stop.first);
  if (forwards === undefined) return stop.status();
  gate?.close();
  let running = true;
  tunnel.closed.then((reason) => {
    if (!running) return;
    if (reason !== undefined) output.error(reason);
    output.warn("the tunnel is gone; the command goes on");
  });
  const command = { program, args: fillPlaceholders(args, forwards) };
  const metrics = await runMetrics({ host, tunnel, forwards }, output).catch(async (error) => {
    await tunnel.close({ force: true });
    throw error;
  });
  const status = await runLocally(command, variablesOf(forwards), signals, output);
  await metrics?.close();
  running = false;
  // Ctrl-C goes to both of us, and its end can be seen first: what is open must not pay for that.
  if (forwards.some(({ stats }) => stats.open > 0)) await sleep(LATE_SIGNAL);
  await drain({ tunnel, forwards, output }, signals.after(), "a signal ends at once");
  return status;
}

/** @returns The forwards, ready; undefined where a signal came first. */
async function setUp(
  tunnel: Tunnel,
  host: HostConfig,
  readiness: Readiness,
  output: Output,
  stopped: AbortSignal,
): Promise<Forward[] | undefined> {
  const over = new AbortController();
  const giveUp = () => over.abort();
  if (stopped.aborted) giveUp();
  stopped.addEventListener("abort", giveUp);
  tunnel.closed.then(giveUp);
  const { signal } = over;
  try {
    const forwards = await listen(tunnel, host.settings, output, signal);
    if (readiness.ready === "dial") {
      const destinations = destinationsOf(host.settings.forwards);
      await answering(tunnel, destinations, { timeout: readiness.readyTimeout, signal });
    }
    signal.throwIfAborted();
    return forwards;
  } catch (error) {
    // The end of the session says more than what it took with it.
    const lost = tunnel.state === "failed" ? await tunnel.closed : undefined;
    await tunnel.close({ force: true });
    if (stopped.aborted) return undefined;
    throw lost ?? error;
  } finally {
    stopped.removeEventListener("abort", giveUp);
  }
}

function destinationsOf(requests: readonly ForwardRequest[]): Destination[] {
  return requests.flatMap(({ kind, spec }) => kind === "local" ? [spec.destination] : []);
}
