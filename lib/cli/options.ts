/**
 * ssh's letters: what each of them does here, and the reading of a command line.
 *
 * @module
 */
import { Command } from "@commander-js/extra-typings";
import { parseDestination } from "../forward/spec.ts";
import { messageOf, UsageError } from "../errors.ts";
import { readDestination } from "./destination.ts";
import { readProxyOption } from "./proxy_option.ts";
import { applyKeyword } from "../ssh_config/keywords.ts";
import { emptySettings, type Settings } from "../ssh_config/settings.ts";
import { nearest } from "../nearest.ts";

/** What to do where nothing better is known. */
const SEE_HELP = "fairlead --help lists what there is";

/** What a command line asked for. */
export interface CommandLine {
  readonly settings: Settings;
  /** Whether to do something else than forward. */
  readonly show: "help" | "version" | undefined;
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
  const state = { settings, show: undefined as CommandLine["show"] };
  const [destination, ...rest] = readOptions(state, args);
  if (destination === undefined) {
    if (state.show === undefined) {
      throw new UsageError("the destination is missing: [user@]host", SEE_HELP);
    }
    return state;
  }
  readDestination(settings, destination);
  // ssh reads options once more after the destination, unless -- ended them before it.
  const ended = args[args.length - rest.length - 2] === "--";
  const command = (ended ? rest : readOptions(state, rest)).join(" ");
  if (command !== "") settings.command = command;
  if (state.show === undefined) conclude(settings);
  return state;
}

/** What one option says of another (ssh(1), -W and RemoteCommand). */
function conclude(settings: Settings): void {
  if (settings.stdioForward !== undefined) {
    settings.noCommand = true;
    settings.clearAllForwardings ??= true;
    settings.exitOnForwardFailure ??= true;
    if (settings.background) throw new UsageError("-W and -f contradict each other");
  }
  if (settings.background) settings.stdinNull = true;
  if (settings.clearAllForwardings) settings.forwards = [];
  if (settings.remoteCommand === undefined) return;
  if (settings.command !== undefined) {
    throw new UsageError("a command and -o RemoteCommand contradict each other");
  }
  settings.command = settings.remoteCommand;
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
}

interface Rule {
  /** As commander reads them: `-p <port>`. */
  readonly flags: string;
  /** The line in --help; none for what is only there to be accepted or refused. */
  readonly help?: string;
  readonly apply: (state: State, value: string) => void;
}

