/**
 * For checking only; nothing built with it is published. Prints the path of a denort, which
 * `deno compile` puts into every binary, for machines that reach npm and not Deno's own downloads:
 *
 *     export DENORT_BIN="$(deno run -A scripts/build/denort.ts)"
 *
 * It is taken out of a program that Deno compiled and that is on npm. Linux on x64 alone.
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { sha256 } from "./sums.ts";
import { hostTarget } from "./targets.ts";

/** The program, made by Deno 2.9.4; the compiler of 2.9.6 takes that denort, too. */
const PACKAGE = "@chelonia/cli-x64-linux@3.4.0";
const PROGRAM = join("package", "chel");

/** Of the denort in it: its checksum, and what its ELF header said before it was compiled in. */
const SHA256 = "723d45cca4f68bd66652da1e0d45562b0700317c1535981035f50f078785a131";
const SIZE = 107_594_120;
const PROGRAM_HEADERS = { offset: 64, count: 12 };
const SECTION_HEADERS = { offset: 107_591_688, count: 38 };

/**
 * Has npm bring it, unless it lies in the user's cache already.
 *
 * @returns Where it lies.
 * @throws {Error} When it cannot be had, or is not what it should be.
 */
export function denort(): string {
  if (hostTarget() !== "linux-x64") throw new Error("there is one for Linux on x64 alone");
  const cache = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "fairlead");
  const path = join(cache, "denort-2.9.4");
  if (existsSync(path) && sha256(path) === SHA256) return path;
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, "denort-"));
  try {
    run(folder, "npm", "pack", "--silent", PACKAGE);
    run(folder, "sh", "-c", `tar -xzf *.tgz ${PROGRAM}`);
    const made = join(folder, "denort");
    writeFileSync(made, recover(readFileSync(join(folder, PROGRAM))));
    const sum = sha256(made);
    if (sum !== SHA256) throw new Error(`the denort in ${PACKAGE} has another checksum: ${sum}`);
    chmodSync(made, 0o755);
    renameSync(made, path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return path;
}

/** What was compiled in stands behind it, in two more sections with headers of their own. */
function recover(program: Uint8Array): Uint8Array {
  const base = program.slice(0, SIZE);
  const header = new DataView(base.buffer);
  header.setBigUint64(0x20, BigInt(PROGRAM_HEADERS.offset), true);
  header.setUint16(0x38, PROGRAM_HEADERS.count, true);
  header.setBigUint64(0x28, BigInt(SECTION_HEADERS.offset), true);
  header.setUint16(0x3c, SECTION_HEADERS.count, true);
  return base;
}

function run(cwd: string, program: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { cwd, encoding: "utf8" });
  if (status === 0) return;
  const reason = error?.message ?? stderr.trim().split("\n").at(-1);
  throw new Error(`${[program, ...args].join(" ")}: ${reason || `status ${status}`}`);
}

if (import.meta.main) {
  try {
    console.log(denort());
  } catch (error) {
    console.error(`denort: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  }
}
