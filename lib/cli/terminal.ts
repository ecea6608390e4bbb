/**
 * Asking the person at the terminal, as ssh does: through /dev/tty, whatever stdin and stdout are
 * connected to.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { closeSync, openSync, read, writeSync } from "node:fs";
import process from "node:process";
import { SessionError } from "../errors.ts";
import type { Prompter, Question, UnknownHostKey } from "../ssh/prompter.ts";

const TERMINAL = "/dev/tty";
/** Bytes of one line that a terminal in its usual mode can give. */
const LINE = 4096;

/**
 * A prompter on the controlling terminal.
 *
 * @returns undefined where there is no terminal.
 */
export function terminalPrompter(): Prompter | undefined {
  try {
    closeSync(openSync(TERMINAL, "r+"));
  } catch {
    return undefined;
  }
  return { secret: (prompt) => ask(prompt, false), questions, confirmHostKey };
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

async function confirmHostKey(key: UnknownHostKey): Promise<boolean> {
  show(
    `The authenticity of host '${key.host}' cannot be established.\n` +
      `Its ${key.keyType} key has the fingerprint ${key.fingerprint}\n`,
  );
  for (let prompt = "Go on connecting (yes/no/fingerprint)? ";;) {
    const answer = (await ask(prompt, true))?.trim();
    if (answer === undefined || answer.toLowerCase() === "no") return false;
    if (answer.toLowerCase() === "yes" || answer === key.fingerprint) return true;
    prompt = "Please type yes, no or the fingerprint: ";
  }
}

/** @returns undefined at the end of input (Ctrl-D). */
async function ask(prompt: string, echo: boolean): Promise<string | undefined> {
  const terminal = openSync(TERMINAL, "r+");
  const restore = () => stty("echo");
  try {
    if (!echo) {
      // Asking with the echo on would show the secret: better not to ask.
      if (!stty("-echo")) throw noTerminal();
      process.once("exit", restore);
    }
    writeSync(terminal, prompt);
    const line = await readLine(terminal);
    if (!echo) writeSync(terminal, "\n");
    return line;
  } finally {
    if (!echo) {
      restore();
      process.off("exit", restore);
    }
    closeSync(terminal);
  }
}

function readLine(terminal: number): Promise<string | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<string | undefined>();
  const buffer = new Uint8Array(LINE);
  // In its usual mode a terminal gives one whole line, or nothing at the end of input.
  read(terminal, buffer, 0, LINE, null, (error, length) => {
    if (error) reject(error);
    else if (length === 0) resolve(undefined);
    else resolve(new TextDecoder().decode(buffer.subarray(0, length)).replace(/\r?\n$/, ""));
  });
  return promise;
}

function stty(mode: "echo" | "-echo"): boolean {
  return spawnSync("sh", ["-c", `stty ${mode} < ${TERMINAL}`]).status === 0;
}

function show(text: string): void {
  const terminal = openSync(TERMINAL, "r+");
  writeSync(terminal, text);
  closeSync(terminal);
}

/** What a server says must not move the cursor or rename the window. */
function printable(text: string): string {
  // deno-lint-ignore no-control-regex -- they are what this is about
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, "?");
}

function noTerminal(): SessionError {
  return new SessionError("the terminal's echo cannot be turned off, so no secret is asked for", {
    code: "auth-failed",
    hint: "use a key or an agent",
  });
}