const RULES: readonly Rule[] = [
  keyword("-L <forward>", "LocalForward", "[bind:]port:host:hostport; port 0 takes a free one"),
  keyword("-R <forward>", "RemoteForward", "the same on the server; or [bind:]port for SOCKS"),
  keyword("-D <forward>", "DynamicForward", "[bind:]port here, for SOCKS clients"),
  {
    flags: "-W <address>",
    help: "connect stdin and stdout to host:port",
    apply: ({ settings }, value) => {
      if (settings.stdioForward !== undefined) {
        throw new UsageError(`-W ${value}: there is one stdin, so one -W`);
      }
      settings.stdioForward = readWord("-W", value, parseDestination);
    },
  },
  flag("-g", "listen on all interfaces where no bind address is given", ({ settings }) => {
    settings.gatewayPorts = true;
  }),
  keyword("-p <port>", "Port", "the server's port (22)"),
  keyword("-l <user>", "User", "the user's name on the server"),
  keyword("-i <file>", "IdentityFile", "a private key; may be given several times"),
  {
    flags: "-o <option>",
    help: "an option as ssh_config has it, such as -o Port=2222",
    apply: ({ settings }, value) => {
      const [, name, rest] = /^\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.+?)\s*$/.exec(value) ?? [];
      if (name === undefined || rest === undefined) {
        throw new UsageError(`-o ${value}: expected Keyword=value`);
      }
      applyKeyword(settings, name, rest, `-o ${name}`);
    },
  },
  {
    flags: "-F <file>",
    help: "only -F none: this version does not read ssh_config",
    apply: ({ settings }, value) => {
      if (value !== "none") {
        throw new UsageError(`-F ${value}: this version does not read ssh_config`, "give -F none");
      }
      settings.noConfig = true;
    },
  },
  flag("-N", "no command on the server; forward only", ({ settings }) => {
    settings.noCommand = true;
  }),
  flag("-f", "to the background, once every forward is up", ({ settings }) => {
    settings.background = true;
  }),
  flag("-n", "do not read stdin", ({ settings }) => {
    settings.stdinNull = true;
  }),
  {
    flags: "-E <file>",
    help: "append what is logged to a file, not to stderr",
    apply: ({ settings }, value) => {
      settings.logFile = readWord("-E", value, (path) => path);
    },
  },
  flag(
    "-4",
    "IPv4 only",
    ({ settings }) => applyKeyword(settings, "AddressFamily", ["inet"], "-4"),
  ),
  flag(
    "-6",
    "IPv6 only",
    ({ settings }) => applyKeyword(settings, "AddressFamily", ["inet6"], "-6"),
  ),
  keyword("-b <address>", "BindAddress", "the local address to connect from"),
  {
    flags: "--proxy <url>",
    help: "connect through socks5://host:port, http://host:port, or env",
    apply: ({ settings }, value) => {
      settings.proxy ??= readProxyOption(value);
    },
  },
  keyword("-c <ciphers>", "Ciphers", "ciphers, best first, with commas"),
  keyword("-m <macs>", "MACs", "message authentication codes, best first"),
  flag("-v", "say more; -vv and -vvv say still more", ({ settings }) => {
    settings.verbosity = Math.min(3, Math.max(0, settings.verbosity) + 1);
  }),
  flag("-q", "say nothing but errors", ({ settings }) => {
    settings.verbosity = -1;
  }),
  flag("--json", "events on stdout and errors on stderr as JSON, one a line", ({ settings }) => {
    settings.json = true;
  }),
  flag("-h, --help", "this text", (state) => {
    state.show = "help";
  }),
  flag("-V, --version", "the version", (state) => {
    state.show ??= "version";
  }),
  // Nothing that these ask for is ever done here, so a script that says them gets what it wants.
  ...["-2", "-a", "-k", "-T", "-x", "-C", "-e <char>"].map((flags): Rule => ({
    flags,
    apply: () => {},
  })),
  ...refused("version 1 of the SSH protocol is no longer supported", "-1"),
  ...refused("fairlead forwards ports, not the agent", "-A"),
  ...refused("fairlead forwards ports, not X11", "-X", "-Y"),
  ...refused("fairlead forwards ports and opens no terminal", "-t"),
  ...refused("fairlead forwards ports and starts no subsystem", "-s"),
  ...refused("fairlead forwards TCP connections and opens no tunnel device", "-w <tun>"),
  ...refused("fairlead does not use GSSAPI", "-K"),
  ...refused("fairlead does not load PKCS#11; an agent can hold the token's keys", "-I <pkcs11>"),
  ...refused("fairlead does not write to the system log; -E writes to a file", "-y"),
  ...refused(
    "this version does not support it yet",
    "-B <interface>",
    "-G",
    "-J <hosts>",
    "-M",
    "-O <command>",
    "-P <tag>",
    "-Q <query>",
    "-S <path>",
  ),
];

function keyword(flags: string, name: string, help: string): Rule {
  const letter = flags.slice(0, 2);
  return {
    flags,
    help,
    // What a letter is given is one word, whatever it holds.
    apply: ({ settings }, value) => applyKeyword(settings, name, [value], letter),
  };
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

function flag(flags: string, help: string, apply: (state: State) => void): Rule {
  return { flags, help, apply };
}

function refused(reason: string, ...all: string[]): Rule[] {
  return all.map((flags) => ({
    flags,
    apply: () => {
      throw new UsageError(`${flags.slice(0, 2)}: ${reason}`);
    },
  }));
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
    flags.split(", ").filter((one) => one.startsWith("--"))
  );
  if (long.includes(name)) return new UsageError(`${name} takes no value`, SEE_HELP);
  const guess = nearest(name, long);
  return new UsageError(
    `unknown option ${name}`,
    guess === undefined ? SEE_HELP : `did you mean ${guess}?`,
  );
}
