/**
 * Words as ssh_config(5) writes them.
 *
 * @module
 */

/**
 * Splits a value at its spaces, as ssh does: quotes, double or single, hold a word together, and a
 * backslash takes the meaning from a quote, a space or a backslash. A word that begins with `#`
 * begins a comment.
 *
 * @param text The value of a keyword.
 * @returns Its words.
 * @throws {SyntaxError} When a quote is not closed.
 */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote: string | undefined;
  for (let at = 0; at < text.length; at++) {
    const char = text.charAt(at);
    const next = text.charAt(at + 1);
    if (word === undefined && char === "#") break;
    if (char === "\\" && ['"', "'", "\\", ...(quote === undefined ? [" "] : [])].includes(next)) {
      word = (word ?? "") + next;
      at++;
    } else if (quote === undefined && (char === " " || char === "\t")) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (quote === undefined && (char === '"' || char === "'")) {
      quote = char;
      word ??= "";
    } else if (char === quote) {
      quote = undefined;
    } else {
      word = (word ?? "") + char;
    }
  }
  if (quote !== undefined) throw new SyntaxError(`the quote ${quote} is not closed`);
  if (word !== undefined) words.push(word);
  return words;
}
