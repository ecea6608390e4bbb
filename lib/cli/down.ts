/**
 * `fairlead down`.
 *
 * @module
 */
import {
  background,
  CONFIG_RULE,
  configOf,
  configPathOf,
  type FileOptions,
  read,
  upTunnels,
} from "./named.ts";
import type { ConfigFile } from "../config/load.ts";
import type { TunnelStatus } from "../control/status.ts";
import { UsageError } from "../errors.ts";
import { Progress } from "./progress.ts";
import type { Rule } from "./rules.ts";
import type { Surroundings } from "./subcommand.ts";

interface DownOptions extends FileOptions {
  all: boolean;
  force: boolean;
}

/** The options that `down` has besides the common ones. */
export const DOWN_RULES: readonly Rule<DownOptions>[] = [
  {
    flags: "--all",
    help: "all tunnels that are up, of whichever file",
    apply: (options) => {
      options.all = true;
    },
  },
  {
    flags: "--force",
    help: "reset open connections, and do not wait for them",
    apply: (options) => {
      options.force = true;
    },
  },
  CONFIG_RULE as Rule<DownOptions>,
];

const HELP = `usage: fairlead down [options] [name|group...]

Takes down the tunnels that are named, and first those that depend on them.
Without names it is those of the nearest fairlead.yaml; where there is none, all
of them. Open connections have 5 seconds to finish. With the last tunnel the
background process ends.

  --all            all tunnels that are up, of whichever file
  --force          reset open connections, and do not wait for them
  --config <file>  this fairlead.yaml, and not the nearest one
  --json           one JSON object a line instead of words
`;

/**
 * Runs `fairlead down`.
 *
 * @param args What follows the word.
 * @param surroundings What it works with.
 * @returns The exit status.
 * @throws {FairleadError} For a name that no tunnel has.
 */
export async function runDown(
  args: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  const line = read<DownOptions>(args, surroundings, {
    word: "down",
    rules: DOWN_RULES,
    help: HELP,
    options: { all: false, force: false, config: undefined },
  });
  if (line === undefined) return 0;
  const { options: { all, force, config }, operands, output } = line;
  if (all && operands.length > 0) throw new UsageError("--all and names contradict each other");
  const client = await background();
  if (client === undefined) {
    output.event({ event: "down", names: [] }, "no tunnel is up");
    return 0;
  }
  try {
    const { tunnels } = await client.ask("status", {});
    const names = all ? tunnels.map(({ name }) => name) : chooseDown(tunnels, operands, config);
    if (names.length === 0) {
      output.event({ event: "down", names }, "no tunnel of this fairlead.yaml is up");
      return 0;
    }
    const progress = new Progress(output, names.map((name) => ({ name })));
    const { down } = await client.ask("down", { names, force }, { onEvent: progress.onEvent });
    progress.end();
    output.event({ event: "down", names: down }, `down: ${down.join(", ")}`);
    return 0;
  } finally {
    client.close();
  }
}

function chooseDown(
  tunnels: readonly TunnelStatus[],
  operands: readonly string[],
  config: string | undefined,
): string[] {
  const path = configPathOf(config);
  if (operands.length === 0) {
    return tunnels.filter(({ file }) => path === undefined || file === path)
      .map(({ name }) => name);
  }
  const callings = tunnels.flatMap(({ name, groups }) => [name, ...groups]);
  const inFile = new Set<string>();
  // What the file has and is not up is down already.
  const words = operands.filter((word) =>
    callings.includes(word) || !isInFile(word, config, path, inFile)
  );
  return words.length === 0 ? [] : upTunnels(tunnels, words).map(({ name }) => name);
}

function isInFile(
  word: string,
  config: string | undefined,
  path: string | undefined,
  known: Set<string>,
): boolean {
  if (path === undefined) return false;
  if (known.size === 0) {
    let file: ConfigFile;
    try {
      file = configOf(config);
    } catch {
      // A broken file must not keep anybody from taking tunnels down.
      return false;
    }
    for (const { name, groups } of file.tunnels) [name, ...groups].forEach((one) => known.add(one));
  }
  return known.has(word);
}
