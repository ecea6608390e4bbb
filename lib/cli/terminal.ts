/**
 * Asking the person at the terminal, as ssh does: through /dev/tty, whatever stdin and stdout are
 * connected to.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { SessionError, systemCodeOf } from "../errors.ts";
import { mayRun } from "../runtime.ts";
import type { Prompter, Question, UnknownHostKey } from "../ssh/prompter.ts";

const TERMINAL = "/dev/tty";
/** Bytes of one line that a terminal in its usual mode can give. */
const LINE = 4096;
/** Milliseconds between two looks at what was typed. */
const PAUSE = 20;

/**
 * A prompter on the controlling terminal.
 *
 * @returns undefined where there is no terminal.
 */
export function terminalPrompter(): Prompter | undefined {
  if (!canOpen("r+") && !(canOpen("r") && process.stderr.isTTY)) return undefined;
  return {
    secret: (prompt) => ask(prompt, false),
    questions,
    confirmHostKey: (key) => confirmHostKey(key, (prompt) => ask(prompt, true)),
  };
}

/**
 * Asks whether a host key is to be trusted, until the answer is one.
 *
 * @param key The key in question.
 * @param ask Shows a question and gives the answer; undefined where there is none.
 * @param tries How often at most.
 * @returns Whether it is.
 */
export async function confirmHostKey(
  key: UnknownHostKey,
  ask: (prompt: string) => Promise<string | undefined>,
  tries: number = Infinity,
): Promise<boolean> {
  // ssh's own words: scripts wait for them.
  let prompt = `The authenticity of host '${key.host}' can't be established.\n` +
    `${key.keyType} key fingerprint is ${key.fingerprint}.\n` +
    "Are you sure you want to continue connecting (yes/no/[fingerprint])? ";
  for (let count = 0; count < tries; count++) {
    const answer = (await ask(prompt))?.trim();
    if (answer === undefined || answer.toLowerCase() === "no") return false;
    if (answer.toLowerCase() === "yes" || answer === key.fingerprint) return true;
    prompt = "Please type 'yes', 'no' or the fingerprint: ";
  }
  return false;
}

async function questions(
  name: string,
  instruction: string,
  asked: readonly Question[],
): Promise<string[] | undefined> {
  const heading = [name, instruction].filter((text) => text !== "").map(printable).join("\n");
  if (heading !== "") show(`${heading}\n`);
  const answers: string[] = [];
  for (const { prompt, echo } of asked) {
    const answer = await ask(printable(prompt), echo);
    if (answer === undefined) return undefined;
    answers.push(answer);
  }
  return answers;
}

/** @returns undefined at the end of input (Ctrl-D). */
async function ask(prompt: string, echo: boolean): Promise<string | undefined> {
  // Asking with the echo on would show the secret: better not to ask.
  const restore = echo ? undefined : hide(() => show(prompt));
  // Ctrl-C leaves the cursor behind the prompt; the shell's own would follow it there.
  const endLine = () => show("\n");
  process.once("SIGINT", endLine);
  try {
    show(prompt);
    const line = await readLine();
    // The end of input leaves the cursor where it is, and so does a line that was not echoed.
    if (!echo || line === undefined) show("\n");
    return line;
  } finally {
    process.off("SIGINT", endLine);
    restore?.();
  }
}

/**
 * A read that waits would be given up by nobody: not by a signal, not by the server's hanging up,
 * and Node's exit would wait for it. So this looks for a line again and again.
 */
async function readLine(): Promise<string | undefined> {
  const { O_RDONLY, O_NOCTTY, O_NONBLOCK } = constants;
  const terminal = openSync(TERMINAL, O_RDONLY | O_NOCTTY | O_NONBLOCK);
  const buffer = new Uint8Array(LINE);
  try {
    for (;;) {
      const length = readNow(terminal, buffer);
      // In its usual mode a terminal gives one whole line, or nothing at the end of input.
      if (length === 0) return undefined;
      if (length !== undefined) {
        return new TextDecoder().decode(buffer.subarray(0, length)).replace(/\r?\n$/, "");
      }
      await sleep(PAUSE);
    }
  } finally {
    buffer.fill(0);
    closeSync(terminal);
  }
}

/** @returns undefined while no whole line was typed. */
function readNow(terminal: number, buffer: Uint8Array): number | undefined {
  try {
    return readSync(terminal, buffer, 0, LINE, null);
  } catch (error) {
    if (systemCodeOf(error) === "EAGAIN") return undefined;
    return 0; // The terminal is gone: nobody answers.
  }
}

/**
 * Turns the terminal's echo off.
 *
 * @param again Called when the program goes on after it was stopped (Ctrl-Z, fg).
 * @returns Turns it on.
 */
function hide(again: () => void): () => void {
  stty("-echo");
  const restore = () => {
    try {
      stty("echo");
    } catch {
      // The terminal is gone.
    }
  };
  const stop = () => {
    restore();
    process.kill(process.pid, "SIGSTOP");
  };
  const go = () => {
    try {
      stty("-echo");
    } catch {
      // Nobody can be asked any more, and what waits for an answer ends.
    }
    again();
  };
  process.once("exit", restore).on("SIGTSTP", stop).on("SIGCONT", go);
  return () => {
    process.off("exit", restore).off("SIGTSTP", stop).off("SIGCONT", go);
    restore();
  };
}

/** @throws {SessionError} When it cannot be done. */
function stty(mode: "echo" | "-echo"): void {
  if (!mayRun("sh")) throw noTerminal(": Deno was started without --allow-run=sh");
  const { status } = spawnSync("sh", ["-c", `stty ${mode} < ${TERMINAL}`]);
  if (status !== 0) throw noTerminal();
}

function show(text: string): void {
  let terminal: number;
  try {
    terminal = openSync(TERMINAL, "r+");
  } catch {
    // Deno lets nobody write there who may not do everything; stderr was seen to be a terminal.
    return void writeSync(process.stderr.fd, text);
  }
  writeSync(terminal, text);
  closeSync(terminal);
}

function canOpen(mode: "r" | "r+"): boolean {
  try {
    closeSync(openSync(TERMINAL, mode));
    return true;
  } catch {
    return false;
  }
}

/**
 * Makes what a server says fit to be shown: it must not move the cursor or rename the window.
 *
 * @param text Anything that came from outside.
 * @returns The same, of as many lines.
 */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex -- they are what this is about
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, "?");
}

function noTerminal(reason = ""): SessionError {
  return new SessionError(
    `the terminal's echo cannot be turned off, so no secret is asked for${reason}`,
    { code: "auth-failed", hint: "use a key or an agent" },
  );
}
