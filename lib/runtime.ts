/**
 * The only place that asks which runtime this is.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants, userInfo } from "node:os";
import process from "node:process";

/** The three runtimes that fairlead is made for. */
export type RuntimeName = "deno" | "bun" | "node";

/** The name and the version of the runtime this runs on. */
export const runtime: { readonly name: RuntimeName; readonly version: string } = detect();

/**
 * The first versions that have what is needed: `process.getBuiltinModule` of Node, the ciphers of
 * Deno, and of Bun the first that the tests run under.
 */
export const OLDEST: { readonly [Name in RuntimeName]: string } = {
  deno: "2.9.3",
  bun: "1.4.0",
  node: "20.16.0",
};

/**
 * Whether a runtime is older than what is needed of it.
 *
 * @param which The runtime; by default the one this runs on.
 * @returns What a person is to read; undefined where it is new enough.
 */
export function tooOld({ name, version } = runtime): string | undefined {
  const has = version.split(".").map((part) => Number.parseInt(part));
  const needs = OLDEST[name].split(".").map(Number);
  const first = needs.findIndex((number, index) => number !== has[index]);
  if (first < 0 || (has[first] ?? 0) > (needs[first] ?? 0)) return undefined;
  const title = `${name[0]?.toUpperCase()}${name.slice(1)}`;
  return `${title} ${OLDEST[name]} or later is needed, and this is ${version}`;
}

/**
 * The name of the user who runs this, as the system knows it.
 *
 * @returns The login name.
 */
export function userName(): string {
  return knownUserName ??= askUserName();
}

let knownUserName: string | undefined;

function askUserName(): string {
  // Bun takes it from the environment, which a service or a container may not have.
  if (runtime.name === "bun" && process.platform !== "win32") {
    const asked = spawnSync("id", ["-un"], { encoding: "utf8" });
    return asked.status === 0 ? asked.stdout.trim() : nameWithoutAccount();
  }
  try {
    return userInfo().username;
  } catch (error) {
    if (missingPermission(error) !== undefined) throw error;
    return nameWithoutAccount();
  }
}

/** A container may run as a number that no account has. */
function nameWithoutAccount(): string {
  const { USER, LOGNAME } = process.env;
  return USER || LOGNAME || String(process.getuid?.());
}

/**
 * Whether a `net.Socket` made from a descriptor writes to a pipe without blocking the program. On
 * Bun it blocks; there the file system's asynchronous write does not.
 */
export const pipesAreSockets: boolean = runtime.name !== "bun";

/**
 * Whether `process.stderr` writes without a handle that waits: then data is lost where it is the
 * same pipe as stdout (`2>&1`) and a `net.Socket` has made that one not wait. Elsewhere a second
 * handle for the descriptor is impossible.
 */
export const stderrIsSynchronous: boolean = runtime.name === "deno";

/**
 * The command that starts this program again.
 *
 * @returns The program, and what stands before the arguments of the command line.
 */
export function selfCommand(): { readonly program: string; readonly args: readonly string[] } {
  const program = process.execPath;
  const [, script = ""] = process.argv;
  // In a binary made by bun, and in one made by node, this is not a file that could be run.
  const compiled = /^(?:\/\$bunfs\/|B:[\\/]~BUN)/.test(script) || script === program;
  if (compiled || deno?.build.standalone) return { program, args: [] };
  if (deno !== undefined) return { program, args: denoArguments(deno) };
  return { program, args: [...process.execArgv, script] };
}

/** The C types that functions of a system library take and give back, as Deno calls them. */
export type NativeType = "buffer" | "pointer" | "i32" | "void";

/** The signature of a function of a system library. */
export interface NativeSignature {
  readonly parameters: readonly NativeType[];
  readonly result: NativeType;
}

/**
 * Opens a library of the system, to call functions of it. It stays open to the end of the program.
 *
 * @param path Its name, as the system's loader takes it.
 * @param signatures Its functions that are needed.
 * @returns The functions; undefined where this runtime cannot call any, or was not permitted to:
 *   nobody is asked.
 * @throws {Error} When the library, or a function of it, is not there.
 */
export function openNativeLibrary(
  path: string,
  signatures: Readonly<Record<string, NativeSignature>>,
): unknown {
  if (!mayCallNative()) return undefined;
  return deno?.dlopen(path, signatures).symbols;
}

/**
 * Whether this runtime can call libraries of the system, and was permitted to from the start.
 *
 * @returns Whether it is worth trying.
 */
