/** The command line as a child process, under the runtime that runs the tests. */
import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { runtime, type RuntimeName } from "../../lib/runtime.ts";
import type { ConnectOptions } from "../../lib/ssh/connect_options.ts";
import type { Reach } from "./ssh_server.ts";
import {
  type Exit,
  run,
  type Running,
  type RunResult,
  start,
  type StartOptions,
  waitFor,
} from "./tools.ts";

/** The repository's folder. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** A run that listens. */
export interface Fairlead extends Running {
  /** The port of each forward, in the order of the command line. */
  readonly ports: readonly number[];
  /** Lines that were logged so far, without those about listening. */
  lines(): string[];
  /** Sends a signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<Exit>;
  /** Bytes of memory that the process holds now. */
  memory(): number;
  /** Its open file descriptors. */
  descriptors(): number;
}

/** Program and arguments that run a script: one of this repository, or any by its full path. */
export function scriptCommand(script: string): [string, string[]] {
  const path = resolve(ROOT, script);
  if ("deno" in process.versions) {
    // It is there; "auto" looks whether it is, and those that start at once wait for one another.
    const modules = "--node-modules-dir=manual";
    // As scripts/test.ts --no-ffi has it.
    const before = process.env["FAIRLEAD_TEST_NO_FFI"] === undefined
      ? []
      : ["--preload", `${ROOT}tests/support/no_ffi.ts`];
    return [process.execPath, ["run", "-A", modules, ...before, `--config=${ROOT}deno.json`, path]];
  }
  return [process.execPath, [path]];
}

/** Program and arguments that run the command line: the source, or the build that is tested. */
export function programCommand(): [string, string[]] {
  const built = process.env["FAIRLEAD_TEST_PROGRAM"];
  if (built === undefined) return scriptCommand("cli.ts");
  const [program = "", ...args] = JSON.parse(built) as string[];
  return [program, args];
}

/** The runtime that the command line runs on; a binary has that of the tests. */
export function programRuntime(): RuntimeName {
  return process.env["FAIRLEAD_TEST_RUNTIME"] as RuntimeName | undefined ?? runtime.name;
}

/** Runs the command line to its end. */
export function fairlead(
  args: readonly string[],
  options: StartOptions & { timeout?: number } = {},
): Promise<RunResult> {
  const [command, before] = programCommand();
  return run(command, [...before, ...args], options);
}

/** The options that reach a server without looking at anything of this machine's user. */
export function serverOptions(server: Reach): string[] {
  const options = {
    UserKnownHostsFile: server.knownHosts,
    GlobalKnownHostsFile: "none",
    StrictHostKeyChecking: "yes",
    IdentityAgent: "none",
    BatchMode: "yes",
  };
  return [
    ...["-F", "none", "-i", server.identity, "-p", String(server.port), "-l", server.user],
    ...Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]),
    server.host,
  ];
}

/** The same for the library. */
export function connectOptions(server: Reach) {
  return {
    host: server.host,
    port: server.port,
    username: server.user,
    identityFiles: [server.identity],
    userKnownHosts: [server.knownHosts],
    globalKnownHosts: [],
    agent: "none",
  } satisfies ConnectOptions;
}

/** Starts the command line and waits until `forwards` forwards listen. */
export async function startFairlead(
  args: readonly string[],
  options: StartOptions & { forwards?: number; command?: [string, string[]] } = {},
): Promise<Fairlead> {
  const { forwards = 1, command: [command, before] = programCommand(), ...rest } = options;
  const running = start(command, [...before, ...args], rest);
  const listening = () => [...running.stderr().matchAll(/listening on [^\n]*?:(\d+)(?: and|,)/g)];
  await waitFor(() => {
    if (!running.running()) throw new Error(`fairlead ended: ${running.stderr()}`);
    return listening().length >= forwards;
  }, { timeout: 20_000, what: `listening (stderr: ${running.stderr()})` });
  const ports = listening().map((match) => Number(match[1]));
  return Object.assign(running, {
    ports,
    lines: () =>
      running.stderr().split("\n").filter((line) => line !== "" && !/listening on/.test(line)),
    end: (signal: NodeJS.Signals) => {
      running.kill(signal);
      return running.exited;
    },
    memory: () => {
      const pages = readFileSync(`/proc/${running.pid}/statm`, "utf8").split(" ")[1];
      return Number(pages) * 4096;
    },
    descriptors: () => descriptorsOf(running.pid),
  });
}

/** The open file descriptors of a process. */
export function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}
