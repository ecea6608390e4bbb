// @ts-check
/**
 * fairlead of a release, checked, in the runner's tool cache.
 *
 * @module
 */
import { createHash, randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure, runnerVariable } from "./runner.mjs";

/** @import { Installation } from "./inputs.mjs" */

/** Milliseconds that one file may take. */
const DOWNLOAD_TIMEOUT = 120_000;
/** Milliseconds before each further try, where a server fails that may recover. */
const PAUSES = [1_000, 3_000];

/**
 * Finds a file of a release in the tool cache, or brings it there. Neither is used unless its
 * SHA-256 is the one that the release says, and the one that the step says.
 *
 * @param {Installation} installation What, and from where.
 * @returns {Promise<string>} Its path.
 * @throws {Failure} When it cannot be had, or is not what it should be.
 */
export async function install({ version, asset, baseUrl, sha256 }) {
  const cache = runnerVariable("RUNNER_TOOL_CACHE", "RUNNER_TEMP");
  const folder = join(cache, "fairlead", version);
  const path = join(folder, asset);
  const kept = readIfThere(path);
  const keptSum = kept && sumOf(kept);
  if (keptSum !== undefined && keptSum === sha256) return path;

  // As actions with a toolkit do; Node 24.14 is the first that can be told after its start.
  if ("setGlobalProxyFromEnv" in http) /** @type {any} */ (http).setGlobalProxyFromEnv();
  const sums = new TextDecoder().decode(await download(`${baseUrl}/SHA256SUMS`));
  const expected = new Map(
    [...sums.matchAll(/^([0-9a-f]{64}) [ *](\S+)\r?$/gm)].map(([, sum, name]) => [name, sum]),
  ).get(asset);
  if (expected === undefined) {
    throw new Failure(`${baseUrl}/SHA256SUMS has no sum of ${asset}; nothing was installed`);
  }
  if (sha256 !== "" && sha256 !== expected) {
    throw new Failure(
      `${asset}: the release says SHA-256 ${expected}, the input sha256 another one; ` +
        "nothing was installed",
    );
  }
  if (keptSum === expected) return path;

  const content = await download(`${baseUrl}/${asset}`);
  const sum = sumOf(content);
  if (sum !== expected) {
    throw new Failure(
      `${baseUrl}/${asset}: its SHA-256 is ${sum}, SHA256SUMS says ${expected}: it was altered or ` +
        "cut off on the way; nothing was installed",
    );
  }
  keep(folder, path, content);
  return path;
}

/**
 * Whoever looks meanwhile sees the whole file or none.
 *
 * @param {string} folder
 * @param {string} path
 * @param {Uint8Array} content
 */
function keep(folder, path, content) {
  mkdirSync(folder, { recursive: true });
  const part = `${path}.${randomUUID()}`;
  try {
    writeFileSync(part, content, { mode: 0o755 });
    renameSync(part, path);
  } catch (error) {
    rmSync(part, { force: true });
    // On Windows, what runs cannot be replaced: another job has brought the same meanwhile.
    const other = readIfThere(path);
    if (other === undefined || sumOf(other) !== sumOf(content)) throw error;
  }
}

/**
 * @param {string} url
 * @returns {Promise<Uint8Array>}
 */
async function download(url) {
  for (let tries = 0;; tries++) {
    const { content, reason, final } = await attempt(url);
    if (content !== undefined) return content;
    const pause = PAUSES[tries];
    if (final || pause === undefined) throw new Failure(`${url}: ${reason}; nothing was installed`);
    await sleep(pause);
  }
}

const REDIRECTS = [301, 302, 303, 307, 308];
const MOST_REDIRECTS = 10;

/**
 * @param {string} url
 * @returns {Promise<{ content?: Uint8Array; reason?: string; final?: boolean }>}
 */
async function attempt(url) {
  try {
    const signal = AbortSignal.timeout(DOWNLOAD_TIMEOUT);
    let place = url;
    let response = await fetch(place, { signal, redirect: "manual" });
    for (let hops = 0; REDIRECTS.includes(response.status); hops++) {
      if (hops === MOST_REDIRECTS) return { reason: "it leads round in circles", final: true };
      place = new URL(response.headers.get("location") ?? "", place).href;
      // Whoever is on the way of one plain hop has a say in all that follows.
      if (url.startsWith("https:") && !place.startsWith("https:")) {
        return { reason: "it leads to an address without TLS", final: true };
      }
      response = await fetch(place, { signal, redirect: "manual" });
    }
    if (response.ok) return { content: new Uint8Array(await response.arrayBuffer()) };
    const hint = response.status === 404 ? " (see the inputs version and base-url)" : "";
    return { reason: `HTTP ${response.status}${hint}`, final: response.status < 500 };
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return { reason: cause instanceof Error ? cause.message : String(cause) };
  }
}

/** @param {Uint8Array} content */
function sumOf(content) {
  return createHash("sha256").update(content).digest("hex");
}

/** @param {string} path */
function readIfThere(path) {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

/**
 * How a file of a release is run.
 *
 * @param {string} path Its path.
 * @returns {[string, ...string[]]} Program and arguments. The bundle has the Node that runs us, so
 *   it needs nothing of the machine or the job's container.
 */
export function commandOf(path) {
  return path.endsWith(".mjs") ? [process.execPath, path] : [path];
}

/**
 * Makes a folder with the command `fairlead` in it, for PATH.
 *
 * @param {string} folder The folder.
 * @param {readonly string[]} command Program and arguments.
 */
export function writeLauncher(folder, command) {
  mkdirSync(folder, { recursive: true });
  const sh = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  writeFileSync(join(folder, "fairlead"), `#!/bin/sh\nexec ${sh} "$@"\n`, { mode: 0o755 });
  if (process.platform !== "win32") return;
  const cmd = command.map((word) => `"${word}"`).join(" ");
  writeFileSync(join(folder, "fairlead.cmd"), `@${cmd} %*\r\n`);
}
