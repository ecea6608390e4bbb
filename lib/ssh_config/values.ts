/**
 * Values as ssh_config(5) writes them.
 *
 * @module
 */
import { homedir } from "node:os";
import { join } from "node:path";

/**
 * Reads one of several words, in any case.
 *
 * @param value What was given.
 * @param choices The words, in lower case.
 * @returns The word.
 * @throws {SyntaxError} When it is none of them.
 */
export function oneOf(value: string, choices: readonly string[]): string {
  const found = choices.find((choice) => choice === value.toLowerCase());
  if (found !== undefined) return found;
  throw new SyntaxError(`expected one of ${choices.join(", ")}`);
}

/**
 * Reads a yes or a no.
 *
 * @param value What was given.
 * @returns Whether it says yes.
 * @throws {SyntaxError} When it says neither.
 */
export function yesNo(value: string): boolean {
  return ["yes", "true"].includes(oneOf(value, ["yes", "no", "true", "false"]));
}

/**
 * Reads a whole number.
 *
 * @param value What was given.
 * @param least The smallest that is allowed.
 * @param most The largest.
 * @returns The number.
 * @throws {SyntaxError} When it is none, or out of range.
 */
export function wholeNumber(value: string, least: number, most: number): number {
  const number = /^\d{1,9}$/.test(value) ? Number(value) : NaN;
  if (number >= least && number <= most) return number;
  throw new SyntaxError(`expected a number from ${least} to ${most}`);
}

/**
 * Reads permissions.
 *
 * @param value Octal digits.
 * @returns The bits.
 * @throws {SyntaxError} When it is no octal number, or above 0777.
 */
export function permissions(value: string): number {
  if (/^[0-7]{1,4}$/.test(value) && Number.parseInt(value, 8) <= 0o777) {
    return Number.parseInt(value, 8);
  }
  throw new SyntaxError("expected an octal number from 0 to 0777");
}

/**
 * Reads a list of files; the word `none` stands for no file.
 *
 * @param words The list.
 * @returns The files' paths.
 */
export function files(words: readonly string[]): string[] {
  return words.filter((path) => path !== "" && path.toLowerCase() !== "none").map(expandHome);
}

/**
 * Puts the user's home folder in the place of a `~`.
 *
 * @param path A path as people write it.
 * @returns The path.
 */
export function expandHome(path: string): string {
  return path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
}
