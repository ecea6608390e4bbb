/**
 * Asking through a program: SSH_ASKPASS and SSH_ASKPASS_REQUIRE of ssh(1).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import process from "node:process";
import { messageOf } from "../errors.ts";
import { logger } from "../log.ts";
import type { Prompter, Question } from "../ssh/prompter.ts";
import { confirmHostKey, printable, terminalPrompter } from "./terminal.ts";

const log = logger("ssh");

type Environment = Readonly<Record<string, string | undefined>>;

/** What is started where SSH_ASKPASS names nothing. */
const DEFAULT_PROGRAM = "ssh-askpass";
/** Bytes of an answer, and characters of a question. */
const MAX_ANSWER = 64 * 1024;
const MAX_QUESTION = 8 * 1024;
/** How often a program is asked about a host key: it may say the same for ever. */
const CONFIRM_TRIES = 3;

/**
 * Whom to ask: the terminal or a program, as ssh decides it.
 *
 * @param env The environment.
 * @param terminal Finds the terminal.
 * @returns undefined where nobody can be asked.
 */
export function personPrompter(
  env: Environment = process.env,
  terminal: () => Prompter | undefined = terminalPrompter,
): Prompter | undefined {
  const require = env["SSH_ASKPASS_REQUIRE"]?.toLowerCase();
  const display = [env["DISPLAY"], env["WAYLAND_DISPLAY"]].some((name) => (name ?? "") !== "");
  const allowed = require === "force" || (require !== "never" && display);
  if (allowed && (require === "force" || require === "prefer")) return askpassPrompter(env);
  return terminal() ?? (allowed ? askpassPrompter(env) : undefined);
}

function askpassPrompter(env: Environment): Prompter {
  const program = env["SSH_ASKPASS"] || DEFAULT_PROGRAM;
  const ask = (question: string) => run(program, printable(question).slice(0, MAX_QUESTION));
  return {
    secret: ask,
    questions: (name, instruction, questions) => askAll(ask, [name, instruction], questions),
    // As ssh does it: a program that answers everything with a password must not accept a key.
    confirmHostKey: (key) => confirmHostKey(key, ask, CONFIRM_TRIES),
  };
}

async function askAll(
  ask: (question: string) => Promise<string | undefined>,
  headings: readonly string[],
  questions: readonly Question[],
): Promise<string[] | undefined> {
  const heading = headings.filter((text) => text !== "").map((text) => `${text}\n`).join("");
  const answers: string[] = [];
  for (const [index, { prompt }] of questions.entries()) {
    const answer = await ask(index === 0 ? `${heading}${prompt}` : prompt);
    if (answer === undefined) return undefined;
    answers.push(answer);
  }
  return answers;
}

/** @returns The first line that the program prints; undefined where it fails or says too much. */
function run(program: string, question: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(program, [question], { stdio: ["ignore", "pipe", "inherit"] });
    const chunks: Buffer[] = [];
    let length = 0;
    let declined = false;
    // It must not stay behind with its window when we are told to end.
    const end = () => void child.kill();
    process.once("exit", end);
    const settle = (answer: string | undefined) => {
      process.off("exit", end);
      resolve(answer);
    };
    child.stdout.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length <= MAX_ANSWER) return chunks.push(chunk);
      if (!declined) log.warn("{program} gives more than an answer, and is ended", { program });
      declined = true;
      return end();
    });
    child.once("error", (error) => {
      const reason = messageOf(error);
      log.warn("the program {program} (SSH_ASKPASS) does not start: {reason}", { program, reason });
      settle(undefined);
    });
    child.once("close", (status) => {
      const answer = Buffer.concat(chunks).toString("utf8").replace(/\r?\n[\s\S]*$/, "");
      for (const chunk of chunks) chunk.fill(0);
      settle(status === 0 && !declined ? answer : undefined);
    });
  });
}
