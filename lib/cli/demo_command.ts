/**
 * `fairlead demo`.
 *
 * @module
 */
import process from "node:process";
import { demo } from "./demo.ts";
import { stopSignal } from "./signals.ts";
import { UsageError } from "./usage.ts";

/**
 * Runs the demo.
 *
 * @param args What follows the word `demo`.
 * @returns The exit status.
 * @throws {UsageError} For an argument that the demo does not know.
 */
export function runDemo(args: readonly string[]): Promise<number> {
  for (const arg of args) {
    if (arg !== "--keep") throw new UsageError(`demo: unknown argument ${arg}`, "it takes --keep");
  }
  return demo({
    keep: args.includes("--keep"),
    print: (line) => process.stdout.write(`${line}\n`),
    signal: stopSignal().first,
  });
}
