/**
 * The only place that asks which runtime this is.
 *
 * @module
 */
import process from "node:process";

/** The three runtimes that fairlead is made for. */
export type RuntimeName = "deno" | "bun" | "node";

/** The name and the version of the runtime this runs on. */
export const runtime: { readonly name: RuntimeName; readonly version: string } = detect();

function detect(): { name: RuntimeName; version: string } {
  // Deno and Bun report a version of Node as well, for the sake of programs that ask for it.
  const { deno, bun, node } = process.versions as Record<string, string | undefined>;
  if (deno !== undefined) return { name: "deno", version: deno };
  if (bun !== undefined) return { name: "bun", version: bun };
  return { name: "node", version: node ?? "0.0.0" };
}
