/**
 * A command that leads to the server: ProxyCommand of ssh_config(5).
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { formatAddress } from "../dialer.ts";
import { messageOf, SessionError } from "../errors.ts";
import { logger } from "../log.ts";
import { ChildStream } from "./child_stream.ts";
import { signalTree } from "./process_tree.ts";
import { printable } from "./reasons.ts";
import type { Route, RouteOptions } from "./route.ts";

const log = logger("ssh");

/** Lines of the command's stderr that an error shows, and characters that a line may have. */
const SHOWN_LINES = 5;
const LINE_LENGTH = 500;
/** Milliseconds that a command which has closed its output has to end, so that its status is known. */
const STATUS_TIMEOUT = 1_000;
/** Milliseconds that the command has to end by itself, and then after each signal. */
const LADDER: readonly [wait: number, signal: NodeJS.Signals][] = [
  [500, "SIGHUP"],
  [500, "SIGTERM"],
  [1_000, "SIGKILL"],
];

/**
 * Runs the command through the user's shell, as ssh does; its stdin and stdout are the way to the
 * server.
 *
 * @param command The command line, with nothing left to expand.
 * @param options The server that it is to lead to.
 * @returns The way there.
 * @throws {SessionError} When there is no shell to run it.
 */
export async function proxyCommandRoute(command: string, options: RouteOptions): Promise<Route> {
  if (options.signal?.aborted) {
    const message = `connecting to ${formatAddress(options)} was cancelled`;
    throw new SessionError(message, { code: "cancelled" });
  }
  const child = await start(command);
  options.reached?.();
  return new ProxyCommand(command, formatAddress(options), child);
}

/** A command that is running. */
class ProxyCommand implements Route {
  readonly stream: ChildStream;
  readonly #child: ChildProcess;
  readonly #target: string;
  /** The program; what follows may hold a password. */
  readonly #name: string;
  readonly #said: string[] = [];
  readonly #ended: Promise<void>;
  readonly #silent: Promise<void>;
  #over = false;
  #outputEnded = false;
  #closing: Promise<void> | undefined;

