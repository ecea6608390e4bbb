/**
 * `fairlead remove`.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import { needBackground, read } from "./named.ts";
import type { Rule } from "./rules.ts";
import { type CommonOptions, refuseMore, type Surroundings } from "./subcommand.ts";

interface RemoveOptions extends CommonOptions {
  force: boolean;
}

const FORM = "fairlead remove tunnel forward";

/** The options that `remove` has besides the common ones. */
export const REMOVE_RULES: readonly Rule<RemoveOptions>[] = [
  {
    flags: "--force",
    help: "reset open connections, and do not wait for them",
    apply: (options) => {
      options.force = true;
    },
  },
];

const HELP = `usage: ${FORM}

Takes a forward away from a tunnel that is up. The forward is its name, a port
that it listens on, or its text as ssh writes it. Its open connections have 5
seconds to finish.

  --force  reset open connections, and do not wait for them
  --json   one JSON object a line instead of words
`;

/**
 * Runs `fairlead remove`.
 *
 * @param args What follows the word.
 * @param surroundings What it works with.
 * @returns The exit status.
 * @throws {FairleadError} When there is no such tunnel or forward.
 */
export async function runRemove(
  args: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  const line = read<RemoveOptions>(args, surroundings, {
    word: "remove",
    rules: REMOVE_RULES,
    help: HELP,
    options: { force: false },
  });
  if (line === undefined) return 0;
  const { options: { force }, operands, output } = line;
  const [tunnel, forward] = operands;
  if (tunnel === undefined || forward === undefined) {
    const what = tunnel === undefined ? "the tunnel and the forward are" : "the forward is";
    throw new UsageError(`remove: ${what} missing`, FORM);
  }
  refuseMore(operands, 2, FORM);
  const client = await needBackground();
  try {
    const removed = await client.ask("remove", { tunnel, forward, force });
    const { kind, name } = removed;
    output.event(
      { event: "removed", tunnel, kind, forward: removed.forward, name },
      `${tunnel}: ${name ?? removed.forward} removed`,
    );
    return 0;
  } finally {
    client.close();
  }
}
