/** What every test with a real program needs: find it, run it, wait for it, clean up after it. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { accessSync, constants, readdirSync, readFileSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { said } from "./secrets.ts";

/** Something that a test must end, by `stop()` or by `await using`. */
export interface Stoppable {
  /** Ends it and what it left on disk. A second call waits for the first. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Adds `stop` to an object (the same one, so that its getters stay alive). */
export function stoppable<T extends object>(value: T, stop: () => Promise<void>): T & Stoppable {
  let stopping: Promise<void> | undefined;
  const once = () => stopping ??= stop();
  return Object.assign(value, { stop: once, [Symbol.asyncDispose]: once });
}

/** The full path of a program, also where only root's PATH leads: servers live in sbin. */
export function which(name: string): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
  for (const folder of [...folders, "/usr/local/sbin", "/usr/sbin", "/sbin"]) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      // Not here.
    }
  }
  return undefined;
}

/** Like `which`, for when the test cannot go on without the program. */
export function need(name: string): string {
  const path = which(name);
  if (path === undefined) throw new Error(`${name} is not installed`);
  return path;
}

/** For node:test: `test(name, skipUnless("sshd", "ssh"), fn)`. */
export function skipUnless(...names: string[]): { skip?: string } {
  const missing = names.find((name) => which(name) === undefined);
  return missing === undefined ? {} : { skip: `${missing} is not installed` };
}

/** Who runs the tests. */
interface User {
  readonly name: string;
  readonly group: string;
  readonly uid: number;
  readonly gid: number;
}

let user: User | undefined;

/** Who runs the tests. Bun's `userInfo()` believes $USER, and says "unknown" without it. */
export function currentUser(): User {
  return user ??= askForUser();
}

function askForUser(): User {
  const id = (option: string) => spawnSync("id", [option], { encoding: "utf8" }).stdout.trim();
  return { name: id("-un"), group: id("-gn"), uid: Number(id("-u")), gid: Number(id("-g")) };
}

/**
 * A port that was free a moment ago, and that nobody is given who asks for any port: a server can be
 * away for a while and come back to it, and who looks for it meanwhile finds no other test's. The
 * range includes its first port, and not its last.
 */
export async function freePort(
  host = "127.0.0.1",
  range: readonly [number, number] = NOT_EPHEMERAL,
): Promise<number> {
  for (;;) {
    const port = randomInt(...range);
    if (await isFree(port, host)) return port;
  }
}

/** Below the ports that Linux and macOS give by themselves, above those with known services. */
const NOT_EPHEMERAL = [12_000, 32_000] as const;

function isFree(port: number, host: string): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(false);
      else reject(error);
    });
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}

/** A new folder of the test's own; `stop()` removes it. */
export async function tempDir(prefix = "fairlead-"): Promise<{ path: string } & Stoppable> {
  const path = await mkdtemp(join(tmpdir(), prefix));
  return stoppable({ path }, () => rm(path, { recursive: true, force: true, maxRetries: 3 }));
}

/** Asks again and again until the answer is truthy, and returns it. */
export async function waitFor<T>(
  predicate: () => T | Promise<T>,
  options: { timeout?: number; what?: string } = {},
): Promise<NonNullable<T>> {
  const { timeout = 5_000, what = "what the test waits for" } = options;
  const deadline = performance.now() + timeout;
  for (let pause = 2;; pause = Math.min(pause * 2, 50)) {
    const answer = await predicate();
    if (answer) return answer;
    if (performance.now() > deadline) throw new Error(`${what} did not happen in ${timeout} ms`);
    await sleep(pause);
  }
}

/** Waits until what is counted has begun to grow and has come to rest, and returns it. */
export async function atRest(count: () => number): Promise<number> {
  let [last, looks] = [0, 0];
  return await waitFor(() => {
    const now = count();
    // Looks, not time alone: while this process is held up nothing else in it moves either.
    looks = now === last ? looks + 1 : 0;
    last = now;
    return looks < 10 ? 0 : now;
  }, { timeout: 20_000, what: "coming to rest" });
}

/** How a program ended: one of `status` and `signal` is null. */
export interface Exit {
  status: number | null;
  signal: NodeJS.Signals | null;
}

/** How a program ended, and all that it said. */
export interface RunResult extends Exit {
  stdout: string;
  stderr: string;
}

/** How to start a program. */
export interface StartOptions {
  /** What it reads; without it, it reads nothing. */
  stdin?: string | Uint8Array;
  /** Set over the test's own environment; `undefined` takes a variable away. */
  env?: Record<string, string | undefined>;
  cwd?: string;
}

/** Runs a program to its end. Rejects when it cannot be started or takes longer than `timeout`. */
export async function run(
  command: string,
  args: readonly string[] = [],
  options: StartOptions & { timeout?: number } = {},
): Promise<RunResult> {
  const { timeout = 30_000, ...rest } = options;
  const program = start(command, args, rest);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    program.kill("SIGKILL");
    // A grandchild may hold the pipes open; it must not hold the test.
    program.child.stdout?.destroy();
    program.child.stderr?.destroy();
  }, timeout);
  try {
    const { status, signal } = await program.closed;
    if (late) {
      throw new Error(
        `${command} ${args.join(" ")} did not end in ${timeout} ms\n` +
          `stdout: ${program.stdout()}\nstderr: ${program.stderr()}`,
      );
    }
    return { status, signal, stdout: program.stdout(), stderr: program.stderr() };
  } finally {
    clearTimeout(timer);
  }
}

