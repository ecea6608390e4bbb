/**
 * The version, from the one place that states it.
 *
 * @module
 */
import manifest from "../../deno.json" with { type: "json" };
import { runtime } from "../runtime.ts";

/** Put here by a build; the source has none. */
declare const FAIRLEAD_COMMIT: string | undefined;

/** fairlead's version. */
export const VERSION: string = manifest.version;

/**
 * What --version prints.
 *
 * @returns One line: the version, and what else tells one build from another.
 */
export function versionLine(): string {
  const commit = typeof FAIRLEAD_COMMIT === "string" ? FAIRLEAD_COMMIT : "from source";
  const { name, version } = runtime;
  return `fairlead ${VERSION} (${commit}, on ${name} ${version})`;
}
