/**
 * `fairlead init`: a fairlead.yaml to begin with.
 *
 * @module
 */
import { CONFIG_NAMES } from "../config/find.ts";
import { SCHEMA_FILE, startingFile } from "../config/starting_file.ts";
import { writeNewFile } from "./new_file.ts";
import { optionLines } from "./options.ts";
import { read } from "./named.ts";
import type { Rule } from "./rules.ts";
import {
  COMMON_RULES,
  type CommonOptions,
  print,
  refuseMore,
  type Surroundings,
} from "./subcommand.ts";

const FORM = "fairlead init [--force] [FILE]";

interface InitOptions extends CommonOptions {
  force: boolean;
}

/** The options that `init` has besides the common ones. */
export const INIT_RULES: readonly Rule<InitOptions>[] = [
  {
    flags: "--force",
    help: "replace a file that is there",
    apply: (options) => {
      options.force = true;
    },
  },
];

const HELP = `usage: ${FORM}

Writes a fairlead.yaml to begin with, which says in comments what can stand
there. A file that is there already is left alone.

${optionLines([...INIT_RULES, ...COMMON_RULES])}
`;

/**
 * Runs `fairlead init`.
 *
 * @param args What follows the word.
 * @param surroundings What it works with.
 * @returns The exit status.
 * @throws {UsageError} When the file is there already, or cannot be written.
 */
export function runInit(
  args: readonly string[],
  surroundings: Surroundings,
): number {
  const line = read<InitOptions>(args, surroundings, {
    ...{ word: "init", rules: INIT_RULES, help: HELP, options: { force: false } },
  });
  if (line === undefined) return 0;
  const { options, operands, output } = line;
  refuseMore(operands, 1, FORM);
  const [file = CONFIG_NAMES[0] as string] = operands;
  writeNewFile(file, startingFile(), {
    force: options.force,
    hint: "--force replaces it; fairlead import prints tunnels to be added to it",
  });
  output.event({ event: "written", file }, `wrote ${file}`);
  if (!options.json && options.verbosity >= 0) return print(nextSteps(file));
  return 0;
}

function nextSteps(file: string): string {
  const named = CONFIG_NAMES.includes(file) ? "" : ` --config ${file}`;
  return `Next:
  put your server and your forwards into ${file}
  fairlead schema > ${SCHEMA_FILE}   # beside it, for the editor
  fairlead check${named}              # what is wrong, before you need it
  fairlead up${named}                 # in the background, until fairlead down
`;
}