  constructor(command: string, target: string, child: ChildProcess) {
    this.#child = child;
    this.#target = target;
    this.#name = printable(/^\s*(["']?)(.+?)(?:\1\s|\1$)/.exec(command)?.[2] ?? "");
    log.debug("proxy command {name} started as process {pid}", {
      name: this.#name,
      pid: child.pid,
    });
    const { stdin, stdout, stderr } = child as ChildProcess & Pipes;
    this.stream = new ChildStream(stdin, stdout);
    this.stream.once("end", () => this.#outputEnded = true);
    this.#silent = new Promise((resolve) => {
      stderr.once("close", resolve);
    });
    readLines(stderr, (line) => this.#hear(line));
    running.add(child);
    if (running.size === 1) process.once("exit", hangUpAll);
    this.#ended = new Promise((resolve) => {
      child.once("exit", () => {
        forget(child);
        resolve();
      });
    });
  }

  async explain(error: SessionError): Promise<SessionError> {
    if (error.code === "cancelled") return error;
    // What was not said by the stream's end comes a moment later.
    if (this.#outputEnded) {
      await Promise.race([
        Promise.all([this.#ended, this.#silent]),
        sleep(STATUS_TIMEOUT, undefined, { ref: false }),
      ]);
    }
    const said = this.#said.length === 0 ? "" : `: ${this.#said.join("; ")}`;
    const { exitCode, signalCode } = this.#child;
    const end = signalCode !== null
      ? `was ended by ${signalCode}`
      : exitCode !== null
      ? `ended with status ${exitCode}`
      : this.#outputEnded
      ? "closed its output"
      : undefined;
    if (end !== undefined && ["connection-lost", "timeout"].includes(error.code)) {
      return new SessionError(
        `the connection to ${this.#target} was lost: the proxy command ${this.#name} ${end}${said}`,
        { code: "connection-lost", cause: error, ...this.#hint(exitCode) },
      );
    }
    if (error.code === "timeout") {
      const message = `${this.#target} did not answer in time through the proxy command`;
      return new SessionError(`${message} ${this.#name}${said}`, { code: "timeout", cause: error });
    }
    if (error.code !== "protocol-error" && error.code !== "connection-lost") return error;
    return new SessionError(
      `${error.message} (through the proxy command ${this.#name}${said})`,
      {
        code: error.code,
        hint: "the command must write to stdout nothing but what the server sends",
        cause: error,
      },
    );
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  destroy(): void {
    this.stream.destroy();
    this.#over = true;
    this.#signal("SIGHUP");
  }

  async #close(): Promise<void> {
    this.#over = true;
    this.stream.destroy();
    const stop = new AbortController();
    const ended = this.#ended.then(() => stop.abort());
    for (const [wait, signal] of LADDER) {
      await Promise.race([ended, sleep(wait, undefined, { signal: stop.signal }).catch(() => {})]);
      if (stop.signal.aborted) break;
      this.#signal(signal);
    }
    await ended;
    // Something that it has left in the background may hold the other end.
    this.#child.stderr?.destroy();
  }

  /** Not child.kill(): after it, Deno takes any end of the process for a death by that signal. */
  #signal(signal: NodeJS.Signals): void {
    const { pid, exitCode, signalCode } = this.#child;
    if (pid !== undefined && exitCode === null && signalCode === null) signalTree(pid, signal);
  }

  #hear(line: string): void {
    this.#said.push(line);
    if (this.#said.length > SHOWN_LINES) this.#said.shift();
    // A sign-in address, say, is to be seen at once; how it takes our hanging up is not.
    if (this.#over) log.debug("proxy command: {line}", { line });
    else log.warn("proxy command: {line}", { line });
  }

  #hint(status: number | null): { hint?: string } {
    if (status === 127) {
      return { hint: `check that ${this.#name} is installed, and the spelling of ProxyCommand` };
    }
    if (status === 126) return { hint: `check that ${this.#name} may be executed` };
    return {};
  }
}

interface Pipes {
  readonly stdin: NonNullable<ChildProcess["stdin"]>;
  readonly stdout: NonNullable<ChildProcess["stdout"]>;
  readonly stderr: NonNullable<ChildProcess["stderr"]>;
}

/** What must not outlive us. */
const running = new Set<ChildProcess>();

function forget(child: ChildProcess): void {
  running.delete(child);
  if (running.size === 0) process.off("exit", hangUpAll);
}

function hangUpAll(): void {
  for (const { pid } of running) if (pid !== undefined) signalTree(pid, "SIGHUP");
}

/**
 * Ctrl-C reaches every process of the terminal's foreground. It asks us to end in order; a command
 * that died of it at once would cut what is open.
 */
const WITHOUT_INTERRUPT = `trap '' INT; exec "$@"`;

/** Resolves when the shell runs; it is replaced by the command. */
function start(command: string): Promise<ChildProcess> {
  return new Promise((resolve, reject) => {
    const shell = process.env["SHELL"] || "/bin/sh";
    const fail = (reason: string, details: { hint?: string; cause?: unknown }) => {
      const message = `the proxy command could not be started: ${reason}`;
      reject(new SessionError(message, { code: "connect-failed", ...details }));
    };
    const windows = process.platform === "win32";
    if (!windows && !existsSync(shell)) {
      return fail(`there is no shell ${shell}`, { hint: "set SHELL to the path of a shell" });
    }
    const script = ["-c", WITHOUT_INTERRUPT, "sh", shell, "-c", `exec ${command}`];
    try {
      const child = windows
        ? spawn(command, { shell: true, stdio: "pipe", windowsHide: true })
        : spawn("/bin/sh", script, { stdio: "pipe" });
      const onError = (error: Error) => fail(messageOf(error), { cause: error });
      child.once("error", onError);
      child.once("spawn", () => {
        child.off("error", onError);
        child.on("error", (error) => log.debug("{reason}", { reason: messageOf(error) }));
        resolve(child);
      });
    } catch (error) {
      fail(messageOf(error), { cause: error });
    }
  });
}

/** Calls back with each line; one that is too long is cut. */
function readLines(stream: Pipes["stderr"], onLine: (line: string) => void): void {
  const decoder = new TextDecoder();
  let rest = "";
  const take = (text: string) => {
    const lines = (rest + text).split(/\r?\n|\r/);
    rest = (lines.pop() ?? "").slice(0, LINE_LENGTH);
    for (const line of lines.map(printable)) if (line !== "") onLine(line);
  };
  stream.on("data", (chunk: Uint8Array) => take(decoder.decode(chunk, { stream: true })));
  stream.on("error", () => {});
  stream.once("close", () => take("\n"));
}