export function mayCallNative(): boolean {
  const permission = deno?.permissions.querySync({ name: "ffi" });
  return permission?.state === "granted" && permission.partial !== true;
}

/**
 * Whether a host must be connected to by its name, and not by an address that the name stands for:
 * where Deno's `--allow-net` is a list of names, it permits nothing else.
 *
 * @returns Whether it is so.
 */
export function connectsByNameAlone(): boolean {
  const permission = deno?.permissions.querySync({ name: "net" });
  return permission !== undefined && permission.state !== "granted";
}

/**
 * Whether a port of this machine may be listened on. Deno may ask the person at the terminal.
 *
 * @param host An address of this machine.
 * @param port The port; 0 for any.
 * @returns Whether it may.
 */
export function mayListen(host: string, port: number): boolean {
  if (deno === undefined) return true;
  const shown = host.includes(":") ? `[${host}]` : host;
  return deno.permissions.requestSync({ name: "net", host: `${shown}:${port}` }).state ===
    "granted";
}

/**
 * Whether a program may be started. Deno may ask the person at the terminal.
 *
 * @param command Its name, as it is started by.
 * @returns Whether it may.
 */
export function mayRun(command: string): boolean {
  return deno === undefined ||
    deno.permissions.requestSync({ name: "run", command }).state === "granted";
}

/**
 * Whether whoever started this program has had it ignore a signal, as nohup(1) does with SIGHUP and
 * a shell's script with SIGINT for what it starts with `&`. To be asked before anybody listens to
 * the signal. Where there is no /proc nothing is known, nor on Node, which undoes it before any
 * program runs.
 *
 * @param signal The signal.
 * @returns Whether it is known to be ignored.
 */
export function isIgnored(signal: NodeJS.Signals): boolean {
  // Nobody is to be asked at the terminal for it.
  if (deno !== undefined && deno.permissions.querySync({ name: "read" }).state !== "granted") {
    return false;
  }
  try {
    const [, mask = ""] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(
      readFileSync("/proc/self/status", "utf8"),
    ) ?? [];
    return (BigInt(`0x${mask || 0}`) >> BigInt(constants.signals[signal] - 1) & 1n) === 1n;
  } catch {
    return false;
  }
}

/**
 * What Deno must be started with for something that has failed.
 *
 * @param error What was thrown.
 * @returns The flag, such as `--allow-net`; undefined where no permission was missing.
 */
export function missingPermission(error: unknown): string | undefined {
  if (!(error instanceof Error) || error.name !== "NotCapable") return undefined;
  return /--allow-[a-z-]+/.exec(error.message)?.[0];
}

/** What of Deno's own interface says how it was started, and opens libraries. */
interface Deno {
  readonly build: { readonly standalone?: boolean };
  readonly mainModule: string;
  readonly permissions: {
    querySync(descriptor: { name: string }): { state: string; partial?: boolean };
    requestSync(descriptor: { name: string; host?: string; command?: string }): { state: string };
  };
  dlopen(path: string, signatures: object): { readonly symbols: unknown };
}

const deno: Deno | undefined = (globalThis as { Deno?: Deno }).Deno;

const DENO_PERMISSIONS = ["read", "write", "net", "env", "run", "sys", "ffi", "import"];

/** Deno keeps its own options out of `process.execArgv`. */
function denoArguments({ mainModule, permissions }: Deno): string[] {
  try {
    const words = readFileSync("/proc/self/cmdline", "utf8").split("\0").slice(1, -1);
    return words.slice(0, words.length - process.argv.slice(2).length);
  } catch {
    // No /proc, as on macOS, and as where not everything is permitted: the permissions that were
    // given whole, and the configuration that lies beside the program. What --deny-net and the like
    // take away cannot be asked for: the other process must not have it again.
    const given = DENO_PERMISSIONS.filter((name) => {
      const { state, partial } = permissions.querySync({ name });
      return state === "granted" && partial !== true;
    });
    return ["run", "--no-prompt", ...given.map((name) => `--allow-${name}`), mainModule];
  }
}

function detect(): { name: RuntimeName; version: string } {
  // Deno and Bun report a version of Node as well, for the sake of programs that ask for it.
  const { deno, bun, node } = process.versions as Record<string, string | undefined>;
  if (deno !== undefined) return { name: "deno", version: deno };
  if (bun !== undefined) return { name: "bun", version: bun };
  return { name: "node", version: node ?? "0.0.0" };
}
