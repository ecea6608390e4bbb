/** The binary of this machine, for tests of what is done with one. */
import { globSync, mkdirSync, rmdirSync, statSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { ROOT, scriptCommand } from "./fairlead.ts";
import { run, waitFor } from "./tools.ts";

/** What a binary is made of. */
const SOURCES = ["cli.ts", "deno.json", "deno.lock", "lib/**/*.ts", "scripts/build/*.ts"];

/**
 * Makes dist/fairlead-OS-ARCH, as `task build:binary` does, where it is older than the source. Test
 * files that run side by side wait for one another.
 *
 * @returns The binary's path.
 */
export async function builtBinary(): Promise<string> {
  const os = { darwin: "macos", win32: "windows" }[process.platform as string] ?? process.platform;
  const binary = join(ROOT, "dist", `fairlead-${os}-${process.arch}`);
  const lock = join(ROOT, "dist", ".building");
  mkdirSync(join(ROOT, "dist"), { recursive: true });
  await waitFor(() => taken(lock), { timeout: 300_000, what: `the end of the build of ${lock}` });
  try {
    if (changed(binary) < newest(SOURCES)) {
      const [command, args] = scriptCommand("scripts/build/binary.ts");
      const { status, stderr } = await run(command, args, { cwd: ROOT, timeout: 240_000 });
      if (status !== 0) throw new Error(`build:binary ended with ${status}: ${stderr}`);
    }
  } finally {
    rmdirSync(lock);
  }
  return binary;
}

/** Takes a lock; one that has been there for minutes is of a test that was killed. */
function taken(lock: string): boolean {
  try {
    mkdirSync(lock);
    return true;
  } catch {
    return Date.now() - changed(lock) > 300_000;
  }
}

/** When a file was changed, in milliseconds; 0 where there is none. */
function changed(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function newest(patterns: readonly string[]): number {
  return Math.max(
    ...globSync([...patterns], { cwd: ROOT }).map((path) => changed(join(ROOT, path))),
  );
}
