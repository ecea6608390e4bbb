/**
 * `fairlead demo`.
 *
 * @module
 */
import process from "node:process";
import { demo } from "./demo.ts";
import { stopSignal } from "./signals.ts";
import { UsageError } from "../errors.ts";

const HELP = `usage: fairlead demo [--keep]

Shows the whole way in one process, on loopback: mail is fetched through a
forward, and searched for in the bytes that anybody could have captured.
  --keep  leaves it all running, to be tried with curl or a mail client
`;

/**
 * Runs the demo.
 *
 * @param args What follows the word `demo`.
 * @returns The exit status.
 * @throws {UsageError} For an argument that the demo does not know.
 */
export function runDemo(args: readonly string[]): Promise<number> {
  // A reader that went away (head) is no reason to fail.
  process.stdout.on("error", () => {});
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(HELP);
    return Promise.resolve(0);
  }
  for (const arg of args) {
    if (arg !== "--keep") throw new UsageError(`demo: unknown argument ${arg}`, "it takes --keep");
  }
  return demo({
    keep: args.includes("--keep"),
    print: (line) => process.stdout.write(`${line}\n`),
    signal: stopSignal().first,
  });
}
