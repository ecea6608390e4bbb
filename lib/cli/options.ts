/**
 * The reading of a command line by ssh's grammar.
 *
 * @module
 */
import { Command } from "@commander-js/extra-typings";
import { UsageError } from "../errors.ts";
import { readDestination } from "../ssh_config/destination.ts";
import { emptySettings, type Settings } from "../ssh_config/settings.ts";
import { isNone } from "../ssh_config/values.ts";
import { nearest } from "../nearest.ts";
import { type Rule, RULES, type State } from "./rules.ts";
import { concludeSecrets } from "./secret_options.ts";

/** The options that a command has, and where they are listed. */
export interface Grammar<Reading extends object> {
  readonly rules: readonly Rule<Reading>[];
  /** What to do where nothing better is known. */
  readonly seeHelp: string;
  /** Options that another command has, and what to do about it. */
  readonly elsewhere?: Readonly<Record<string, string>>;
}

/** The form of a command line of `with`. */
export const WITH_FORM = "fairlead with [options] [user@]host -- command...";

const MAIN: Grammar<State> = {
  rules: RULES,
  seeHelp: "fairlead --help lists what there is",
  elsewhere: Object.fromEntries(
    ["--ready", "--ready-timeout"].map((
      name,
    ) => [name, `with has it, as the first word: ${WITH_FORM}`]),
  ),
};

/** What a command line asked for. */
export interface CommandLine {
  readonly settings: Settings;
  /** Whether to do something else than forward. */
  readonly show: State["show"];
  /** What -Q asks for. */
  readonly query: string;
}

/**
 * Reads a command line by ssh's grammar: options may stand before and after the destination.
 *
 * @param args The arguments, without the program's name.
 * @returns What was asked for.
 * @throws {UsageError} When anything is wrong.
 */
export function readCommandLine(args: readonly string[]): CommandLine {
  const settings = emptySettings();
  const state: State = { settings, show: undefined, query: "" };
  const [destination, ...rest] = readOptions(state, args, MAIN);
  if (destination === undefined) {
    if (state.show === undefined || state.show === "config") {
      throw new UsageError("the destination is missing: [user@]host", MAIN.seeHelp);
    }
    return state;
  }
  readDestination(settings, destination);
  // ssh reads options once more after the destination, unless -- ended them before it.
  const ended = args[args.length - rest.length - 2] === "--";
  if (destination === "with" && !ended && rest.includes("--")) {
    const hint = "fairlead -- with leads to a host of that name";
    throw new UsageError(`with must be the first word: ${WITH_FORM}`, hint);
  }
  const command = (ended ? rest : readOptions(state, rest, MAIN)).join(" ");
  if (command !== "") settings.command = command;
  return state;
}

/**
 * What one option says of another (ssh(1), -W, -f and RemoteCommand), once the files are read.
 *
 * @param settings What was said; changed in place.
 * @throws {UsageError} When two things contradict each other.
 */
export function conclude(settings: Settings): void {
  if (settings.stdioForward !== undefined) {
    settings.sessionType = "none";
    settings.clearAllForwardings ??= true;
    settings.exitOnForwardFailure ??= true;
    if (settings.forkAfterAuthentication) {
      throw new UsageError("-W and -f contradict each other");
    }
  }
  concludeSecrets(settings);
  if (settings.forkAfterAuthentication) settings.stdinNull = true;
  if (settings.clearAllForwardings) settings.forwards = [];
  const { remoteCommand = "none" } = settings;
  if (isNone(remoteCommand)) return;
  if (settings.command !== undefined) {
    const origin = settings.origins.get("RemoteCommand") ?? "RemoteCommand";
    throw new UsageError(
      `a command and RemoteCommand contradict each other: ${origin}`,
      "-o RemoteCommand=none runs the command",
    );
  }
  if (settings.sessionType !== "none") settings.command = remoteCommand;
}

/**
 * The text of --help.
 *
 * @returns Lines of at most 80 columns.
 */
export function helpText(): string {
  return HELP.replace("OPTIONS", optionLines(RULES));
}

/**
 * The lines of options in a help text.
 *
 * @param rules The options.
 * @returns One line each, of those that have one.
 */
