/**
 * The version, from the one place that states it.
 *
 * @module
 */
import manifest from "../../deno.json" with { type: "json" };

/** fairlead's version. */
export const VERSION: string = manifest.version;
