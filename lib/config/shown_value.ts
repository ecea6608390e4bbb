/**
 * A value of the file in a message: short, and never a secret.
 *
 * @module
 */
import type { Path } from "./problems.ts";

/** Letters of a text that are shown. */
const MOST_LETTERS = 40;

/** Keys whose values may be secret where somebody has misunderstood them. */
const SECRET: readonly (string | number)[] = ["password", "passphrase", "identity", "proxy"];

/**
 * Whether a value may be a secret.
 *
 * @param path Where it stands.
 * @returns Whether it must not be shown.
 */
export function isSecret(path: Path): boolean {
  return path.some((step) => SECRET.includes(step));
}

/**
 * What was found, for a message.
 *
 * @param value The value.
 * @param path Where it stands.
 * @returns The value as JSON has it; of what is long or nested only what it is.
 */
export function shownValue(value: unknown, path: Path): string {
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object" && value !== null) return "a mapping";
  if (value === null || value === undefined) return "nothing";
  if (isSecret(path)) return "something else";
  if (typeof value !== "string") return String(value);
  if (hasPassword(value)) return "something else";
  const short = value.length > MOST_LETTERS ? `${value.slice(0, MOST_LETTERS)}…` : value;
  return JSON.stringify(short);
}

/**
 * Whether a text is a URL with a password, as in `ssh://user:password@host`.
 *
 * @param text The text.
 * @returns Whether it is.
 */
export function hasPassword(text: string): boolean {
  return /:\/\/[^/@:]*:[^/@]*@/.test(text);
}

/**
 * What was found, and what is wrong with it.
 *
 * @param shown What was found, as it is shown.
 * @param message What is wrong; where it begins with what was found, that is not said twice.
 * @returns Both.
 */
export function foundWords(shown: string, message: string): string {
  return message.startsWith(`${shown}: `) || message.startsWith(`${shown} is `)
    ? message
    : `found ${shown}: ${message}`;
}
