/**
 * An `ssh -L …` command line as a tunnel of fairlead.yaml.
 *
 * @module
 */
import { basename, resolve } from "node:path";
import { UsageError } from "../errors.ts";
import { literal, type WrittenTunnel } from "../config/write_tunnels.ts";
import { ALIASES, FORGOTTEN, KEYWORDS } from "../ssh_config/keyword_table.ts";
import { LETTERS } from "../ssh_config/letters.ts";
import { splitKeyword } from "../ssh_config/lines.ts";
import { mapPaths } from "../ssh_config/forwards.ts";
import type { Settings } from "../ssh_config/settings.ts";
import { isNone } from "../ssh_config/values.ts";
import { splitWords } from "../ssh_config/words.ts";
import { readCommandLine } from "./options.ts";

/** What became of it. */
export interface Imported {
  readonly tunnel: WrittenTunnel;
  /** What was left out, and why. */
  readonly notes: readonly string[];
}

/** Where it was written. */
export interface Place {
  /** The folder that paths are relative to. */
  readonly cwd: string;
  readonly home: string;
}

/** One option, as it was said. */
interface Said {
  readonly letter: string;
  readonly value?: string;
}

/** Of no use to a tunnel: it runs no command, is in the background, and has no terminal. */
const NEEDLESS = "-N -f -T -n -q -v -x -a -k -2 -t -C -e -E -y -G".split(" ");
const NEEDLESS_KEYWORDS = [
  ...["SessionType", "ForkAfterAuthentication", "StdinNull", "LogLevel", "RemoteCommand"],
  ...["RequestTTY"],
];
const SHARING = "fairlead up, status and down take its place";
const REASONS: Readonly<Record<string, string>> = {
  "-M": SHARING,
  "-O": SHARING,
  "-S": SHARING,
  "-W": "it is about stdin and stdout, and no forward",
};
const SHARING_KEYWORDS = ["ControlMaster", "ControlPath", "ControlPersist"];
/** What has a key of its own in fairlead.yaml. */
const WITH_KEYS = new Set(
  `Port User ProxyJump IdentityFile CertificateFile UserKnownHostsFile StrictHostKeyChecking
  ServerAliveInterval ServerAliveCountMax ConnectTimeout IdentitiesOnly BatchMode LocalForward
  RemoteForward DynamicForward ClearAllForwardings`.split(/\s+/),
);
const POLICIES = { yes: "strict", ask: "ask", "accept-new": "accept-new", no: "off" } as const;

/**
 * Tells a command line from names of hosts.
 *
 * @param words Words of a command line.
 * @returns Whether they begin with ssh, or with a program that takes the same.
 */
export function isCommandLine(words: readonly string[]): boolean {
  const [program = ""] = withoutVariables(words);
  return ["ssh", "autossh"].includes(programName(program));
}

/**
 * Splits a command line that is one text, as a shell would.
 *
 * @param text The text.
 * @returns Its words.
 * @throws {UsageError} When a quote is not closed.
 */
export function commandWords(text: string): string[] {
  try {
    return splitWords(text.replace(/\\?\r?\n/g, " ")).filter((word) => word !== "&");
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new UsageError(`the command line: ${error.message}`);
  }
}

/**
 * Reads a command line of ssh(1), or of autossh(1).
 *
 * @param words The program and its arguments; variables may be set before it.
 * @param place Where it was written.
 * @returns The tunnel.
 * @throws {UsageError} When it is none, or holds no forward.
 */
