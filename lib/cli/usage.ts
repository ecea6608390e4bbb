/**
 * Mistakes on the command line.
 *
 * @module
 */
import { closest, distance } from "fastest-levenshtein";
import { FairleadError } from "../errors.ts";

/** The command line is wrong; the program ends with status 2. */
export class UsageError extends FairleadError {
  override name = "UsageError";

  /**
   * @param message What is wrong, and where.
   * @param hint What to do.
   */
  constructor(message: string, hint?: string) {
    super(message, { code: "usage", ...(hint === undefined ? {} : { hint }) });
  }
}

/** What to do where nothing better is known. */
export const SEE_HELP = "fairlead --help lists what there is";

/**
 * The word that was probably meant.
 *
 * @param word What was written.
 * @param known What could have been.
 * @returns The nearest one, or undefined where none is near.
 */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const lower = word.toLowerCase();
  const best = closest(lower, known.map((one) => one.toLowerCase()));
  const found = known.find((one) => one.toLowerCase() === best);
  return distance(lower, best) <= Math.max(2, Math.floor(word.length / 3)) ? found : undefined;
}
