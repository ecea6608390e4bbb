/**
 * A command on this machine, which has our stdin, stdout, stderr and terminal.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { UsageError } from "../errors.ts";
import { missingPermission } from "../runtime.ts";
import { environmentWith } from "./environment.ts";
import { terminalPlace } from "./foreground.ts";
import type { Output } from "./output.ts";
import type { SignalPhases } from "./signal_phases.ts";

/** A program and what it is given. */
export interface LocalCommand {
  /** A path, or a name that PATH leads to. */
  readonly program: string;
  readonly args: readonly string[];
}

/** What a shell says of a command that is not there, and of one that it cannot execute. */
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;

/**
 * Runs a command to its end, whatever signals come: they are the command's.
 *
 * @param command What to run.
 * @param variables What its environment has besides ours.
 * @param signals Our signals.
 * @param output Where to say that it cannot be run.
 * @returns The status that a shell would give: its own, 128 and the number of the signal that ended
 *   it, 127 where it is not found, 126 where it cannot be executed.
 */
export function runLocally(
  command: LocalCommand,
  variables: Readonly<Record<string, string>>,
  signals: Pick<SignalPhases, "passTo">,
  output: Output,
): Promise<number> {
  const { program, args } = command;
  return new Promise((resolve) => {
    const fail = (error: unknown) => resolve(unstartable(program, error, output));
    try {
      const env = environmentWith(process.env, variables);
      // In our process group: the terminal's Ctrl-C and Ctrl-Z reach both of us by themselves.
      const child = spawn(program, args, { stdio: "inherit", env });
      let running = true;
      signals.passTo((signal) => {
        if (running && !deliveredByTerminal(signal)) send(child.pid, signal);
      });
      child.once("error", fail);
      child.once("exit", (status, signal) => {
        running = false;
        resolve(status ?? 128 + (signal === null ? 0 : constants.signals[signal]));
      });
    } catch (error) {
      fail(error);
    }
  });
}

/** Not child.kill(): after it, Deno takes any end of the process for a death by that signal. */
function send(pid: number | undefined, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(pid, signal);
  } catch {
    // It has ended, and its status is on the way.
  }
}

/** Whether the command has got it already: what must come once must not be passed on besides. */
function deliveredByTerminal(signal: NodeJS.Signals): boolean {
  if (signal === "SIGTERM") return false;
  // Windows hands Ctrl-C, and the end of the console, to every process of the console.
  if (process.platform === "win32") return true;
  // The leader of a session may alone be told that the terminal hangs up; twice is harmless.
  return signal !== "SIGHUP" && terminalPlace() === "foreground";
}

/** The runtimes do not agree on the error's code. */
function unstartable(program: string, error: unknown, output: Output): number {
  const found = candidates(program).some((path) => existsSync(path));
  const status = found ? NOT_EXECUTABLE : NOT_FOUND;
  const flag = missingPermission(error);
  const words = flag !== undefined
    ? `Deno was started without ${flag}`
    : found
    ? "it cannot be executed"
    : "there is no such command";
  const failure = new UsageError(`${program}: ${words}`);
  failure.cause = error;
  output.error(failure, status);
  return status;
}

function candidates(program: string): string[] {
  if (program.includes("/")) return [program];
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
  return folders.map((folder) => join(folder, program));
}
