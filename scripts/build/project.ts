/** What every build needs to know of the project. */
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import manifest from "../../deno.json" with { type: "json" };

/** The repository's folder. */
export const ROOT: string = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Where everything that is built lies. */
export const DIST: string = join(ROOT, "dist");

/** fairlead's version. */
export const VERSION: string = manifest.version;

/**
 * The commit that is built, short; `-dirty` where files have been changed since.
 *
 * @returns Its name; undefined where there is no repository, as in an archive of the source.
 */
export function commit(): string | undefined {
  const git = spawnSync("git", ["describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  return git.status === 0 ? git.stdout.trim() : undefined;
}
