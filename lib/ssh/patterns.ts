/**
 * Patterns (ssh_config(5), PATTERNS): `*` stands for any characters, `?` for one.
 *
 * @module
 */

/**
 * Whether a pattern fits the whole of a text. The time it takes is bounded by the product of both
 * lengths.
 *
 * @param text The text.
 * @param pattern The pattern; letters count as they are.
 * @returns Whether it fits.
 */
export function matchesPattern(text: string, pattern: string): boolean {
  let at = 0;
  let patternAt = 0;
  /** Where to go on when a guess of how much the last star stands for was wrong. */
  let star: { at: number; patternAt: number } | undefined;
  while (at < text.length) {
    const wanted = pattern.charAt(patternAt);
    if (wanted === "*") {
      star = { at, patternAt };
      patternAt++;
    } else if (wanted === "?" || wanted === text.charAt(at)) {
      at++;
      patternAt++;
    } else if (star !== undefined) {
      star = { at: star.at + 1, patternAt: star.patternAt };
      at = star.at;
      patternAt = star.patternAt + 1;
    } else {
      return false;
    }
  }
  return /^\**$/.test(pattern.slice(patternAt));
}

/**
 * Whether a list of patterns fits: at least one must, and none that is negated by a `!`.
 *
 * @param text The text.
 * @param list Patterns with commas.
 * @returns Whether it fits.
 */
export function matchesPatternList(text: string, list: string): boolean {
  return matchesPatterns(text, list.split(","));
}

/**
 * The same for patterns that are split already.
 *
 * @param text The text.
 * @param patterns The patterns.
 * @returns Whether they fit.
 */
export function matchesPatterns(text: string, patterns: readonly string[]): boolean {
  const fits = (pattern: string) => matchesPattern(text, pattern);
  return patterns.some((pattern) => !pattern.startsWith("!") && fits(pattern)) &&
    !patterns.some((pattern) => pattern.startsWith("!") && fits(pattern.slice(1)));
}
