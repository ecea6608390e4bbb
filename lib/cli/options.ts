/**
 * ssh's letters: what each of them does here, and the reading of a command line.
 *
 * @module
 */
import { Command } from "@commander-js/extra-typings";
import { parseDestination } from "../forward/spec.ts";
import { messageOf, UsageError } from "../errors.ts";
import { readDestination } from "./destination.ts";
import { readHostKeys } from "./host_key_option.ts";
import { readProxyOption } from "./proxy_option.ts";
import { applyKeyword } from "../ssh_config/keywords.ts";
import { parseJump } from "../ssh_config/jump_spec.ts";
import { type Letter, LETTERS } from "../ssh_config/letters.ts";
import { splitKeyword } from "../ssh_config/lines.ts";
import { isSafeHostName, isSafeUserName } from "../ssh_config/names.ts";
import {
  emptySettings,
  type KeywordSettings,
  type Settings,
  verbosityOf,
} from "../ssh_config/settings.ts";
import { isNone } from "../ssh_config/values.ts";
import { nearest } from "../nearest.ts";
import {
  applyIdentity,
  applyPassphrase,
  applyPassword,
  concludeSecrets,
} from "./secret_options.ts";

/** What to do where nothing better is known. */
const SEE_HELP = "fairlead --help lists what there is";

/** What a command line asked for. */
export interface CommandLine {
  readonly settings: Settings;
  /** Whether to do something else than forward. */
  readonly show: "help" | "version" | "config" | "query" | undefined;
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
  const state = { settings, show: undefined as CommandLine["show"], query: "" };
  const [destination, ...rest] = readOptions(state, args);
  if (destination === undefined) {
    if (state.show === undefined || state.show === "config") {
      throw new UsageError("the destination is missing: [user@]host", SEE_HELP);
    }
    return state;
  }
  readDestination(settings, destination);
  // ssh reads options once more after the destination, unless -- ended them before it.
  const ended = args[args.length - rest.length - 2] === "--";
  const command = (ended ? rest : readOptions(state, rest)).join(" ");
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
  const width = Math.max(...RULES.map(({ flags }) => flags.length));
  const options = RULES.filter(({ help }) => help !== undefined)
    .map(({ flags, help }) => `  ${flags.padEnd(width)}  ${help}`);
  return HELP.replace("OPTIONS", options.join("\n"));
}

const HELP = `usage: fairlead [options] [user@]host [command]
       fairlead demo [--keep]

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

options:
OPTIONS

A path in place of a port or of host:hostport is a Unix socket.
Listeners are on loopback unless a bind address says otherwise. From the server
to the destination the bytes travel as the application sends them.
Ctrl-C stops listening and gives open connections 5 seconds; again ends at once.
Status: 0 done, 2 wrong usage, 255 SSH or forwarding failed, 128+n signal n;
with a command, its own.
`;

interface State {
  readonly settings: Settings;
  show: CommandLine["show"];
  query: string;
}

interface Rule {
  /** As commander reads them: `-p <port>`. */
  readonly flags: string;
  /** The line in --help; none for what is only there to be accepted or refused. */
  readonly help?: string;
  readonly apply: (state: State, value: string) => void;
}

/** The letters that say what no keyword does. */
const ACTIONS: Readonly<Record<string, Rule["apply"]>> = {
  "-W": ({ settings }, value) => {
    if (settings.stdioForward !== undefined) {
      throw new UsageError(`-W ${value}: there is one stdin, so one -W`);
    }
    settings.stdioForward = readWord("-W", value, parseDestination);
  },
  "-J": ({ settings }, value) => {
    if (settings.proxyJump !== undefined) {
      throw new UsageError(`-J ${value}: give it once, with commas between the hosts`);
    }
    if (settings.proxyCommand !== undefined) {
      throw new UsageError(`-J ${value}: -J and ProxyCommand contradict each other`);
    }
    applyKeyword(settings, "ProxyJump", [value], "-J");
    checkJump(value);
  },
  "-i": ({ settings }, value) => applyIdentity(settings, value),
  "-o": ({ settings }, value) => {
    const { keyword, rest } = splitKeyword(value.trim());
    if (keyword === "" || keyword === value.trim()) {
      throw new UsageError(`-o ${value}: expected Keyword=value`);
    }
    if (rest === "") throw new UsageError(`-o ${value}: the value is missing`);
    if (["host", "match", "include"].includes(keyword.toLowerCase())) {
      throw new UsageError(`-o ${keyword}: it has a meaning in a file alone`);
    }
    applyKeyword(settings, keyword, rest, `-o ${keyword}`);
  },
  "-F": ({ settings }, value) => {
    settings.configFile = readWord("-F", value, (path) => path);
  },
  "-G": (state) => {
    state.show ??= "config";
  },
  "-Q": (state, value) => {
    state.query = readWord("-Q", value, (query) => query);
    state.show ??= "query";
  },
  "-E": ({ settings }, value) => {
    settings.logFile = readWord("-E", value, (path) => path);
  },
  "-v": ({ settings }) => {
    const level = Math.min(3, Math.max(0, verbosityOf(settings)) + 1);
    settings.logLevel = (["debug", "debug2", "debug3"] as const)[level - 1] ?? "debug3";
  },
  "-q": ({ settings }) => {
    settings.logLevel = "quiet";
  },
  "-V": (state) => {
    state.show ??= "version";
  },
};

