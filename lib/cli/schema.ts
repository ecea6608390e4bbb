/**
 * `fairlead schema`.
 *
 * @module
 */
import { jsonSchema } from "../config/schema.ts";
import { read } from "./named.ts";
import { type CommonOptions, print, refuseMore, type Surroundings } from "./subcommand.ts";

const HELP = `usage: fairlead schema

Prints the JSON Schema of fairlead.yaml, by which editors complete its keys and
mark what is wrong:

  fairlead schema >.fairlead.schema.json

and as the first line of fairlead.yaml

  # yaml-language-server: $schema=.fairlead.schema.json
`;

/**
 * Runs `fairlead schema`.
 *
 * @param args What follows the word.
 * @param surroundings What it works with.
 * @returns The exit status.
 * @throws {UsageError} For an argument: it takes none.
 */
export function runSchema(args: readonly string[], surroundings: Surroundings): number {
  const line = read<CommonOptions>(args, surroundings, {
    word: "schema",
    rules: [],
    help: HELP,
    options: {},
  });
  if (line === undefined) return 0;
  refuseMore(line.operands, 0, "fairlead schema");
  return print(`${JSON.stringify(jsonSchema(), null, 2)}\n`);
}