export function importCommandLine(words: readonly string[], place: Place): Imported {
  const [program = "", ...args] = withoutVariables(words);
  if (!isCommandLine(words)) {
    throw new UsageError(
      `${JSON.stringify(program)} is no ssh command line`,
      "fairlead import -- ssh -L 8080:web:80 me@host",
    );
  }
  const { said, destination, command } = readArguments(args, programName(program));
  if (destination === undefined) {
    throw new UsageError("the command line has no destination: [user@]host");
  }
  const notes: string[] = [];
  const needless = said.map(({ letter }) => letter).filter((letter) => NEEDLESS.includes(letter));
  if (needless.length > 0) {
    const letters = [...new Set(needless)].join(" ");
    notes.push(`left out ${letters}: a tunnel of fairlead.yaml needs none of it`);
  }
  if (command.length > 0) {
    notes.push(`left out the command ${JSON.stringify(command.join(" "))}: tunnels run none`);
  }
  const kept = said.filter((option) => {
    if (NEEDLESS.includes(option.letter)) return false;
    const reason = reasonAgainst(option, programName(program));
    if (reason === undefined) return true;
    const { letter, value } = option;
    const name = letter === "-o" ? ` ${splitKeyword(value ?? "").keyword}` : "";
    notes.push(`left out ${letter}${name}: ${reason}`);
    return false;
  });
  const flat = kept.flatMap(({ letter, value }) =>
    value === undefined ? [letter] : [letter, value]
  );
  const { settings } = readCommandLine([...flat, "--", destination]);
  const forwards = (settings.clearAllForwardings ? [] : settings.forwards)
    .map((forward) => mapPaths(forward, withoutTokens));
  if (forwards.length === 0) throw new UsageError("the command line has no -L, -R or -D");
  const { host = "" } = settings;
  return {
    tunnel: {
      name: /[:%]|^[\d.]+$/.test(host) ? host : host.replace(/\..*/, ""),
      keys: keysOf(settings, kept, place),
      forwards,
    },
    notes,
  };
}

/** `AUTOSSH_GATETIME=0 autossh …` */
function withoutVariables(words: readonly string[]): readonly string[] {
  const first = words.findIndex((word) => !/^[A-Za-z_]\w*=/.test(word));
  return first < 0 ? [] : words.slice(first);
}

function programName(program: string): string {
  return basename(program.replaceAll("\\", "/")).replace(/\.exe$/i, "").toLowerCase();
}

/** By ssh's grammar: options again after the destination, and then a command. */
function readArguments(
  args: readonly string[],
  program: string,
): { said: Said[]; destination: string | undefined; command: readonly string[] } {
  const said: Said[] = [];
  let destination: string | undefined;
  let ended = false;
  for (let at = 0; at < args.length; at++) {
    const word = args[at] as string;
    if (!ended && word === "--") {
      if (destination !== undefined) return { said, destination, command: args.slice(at + 1) };
      ended = true;
    } else if (ended || !/^-./.test(word)) {
      if (destination !== undefined) return { said, destination, command: args.slice(at) };
      destination = word;
    } else {
      at += readCluster(word, args[at + 1], program, said);
    }
  }
  return { said, destination, command: [] };
}

/** @returns How many more words belong to it. */
function readCluster(word: string, next: string | undefined, program: string, said: Said[]): 0 | 1 {
  for (let at = 1; at < word.length; at++) {
    const letter = `-${word.charAt(at)}`;
    const known = LETTERS[letter];
    if (known === undefined) throw new UsageError(`${letter} of ${word} is no option of ssh`);
    const monitors = letter === "-M" && program === "autossh";
    if (known.argument === undefined && !monitors) {
      said.push({ letter });
      continue;
    }
    const rest = word.slice(at + 1);
    const value = rest === "" ? next : rest;
    if (value === undefined) throw new UsageError(`${letter}: the value is missing`);
    said.push({ letter, value });
    return rest === "" ? 1 : 0;
  }
  return 0;
}

/** Why an option does not go into the file. */
function reasonAgainst({ letter, value = "" }: Said, program: string): string | undefined {
  if (letter === "-M" && program === "autossh") return "fairlead watches the link itself";
  const own = REASONS[letter] ??
    (LETTERS[letter]?.policy === "refused" ? LETTERS[letter].reason : undefined);
  if (own !== undefined) return own;
  if (letter !== "-o") return undefined;
  const { keyword } = splitKeyword(value.trim());
  const name = keywordName(keyword);
  if (SHARING_KEYWORDS.includes(name)) return SHARING;
  if (NEEDLESS_KEYWORDS.includes(name)) return "a tunnel of fairlead.yaml does not need it";
  if (FORGOTTEN.has(name.toLowerCase())) return "ssh itself makes no use of it any more";
  const known = KEYWORDS[name];
  return known?.policy === "accepted" ? known.reason : undefined;
}

function keywordName(keyword: string): string {
  const name = keyword.toLowerCase();
  return Object.keys(KEYWORDS).find((one) => one.toLowerCase() === name) ?? ALIASES[name] ??
    keyword;
}

