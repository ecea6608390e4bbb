/**
 * The command line's entry point.
 *
 * @module
 */
import process from "node:process";
import { permissionError } from "./lib/cli/permissions.ts";
import { tooOld } from "./lib/runtime.ts";

// Before what an old one fails on with words that nobody understands.
const old = tooOld();
if (old !== undefined) {
  process.stderr.write(`fairlead: ${old}\n`);
  process.exit(2);
}

try {
  // Some of what is imported reads the environment at once, which Deno may not permit.
  const { main } = await import("./lib/cli/main.ts");
  process.exit(await main(process.argv.slice(2)));
} catch (error) {
  const refused = permissionError(error);
  if (refused === undefined) throw error;
  process.stderr.write(`fairlead: ${refused.message}; ${refused.hint}\n`);
  process.exit(2);
}
