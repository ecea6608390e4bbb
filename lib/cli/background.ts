/**
 * `-f` of ssh(1). There is no fork: the work is done by a second process in a session of its own.
 * Until everything is up, the first one stays at the terminal, asks and says what the second one
 * has to ask and say, over an IPC channel; then it ends.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import process from "node:process";
import { FairleadError, messageOf, SessionError } from "../errors.ts";
import { selfCommand } from "../runtime.ts";
import type { Prompter } from "../ssh/prompter.ts";
import type { Screen } from "./output.ts";
import { prompterGate } from "../ssh/prompter_gate.ts";
import type { StopSignal } from "./signals.ts";

/** Tells the second process what it is. */
const MARK = "FAIRLEAD_BACKGROUND";
/** Milliseconds that the second process has to end after a signal. */
const END_TIMEOUT = 3_000;

/** What the first process says at the start. */
interface Start {
  readonly color: boolean;
  /** Whether there is a person to ask. */
  readonly prompts: boolean;
  /** The private key that came from standard input; the second process has none. */
  readonly stdinKey?: string;
}

/** An answer to a question; none where the person declined. */
interface Answer {
  readonly question: number;
  readonly value?: unknown;
  readonly refusal?: { readonly message: string; readonly hint?: string | undefined };
}

/** What the second process says. */
type Word =
  | { readonly say: keyof Pick<Screen, "out" | "err">; readonly line: string }
  | { readonly ask: keyof Prompter; readonly question: number; readonly words: unknown[] }
  /** The first process can end, with this status. */
  | { readonly leave: number };

/**
 * Starts the second process, and stays until it is on its own.
 *
 * @param args The whole command line.
 * @param person Who is asked, where somebody may be asked, the key that they gave on stdin, and
 *   the variables that hold secrets.
 * @param screen Where to say things.
 * @param stop The signals; they end the second process as well.
 * @returns The exit status: 0 once everything is up.
 * @throws {FairleadError} When it cannot be started, or dies without a word.
 */
export function goToBackground(
  args: readonly string[],
  person: {
    readonly prompter: Prompter | undefined;
    readonly stdinKey: string | undefined;
    readonly environment: Readonly<Record<string, string>>;
  },
  screen: Screen,
  stop: StopSignal,
): Promise<number> {
  const { prompter, stdinKey, environment } = person;
  const { program, args: before } = selfCommand();
  const child = spawn(program, [...before, ...args], {
    detached: true,
    // What it has to say it says over the channel: nobody waits for the end of a pipe of ours.
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    env: { ...process.env, ...environment, [MARK]: "1" },
  });
  const end = () => signalTo(child.pid, signalOf(stop.status()));
  stop.first.addEventListener("abort", () => {
    end();
    setTimeout(() => signalTo(child.pid, "SIGKILL"), END_TIMEOUT);
  });
  stop.second.addEventListener("abort", () => signalTo(child.pid, "SIGKILL"));
  return new Promise((resolve, reject) => {
    child.once("error", (cause) => {
      const message = `the background process could not be started: ${messageOf(cause)}`;
      reject(new FairleadError(message, { code: "not-supported", cause }));
    });
    child.once("exit", (status, signal) => {
      if (stop.first.aborted) return resolve(stop.status());
      const message = `the background process ended unexpectedly (${signal ?? status})`;
      reject(new FairleadError(message, { code: "not-supported" }));
    });
    child.on("message", (word: Word) => {
      if ("say" in word) screen[word.say](word.line);
      else if ("leave" in word) {
        resolve(word.leave);
        child.disconnect();
      } else {
        answer(prompter, word.ask, word.words)
          .then((said) => child.send({ question: word.question, ...said } satisfies Answer))
          // It has gone meanwhile, and its end says why.
          .catch(() => {});
      }
    });
    const start: Start = {
      color: screen.color,
      prompts: prompter !== undefined,
      ...(stdinKey === undefined ? {} : { stdinKey }),
    };
    // Where Deno may start nothing there is no channel either, and "error" says why.
    if (child.connected) child.send(start);
  });
}

async function answer(
  prompter: Prompter | undefined,
  ask: keyof Prompter,
  words: unknown[],
): Promise<Omit<Answer, "question">> {
  try {
    const method = prompter?.[ask].bind(prompter) as (...words: unknown[]) => Promise<unknown>;
    return { value: await method(...words) };
  } catch (error) {
    const hint = error instanceof FairleadError ? error.hint : undefined;
    return { refusal: { message: messageOf(error), hint } };
  }
}

function signalOf(status: number): NodeJS.Signals {
  const all = Object.entries(constants.signals) as [NodeJS.Signals, number][];
  return all.find(([, number]) => number === status - 128)?.[0] ?? "SIGTERM";
}

function signalTo(pid: number | undefined, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(pid, signal);
  } catch {
    // It has gone already.
  }
}

/** The first process, as the second one sees it. */
export interface Foreground {
  /** What it shows, until it has left. */
  readonly screen: Screen;
  /** The person in front of it. */
  readonly prompter: Prompter | undefined;
  /** The private key that it read from standard input. */
  readonly stdinKey: string | undefined;
  /** Whether it has left. */
  readonly left: boolean;
  /**
   * Lets it end.
   *
   * @param status With which status.
   * @returns When it has gone.
   */
  leave(status: number): Promise<void>;
}

/**
 * Finds out whether this is the second process.
 *
 * @returns The first one; undefined where there is none.
 */
export async function findForeground(): Promise<Foreground | undefined> {
  if (process.env[MARK] === undefined || process.send === undefined) return undefined;
  // Whatever this process starts is something else.
  delete process.env[MARK];
  let left = false;
  const gone = new Promise<void>((resolve) => {
    process.once("disconnect", () => {
      // Nobody has let it go: it was killed, and with it the wish.
      if (!left) process.exit(255);
      resolve();
    });
  });
  const [{ color, prompts, stdinKey }] = await once(process, "message") as [Start];
  const say = (word: Word) => {
    if (!left) process.send?.(word);
  };
  // A link that was lost is made anew: who answered the first time may have gone.
  const gate = prompts
    ? prompterGate(remotePrompter(say), "fairlead runs in the background")
    : undefined;
  return {
    screen: {
      color,
      out: (line) => say({ say: "out", line }),
      err: (line) => say({ say: "err", line }),
    },
    prompter: gate?.prompter,
    stdinKey,
    get left() {
      return left;
    },
    leave: (status) => {
      say({ leave: status });
      left = true;
      gate?.close();
      return gone;
    },
  };
}

function remotePrompter(say: (word: Word) => void): Prompter {
  const waiting = new Map<number, (answer: Answer) => void>();
  let count = 0;
  process.on("message", (answer: Answer) => {
    waiting.get(answer.question)?.(answer);
    waiting.delete(answer.question);
  });
  const ask = (method: keyof Prompter, ...words: unknown[]): Promise<unknown> => {
    const question = ++count;
    return new Promise((resolve, reject) => {
      waiting.set(question, ({ value, refusal }) => {
        if (refusal === undefined) return resolve(value);
        const { message, hint } = refusal;
        const details = hint === undefined ? {} : { hint };
        reject(new SessionError(message, { code: "auth-failed", ...details }));
      });
      say({ ask: method, question, words });
    });
  };
  return {
    secret: (...words) => ask("secret", ...words) as Promise<string | undefined>,
    questions: (...words) => ask("questions", ...words) as Promise<string[] | undefined>,
    confirmHostKey: (...words) => ask("confirmHostKey", ...words) as Promise<boolean>,
  };
}