function keysOf(
  settings: Settings,
  said: readonly Said[],
  { cwd, home }: Place,
): WrittenTunnel["keys"] {
  const { host = "", user, port, proxyJump, identityFiles, certificateFiles } = settings;
  const path = (text: string) =>
    isNone(text) || text.startsWith("env:") ? text : writtenPath(text, cwd, home);
  const paths = (key: string, files: readonly string[] | undefined) => {
    if (files === undefined) return {};
    const all = files.length === 0 ? ["none"] : files.map(path);
    return { [key]: all.length === 1 ? all[0] as string : all };
  };
  const { configFile, strictHostKeyChecking, userKnownHosts, batchMode } = settings;
  const variables = settings.keyVariables?.map((name) => `env:${name}`) ?? [];
  const { serverAliveInterval, serverAliveCountMax, connectTimeout, identitiesOnly } = settings;
  const simple = user === undefined || /^[\w.-]+$/.test(user);
  const jumps = proxyJump?.split(",").map(literal);
  const options = otherOptions(said);
  return {
    host: user !== undefined && simple ? `${user}@${literal(host)}` : literal(host),
    ...(simple ? {} : { user: literal(user) }),
    ...(port === undefined ? {} : { port }),
    ...(jumps === undefined ? {} : { jump: jumps }),
    ...paths("identity", identityFiles && [...identityFiles, ...variables]),
    ...paths("certificate", certificateFiles),
    ...paths("knownHosts", userKnownHosts),
    ...(strictHostKeyChecking === undefined
      ? {}
      : { hostKeyPolicy: POLICIES[strictHostKeyChecking] }),
    ...(serverAliveInterval === undefined
      ? {}
      : { keepalive: serverAliveInterval === 0 ? "off" : `${serverAliveInterval}s` }),
    ...(serverAliveCountMax === undefined ? {} : { keepaliveCount: serverAliveCountMax }),
    ...(connectTimeout === undefined || connectTimeout <= 0
      ? {}
      : { connectTimeout: `${connectTimeout}s` }),
    ...(identitiesOnly === undefined ? {} : { identitiesOnly }),
    ...(batchMode === undefined ? {} : { batchMode }),
    ...(configFile === undefined ? {} : { sshConfig: path(configFile) }),
    ...(Object.keys(options).length === 0 ? {} : { options }),
  };
}

/**
 * How fairlead.yaml says a path: absolute, or from the home folder, as the file may come to be in
 * another folder.
 *
 * @param text The path, as ssh is told it.
 * @param cwd The folder that it is relative to.
 * @param home The user's home folder.
 * @returns The path.
 * @throws {UsageError} When it holds tokens.
 */
export function writtenPath(text: string, cwd: string, home: string): string {
  const plain = withoutTokens(text);
  if (/^(?:~\/|\$\{)/.test(plain)) return plain;
  const full = resolve(cwd, plain);
  return literal(full.startsWith(`${home}/`) ? `~${full.slice(home.length)}` : full);
}

function withoutTokens(path: string): string {
  if (path.replaceAll("%%", "").includes("%")) {
    throw new UsageError(
      `${path}: fairlead.yaml has no tokens such as %h in a path`,
      "write the path out",
    );
  }
  return path.replaceAll("%%", "%");
}

/** Of a keyword the first one counts, and a letter more than it, as in ssh. */
function otherOptions(said: readonly Said[]): Record<string, string> {
  const options: Record<string, string> = {};
  for (const { letter, value = "" } of said) {
    if (letter !== "-o") continue;
    const { keyword, rest } = splitKeyword(value.trim());
    const name = keywordName(keyword);
    if (WITH_KEYS.has(name) || Object.hasOwn(options, name)) continue;
    options[name] = literal(valueOf(name, rest));
  }
  for (const { letter, value } of said) {
    const { keyword, value: own } = LETTERS[letter] ?? {};
    if (keyword === undefined || WITH_KEYS.has(keyword)) continue;
    options[keyword] = literal(own ?? value ?? "");
  }
  return options;
}

/** What stands in the file is one word where the keyword takes one, without quotes. */
function valueOf(name: string, rest: string): string {
  if (KEYWORDS[name]?.form !== "word") return rest.replace(/^[ \t=]+/, "");
  return splitWords(rest)[0] ?? "";
}
