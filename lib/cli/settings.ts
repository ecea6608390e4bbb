/**
 * What the command line asks for, under the keywords of ssh_config(5). As in ssh, the first value
 * given for a keyword is the one that counts.
 *
 * @module
 */
import { isIP } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { messageOf } from "../errors.ts";
import { type LocalForwardSpec, parseLocalForward } from "../forward/spec.ts";
import { type AlgorithmChoice, chooseAlgorithms } from "../ssh/algorithms.ts";
import type { AuthMethod } from "../ssh/auth.ts";
import type { StrictHostKeyChecking } from "../ssh/host_keys.ts";
import { nearest, UsageError } from "./usage.ts";
import { splitWords } from "./words.ts";

/** Everything one run is told. */
export interface Settings {
  /** What the destination says. */
  host?: string;
  /** What is connected to instead, where HostName says so. */
  hostName?: string;
  user?: string;
  port?: number;
  family?: 4 | 6;
  bindAddress?: string;
  /** Milliseconds. */
  connectTimeout?: number;
  strictHostKeyChecking?: StrictHostKeyChecking;
  userKnownHosts?: string[];
  globalKnownHosts?: string[];
  identityFiles: string[];
  identitiesOnly?: boolean;
  identityAgent?: string;
  authMethods?: AuthMethod[];
  disabledMethods: AuthMethod[];
  passwordPrompts?: number;
  batchMode?: boolean;
  algorithms: { -readonly [Kind in keyof AlgorithmChoice]: AlgorithmChoice[Kind] };
  localForwards: LocalForwardSpec[];
  exitOnForwardFailure?: boolean;
  /** How many -v; -1 for -q. */
  verbosity: number;
  json: boolean;
  /** Whether -N was given: a run without forwards is meant. */
  noCommand: boolean;
  /** Whether -F none was given. */
  noConfig: boolean;
}

/** Settings before anything was said. */
export function emptySettings(): Settings {
  return {
    identityFiles: [],
    disabledMethods: [],
    algorithms: {},
    localForwards: [],
    verbosity: 0,
    json: false,
    noCommand: false,
    noConfig: false,
  };
}

/**
 * Applies one keyword.
 *
 * @param settings What was said so far; changed in place.
 * @param keyword A keyword of ssh_config(5), in any case.
 * @param given Its value as ssh_config has it; or its words, where nothing is left to be split.
 * @param origin Where it was said, for the message: `-p`, `-o Port`.
 * @throws {UsageError} When the keyword or the value is wrong.
 */
export function applyKeyword(
  settings: Settings,
  keyword: string,
  given: string | readonly string[],
  origin: string,
): void {
  const name = keyword.toLowerCase();
  const [known, rule] = Object.entries(KEYWORDS).find(([one]) => one.toLowerCase() === name) ?? [];
  if (known === undefined || rule === undefined) throw unknownKeyword(keyword);
  try {
    const words = typeof given === "string" ? splitWords(given) : given;
    const value = words.join(" ");
    if (value === "") throw new SyntaxError("the value is missing");
    if (words.length > 1 && !LISTS.has(known)) {
      throw new SyntaxError("expected one value; one with spaces needs quotes");
    }
    rule(settings, value, words);
  } catch (error) {
    const said = typeof given === "string"
      ? `=${given}`
      : given.map((word) => word === "" ? "" : ` ${word}`).join("");
    throw new UsageError(`${origin}${said}: ${messageOf(error)}`, hintFor(error));
  }
}

type Rule = (settings: Settings, value: string, words: readonly string[]) => void;

/** What takes more than one word. */
const LISTS: ReadonlySet<string> = new Set([
  "GlobalKnownHostsFile",
  "LocalForward",
  "UserKnownHostsFile",
]);

/** Said by people and scripts, and without meaning for a program that only forwards. */
const WITHOUT_EFFECT: Rule = () => {};

