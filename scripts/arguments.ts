/** The command lines of our own scripts. */
import process from "node:process";
import { parseArgs, type ParseArgsOptionsConfig } from "node:util";
import { messageOf } from "../lib/errors.ts";
import { nearest } from "../lib/nearest.ts";

/**
 * Refuses what a script has no option for. The parser's own message tells how to pass a file of
 * that name, which nobody wants here.
 *
 * @param args The arguments.
 * @param options What `parseArgs` is told.
 * @throws {Error} That names the argument, and the option that was probably meant.
 */
export function refuseStrangers(args: readonly string[], options: ParseArgsOptionsConfig): void {
  const { tokens } = parseArgs({ args: [...args], options, strict: false, tokens: true });
  for (const token of tokens) {
    if (token.kind === "positional") throw new Error(`"${token.value}" is no option; ${SEE_HELP}`);
    if (token.kind !== "option" || token.name in options) continue;
    const meant = nearest(token.name, Object.keys(options));
    const hint = meant === undefined ? SEE_HELP : `did you mean --${meant}?`;
    throw new Error(`there is no option ${token.rawName}; ${hint}`);
  }
}

/**
 * Runs a script that takes no arguments: prints what it has made, or in one line why it could not.
 *
 * @param name What it is called as a task.
 * @param build Makes it, and gives back where it lies.
 */
export async function runBuild(
  name: string,
  build: () => string | Promise<string>,
): Promise<void> {
  try {
    const [stranger] = process.argv.slice(2);
    if (stranger !== undefined) throw new Error(`it takes no arguments, and got ${stranger}`);
    console.log(await build());
  } catch (error) {
    console.error(`${name}: ${messageOf(error)}`);
    process.exitCode = 1;
  }
}

/**
 * The words of a list with commas.
 *
 * @param list The list; spaces beside commas do not matter.
 * @returns Its words, without empty ones.
 */
export function words(list: string): string[] {
  return list.split(",").map((word) => word.trim()).filter((word) => word !== "");
}

const SEE_HELP = "--help lists what there is";
