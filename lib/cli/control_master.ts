/**
 * Connection sharing: ControlMaster, ControlPath and ControlPersist of ssh_config(5).
 *
 * @module
 */
import { lstatSync } from "node:fs";
import { connectControl, type ControlClient } from "../control/client.ts";
import { type Master, masterHandlers } from "../control/master.ts";
import { type ControlServer, serveControl } from "../control/server.ts";
import { codeOf, messageOf } from "../errors.ts";
import { logger } from "../log.ts";
import type { Settings } from "../ssh_config/settings.ts";
import { controlPathOf, requestForwards } from "./control_command.ts";
import type { Output } from "./output.ts";
import { VERSION } from "./version.ts";

const log = logger("cli");

/**
 * Hands the forwards to a master, where there is one and nothing else is asked for. A command and
 * -W have a connection of their own.
 *
 * @param settings What was asked for.
 * @param output Where to say things.
 * @returns The exit status; undefined where this run connects itself.
 */
export async function handOver(settings: Settings, output: Output): Promise<number | undefined> {
  const path = controlPathOf(settings);
  // As in ssh, whoever must be the master uses no other.
  const own = ["true", "ask"].includes(settings.controlMaster ?? "");
  if (path === undefined || own) return undefined;
  if (settings.command !== undefined || settings.stdioForward !== undefined) return undefined;
  const client = await masterAt(path);
  if (client === undefined) return undefined;
  try {
    log.info("the master at {path}, process {pid}, forwards", { path, pid: client.greeting.pid });
    return await requestForwards(client, settings, output) ? 0 : 255;
  } finally {
    client.close();
  }
}

/** What is no fairlead, as a master of OpenSSH, is passed over: it is ssh's own. */
async function masterAt(path: string): Promise<ControlClient | undefined> {
  try {
    const client = await connectControl(path);
    if (client === undefined || client.greeting.serves === "master") return client;
    client.close();
  } catch (error) {
    log.info("{path} is not used: {reason}", { path, reason: messageOf(error) });
  }
  return undefined;
}

/**
 * Changes what ControlPersist says of a run that becomes a master: it goes to the background, and
 * ends after so long without a connection.
 *
 * @param settings What was asked for; changed in place.
 */
export function concludePersist(settings: Settings): void {
  const { controlPersist = false, command, stdioForward } = settings;
  if (controlPersist === false || !wantsMaster(settings)) return;
  // What runs for its command is over with it.
  if (command !== undefined || stdioForward !== undefined) return;
  const path = controlPathOf(settings);
  if (path === undefined || lstatSync(path, { throwIfNoEntry: false }) !== undefined) return;
  settings.forkAfterAuthentication = true;
  settings.stdinNull = true;
  // 0 is for good, as yes is.
  if (typeof controlPersist === "number" && controlPersist > 0) {
    settings.idleTimeout ??= controlPersist * 1000;
  }
}

/**
 * Becomes a master, where that is asked for.
 *
 * @param settings What was asked for.
 * @param master The run.
 * @param output Where it is said that another one is there.
 * @returns The socket; undefined where there is none.
 * @throws {ForwardError} When the socket cannot be made.
 */
export async function becomeMaster(
  settings: Settings,
  master: Omit<Master, "stop" | "settings">,
  output: Output,
): Promise<ControlServer | undefined> {
  const path = controlPathOf(settings);
  if (path === undefined) return undefined;
  if (["ask", "autoask"].includes(settings.controlMaster ?? "")) {
    output.warn("ControlMaster ask: fairlead cannot ask before others use it, and is no master");
  }
  if (!wantsMaster(settings)) return undefined;
  let server: ControlServer | undefined;
  const handlers = masterHandlers({
    ...master,
    settings,
    stop: async () => await server?.close(),
  });
  try {
    server = await serveControl(path, handlers, { version: VERSION, serves: "master" });
    return server;
  } catch (error) {
    if (codeOf(error) !== "address-in-use") throw error;
    output.warn(`ControlSocket ${path} already exists, disabling multiplexing`);
    return undefined;
  }
}

/** Nobody is asked before others use it: who wants that gets no master. */
function wantsMaster({ controlMaster = "false" }: Settings): boolean {
  return controlMaster === "true" || controlMaster === "auto";
}