/** A program that runs beside the test. */
export interface Running extends Stoppable {
  readonly pid: number;
  readonly child: ChildProcess;
  /** What it said so far. */
  stdout(): string;
  stderr(): string;
  /** Settles when the process is gone. */
  readonly exited: Promise<Exit>;
  /** Settles when the process is gone and all its output was read; rejects if it never started. */
  readonly closed: Promise<Exit>;
  /** True until the process is gone. */
  running(): boolean;
  /** Signals it, by its pid; false when it is gone. */
  kill(signal?: NodeJS.Signals): boolean;
}

/** Starts a program and leaves it running. `stop()` sends SIGTERM, after 3 seconds SIGKILL. */
export function start(
  command: string,
  args: readonly string[] = [],
  options: StartOptions = {},
): Running {
  const child = spawn(which(command) ?? command, args, {
    stdio: [options.stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  let gone = false;
  const exited = new Promise<Exit>((resolve, reject) => {
    child.once("exit", (status, signal) => {
      gone = true;
      resolve({ status, signal });
    });
    child.once("error", reject);
  });
  const closed = new Promise<Exit>((resolve, reject) => {
    child.once("close", (status, signal) => {
      said([command, ...args], stdout() + stderr());
      resolve({ status, signal });
    });
    child.once("error", reject);
  });
  // Whoever does not wait for the end shall not die of it.
  exited.catch(() => gone = true);
  closed.catch(() => {});
  endWithUs(child);
  if (options.stdin !== undefined) {
    // EPIPE: a program may end without having read everything.
    child.stdin?.on("error", () => {});
    child.stdin?.end(options.stdin);
  }
  // Not child.kill(): after it, Deno takes any end of the process for a death by that signal.
  const kill = (signal: NodeJS.Signals = "SIGTERM") =>
    !gone && child.pid !== undefined && signalProcess(child.pid, signal);
  const running: Omit<Running, keyof Stoppable> = {
    // A program that could not be started has none; `closed` says why.
    pid: child.pid ?? -1,
    child,
    stdout,
    stderr,
    exited,
    closed,
    running: () => !gone,
    kill,
  };
  return stoppable(running, async () => {
    if (!gone) {
      kill("SIGTERM");
      const timer = setTimeout(() => kill("SIGKILL"), 3_000);
      await exited.catch(() => {});
      clearTimeout(timer);
    }
    child.stdout?.destroy();
    child.stderr?.destroy();
  });
}

/** A process of this machine. */
export interface Process {
  pid: number;
  parent: number;
  /** The program's name, cut to 15 letters. */
  name: string;
}

/** The processes that this one started, and those that they started, parents first. */
export function descendants(pid: number): Process[] {
  const all = processes();
  const found: Process[] = [];
  for (let level = [pid]; level.length > 0;) {
    const next = all.filter(({ parent }) => level.includes(parent));
    found.push(...next);
    level = next.map(({ pid }) => pid);
  }
  return found;
}

/** Signals a process; false when there is none of that number. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** Kills a process and whatever it started: all that sshd has for one connection, for example. */
export function killSession(pid: number | undefined): void {
  if (pid === undefined) throw new Error("there is no such session");
  for (const each of descendants(pid)) signalProcess(each.pid, "SIGKILL");
  signalProcess(pid, "SIGKILL");
}

/** A command line for a shell, of words in which nothing is special. */
export function quote(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
}

/** All processes that run now. */
export function processes(): Process[] {
  let names: string[];
  try {
    names = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  } catch {
    // No /proc, as on macOS.
    const { stdout } = spawnSync("ps", ["-axo", "pid=,ppid=,ucomm="], { encoding: "utf8" });
    return stdout.trim().split("\n").map((line) => {
      const [pid, parent, name = ""] = line.trim().split(/\s+/);
      return { pid: Number(pid), parent: Number(parent), name };
    });
  }
  return names.flatMap((pid) => {
    try {
      // "pid (name) state parent …": the name may hold spaces and brackets.
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const close = stat.lastIndexOf(")");
      const [state, parent] = stat.slice(close + 2).split(" ");
      // A zombie is gone; only its parent has not looked yet.
      if (state === "Z") return [];
      const name = stat.slice(stat.indexOf("(") + 1, close);
      return [{ pid: Number(pid), parent: Number(parent), name }];
    } catch {
      return []; // It ended while we looked.
    }
  });
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = [];
  stream?.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream?.on("error", () => {});
  return () => Buffer.concat(chunks).toString("utf8");
}

const alive = new Set<ChildProcess>();

/** A test that dies must not leave its servers behind. */
function endWithUs(child: ChildProcess): void {
  if (alive.size === 0) process.once("exit", killAll);
  alive.add(child);
  child.once("exit", () => {
    alive.delete(child);
    if (alive.size === 0) process.removeListener("exit", killAll);
  });
}

function killAll(): void {
  for (const child of alive) child.kill("SIGKILL");
}
