/**
 * Makes dist/fairlead-OS-ARCH, the command line and what runs it in one file, SHA256SUMS, and the
 * licences of what is inside:
 *
 *     deno task build:binary [--target NAME,…|--all] [--engine deno|bun] [--allow NAME,…] [--out …]
 *
 * The same commit gives the same bytes, wherever it is built by Deno, and in a folder of the same
 * name by Bun.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { type BinaryOptions, readOptions, USAGE } from "./binary_options.ts";
import { makeBundle } from "./bundle.ts";
import { checkDenort, compileWithBun, compileWithDeno } from "./compile.ts";
import { LICENCES_FILE } from "./licences.ts";
import { writeSums } from "./sums.ts";
import { type Target, targetOf } from "./targets.ts";

/** The file in a build's folder that tells whose it is. */
const BUILDER = "pid";

/**
 * Makes binaries.
 *
 * @param options What is not said is as on the command line.
 * @returns Where they lie, in the order of the targets.
 * @throws {Error} When one cannot be made. Those before it stay, nothing is left of itself.
 */
export async function makeBinaries(options: Partial<BinaryOptions> = {}): Promise<string[]> {
  const whole = { ...readOptions([]), ...options };
  // Before anything is built: it fits one target, and is not known to deno compile to do so.
  if (whole.engine === "deno") checkDenort(whole.targets);
  const out = resolve(whole.out);
  mkdirSync(out, { recursive: true });
  const binaries: string[] = [];
  for (const target of whole.targets) binaries.push(await makeOne(target, { ...whole, out }));
  writeSums(out);
  return binaries;
}

async function makeOne(
  target: Target,
  { engine, allow, out }: BinaryOptions,
): Promise<string> {
  const name = binaryName(target, engine);
  // Its name, the time of what is inside, and by Bun the folder's name become part of the file:
  // none of them may be by chance.
  const folder = join(out, `.${name}`);
  await takeFolder(folder);
  try {
    const script = "fairlead.mjs";
    await makeBundle(join(folder, script));
    utimesSync(join(folder, script), 0, 0);
    const job = { folder, script, output: name, target };
    engine === "bun" ? compileWithBun(job) : compileWithDeno(job, allow);
    const made = targetOf(join(folder, name));
    if (made !== target) throw new Error(`what was made for ${target} is for ${made ?? "nothing"}`);
    renameSync(join(folder, LICENCES_FILE), join(out, LICENCES_FILE));
    renameSync(join(folder, name), join(out, name));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return join(out, name);
}

/** Makes a folder for one build at a time; that of a build that was killed is taken over. */
async function takeFolder(folder: string): Promise<void> {
  for (;;) {
    try {
      mkdirSync(folder);
      return writeFileSync(join(folder, BUILDER), String(process.pid));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    await sleep(100);
    if (!isBuilding(folder)) rmSync(folder, { recursive: true, force: true });
  }
}

function isBuilding(folder: string): boolean {
  try {
    return process.kill(Number(readFileSync(join(folder, BUILDER), "utf8")), 0);
  } catch {
    return false;
  }
}

/**
 * The file name of a binary.
 *
 * @param target What it is for.
 * @param engine What runs it.
 * @returns The name, the same in every release.
 */
export function binaryName(target: Target, engine: BinaryOptions["engine"]): string {
  const ending = target.startsWith("windows") ? ".exe" : "";
  return `fairlead-${engine === "bun" ? "bun-" : ""}${target}${ending}`;
}

async function main(args: readonly string[]): Promise<void> {
  if (args.includes("--help")) return console.log(USAGE);
  for (const binary of await makeBinaries(readOptions(args))) console.log(binary);
}

if (import.meta.main) {
  await main(process.argv.slice(2)).catch((error) => {
    console.error(`build:binary: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  });
}
