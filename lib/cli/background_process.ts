/**
 * The process that keeps named tunnels: in the background, or in front with `up --foreground`.
 *
 * @module
 */
import process from "node:process";
import { type ControlServer, serveControl } from "../control/server.ts";
import { handlersOf } from "../control/handlers.ts";
import { LogFile, logFilePath, logInto } from "../control/log_file.ts";
import { controlSocketPath } from "../control/socket_path.ts";
import { sayStarted } from "../control/start.ts";
import type { Status } from "../control/status.ts";
import { Supervisor } from "../control/supervisor.ts";
import type { TcpAddress } from "../dialer.ts";
import { codeOf, FairleadError, messageOf } from "../errors.ts";
import { logger } from "../log.ts";
import type { MetricsServer } from "../control/metrics_server.ts";
import { startMetrics } from "./metrics_option.ts";
import { permissionError } from "./permissions.ts";
import { type StopSignal, stopSignal } from "./signals.ts";
import { VERSION } from "./version.ts";

const log = logger("control");

/** Milliseconds that it waits for its first tunnel. */
const PATIENCE = 30_000;
/** Milliseconds for the last of them to go after a second signal. */
const FORCE_TIMEOUT = 1_000;

/**
 * Keeps tunnels until none is left. Nothing of the terminal is kept, and no folder.
 *
 * @returns The exit status.
 */
export async function runInBackground(): Promise<number> {
  let file: LogFile;
  try {
    process.chdir("/");
    file = new LogFile(logFilePath());
  } catch (error) {
    return await failToStart(error);
  }
  logInto(file);
  for (const event of ["uncaughtException", "unhandledRejection"] as const) {
    process.on(event, (error: unknown) => {
      const reason = error instanceof Error ? error.stack ?? error.message : String(error);
      log.fatal("this is a mistake in fairlead itself: {reason}", { reason });
      process.exit(255);
    });
  }
  const stop = stopSignal();
  let end = () => {};
  const ended = new Promise<void>((resolve) => end = resolve);
  const supervisor = new Supervisor({ version: VERSION, onEmpty: () => end() });
  const metrics = keptMetrics(() => supervisor.status(), {
    event: (_event, words) => log.info("{words}", { words }),
    warn: (words) => log.warn("{words}", { words }),
  });
  let server: ControlServer;
  try {
    server = await serve(supervisor, metrics);
  } catch (error) {
    if (codeOf(error) !== "address-in-use") return await failToStart(error);
    // Another one was faster, and will be asked.
    await sayStarted();
    return 0;
  }
  log.info("fairlead {version} keeps tunnels, as process {pid}", {
    version: VERSION,
    pid: process.pid,
  });
  await sayStarted();
  const patience = setTimeout(() => supervisor.size === 0 && end(), PATIENCE);
  stop.first.addEventListener("abort", end);
  await ended;
  clearTimeout(patience);
  const closing = server.close();
  await closeTunnels(supervisor, stop);
  await Promise.all([closing, metrics.close()]);
  log.info("process {pid} ends", { pid: process.pid });
  file.close();
  return stop.first.aborted ? stop.status() : 0;
}

/** @returns The exit status. */
async function failToStart(error: unknown): Promise<number> {
  const refused = permissionError(error);
  await sayStarted(
    refused === undefined ? error : new FairleadError(refused.message, {
      code: "not-permitted",
      hint: "the background process is permitted what was given whole: not --allow-write=… but " +
        "--allow-write; fairlead up --foreground does with less",
    }),
  );
  return 255;
}

/**
 * Has the tunnels of a process be seen and changed from others.
 *
 * @param supervisor The tunnels.
 * @param actions What the process does besides.
 * @returns The control socket.
 * @throws {FairleadError} Where another process keeps this user's tunnels.
 */
export function serve(
  supervisor: Supervisor,
  actions: KeptMetrics,
): Promise<ControlServer> {
  return serveControl(controlSocketPath(), handlersOf(supervisor, actions), {
    version: VERSION,
    serves: "tunnels",
  });
}

/**
 * The same for a process in front, which can do without: on Windows no other command sees it.
 *
 * @param supervisor The tunnels.
 * @param actions What the process does besides.
 * @returns The control socket; undefined where there can be none.
 * @throws {FairleadError} Where another process keeps this user's tunnels.
 */
export async function serveInFront(
  supervisor: Supervisor,
  actions: KeptMetrics,
): Promise<ControlServer | undefined> {
  try {
    return await serve(supervisor, actions);
  } catch (error) {
    if (codeOf(error) === "not-supported") return undefined;
    throw error;
  }
}

/** The metrics of a process that keeps named tunnels. */
export interface KeptMetrics {
  /** Serves them from now on, at another address than before where that is asked for. */
  serveMetrics(address: string): Promise<TcpAddress>;
  close(): Promise<void>;
}

/**
 * Serves metrics where and when that is asked for.
 *
 * @param status What is served.
 * @param output Where it is said.
 * @returns What to call.
 */
export function keptMetrics(
  status: () => Status,
  output: Parameters<typeof startMetrics>[2],
): KeptMetrics {
  let server: MetricsServer | undefined;
  let asked: string | undefined;
  return {
    serveMetrics: async (address) => {
      if (address === asked && server !== undefined) return server.address;
      const next = await startMetrics(address, status, output);
      await server?.close();
      server = next;
      asked = address;
      return next.address;
    },
    close: async () => await server?.close(),
  };
}

/**
 * Takes all tunnels down; a second signal does not wait.
 *
 * @param supervisor The tunnels.
 * @param stop The signals.
 * @returns When nothing of them is left.
 */
export async function closeTunnels(supervisor: Supervisor, stop: StopSignal): Promise<void> {
  const forced = new Promise<void>((resolve) => {
    const force = () => {
      supervisor.close({ force: true }).then(resolve, resolve);
      setTimeout(resolve, FORCE_TIMEOUT);
    };
    if (stop.second.aborted) force();
    stop.second.addEventListener("abort", force);
  });
  const closed = supervisor.close().catch((error: unknown) => {
    log.error("{reason}", { reason: messageOf(error) });
  });
  await Promise.race([closed, forced]);
}
