/**
 * Values as ssh_config(5) writes them.
 *
 * @module
 */

/**
 * Reads one of several words, in any case.
 *
 * @param value What was given.
 * @param choices The words, in lower case.
 * @returns The word.
 * @throws {SyntaxError} When it is none of them.
 */
export function oneOf<T extends string>(value: string, choices: readonly T[]): T {
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
 * @param least The smallest that is allowed.
 * @param most The largest.
 * @returns A reader, which throws a SyntaxError when it is none, or out of range.
 */
export function wholeNumber(least: number, most: number): (value: string) => number {
  return (value) => {
    const number = /^\d{1,10}$/.test(value) ? Number(value) : NaN;
    if (number >= least && number <= most) return number;
    throw new SyntaxError(`expected a number from ${least} to ${most}`);
  };
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

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  s: 1,
  m: 60,
  h: 3600,
  d: 86_400,
  w: 604_800,
};
/** As many as ssh takes. */
const MOST_SECONDS = 2_147_483_647;

/**
 * Reads a time (sshd_config(5), TIME FORMATS).
 *
 * @param value Seconds, or a sequence such as `1h30m`.
 * @returns Seconds.
 * @throws {SyntaxError} When it is no time, or longer than 68 years.
 */
export function seconds(value: string): number {
  if (!/^(?=\d)(?:\d{1,10}[smhdw])*(?:\d{1,10})?$/i.test(value)) {
    throw new SyntaxError("expected a time, such as 30 or 1h30m");
  }
  let sum = 0;
  for (const [, digits, unit = ""] of value.matchAll(/(\d{1,10})([smhdw]?)/gi)) {
    sum += Number(digits) * (UNITS[unit.toLowerCase()] ?? 0);
  }
  if (sum <= MOST_SECONDS) return sum;
  throw new SyntaxError(`a time of at most ${MOST_SECONDS} seconds is expected`);
}

/**
 * Reads a number of bytes.
 *
 * @param value A number, with K, M or G behind it or without.
 * @returns Bytes.
 * @throws {SyntaxError} When it is none.
 */
export function byteCount(value: string): number {
  const [, digits, unit = ""] = /^(\d{1,12}(?:\.\d{1,6})?)([KMGT]?)$/i.exec(value) ?? [];
  if (digits === undefined) throw new SyntaxError("expected a number of bytes, such as 512M");
  return Math.floor(
    Number(digits) * 1024 ** " KMGT".indexOf(unit === "" ? " " : unit.toUpperCase()),
  );
}

/**
 * Checks that `none` stands alone.
 *
 * @param words A list.
 * @returns The list; nothing where it was `none`.
 * @throws {SyntaxError} When it is one among others, or one of them is empty.
 */
export function listOrNone(words: readonly string[]): string[] {
  if (words.includes("")) throw new SyntaxError("one of the values is empty");
  if (!words.some(isNone)) return [...words];
  if (words.length > 1) throw new SyntaxError("none must stand alone");
  return [];
}

/**
 * Whether a value is the word `none`.
 *
 * @param value What was given.
 * @returns Whether it is.
 */
export function isNone(value: string): boolean {
  return value.toLowerCase() === "none";
}
