/** A home folder of the test's own: what a child finds there does not depend on who runs it. */
import { spawnSync } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { type Stoppable, stoppable, tempDir } from "./tools.ts";

/** An empty home folder. */
export interface Home extends Stoppable {
  readonly path: string;
  /** The folder `.ssh` in it. */
  readonly ssh: string;
  /** For a child: this home, and no agent. */
  readonly env: Record<string, string | undefined>;
}

/** Makes an empty home folder, with an empty `.ssh`; `stop()` removes it. */
export async function emptyHome(): Promise<Home> {
  const folder = await tempDir("fairlead-home-");
  const ssh = join(folder.path, ".ssh");
  await mkdir(ssh, { mode: 0o700 });
  const env = {
    HOME: folder.path,
    SSH_AUTH_SOCK: undefined,
    SSH_ASKPASS: undefined,
    // Deno keeps what it has fetched and compiled below HOME, and would fetch it again.
    ...("deno" in process.versions ? { DENO_DIR: denoDir ??= findDenoDir() } : {}),
  };
  return stoppable({ path: folder.path, ssh, env }, () => folder.stop());
}

let denoDir: string | undefined;

function findDenoDir(): string {
  const { stdout } = spawnSync(process.execPath, ["info", "--json"], { encoding: "utf8" });
  return JSON.parse(stdout).denoDir;
}
