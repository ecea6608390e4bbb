/** What of fairlead the end-to-end tests can be put through. */
import process from "node:process";
import { makeBinaries } from "./build/binary.ts";
import { BUNDLE, makeBundle } from "./build/bundle.ts";
import { bun, node, node20, type Runtime } from "./runtimes.ts";

/** The names that `--program` takes. */
export const PROGRAMS = ["source", "bundle", "bundle:node20", "binary", "binary:bun"] as const;

/** One of them. */
export type ProgramName = typeof PROGRAMS[number];

/**
 * Whether there is a program of a name.
 *
 * @param name Any name.
 * @returns Whether it is one of PROGRAMS.
 */
export function isProgram(name: string): name is ProgramName {
  return PROGRAMS.some((one) => one === name);
}

/**
 * Makes a program.
 *
 * @param name Which.
 * @param runtime The runtime of the tests, which is the bundle's as well.
 * @returns Program and arguments that run it; undefined for the source, which the tests know.
 */
export async function makeProgram(
  name: ProgramName,
  runtime: Runtime,
): Promise<string[] | undefined> {
  if (name === "source") return undefined;
  if (name === "binary") return await makeBinaries();
  if (name === "binary:bun") return await makeBinaries({ engine: "bun" });
  await makeBundle();
  if (name === "bundle:node20") return [node20(), BUNDLE];
  if (runtime === "deno") return [process.execPath, "run", "-A", BUNDLE];
  return [runtime === "bun" ? bun() : node(), BUNDLE];
}
