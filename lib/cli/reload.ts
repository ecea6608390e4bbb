/**
 * `fairlead reload`.
 *
 * @module
 */
import { chosen, CONFIG_RULE, configOf, type FileOptions, needBackground, read } from "./named.ts";
import { personPrompter } from "./askpass.ts";
import { Progress } from "./progress.ts";
import { refuseMore, type Surroundings } from "./subcommand.ts";

/** A tunnel could not become what the file says. */
const FAILED = 255;

const FORM = "fairlead reload [--config file]";

const HELP = `usage: ${FORM}

Has the tunnels that are up become what their changed fairlead.yaml says. Only
what has changed is touched: forwards that are gone stop listening and those
that are new begin, while all others, and their connections, go on. A tunnel
that leads elsewhere, or in another way, connects anew first; where that fails,
it stays as it was. What is new in the file is brought up by fairlead up.

  --config <file>  this fairlead.yaml, and not the nearest one
  --json           one JSON object a line instead of words
`;

/**
 * Runs `fairlead reload`.
 *
 * @param args What follows the word.
 * @param surroundings What it works with.
 * @returns The exit status.
 * @throws {FairleadError} When the file is wrong: nothing was touched then.
 */
export async function runReload(
  args: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  const line = read<FileOptions>(args, surroundings, {
    word: "reload",
    rules: [CONFIG_RULE],
    help: HELP,
    options: { config: undefined },
  });
  if (line === undefined) return 0;
  const { options: { config }, operands, output } = line;
  refuseMore(operands, 0, FORM);
  const file = configOf(config);
  const client = await needBackground();
  try {
    const progress = new Progress(output, []);
    const { changes, status } = await client.ask(
      "reload",
      { file: file.path, ...chosen(file, []) },
      {
        onEvent: progress.onEvent,
        prompter: progress.pausing(personPrompter()),
      },
    );
    for (const change of changes) output.event({ event: "reload", change }, change);
    if (changes.length === 0) output.event({ event: "reload" }, "nothing has changed");
    const own = status.tunnels.filter((tunnel) => tunnel.file === file.path);
    const wrong = own.some(({ forwards }) => forwards.some(({ state }) => state === "failed"));
    return wrong || progress.failures > 0 ? FAILED : 0;
  } finally {
    client.close();
  }
}