const RULES: readonly Rule[] = [
  ...Object.entries(LETTERS).map(([letter, entry]) => ruleOf(letter, entry)),
  {
    flags: "--host-key <key>",
    help: "its host key: SHA256:…, a public key, or env:NAME",
    apply: ({ settings }, value) => {
      (settings.hostKeys ??= []).push(...readHostKeys(value));
    },
  },
  {
    flags: "--password <where>",
    help: "the password: env:NAME for one in a variable",
    apply: ({ settings }, value) => applyPassword(settings, value),
  },
  {
    flags: "--passphrase <where>",
    help: "the passphrase of encrypted keys: env:NAME",
    apply: ({ settings }, value) => applyPassphrase(settings, value),
  },
  {
    flags: "--proxy <url>",
    help: "socks5://host:port, http://host:port, env, env:NAME",
    apply: ({ settings }, value) => {
      if (settings.proxy !== undefined) return;
      settings.proxy = readProxyOption(value);
      const variable = /^env:(.+)$/.exec(value)?.[1];
      if (variable !== undefined) settings.proxyVariable = variable;
    },
  },
  {
    flags: "--json",
    help: "events on stdout, errors on stderr, as JSON, one a line",
    apply: ({ settings }) => {
      settings.json = true;
    },
  },
  {
    flags: "-h, --help",
    help: "this text",
    apply: (state) => {
      state.show = "help";
    },
  },
];

function ruleOf(letter: string, entry: Letter): Rule {
  const { policy, argument, keyword, value, help, reason } = entry;
  const flags = argument === undefined ? letter : `${letter} <${argument}>`;
  return {
    flags: letter === "-V" ? "-V, --version" : flags,
    ...(letter === "-V" ? { help: "the version" } : help === undefined ? {} : { help }),
    apply: (state, given) => {
      if (policy === "refused") throw new UsageError(`${letter}: ${reason}`);
      const action = ACTIONS[letter];
      if (action !== undefined) action(state, given);
      // What a letter is given is one word, whatever it holds.
      else if (keyword !== undefined) {
        forget(state.settings, letter, keyword);
        applyKeyword(state.settings, keyword, [value ?? given], letter);
      }
    },
  };
}

/** Letters that win over `-o`, and of which the last one counts; so they do in ssh. */
const WINNING: Readonly<Record<string, keyof KeywordSettings>> = {
  "-4": "addressFamily",
  "-6": "addressFamily",
  "-b": "bindAddress",
  "-B": "bindInterface",
  "-c": "ciphers",
  "-g": "gatewayPorts",
  "-m": "macs",
};

function forget(settings: Settings, letter: string, keyword: string): void {
  const field = WINNING[letter];
  if (field === undefined) return;
  delete settings[field];
  settings.origins.delete(keyword);
}

/** Hosts of the command line are meant as they are: nothing may be hidden in them. */
function checkJump(list: string): void {
  for (const { host, user = "" } of isNone(list) ? [] : parseJump(list)) {
    if (isSafeHostName(host) && isSafeUserName(user)) continue;
    throw new UsageError(`-J ${list}: a name holds what a shell acts on`);
  }
}

/** What a letter takes, where no keyword of ssh_config says the same. */
function readWord<T>(letter: string, value: string, read: (word: string) => T): T {
  try {
    if (value === "") throw new SyntaxError("the value is missing");
    return read(value);
  } catch (error) {
    throw new UsageError(`${letter}${value === "" ? "" : ` ${value}`}: ${messageOf(error)}`);
  }
}

/** Reads options up to the first argument that is none; what follows is returned. */
function readOptions(state: State, args: readonly string[]): string[] {
  const command = new Command().passThroughOptions().helpOption(false).exitOverride()
    .configureOutput({ writeErr: () => {} });
  for (const { flags, apply } of RULES) {
    const option = command.createOption(flags);
    command.addOption(option);
    command.on(`option:${option.name()}`, (value?: string) => apply(state, value ?? ""));
  }
  const { operands, unknown } = parse(command, args);
  if (unknown[0] !== undefined) throw unknownOption(unknown[0]);
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

function unknownOption(option: string): UsageError {
  if (!option.startsWith("--")) {
    return new UsageError(`unknown option ${option.slice(0, 2)}`, SEE_HELP);
  }
  const name = option.replace(/=.*/, "");
  const long = RULES.flatMap(({ flags }) =>
    flags.replace(/ <.*/, "").split(", ").filter((one) => one.startsWith("--"))
  );
  if (long.includes(name)) return new UsageError(`${name} takes no value`, SEE_HELP);
  const guess = nearest(name, long);
  return new UsageError(
    `unknown option ${name}`,
    guess === undefined ? SEE_HELP : `did you mean ${guess}?`,
  );
}
