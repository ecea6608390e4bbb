// @ts-check
/**
 * A tunnel that outlives the step which opens it. It is `fairlead with`, and the command that it
 * runs (hold.mjs) says where the forwards listen and waits for the job's end: so `ready`, names and
 * variables are what they are for `with`, and it can be closed in the same way on every system,
 * Windows without signals included.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, sep } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { end, runs, until } from "./processes.mjs";
import { Failure, showLog } from "./runner.mjs";

/** @import { TunnelRequest } from "./inputs.mjs" */

/** Where hold.mjs says that it runs. */
const UP = "up.json";
/** Milliseconds that fairlead has for its own last word, once time is over. */
const LAST_WORD = 5_000;
/** Milliseconds in which fairlead finishes its connections; it gives them 5 seconds. */
const CLOSE_TIMEOUT = 10_000;
/** What `with` says of a session that is lost for good. */
const GONE = /the tunnel is gone; the command goes on/;
/** What the runner, this step and earlier ones say is not for a process that lasts. */
const NOT_FOR_IT = /^(?:INPUT_|STATE_|GITHUB_|ACTIONS_|FAIRLEAD_PORT|FAIRLEAD_\w+_(?:HOST|PORT)$)/;

/**
 * Opens a tunnel, and waits until it is usable.
 *
 * @param {readonly string[]} command Program and arguments that run fairlead.
 * @param {TunnelRequest} request What to open.
 * @param {string} folder The folder that the tunnel is to have for itself.
 * @returns {Promise<{ pid: number; variables: Record<string, string> }>} Its process, and the
 *   variables that say where it listens.
 * @throws {Failure} With fairlead's own words, when it cannot be opened.
 */
export async function openTunnel(command, request, folder) {
  const [program = "", ...before] = command;
  const log = openSync(join(folder, "log"), "a", 0o600);
  const child = spawn(program, [...before, ...argsOf(request, folder)], {
    detached: true,
    windowsHide: true,
    stdio: ["ignore", log, log],
    env: { ...environment(), ...request.secrets },
  });
  closeSync(log);
  let over = "";
  child.once("error", (error) => over = error.message);
  child.once("exit", (status, signal) => over = `it ended with ${signal ?? `status ${status}`}`);
  const { pid } = child;
  if (pid !== undefined) writeFileSync(join(folder, "pid"), String(pid));

  const up = join(folder, UP);
  await until(() => existsSync(up) || over !== "", request.timeout * 1000 + LAST_WORD);
  if (pid !== undefined && existsSync(up) && over === "") {
    child.unref();
    return { pid, variables: JSON.parse(readFileSync(up, "utf8")) };
  }
  if (pid !== undefined) await end(pid);
  const said = readLog(folder);
  if (said !== "") showLog("what fairlead said", said);
  if (over === "") throw new Failure(`the tunnel is not up after ${request.timeout} s (timeout)`);
  const reason = [...said.matchAll(/^fairlead: (.+)$/gm)].at(-1)?.[1];
  throw new Failure(reason ?? `fairlead said nothing; ${over}`);
}

/**
 * Closes a tunnel: connections that are open may finish.
 *
 * @param {string} folder The tunnel's folder; it is removed.
 * @returns {Promise<{ log: string; complaint: string | undefined }>} What fairlead said, and what
 *   was wrong.
 */
export async function closeTunnel(folder) {
  // Nothing is there, or half of it, where the step was killed; 0 would be our own group.
  const pid = Number(readIfThere(join(folder, "pid")));
  let complaint;
  if (!(pid > 0) || !runs(pid)) {
    complaint = "the tunnel was no longer open at the end of the job: its process had ended";
  } else if (!existsSync(join(folder, UP))) {
    // The step was cancelled while it connected.
    await end(pid);
  } else {
    writeFileSync(join(folder, "stop"), "");
    if (!await until(() => !runs(pid), CLOSE_TIMEOUT)) {
      complaint = `the tunnel did not close in ${CLOSE_TIMEOUT / 1000} s, and was ended`;
      await end(pid);
    }
  }
  const log = readLog(folder);
  if (complaint === undefined && GONE.test(log)) {
    complaint = "the tunnel was no longer open at the end of the job: the SSH session was lost";
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  return { log, complaint };
}

/**
 * Of options that stand twice, fairlead takes the first, and of -F the last. What is in the file is
 * for servers on the way as well: as for ssh, -o does not reach them.
 *
 * @param {TunnelRequest} request
 * @param {string} folder
 */
function argsOf(request, folder) {
  const { host, args, knownHosts, ready, timeout } = request;
  const known = join(folder, "known_hosts");
  const config = join(folder, "ssh_config");
  if (knownHosts !== "") writeFileSync(known, `${knownHosts}\n`);
  const lines = [
    "BatchMode yes",
    "StrictHostKeyChecking yes",
    `ConnectTimeout ${timeout}`,
    ...(knownHosts === ""
      ? []
      : [`UserKnownHostsFile "${quotable(known)}"`, "GlobalKnownHostsFile none"]),
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  return [
    ...["with", "-F", config, "-o", "StrictHostKeyChecking=yes"],
    ...args,
    ...[`--ready=${ready}`, "--ready-timeout", String(timeout), host, "--"],
    ...[process.execPath, fileURLToPath(new URL("hold.mjs", import.meta.url)), folder],
  ];
}

/**
 * A path that ssh_config takes as it is: there % begins a token, and a backslash may hide a letter.
 *
 * @param {string} path
 */
function quotable(path) {
  return path.split(sep).join("/").replaceAll("%", "%%");
}

function environment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !NOT_FOR_IT.test(name)));
}

/** @param {string} folder */
function readLog(folder) {
  return readIfThere(join(folder, "log")) ?? "";
}

/** @param {string} path */
function readIfThere(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
