/**
 * What to do about an error, in the words of fairlead.yaml: whoever wrote a file has no command line
 * to change.
 *
 * @module
 */
import { SessionError } from "../errors.ts";

/** What hints say of the command line, and what the file has for it; the first that fits counts. */
const WORDS: readonly (readonly [RegExp, string])[] = [
  [/the port \(-p\)/g, "`port`"],
  [/check -b, or leave it out/g, "check BindAddress among the `options`, or leave it out"],
  [/-4 and -6/g, "AddressFamily among the `options`"],
  [/with -i and -o IdentitiesOnly=yes/g, "as `identity`, with `identitiesOnly: true`"],
  [/with -i\b/g, "as `identity`"],
  [/--(password|passphrase) env:NAME \(in the library, \w+\)/g, "`$1: env:NAME`"],
  [/`-o StrictHostKeyChecking=([\w-]+)`/g, "`hostKeyPolicy: $1`"],
  [/-o ConnectTimeout\b/g, "`connectTimeout`"],
  [/-o (\w+)=([^\s;,`]+)/g, "`options: { $1: $2 }`"],
  [/-o ([A-Z]\w+)/g, "$1 among the `options`"],
];

/**
 * Says the same in the words of the file.
 *
 * @param error What was thrown.
 * @returns It, with another hint where that named options of the command line.
 */
export function inFileWords(error: unknown): unknown {
  if (!(error instanceof SessionError) || error.hint === undefined) return error;
  const hint = WORDS.reduce((text, [pattern, words]) => text.replace(pattern, words), error.hint);
  if (hint === error.hint) return error;
  return new SessionError(error.message, { code: error.code, hint, cause: error.cause });
}
