// @ts-check
/**
 * The action's first part: installs fairlead, and opens the tunnel of the step.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { readInputs, secretInputs } from "./inputs.mjs";
import { commandOf, install, writeLauncher } from "./install.mjs";
import {
  addPath,
  error,
  exportVariable,
  Failure,
  mask,
  runnerVariable,
  saveState,
  setOutput,
  showLog,
} from "./runner.mjs";
import { openTunnel } from "./tunnel.mjs";

/** Milliseconds that `fairlead --version` may take. */
const VERSION_TIMEOUT = 30_000;

async function main() {
  for (const secret of secretInputs()) mask(secret);
  const { installation, tunnel } = readInputs();
  const command = commandOf(await install(installation));
  checkVersion(command, installation.version);
  setOutput("version", installation.version);
  const temp = runnerVariable("RUNNER_TEMP");
  const bin = mkdtempSync(join(temp, "fairlead-bin-"));
  writeLauncher(bin, command);
  addPath(bin);
  if (tunnel === undefined) return;

  const folder = mkdtempSync(join(temp, "fairlead-tunnel-"));
  // Before anything can fail or be cancelled: the second part looks there for what is left.
  saveState("folder", folder);
  try {
    const { pid, variables } = await openTunnel(command, tunnel, folder);
    setOutput("pid", String(pid));
    publish(variables);
  } catch (failure) {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    throw failure;
  }
}

/**
 * A run shows whether it starts here at all.
 *
 * @param {readonly [string, ...string[]]} command
 * @param {string} version
 */
function checkVersion([program, ...args], version) {
  const run = spawnSync(program, [...args, "--version"], {
    encoding: "utf8",
    timeout: VERSION_TIMEOUT,
    windowsHide: true,
  });
  const line = (run.stdout ?? "").trim();
  if (run.status !== 0) {
    if ((run.stderr ?? "") !== "") showLog("what fairlead --version said", run.stderr);
    const reason = run.error?.message ?? `it ended with ${run.signal ?? `status ${run.status}`}`;
    throw new Failure(`${program} does not start here (${reason}); program: bundle may`);
  }
  if (line.split(" ")[1] !== version) {
    throw new Failure(`version ${version} was asked for, and base-url has: ${line}`);
  }
  console.log(line);
}

/**
 * FAIRLEAD_DB_PORT becomes the output db-port; FAIRLEAD_PORT is port.
 *
 * @param {Record<string, string>} variables
 */
function publish(variables) {
  for (const [name, value] of Object.entries(variables)) {
    exportVariable(name, value);
    const output = name.replace(/^FAIRLEAD_/, "").toLowerCase().replaceAll("_", "-");
    setOutput(output, value);
    console.log(`${name}=${value}`);
  }
}

try {
  await main();
} catch (failure) {
  if (failure instanceof Failure) error(failure.message);
  else error(`a mistake in the action: ${failure instanceof Error ? failure.stack : failure}`);
  process.exitCode = 1;
}
