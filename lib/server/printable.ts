/**
 * What clients send, made fit for a log.
 *
 * @module
 */

/** Characters of one piece of a log line. */
const MAX_LENGTH = 200;

/**
 * Takes out what could move a terminal's cursor or begin a line of its own.
 *
 * @param text Any text at all.
 * @returns The text, escaped as within JSON's quotes, and not too long.
 */
export function printable(text: string): string {
  const escaped = JSON.stringify(text).slice(1, -1).replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return escaped.length <= MAX_LENGTH ? escaped : `${escaped.slice(0, MAX_LENGTH)}…`;
}
