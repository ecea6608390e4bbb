/**
 * Which command a command line means.
 *
 * @module
 */
import process from "node:process";
import { FairleadError } from "../errors.ts";
import { runDemo } from "./demo_command.ts";
import { forward } from "./forward.ts";
import { helpText, readCommandLine } from "./options.ts";
import { Output } from "./output.ts";
import { stopSignal } from "./signals.ts";
import { UsageError } from "./usage.ts";
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
  process.stdout.on("error", () => {});
  process.stderr.on("error", () => {});
  const json = args.includes("--json");
  let output = new Output({ verbosity: 0, json });
  try {
    // A word is a subcommand only as the very first argument: `fairlead -- demo` is a host.
    if (args[0] === "demo") return await runDemo(args.slice(1));
    const { settings, show } = readCommandLine(args);
    if (show === "help") return say(helpText());
    if (show === "version") return say(`fairlead ${VERSION}\n`);
    output = new Output(settings);
    return await forward(settings, output, stopSignal());
  } catch (error) {
    const status = error instanceof UsageError ? USAGE : FAILED;
    output.error(error, status);
    if (!(error instanceof FairleadError) && error instanceof Error) {
      output.warn("this is a mistake in fairlead itself; -vvv shows where");
    }
    return status;
  }
}

function say(text: string): number {
  process.stdout.write(text);
  return 0;
}
