/**
 * `fairlead add`.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import { parseDynamicForward, parseLocalForward, parseRemoteForward } from "../forward/spec.ts";
import type { ForwardRequest } from "../ssh_config/settings.ts";
import { needBackground, read } from "./named.ts";
import { Progress } from "./progress.ts";
import { readWord, type Rule } from "./rules.ts";
import { type CommonOptions, refuseMore, type Surroundings } from "./subcommand.ts";

interface AddOptions extends CommonOptions {
  forwards: ForwardRequest[];
}

const FORM = "fairlead add tunnel -L|-R|-D forward";

/** The options that `add` has besides the common ones. */
export const ADD_RULES: readonly Rule<AddOptions>[] = [
  {
    flags: "-L <forward>",
    help: "[name=][bind:]port:host:hostport; port 0 takes a free one",
    apply: ({ forwards }, value) => {
      forwards.push({ kind: "local", spec: readWord("-L", value, parseLocalForward) });
    },
  },
  {
    flags: "-R <forward>",
    help: "the same on the server; or [bind:]port for SOCKS",
    apply: ({ forwards }, value) => {
      forwards.push({ kind: "remote", spec: readWord("-R", value, parseRemoteForward) });
    },
  },
  {
    flags: "-D <forward>",
    help: "[bind:]port here, for SOCKS clients",
    apply: ({ forwards }, value) => {
      forwards.push({ kind: "dynamic", spec: readWord("-D", value, parseDynamicForward) });
    },
  },
];

const HELP = `usage: ${FORM}

Adds forwards to a tunnel that is up, as ssh writes them. They last until the
tunnel is taken down, or its fairlead.yaml is applied again by fairlead reload.

  -L <forward>  [name=][bind:]port:host:hostport; port 0 takes a free one
  -R <forward>  the same on the server; or [bind:]port for SOCKS
  -D <forward>  [bind:]port here, for SOCKS clients
  --json        one JSON object a line instead of words
`;

/**
 * Runs `fairlead add`.
 *
 * @param args What follows the word.
 * @param surroundings What it works with.
 * @returns The exit status.
 * @throws {FairleadError} When the tunnel is not up, or the forward cannot listen.
 */
export async function runAdd(args: readonly string[], surroundings: Surroundings): Promise<number> {
  const line = read<AddOptions>(args, surroundings, {
    word: "add",
    rules: ADD_RULES,
    help: HELP,
    options: { forwards: [] },
  });
  if (line === undefined) return 0;
  const { options: { forwards }, operands, output } = line;
  const [tunnel] = operands;
  if (tunnel === undefined) throw new UsageError("add: the tunnel is missing", FORM);
  refuseMore(operands, 1, FORM);
  if (forwards.length === 0) throw new UsageError("add: the forward is missing", FORM);
  const client = await needBackground();
  try {
    const progress = new Progress(output, []);
    for (const forward of forwards) {
      const added = await client.ask("add", { tunnel, forward });
      progress.onEvent({ event: "forward", name: tunnel, forward: added });
    }
    return 0;
  } finally {
    client.close();
  }
}
