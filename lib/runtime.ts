/**
 * The only place that asks which runtime this is.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { userInfo } from "node:os";
import process from "node:process";

/** The three runtimes that fairlead is made for. */
export type RuntimeName = "deno" | "bun" | "node";

/** The name and the version of the runtime this runs on. */
export const runtime: { readonly name: RuntimeName; readonly version: string } = detect();

/**
 * The name of the user who runs this, as the system knows it.
 *
 * @returns The login name.
 */
export function userName(): string {
  const { username } = userInfo();
  // Bun takes it from the environment, which a service or a container may not have.
  if (runtime.name !== "bun" || process.platform === "win32") return username;
  const asked = spawnSync("id", ["-un"], { encoding: "utf8" });
  return asked.status === 0 ? asked.stdout.trim() : username;
}

function detect(): { name: RuntimeName; version: string } {
  // Deno and Bun report a version of Node as well, for the sake of programs that ask for it.
  const { deno, bun, node } = process.versions as Record<string, string | undefined>;
  if (deno !== undefined) return { name: "deno", version: deno };
  if (bun !== undefined) return { name: "bun", version: bun };
  return { name: "node", version: node ?? "0.0.0" };
}
