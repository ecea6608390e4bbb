/**
 * Times and sizes as fairlead.yaml writes them.
 *
 * @module
 */
import { byteCount, seconds } from "../ssh_config/values.ts";

/**
 * Reads a time.
 *
 * @param value A number of seconds, or a number with its units: `15s`, `1h30m`, `500ms`.
 * @returns Milliseconds.
 * @throws {SyntaxError} When it is none.
 */
export function duration(value: string): number {
  const milliseconds = /^(\d{1,10})ms$/i.exec(value)?.[1];
  if (milliseconds !== undefined) return Number(milliseconds);
  const fraction = /^\d{0,9}\.\d{1,6}(?=s?$)/i.exec(value)?.[0];
  if (fraction !== undefined) return Math.round(Number(fraction) * 1000);
  try {
    return seconds(value) * 1000;
  } catch {
    throw new SyntaxError("expected a time, such as 15s, 1h30m or 500ms");
  }
}

/**
 * Reads a size.
 *
 * @param value A number of bytes, or a number with its unit: `64M`, `64MiB`; K is 1,024.
 * @returns Bytes.
 * @throws {SyntaxError} When it is none.
 */
export function size(value: string): number {
  try {
    return byteCount(value.replace(/([KMGT])i?B$/i, "$1"));
  } catch {
    throw new SyntaxError("expected a size, such as 64M or 512KiB");
  }
}

/**
 * Reads a yes or a no, as YAML of either version writes them.
 *
 * @param value What was given.
 * @returns Whether it says yes.
 * @throws {SyntaxError} When it says neither.
 */
export function truth(value: string): boolean {
  if (/^(?:true|yes|on)$/i.test(value)) return true;
  if (/^(?:false|no|off)$/i.test(value)) return false;
  throw new SyntaxError("expected true or false");
}
