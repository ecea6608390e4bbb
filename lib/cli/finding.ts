/**
 * What one check of `fairlead check` has found.
 *
 * @module
 */
import { inFileWords } from "../config/file_words.ts";
import { FairleadError, messageOf } from "../errors.ts";

/** What was looked at. */
export type Subject = "file" | "host" | "key" | "host-key" | "listener" | "login" | "forward";

/** The outcome. */
export interface Finding {
  readonly what: Subject;
  readonly ok: boolean;
  /** What was found, in words. */
  readonly detail: string;
  /** What to do, where something is wrong. */
  readonly remedy?: string | undefined;
}

/**
 * Something is as it should be.
 *
 * @param what What was looked at.
 * @param detail What was found.
 * @returns The finding.
 */
export function fine(what: Subject, detail: string): Finding {
  return { what, ok: true, detail };
}

/**
 * Something is not.
 *
 * @param what What was looked at.
 * @param found What was found, or thrown.
 * @param remedy What to do, where what was thrown does not say it itself.
 * @returns The finding.
 */
export function wrong(what: Subject, found: unknown, remedy: string): Finding {
  const error = inFileWords(found);
  const hint = error instanceof FairleadError ? error.hint : undefined;
  return { what, ok: false, detail: messageOf(found), remedy: hint ?? remedy };
}
