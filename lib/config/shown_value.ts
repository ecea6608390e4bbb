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
  if (path.some((step) => SECRET.includes(step))) return "something else";
  if (typeof value !== "string") return String(value);
  const short = value.length > MOST_LETTERS ? `${value.slice(0, MOST_LETTERS)}…` : value;
  return JSON.stringify(short);
}
