/**
 * `-O` of ssh(1): what is asked of a master, in ssh's own words.
 *
 * @module
 */
import { lstatSync } from "node:fs";
import process from "node:process";
import { connectControl, type ControlClient } from "../control/client.ts";
import type { MasterMethods } from "../control/master.ts";
import { messageOf, UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import type { ForwardRequest, Settings } from "../ssh_config/settings.ts";
import { isNone } from "../ssh_config/values.ts";
import type { Output } from "./output.ts";

/** SSH or forwarding failed; ssh uses the same. */
const FAILED = 255;

/** What a master can be asked for. */
export const CONTROL_COMMANDS = [
  "check",
  "forward",
  "cancel",
  "exit",
  "stop",
  "conninfo",
  "channels",
] as const;

/** One of them. */
type Command = typeof CONTROL_COMMANDS[number];

/**
 * Reads the argument of `-O`.
 *
 * @param value What was given.
 * @returns The command.
 * @throws {UsageError} When there is none of that name.
 */
export function readControlCommand(value: string): Command {
  const found = CONTROL_COMMANDS.find((command) => command === value);
  if (found !== undefined) return found;
  if (value === "proxy") {
    throw new UsageError("-O proxy: fairlead does not speak OpenSSH's multiplexing protocol");
  }
  const guess = nearest(value, CONTROL_COMMANDS);
  throw new UsageError(
    `-O ${value}: Invalid multiplex command`,
    guess === undefined ? `there are ${CONTROL_COMMANDS.join(", ")}` : `did you mean ${guess}?`,
  );
}

/**
 * The path of the control socket, where there is to be one.
 *
 * @param settings What was said.
 * @returns The path; undefined where none was named, or `none`.
 */
export function controlPathOf({ controlPath }: Settings): string | undefined {
  return controlPath === undefined || isNone(controlPath) ? undefined : controlPath;
}

/**
 * Asks the master.
 *
 * @param command What.
 * @param settings The socket, and for `forward` and `cancel` the forwards.
 * @param output Where the answer goes.
 * @returns The exit status.
 */
export async function runControlCommand(
  command: string,
  settings: Settings,
  output: Output,
): Promise<number> {
  const path = controlPathOf(settings);
  if (path === undefined) return fail('No ControlPath specified for "-O" command');
  const client = await connectMaster(path);
  if (typeof client === "string") return fail(`Control socket connect(${path}): ${client}`);
  try {
    return await ask(client, command as Command, settings, output);
  } finally {
    client.close();
  }
}

/** @returns The client, or why there is none, in the system's words. */
async function connectMaster(path: string): Promise<ControlClient | string> {
  const there = lstatSync(path, { throwIfNoEntry: false });
  const client = await connectControl(path).catch((error: unknown) => messageOf(error));
  if (client !== undefined) return client;
  return there === undefined ? "No such file or directory" : "Connection refused";
}

async function ask(
  client: ControlClient,
  command: Command,
  settings: Settings,
  output: Output,
): Promise<number> {
  const json = settings.json;
  const call = <Method extends Command>(
    method: Method,
    params: MasterMethods[Method]["params"],
  ) => client.call(method, params) as Promise<MasterMethods[Method]["result"]>;
  switch (command) {
    case "check": {
      const { pid } = await call("check", {});
      if (json) output.event({ event: "master", pid });
      else say(`Master running (pid=${pid})`);
      return 0;
    }
    case "exit":
    case "stop":
      await call(command, {});
      if (json) output.event({ event: command });
      else if (settings.logLevel !== "quiet") {
        say(command === "exit" ? "Exit request sent." : "Stop listening request sent.");
      }
      return 0;
    case "conninfo":
    case "channels": {
      const text = await call(command, {});
      if (json) output.event({ event: command, text });
      else output.screen.out(text.replace(/\r?\n$/, ""));
      return 0;
    }
    case "forward":
      return await requestForwards(client, settings, output) ? 0 : FAILED;
    case "cancel":
      for (const forward of settings.forwards) {
        await call("cancel", { forward }).catch((error: unknown) => {
          // As in ssh, whose status is 0 all the same.
          say(`mux_client_forward: forwarding request failed: ${messageOf(error)}`);
          say("muxclient: master cancel forward request failed");
        });
      }
      return 0;
  }
}

/**
 * Has the master forward.
 *
 * @param client The master.
 * @param settings The forwards.
 * @param output Where the ports go that were asked for as 0.
 * @returns Whether all of them listen.
 */
export async function requestForwards(
  client: ControlClient,
  { forwards, json }: Settings,
  output: Output,
): Promise<boolean> {
  for (const forward of forwards) {
    try {
      const { port } = await client.call("forward", { forward }) as { port: number };
      if (json) output.event({ event: "listening", kind: forward.kind, port });
      else if (wantsPort(forward)) output.screen.out(String(port));
    } catch (error) {
      say(`mux_client_forward: forwarding request failed: ${messageOf(error)}`);
      say("muxclient: master forward request failed");
      return false;
    }
  }
  return true;
}

function wantsPort({ spec: { listen } }: ForwardRequest): boolean {
  return "port" in listen && listen.port === 0;
}

function fail(words: string): number {
  say(words);
  return FAILED;
}

/** As ssh does, for scripts that cut it apart. */
function say(words: string): void {
  // deno-lint-ignore no-control-regex -- what a peer says must not move the cursor
  process.stderr.write(`${words.replace(/[\x00-\x1f\x7f-\x9f]/g, "?")}\r\n`);
}
