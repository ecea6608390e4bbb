/**
 * `Match exec`: a command of the user's whose success is a condition.
 *
 * @module
 */
import { spawn } from "node:child_process";
import process from "node:process";

/** Milliseconds until a command that does not end is ended. */
const DEADLINE = 30_000;

/**
 * Runs a command through the user's shell, as ssh does: it reads nothing, what it prints is thrown
 * away, and what it complains of is shown.
 *
 * @param command The command line.
 * @param options How long it may take, in milliseconds; a signal that ends it.
 * @returns Whether it ended with status 0.
 * @throws {SyntaxError} When it cannot be run, is ended by a signal, or takes too long.
 */
export function succeeds(
  command: string,
  options: { readonly deadline?: number; readonly signal?: AbortSignal | undefined } = {},
): Promise<boolean> {
  const { deadline = DEADLINE, signal } = options;
  const windows = process.platform === "win32";
  const { ComSpec, SHELL } = process.env;
  // A variable that is empty names no shell.
  const shell = windows ? ComSpec || "cmd.exe" : SHELL || "/bin/sh";
  const child = spawn(shell, windows ? ["/d", "/s", "/c", command] : ["-c", command], {
    stdio: ["ignore", "ignore", "inherit"],
    // A group of its own, so that nothing of it is left when it is ended.
    detached: !windows,
  });
  let end: string | undefined;
  const stop = (reason: string) => {
    end = reason;
    try {
      if (child.pid !== undefined) process.kill(windows ? child.pid : -child.pid, "SIGKILL");
    } catch {
      // It has gone already.
    }
  };
  const timer = setTimeout(() => stop(`it takes more than ${deadline / 1000} s`), deadline);
  const abort = () => stop("it was given up");
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  return new Promise<boolean>((resolve, reject) => {
    const fail = (reason: string) => {
      reject(new SyntaxError(`exec ${JSON.stringify(command)}: ${reason}`));
    };
    child.once("error", (error) => fail(`${shell}: ${error.message}`));
    child.once("exit", (status, signal) => {
      if (end !== undefined) fail(end);
      else if (status === null) fail(`it was ended by ${signal}`);
      else resolve(status === 0);
    });
  }).finally(() => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  });
}
