/**
 * The words of a line that is being written in bash.
 *
 * @module
 */

/**
 * Splits a line as a shell does, but for everything that it would expand: that stays as it is.
 *
 * bash itself gives a completion its words split at `=`, `:` and `@` as well, and with their quotes.
 *
 * @param line The line, up to the cursor. A quote may be open.
 * @returns Its words without their quotes; the last one is empty where a new one is to begin.
 */
export function splitLine(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let at = 0; at < line.length; at++) {
    const char = line.charAt(at);
    const next = line.charAt(at + 1);
    if (quote === "" && /\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (char === quote) {
      quote = "";
    } else if (quote === "" && /['"]/.test(char)) {
      quote = char;
      word ??= "";
    } else if (char === "\\" && (quote === "" || (quote === '"' && /["\\$`]/.test(next)))) {
      word = (word ?? "") + next;
      at++;
    } else {
      word = (word ?? "") + char;
    }
  }
  return [...words, word ?? ""];
}
