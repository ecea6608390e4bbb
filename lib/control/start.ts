/**
 * Starting the background process of named tunnels.
 *
 * @module
 */
import { spawn } from "node:child_process";
import process from "node:process";
import { FairleadError, messageOf } from "../errors.ts";
import { missingPermission, selfCommand } from "../runtime.ts";
import { controlError, errorFrom } from "./failure.ts";
import { LogFile, logFilePath } from "./log_file.ts";
import type { ControlError } from "./protocol.ts";

/** The hidden option that stands for it. */
export const BACKGROUND = "--background-process";
/** Milliseconds that it has to be there. */
const START_TIMEOUT = 30_000;

/** Milliseconds in which its last word comes, once it has ended. */
const LAST_WORD_TIMEOUT = 500;

/** What it says to whoever started it. */
type Word = { readonly ready: true } | { readonly failure: ControlError };

/**
 * Starts it, and waits until its control socket answers. It keeps nothing of the terminal, and its
 * last words, should it crash, are in its log.
 *
 * @returns When it is there, or another one was faster.
 * @throws {FairleadError} When it cannot be started.
 */
export async function startBackground(): Promise<void> {
  const { program, args } = selfCommand();
  const log = new LogFile(logFilePath());
  try {
    const { descriptor } = log;
    const child = spawn(program, [...args, "up", BACKGROUND], {
      detached: true,
      stdio: ["ignore", descriptor, descriptor, "ipc"],
    });
    await new Promise<void>((resolve, reject) => {
      const fail = (reason: string) =>
        reject(
          new FairleadError(`the background process could not be started: ${reason}`, {
            code: "not-supported",
            hint: "`fairlead logs` may say why",
          }),
        );
      const timer = setTimeout(() => {
        child.kill("SIGKILL");
        fail(`it did not answer within ${START_TIMEOUT / 1000} s`);
      }, START_TIMEOUT);
      const settle = (done: () => void) => {
        clearTimeout(timer);
        if (child.connected) child.disconnect();
        // What was never there has nothing to let go of; Deno throws.
        if (child.pid !== undefined) child.unref();
        done();
      };
      child.once("error", (error) => {
        const permitted = missingPermission(error) === undefined;
        settle(() => permitted ? fail(messageOf(error)) : reject(error));
      });
      child.once("exit", (status, signal) => {
        // Deno may tell of the end before the last word.
        const ended = () =>
          settle(() => status === 0 ? resolve() : fail(`it ended (${signal ?? status})`));
        setTimeout(ended, LAST_WORD_TIMEOUT).unref();
      });
      child.once("message", (word: Word) => {
        settle(() => "ready" in word ? resolve() : reject(errorFrom(word.failure)));
      });
    });
  } finally {
    log.close();
  }
}

/**
 * Tells whoever started this process that it is there, or why not.
 *
 * @param failure What was thrown, where something was.
 * @returns When it was said: who ends before takes the word along.
 */
export async function sayStarted(failure?: unknown): Promise<void> {
  const word: Word = failure === undefined ? { ready: true } : { failure: controlError(failure) };
  // Nobody may be there any more.
  if (process.send === undefined || !process.connected) return;
  await new Promise<void>((resolve) => {
    process.once("disconnect", resolve);
    process.send?.(word, undefined, undefined, () => resolve());
  });
  if (process.connected) process.disconnect?.();
}
