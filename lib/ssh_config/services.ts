/**
 * Ports by their names, as /etc/services has them.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { wholeNumber } from "./values.ts";

const FILE = process.platform === "win32"
  ? `${process.env["SystemRoot"] ?? "C:\\Windows"}\\System32\\drivers\\etc\\services`
  : "/etc/services";

/**
 * Reads a port, or the name of a service.
 *
 * @param word A number from 1 to 65535, or a name such as `ssh`.
 * @returns The port.
 * @throws {SyntaxError} When it is neither.
 */
export function portOrService(word: string): number {
  return serviceNamed(word) ?? wholeNumber(1, 65_535)(word);
}

function serviceNamed(name: string): number | undefined {
  if (!/[A-Za-z]/.test(name)) return undefined;
  for (const line of services().split("\n")) {
    const [first, port = "", ...others] = line.replace(/#.*/, "").trim().split(/\s+/);
    if (!port.endsWith("/tcp") || ![first, ...others].includes(name)) continue;
    return Number.parseInt(port, 10);
  }
  return undefined;
}

function services(): string {
  try {
    return readFileSync(FILE, "utf8");
  } catch {
    // A system without one knows numbers alone.
    return "";
  }
}
