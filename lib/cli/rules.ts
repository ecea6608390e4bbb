/**
 * What each option of the command line does.
 *
 * @module
 */
import { parseDestination } from "../forward/spec.ts";
import { MOST_CONNECTIONS } from "../session/options.ts";
import { messageOf, UsageError } from "../errors.ts";
import { readHostKeys } from "./host_key_option.ts";
import { readProxyOption } from "./proxy_option.ts";
import { applyKeyword } from "../ssh_config/keywords.ts";
import { parseJump } from "../ssh_config/jump_spec.ts";
import { type Letter, LETTERS } from "../ssh_config/letters.ts";
import { splitKeyword } from "../ssh_config/lines.ts";
import { isSafeHostName, isSafeUserName } from "../ssh_config/names.ts";
import { type KeywordSettings, type Settings, verbosityOf } from "../ssh_config/settings.ts";
import { byteCount, isNone, seconds, wholeNumber } from "../ssh_config/values.ts";
import { checkWindowBudget } from "../ssh/window_budget.ts";
import { applyIdentity, applyPassphrase, applyPassword } from "./secret_options.ts";

/** What was read so far. */
export interface State {
  readonly settings: Settings;
  /** Whether to do something else than forward. */
  show: "help" | "version" | "config" | "query" | undefined;
  /** What -Q asks for. */
  query: string;
}

/** One option. */
export interface Rule<Reading extends object = State> {
  /** As commander reads them: `-p <port>`. */
  readonly flags: string;
  /** The line in --help; none for what is only there to be accepted or refused. */
  readonly help?: string;
  /** What it does; the value is empty where the flags have none. */
  readonly apply: (state: Reading, value: string) => void;
}

/** More than anybody waits for. */
const MOST_RETRIES = 2_147_483_647;

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

/** All options of the main command, in the order of its help. */
export const RULES: readonly Rule[] = [
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
    flags: "--wait",
    help: "try again where the first connection fails, too",
    apply: ({ settings }) => {
      settings.wait = true;
    },
  },
  {
    flags: "--retry <n>",
    help: "give a lost link up after so many tries; never",
    apply: ({ settings }, value) => {
      settings.retries ??= readWord("--retry", value, wholeNumber(0, MOST_RETRIES));
    },
  },
  timeRule("--retry-for", "retryFor", "give a lost link up after so long, such as 90 or 1h30m"),
  timeRule("--park", "park", "how long a caller waits for a lost link (30 s); 0: not"),
  timeRule("--idle-timeout", "idleTimeout", "end after so long without any connection"),
  {
    flags: "--window-budget <n>",
    help: "bytes that servers may send ahead of readers (64M)",
    apply: ({ settings }, value) => {
      settings.windowBudget ??= readWord("--window-budget", value, windowBudget);
    },
  },
  {
    flags: "--connections <n>",
    help: "spread over 1 to 16 SSH connections (1), or auto",
    apply: ({ settings }, value) => {
      settings.connections ??= readWord("--connections", value, readConnections);
    },
  },
  {
    flags: "--metrics <address>",
    help: "serve Prometheus metrics, as at 127.0.0.1:9090",
    apply: ({ settings }, value) => {
      settings.metrics ??= readWord("--metrics", value, (address) => address);
    },
  },
  {
    flags: "--no-system-crypto",
    help: "do not use the system's libcrypto for AES-GCM",
    apply: ({ settings }) => {
      settings.systemCrypto = false;
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

function windowBudget(value: string): number {
  const bytes = byteCount(value);
  checkWindowBudget(bytes);
  return bytes;
}

function readConnections(word: string): number | "auto" {
  if (word === "auto") return word;
  try {
    return wholeNumber(1, MOST_CONNECTIONS)(word);
  } catch (error) {
    throw new SyntaxError(`${messageOf(error)}, or auto`);
  }
}

/** An option that takes a time, as ssh_config(5) writes it. */
function timeRule(
  name: string,
  field: "retryFor" | "park" | "idleTimeout",
  help: string,
): Rule {
  return {
    flags: `${name} <time>`,
    help,
    apply: ({ settings }, value) => {
      settings[field] ??= readTime(name, value);
    },
  };
}

/**
 * Reads the time that an option takes.
 *
 * @param option The option, for the message.
 * @param value What it was given.
 * @returns Milliseconds.
 * @throws {UsageError} When it is no time.
 */
export function readTime(option: string, value: string): number {
  return readWord(option, value, seconds) * 1000;
}

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

/**
 * Reads what an option takes, where no keyword of ssh_config says the same.
 *
 * @param letter The option, for the message.
 * @param value What it was given.
 * @param read Reads it; what it throws becomes the message.
 * @returns What was read.
 * @throws {UsageError} When it is nothing of the kind.
 */
export function readWord<T>(letter: string, value: string, read: (word: string) => T): T {
  try {
    if (value === "") throw new SyntaxError("the value is missing");
    return read(value);
  } catch (error) {
    throw new UsageError(`${letter}${value === "" ? "" : ` ${value}`}: ${messageOf(error)}`);
  }
}
