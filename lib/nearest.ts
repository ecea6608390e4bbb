/**
 * What somebody who misspelt a word probably meant.
 *
 * @module
 */
import { closest, distance } from "fastest-levenshtein";

/**
 * The word that was probably meant.
 *
 * @param word What was written.
 * @param known What could have been.
 * @param most How many letters may differ; more in longer words by default.
 * @returns The nearest one, or undefined where none is near.
 */
export function nearest(
  word: string,
  known: readonly string[],
  most: number = Math.max(2, Math.floor(word.length / 3)),
): string | undefined {
  if (known.length === 0) return undefined;
  const lower = word.toLowerCase();
  const best = closest(lower, known.map((one) => one.toLowerCase()));
  const found = known.find((one) => one.toLowerCase() === best);
  return distance(lower, best) <= most ? found : undefined;
}
