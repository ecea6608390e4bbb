/** The processes beside the bench: how they are started and asked. */
import { spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Stoppable, stoppable } from "../../tests/support/tools.ts";
import type { Answer, Commands, Question } from "./worker.ts";

/** A process that carries load. */
export interface Worker extends Stoppable {
  /** Has it do something, and waits until it is done. */
  ask<Name extends keyof Commands>(
    command: Name,
    ...options: Parameters<Commands[Name]>
  ): Promise<Awaited<ReturnType<Commands[Name]>>>;
}

const SCRIPT = fileURLToPath(new URL("worker.ts", import.meta.url));

/** Milliseconds for one command, at the most. */
const PATIENCE = 120_000;

/** Starts one under the given runtime: a program and what stands before a script. */
export function startWorker([program = "", ...before]: readonly string[]): Worker {
  const child = spawn(program, [...before, SCRIPT], { stdio: ["pipe", "pipe", "inherit"] });
  const waiting = new Map<number, (answer: Answer) => void>();
  let last = 0;
  let ended = false;
  const gone = new Promise<void>((resolve) => {
    const end = (error?: Error) => {
      ended = true;
      for (const [id, settle] of waiting) {
        settle({
          id,
          error: `a worker ended${error instanceof Error ? `: ${error.message}` : ""}`,
        });
      }
      resolve();
    };
    child.once("error", end);
    child.once("exit", () => end());
  });
  child.stdin.on("error", () => {});
  createInterface({ input: child.stdout }).on("line", (line) => {
    const answer = JSON.parse(line) as Answer;
    waiting.get(answer.id)?.(answer);
  });

  const ask = (command: keyof Commands, options?: unknown) =>
    new Promise<unknown>((resolve, reject) => {
      if (ended) return reject(new Error("a worker ended"));
      const id = ++last;
      const settle = ({ result, error }: Answer) => {
        clearTimeout(timer);
        waiting.delete(id);
        error === undefined ? resolve(result) : reject(new Error(`${command}: ${error}`));
      };
      const timer = setTimeout(
        () => settle({ id, error: `not done in ${PATIENCE / 1_000} s` }),
        PATIENCE,
      );
      waiting.set(id, settle);
      child.stdin.write(`${JSON.stringify({ id, command, options } satisfies Question)}\n`);
    });

  return stoppable({ ask: ask as Worker["ask"] }, async () => {
    child.stdin.end();
    if (ended || child.pid === undefined) return;
    process.kill(child.pid, "SIGKILL");
    await gone;
  });
}
