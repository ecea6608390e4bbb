/**
 * `fairlead restart`.
 *
 * @module
 */
import { personPrompter } from "./askpass.ts";
import { needBackground, read, upTunnels } from "./named.ts";
import { Progress } from "./progress.ts";
import type { CommonOptions, Surroundings } from "./subcommand.ts";

/** A tunnel is not up. */
const FAILED = 255;

const HELP = `usage: fairlead restart [name|group...]

Has the tunnels that are named, or all that are up, connect anew before the
present connection is left: listeners stay, and what is open may finish. A
tunnel that has failed is brought up again.

  --json           one JSON object a line instead of words
`;

/**
 * Runs `fairlead restart`.
 *
 * @param args What follows the word.
 * @param surroundings What it works with.
 * @returns The exit status.
 * @throws {FairleadError} For a name that no tunnel has.
 */
export async function runRestart(
  args: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  const line = read<CommonOptions>(args, surroundings, {
    word: "restart",
    rules: [],
    help: HELP,
    options: {},
  });
  if (line === undefined) return 0;
  const { operands, output } = line;
  const client = await needBackground();
  try {
    const progress = new Progress(output, []);
    const { tunnels: up } = await client.ask("status", {});
    const names = upTunnels(up, operands).map(({ name }) => name);
    const { tunnels } = await client.ask("restart", { names }, {
      onEvent: progress.onEvent,
      prompter: progress.pausing(personPrompter()),
    });
    const meant = tunnels.filter(({ name }) => names.includes(name));
    progress.end(meant);
    return progress.failures > 0 || meant.some(({ state }) => state === "failed") ? FAILED : 0;
  } finally {
    client.close();
  }
}
