/**
 * Which command a command line means.
 *
 * @module
 */
import process from "node:process";
import { personPrompter } from "./askpass.ts";
import { FairleadError, UsageError } from "../errors.ts";
import { findForeground, type Foreground, goToBackground } from "./background.ts";
import { runDemo } from "./demo_command.ts";
import { checkTask, forward } from "./forward.ts";
import { helpText, readCommandLine } from "./options.ts";
import { Output, terminalScreen } from "./output.ts";
import type { Settings } from "../ssh_config/settings.ts";
import { readStdinKey, takeSecrets } from "./secrets.ts";
import { stopSignal } from "./signals.ts";
import { VERSION } from "./version.ts";

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
  // A reader that went away (head, a closed terminal) is no reason to fail.
  process.stderr.on("error", () => {});
  // A word is a subcommand only as the very first argument: `fairlead -- demo` is a host.
  const foreground = await findForeground();
  const screen = foreground?.screen ?? terminalScreen();
  let output = new Output({ verbosity: 0, json: args.includes("--json") }, screen);
  let status: number;
  try {
    if (args[0] === "demo") return await runDemo(args.slice(1));
    const { settings, show } = readCommandLine(args);
    if (show === "help") return say(helpText());
    if (show === "version") return say(`fairlead ${VERSION}\n`);
    output = new Output(settings, screen);
    status = await connectAndForward(args, settings, output, foreground);
  } catch (error) {
    status = error instanceof UsageError ? USAGE : FAILED;
    output.error(error, status);
    if (!(error instanceof FairleadError) && error instanceof Error) {
      output.warn("this is a mistake in fairlead itself; -vvv shows where");
    }
  }
  if (foreground?.left === false) await foreground.leave(status);
  return status;
}

async function connectAndForward(
  args: readonly string[],
  settings: Settings,
  output: Output,
  foreground: Foreground | undefined,
): Promise<number> {
  const stop = stopSignal();
  const prompter = settings.batchMode ? undefined : foreground?.prompter ?? personPrompter();
  if (foreground === undefined) checkTask(settings, output);
  const wantsKey = settings.keyFromStdin && foreground === undefined;
  const stdinKey = wantsKey ? await readStdinKey(stop.first) : foreground?.stdinKey;
  if (stop.first.aborted) return stop.status();
  if (settings.background && foreground === undefined) {
    const going = goToBackground(args, { prompter, stdinKey }, output.screen, stop);
    // The second process has its own by now; the program that asks here must not see them.
    takeSecrets(settings, undefined);
    return await going;
  }
  return await forward(settings, output, stop, {
    prompter,
    secrets: takeSecrets(settings, stdinKey),
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
