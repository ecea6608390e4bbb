/**
 * `fairlead remove`.
 *
 * @module
 */
import { FairleadError } from "../errors.ts";
import type { Surroundings } from "./subcommand.ts";

/**
 * Runs `fairlead remove`.
 *
 * @param _args What follows the word.
 * @param _surroundings What it works with.
 * @returns The exit status.
 */
export function runRemove(_args: readonly string[], _surroundings: Surroundings): Promise<number> {
  throw new FairleadError("not yet", { code: "not-supported" });
}
