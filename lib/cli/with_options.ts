/**
 * The command line of `fairlead with`.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import { emptySettings, type Settings } from "../ssh_config/settings.ts";
import { isNone, oneOf } from "../ssh_config/values.ts";
import { readDestination } from "../ssh_config/destination.ts";
import type { LocalCommand } from "./local_command.ts";
import { type CommandLine, type Grammar, optionLines, readOptions, WITH_FORM } from "./options.ts";
import { readTime, readWord, type Rule, RULES, type State } from "./rules.ts";

/** When a forward counts as usable. */
export interface Readiness {
  /** `bind` once it listens; `dial` once the destination of each -L answers, too. */
  readonly ready: "bind" | "dial";
  /** Milliseconds that the destinations have to answer. */
  readonly readyTimeout: number;
}

/** What to run on this machine, and when. */
export interface LocalTask {
  readonly command: LocalCommand;
  readonly readiness: Readiness;
}

/** What a command line of `with` asked for. */
export interface WithLine extends CommandLine {
  /** Undefined where there is something to show instead. */
  readonly task: LocalTask | undefined;
}

/** What was read so far. */
export interface WithState extends State {
  ready?: Readiness["ready"];
  readyTimeout?: number;
}

const READY_TIMEOUT = 60_000;

/** The options that `with` has besides all others. */
export const READY_RULES: readonly Rule<WithState>[] = [
  {
    flags: "--ready <when>",
    help: "bind: forwards listen (default); dial: -L answers, too",
    apply: (state, value) => {
      state.ready ??= readWord("--ready", value, (word) => oneOf(word, ["bind", "dial"]));
    },
  },
  {
    flags: "--ready-timeout <time>",
    help: "how long --ready=dial waits for an answer (60 s)",
    apply: (state, value) => {
      state.readyTimeout ??= readTime("--ready-timeout", value);
    },
  },
];

const GRAMMAR: Grammar<WithState> = {
  rules: [...READY_RULES, ...RULES],
  seeHelp: "fairlead with --help lists what there is",
};

/**
 * Reads what follows the word `with`.
 *
 * @param args The arguments.
 * @returns What was asked for.
 * @throws {UsageError} When anything is wrong.
 */
export function readWithLine(args: readonly string[]): WithLine {
  const settings = emptySettings();
  const state: WithState = { settings, show: undefined, query: "" };
  const [destination, ...rest] = readOptions(state, args, GRAMMAR);
  if (destination !== undefined) readDestination(settings, destination);
  // Where -- stands before the host as well, no more options follow.
  const ended = args[args.length - rest.length - 2] === "--";
  const words = ended ? rest : readOptions(state, rest, GRAMMAR);
  const { show, query, ready = "bind", readyTimeout = READY_TIMEOUT } = state;
  const line = { settings, show, query };
  if (show !== undefined && (show !== "config" || destination !== undefined)) {
    return { ...line, task: undefined };
  }
  if (destination === undefined) throw missingHost();
  checkContradictions(settings);
  forbidRemoteCommand(settings);
  // Every forward is to be usable.
  settings.exitOnForwardFailure = true;
  const command = localCommand(ended, rest, words);
  return { ...line, task: { command, readiness: { ready, readyTimeout } } };
}

/**
 * The text of `fairlead with --help`.
 *
 * @returns Lines of at most 80 columns.
 */
export function withHelpText(): string {
  return HELP.replace("OPTIONS", optionLines(READY_RULES));
}

const HELP = `usage: ${WITH_FORM}

Connects, waits until every forward is usable, and runs the command on this
machine. When it has ended, so does the tunnel, and its status is ours.

  fairlead with -L db=0:db.internal:5432 me@bastion.example.com -- \\
      psql -h {db.host} -p {db.port}
      A free port here; {db.host} and {db.port} say which in the arguments.
  fairlead with --ready=dial -L 8080:web.internal:80 bastion -- npm test
      The tests begin once web.internal:80 answers.

All options of fairlead --help are there (-L, -R, -D, -J, --connections, ...),
and besides:
OPTIONS

The command finds in its environment
  FAIRLEAD_PORT, FAIRLEAD_PORT_1, ...  the ports of forwards asked for with
                                       port 0: the first, the second, ...
  FAIRLEAD_DB_HOST, FAIRLEAD_DB_PORT   where the forward named db listens
A variable named by -i env: or --password env: is not there.
The terminal and its signals are the command's; signals sent to fairlead alone
are passed on, in a terminal's foreground only SIGTERM and SIGHUP, since Ctrl-C
has reached the command already. Connections that are open at its end get 5
seconds.
Any forward that fails, fails all of it. Status: the command's, 128+n where
signal n ended it; 127 it was not found, 126 it cannot be executed; 2 wrong
usage, 255 SSH or forwarding failed: then the command was not run.
`;

function localCommand(
  ended: boolean,
  rest: readonly string[],
  words: readonly string[],
): LocalCommand {
  const after = ended ? rest.slice(1) : words;
  const found = ended ? rest[0] === "--" : rest[rest.length - words.length - 1] === "--";
  if (!found) {
    // The only -- stands before the command, and its first word was taken for the host.
    if (ended) throw missingHost();
    throw new UsageError(
      words.length === 0
        ? `with: the command is missing: ${WITH_FORM}`
        : `with: -- is missing before the command: ${WITH_FORM}`,
    );
  }
  const [program, ...args] = after;
  if (program === undefined || program === "") {
    throw new UsageError(`with: the command is missing: ${WITH_FORM}`);
  }
  return { program, args };
}

function missingHost(): UsageError {
  return new UsageError(`with: the host is missing: ${WITH_FORM}`);
}

/** It is the command of this machine that has stdin, and that the run ends with. */
function checkContradictions(settings: Settings): void {
  const contradicted = ([
    ["-W", settings.stdioForward !== undefined, "the command has stdin and stdout"],
    ["-f", settings.forkAfterAuthentication === true, "the command runs in the foreground"],
    ["-O", settings.controlCommand !== undefined, "the tunnel is this run's own"],
    ["-n", settings.stdinNull === true, "the command has stdin; -- command </dev/null"],
    [
      "--idle-timeout",
      settings.idleTimeout !== undefined,
      "the tunnel stays for as long as the command runs",
    ],
    [
      "RemoteCommand",
      settings.remoteCommand !== undefined && !isNone(settings.remoteCommand),
      "the command runs on this machine",
    ],
  ] as const).find(([, given]) => given);
  if (contradicted === undefined) return;
  const [option, , reason] = contradicted;
  throw new UsageError(`with and ${option} contradict each other: ${reason}`);
}

/** What a file says of these is meant for a session with a command on the server. */
function forbidRemoteCommand(settings: Settings): void {
  settings.remoteCommand = "none";
  settings.sessionType = "none";
  settings.forkAfterAuthentication = false;
  settings.stdinNull = false;
}