const KEYWORDS: Readonly<Record<string, Rule>> = {
  AddressFamily: (settings, value) => {
    const families: Record<string, 4 | 6 | undefined> = { any: undefined, inet: 4, inet6: 6 };
    const family = families[oneOf(value, Object.keys(families))];
    if (family !== undefined) settings.family ??= family;
  },
  BatchMode: (settings, value) => {
    settings.batchMode ??= yesNo(value);
  },
  BindAddress: (settings, value) => {
    if (isIP(value) === 0) throw new SyntaxError("expected an IP address of this machine");
    settings.bindAddress ??= value;
  },
  CheckHostIP: WITHOUT_EFFECT,
  Ciphers: algorithmList("cipher"),
  Compression: WITHOUT_EFFECT,
  ConnectTimeout: (settings, value) => {
    settings.connectTimeout ??= wholeNumber(value, 1, 86_400) * 1000;
  },
  ExitOnForwardFailure: (settings, value) => {
    settings.exitOnForwardFailure ??= yesNo(value);
  },
  ForwardAgent: onlyNo("fairlead forwards ports, not the agent"),
  ForwardX11: onlyNo("fairlead forwards ports, not X11"),
  GlobalKnownHostsFile: (settings, _value, words) => {
    settings.globalKnownHosts ??= files(words);
  },
  GSSAPIAuthentication: onlyNo("fairlead does not use GSSAPI"),
  HostbasedAuthentication: onlyNo("fairlead does not use host-based authentication"),
  HostKeyAlgorithms: algorithmList("serverHostKey"),
  HostName: (settings, value) => {
    settings.hostName ??= value;
  },
  IdentitiesOnly: (settings, value) => {
    settings.identitiesOnly ??= yesNo(value);
  },
  IdentityAgent: (settings, value) => {
    if (value !== "SSH_AUTH_SOCK") settings.identityAgent ??= expandHome(value);
  },
  IdentityFile: (settings, value) => {
    settings.identityFiles.push(expandHome(value));
  },
  KbdInteractiveAuthentication: methodSwitch("keyboard-interactive"),
  KexAlgorithms: algorithmList("kex"),
  LocalForward: (settings, _value, words) => {
    if (words.length > 2) throw new SyntaxError("expected [bind:]port host:hostport");
    // In ssh_config the two halves are two words; on the command line a colon joins them.
    settings.localForwards.push(parseLocalForward(words.join(":")));
  },
  LogLevel: (settings, value) => {
    const levels = ["quiet", "fatal", "error", "info", "verbose", "debug", "debug2", "debug3"];
    const chosen = levels.indexOf(oneOf(value.replace(/^debug1$/i, "debug"), levels));
    if (settings.verbosity === 0) settings.verbosity = chosen < 3 ? -1 : chosen - 3;
  },
  MACs: algorithmList("hmac"),
  NumberOfPasswordPrompts: (settings, value) => {
    settings.passwordPrompts ??= wholeNumber(value, 1, 100);
  },
  PasswordAuthentication: methodSwitch("password"),
  Port: (settings, value) => {
    settings.port ??= wholeNumber(value, 1, 65_535);
  },
  PreferredAuthentications: (settings, value) => {
    const supported: readonly string[] = ["publickey", "keyboard-interactive", "password"];
    const known = [...supported, "gssapi-with-mic", "hostbased", "none"];
    const named = value.split(",").map((method) => oneOf(method.trim(), known));
    settings.authMethods ??= named.filter((method) => supported.includes(method)) as AuthMethod[];
  },
  PubkeyAuthentication: methodSwitch("publickey"),
  RequestTTY: (_settings, value) => {
    if (["yes", "true", "force"].includes(value.toLowerCase())) {
      throw new SyntaxError("fairlead opens no terminal");
    }
    oneOf(value, ["no", "false", "auto"]);
  },
  StrictHostKeyChecking: (settings, value) => {
    const word = value.replace(/^(?:off|false)$/i, "no").replace(/^true$/i, "yes");
    const chosen = oneOf(word, ["yes", "ask", "accept-new", "no"]);
    settings.strictHostKeyChecking ??= chosen as StrictHostKeyChecking;
  },
  TCPKeepAlive: WITHOUT_EFFECT,
  User: (settings, value) => {
    settings.user ??= value;
  },
  UserKnownHostsFile: (settings, _value, words) => {
    settings.userKnownHosts ??= files(words);
  },
};