export function optionLines(rules: readonly Pick<Rule, "flags" | "help">[]): string {
  const width = Math.max(...rules.map(({ flags }) => flags.length));
  return rules.filter(({ help }) => help !== undefined)
    .map(({ flags, help }) => `  ${flags.padEnd(width)}  ${help}`).join("\n");
}

const HELP = `usage: fairlead [options] [user@]host [command]
       fairlead with [options] [user@]host -- command
       fairlead up|down|status|logs|reload|restart [options] [name...]
       fairlead add|remove|check|init|import|schema [options] ...
       fairlead demo [--keep]
       fairlead completions bash|zsh|fish|powershell
       fairlead man

Carries TCP connections over SSH. ssh's letters mean what they mean in ssh; they
may stand before or after the host. With a command, the server runs it while the
forwards are up; there is no shell and no terminal.

  fairlead -L 1100:mail.example.com:110 other.example.com
      A mail client that asks localhost:1100 reads its mail from
      mail.example.com:110, encrypted on the way to other.example.com.
  fairlead -L 0:db.internal:5432 -L 8080:[::1]:80 me@bastion.example.com
      Two forwards; the first listens on a free port and prints which.
  fairlead -f -D 1080 -R 8080:localhost:3000 me@bastion.example.com
      A SOCKS proxy here, and our port 3000 at the server's port 8080; in the
      background as soon as both are up.

With \`with\` a command of this machine runs while the forwards are up, and its
status is ours: fairlead with --help.
The tunnels of a file, fairlead.yaml, are brought up by fairlead up, and looked
after by status, logs, reload and down; init writes one to begin with. Each of
these words has a --help of its own.
How a shell comes to complete all of this: fairlead completions --help. The
manual page: fairlead man | man -l -

options:
OPTIONS

A path in place of a port or of host:hostport is a Unix socket.
Listeners are on loopback unless a bind address says otherwise. From the server
to the destination the bytes travel as the application sends them.
Ctrl-C stops listening and gives open connections 5 seconds; again ends at once.
Status: 0 done, 2 wrong usage, 255 SSH or forwarding failed, 128+n signal n;
with a command, its own.
`;

/**
 * Reads options up to the first argument that is none.
 *
 * @param state Where to put what they say.
 * @param args The arguments.
 * @param grammar The options that there are.
 * @returns What follows.
 * @throws {UsageError} When anything is wrong.
 */
export function readOptions<Reading extends object>(
  state: Reading,
  args: readonly string[],
  grammar: Grammar<Reading>,
): string[] {
  const command = new Command().passThroughOptions().helpOption(false).exitOverride()
    .configureOutput({ writeErr: () => {} });
  for (const { flags, apply } of grammar.rules) {
    const option = command.createOption(flags);
    command.addOption(option);
    command.on(`option:${option.name()}`, (value?: string) => apply(state, value ?? ""));
  }
  const { operands, unknown } = parse(command, args);
  if (unknown[0] !== undefined) throw unknownOption(unknown[0], grammar);
  return operands;
}

function parse(command: Command, args: readonly string[]): ReturnType<Command["parseOptions"]> {
  try {
    return command.parseOptions([...args]);
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    if (error.code !== "commander.optionMissingArgument") throw error;
    const flags = /'(.+)'/.exec(error.message)?.[1] ?? "";
    throw new UsageError(`${flags}: the value is missing`);
  }
}

function unknownOption<Reading extends object>(
  option: string,
  { rules, seeHelp, elsewhere = {} }: Grammar<Reading>,
): UsageError {
  if (!option.startsWith("--")) {
    return new UsageError(`unknown option ${option.slice(0, 2)}`, seeHelp);
  }
  const name = option.replace(/=.*/, "");
  const long = rules.flatMap(({ flags }) =>
    flags.replace(/ <.*/, "").split(", ").filter((one) => one.startsWith("--"))
  );
  if (long.includes(name)) return new UsageError(`${name} takes no value`, seeHelp);
  const other = elsewhere[name];
  if (other !== undefined) return new UsageError(`unknown option ${name}`, other);
  const guess = nearest(name, long);
  return new UsageError(
    `unknown option ${name}`,
    guess === undefined ? seeHelp : `did you mean ${guess}?`,
  );
}
