/** The command line of `deno task build:binary`. */
import { parseArgs } from "node:util";
import { nearest } from "../../lib/nearest.ts";
import { refuseStrangers, words } from "../arguments.ts";
import { DIST } from "./project.ts";
import { hostTarget, type Target, TARGETS } from "./targets.ts";

/** What can be put into a binary to run it. */
export const ENGINES = ["deno", "bun"] as const;

/** One of them. */
export type Engine = typeof ENGINES[number];

/**
 * What a binary of Deno's may do: all that ssh may do.
 *
 * - net: servers, listeners, destinations, an agent, names
 * - read: keys, ssh_config, known_hosts, `-i FILE`, the processes of a ProxyCommand
 * - write: known_hosts, Unix sockets, `-E FILE`, and the terminal where a password is typed in
 * - env: HOME, SSH_AUTH_SOCK, SSH_ASKPASS, `-i env:NAME`, the variables that ssh_config names
 * - run: ProxyCommand, Match exec, `with`, `-f`
 * - sys: the user's and the machine's name, the addresses of interfaces for `-B`
 * - ffi: AES-GCM of the system's libcrypto, twice as fast as Deno's own
 * - import: nothing is imported. But Deno opens /dev/tty and /proc only for who may do everything,
 *   and a program that may `run` others can do everything anyway.
 */
export const PERMISSIONS = [
  "net",
  "read",
  "write",
  "env",
  "run",
  "sys",
  "ffi",
  "import",
] as const;

/** One of them. */
export type Permission = typeof PERMISSIONS[number];

/** What to build. */
export interface BinaryOptions {
  readonly targets: readonly Target[];
  readonly engine: Engine;
  /** What the program may do; only Deno can keep it from the rest. */
  readonly allow: readonly Permission[];
  /** The folder. */
  readonly out: string;
}

/** How to call it. */
export const USAGE = `usage: deno task build:binary [options]

  --target NAME[,NAME]  ${TARGETS.slice(0, 4).join(", ")},
                        ${TARGETS.slice(4).join(", ")}; by default this machine's
  --all                 all of them
  --engine deno|bun     what runs it; Bun starts sooner, Deno can keep it from
                        what it need not do; by default deno
  --allow NAME[,NAME]   of Deno's permissions only these: ${PERMISSIONS.slice(0, 4).join(", ")},
                        ${PERMISSIONS.slice(4).join(", ")}; by default all of them
  --out FOLDER          where it goes, with SHA256SUMS beside; by default dist

deno compile downloads denort, its runtime, once for each target;
DENORT_BIN=FILE names another one.
`;

const OPTIONS = {
  target: { type: "string", multiple: true },
  all: { type: "boolean", default: false },
  engine: { type: "string", default: "deno" },
  allow: { type: "string", multiple: true },
  out: { type: "string", default: DIST },
} as const;

/**
 * Reads the arguments.
 *
 * @param args Those of the script.
 * @returns What to build.
 * @throws {Error} That says in one line what is wrong.
 */
export function readOptions(args: readonly string[]): BinaryOptions {
  refuseStrangers(args, OPTIONS);
  const { values } = parseArgs({ args: [...args], options: OPTIONS });
  const { all, out } = values;
  if (all && values.target !== undefined) throw new Error("--all leaves nothing to --target");
  const engine = known(values.engine, ENGINES, "engine");
  if (engine === "bun" && values.allow !== undefined) {
    throw new Error("--allow is for --engine deno: Bun has no permissions");
  }
  const named = values.target ?? [hostTarget()];
  return {
    targets: all ? TARGETS : list(named, TARGETS, "target"),
    engine,
    allow: values.allow === undefined ? PERMISSIONS : list(values.allow, PERMISSIONS, "permission"),
    out,
  };
}

function list<Name extends string>(
  lists: readonly string[],
  names: readonly Name[],
  what: string,
): Name[] {
  const chosen = lists.flatMap(words).map((word) => known(word, names, what));
  if (chosen.length === 0) throw new Error(`no ${what} is named: ${names.join(", ")}`);
  return names.filter((name) => chosen.includes(name));
}

function known<Name extends string>(word: string, names: readonly Name[], what: string): Name {
  const found = names.find((name) => name === word);
  if (found !== undefined) return found;
  const meant = nearest(word, names);
  const hint = meant === undefined ? `there are ${names.join(", ")}` : `did you mean ${meant}?`;
  throw new Error(`there is no ${what} "${word}"; ${hint}`);
}