/** What else ssh_config(5) of OpenSSH 10 lists: no mistake of whoever writes it. */
const NOT_YET = `AddKeysToAgent BindInterface CanonicalDomains CanonicalizeFallbackLocal
CanonicalizeHostname CanonicalizeMaxDots CanonicalizePermittedCNAMEs CASignatureAlgorithms
CertificateFile ChannelTimeout ClearAllForwardings ConnectionAttempts ControlMaster ControlPath
ControlPersist DynamicForward EnableEscapeCommandline EnableSSHKeysign EscapeChar
FingerprintHash ForkAfterAuthentication ForwardX11Timeout ForwardX11Trusted GatewayPorts
GSSAPIDelegateCredentials HashKnownHosts HostbasedAcceptedAlgorithms HostKeyAlias Include IPQoS
IgnoreUnknown KbdInteractiveDevices KnownHostsCommand LocalCommand LogVerbose
NoHostAuthenticationForLocalhost ObscureKeystrokeTiming PermitLocalCommand PermitRemoteOpen
PKCS11Provider ProxyCommand ProxyJump ProxyUseFdpass PubkeyAcceptedAlgorithms RekeyLimit
RemoteCommand RemoteForward RequiredRSASize RevokedHostKeys SecurityKeyProvider SendEnv
ServerAliveCountMax ServerAliveInterval SessionType SetEnv StdinNull StreamLocalBindMask
StreamLocalBindUnlink SyslogFacility Tag Tunnel TunnelDevice UpdateHostKeys VerifyHostKeyDNS
VersionAddendum VisualHostKey XAuthLocation`;

function algorithmList(kind: keyof AlgorithmChoice): Rule {
  return (settings, value) => {
    chooseAlgorithms({ [kind]: value });
    settings.algorithms[kind] ??= value;
  };
}

function methodSwitch(method: AuthMethod): Rule {
  return (settings, value) => {
    if (!yesNo(value)) settings.disabledMethods.push(method);
  };
}

function onlyNo(reason: string): Rule {
  return (_settings, value) => {
    if (yesNo(value)) throw new SyntaxError(reason);
  };
}

function oneOf(value: string, choices: readonly string[]): string {
  const found = choices.find((choice) => choice === value.toLowerCase());
  if (found !== undefined) return found;
  throw new SyntaxError(`expected one of ${choices.join(", ")}`);
}

function yesNo(value: string): boolean {
  return ["yes", "true"].includes(oneOf(value, ["yes", "no", "true", "false"]));
}

function wholeNumber(value: string, least: number, most: number): number {
  const number = /^\d{1,9}$/.test(value) ? Number(value) : NaN;
  if (number >= least && number <= most) return number;
  throw new SyntaxError(`expected a number from ${least} to ${most}`);
}

function files(words: readonly string[]): string[] {
  return words.filter((path) => path !== "" && path.toLowerCase() !== "none").map(expandHome);
}

function expandHome(path: string): string {
  return path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
}

function hintFor(error: unknown): string | undefined {
  return error instanceof Error && "hint" in error && typeof error.hint === "string"
    ? error.hint
    : undefined;
}

function unknownKeyword(keyword: string): UsageError {
  const inSsh = NOT_YET.split(/\s+/).find((one) => one.toLowerCase() === keyword.toLowerCase());
  if (inSsh !== undefined) {
    return new UsageError(`-o ${inSsh}: this version does not support it yet`);
  }
  const guess = nearest(keyword, Object.keys(KEYWORDS));
  return new UsageError(
    `-o ${keyword}: no such option`,
    guess === undefined ? "the names are those of ssh_config(5)" : `did you mean ${guess}?`,
  );
}
