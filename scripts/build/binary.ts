/**
 * Makes dist/fairlead-OS-ARCH: the command line and its runtime in one file.
 *
 *     deno run -A scripts/build/binary.ts [--engine deno|bun]
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { BUNDLE, makeBundle } from "./bundle.ts";
import { DIST } from "./project.ts";

/** What a binary may do: all that ssh does, and nothing is asked for. */
const PERMISSIONS = ["net", "read", "write", "env", "run", "sys", "ffi", "import"];

/**
 * Compiles the bundle for this machine.
 *
 * @returns Where the binary lies.
 */
export async function makeBinary(): Promise<string> {
  await makeBundle();
  const binary = join(DIST, `fairlead-${process.platform}-${process.arch}`);
  const args = ["compile", "--no-check", "--no-config", "--no-prompt", "--output", binary];
  const allowed = PERMISSIONS.map((name) => `--allow-${name}`);
  const { status } = spawnSync(process.execPath, [...args, ...allowed, BUNDLE], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) throw new Error("deno compile failed");
  return binary;
}

if (import.meta.main) console.log(await makeBinary());
