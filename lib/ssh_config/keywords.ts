/**
 * The keywords of ssh_config(5): what each of them does to the settings.
 *
 * @module
 */
import { isIP } from "node:net";
import { messageOf, UsageError } from "../errors.ts";
import { parseDynamicForward, parseLocalForward, parseRemoteForward } from "../forward/spec.ts";
import { type AlgorithmChoice, chooseAlgorithms } from "../ssh/algorithms.ts";
import type { AuthMethod } from "../ssh/auth.ts";
import type { StrictHostKeyChecking } from "../ssh/host_keys.ts";
import type { Settings } from "./settings.ts";
import { nearest } from "../nearest.ts";
import { expandHome, files, oneOf, permissions, wholeNumber, yesNo } from "./values.ts";
import { splitWords } from "./words.ts";

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
    const words = typeof given === "string" && !RAW.has(known) ? splitWords(given) : [given].flat();
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
  "PermitRemoteOpen",
  "RemoteForward",
  "UserKnownHostsFile",
]);

/** What is one word to its end, whatever it holds. */
const RAW: ReadonlySet<string> = new Set(["RemoteCommand"]);

const NO_SUBSYSTEM = "fairlead forwards ports and starts no subsystem";

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
  ClearAllForwardings: (settings, value) => {
    settings.clearAllForwardings ??= yesNo(value);
  },
  Compression: WITHOUT_EFFECT,
  ConnectTimeout: (settings, value) => {
    settings.connectTimeout ??= wholeNumber(value, 1, 86_400) * 1000;
  },
  DynamicForward: (settings, value) => {
    settings.forwards.push({ kind: "dynamic", spec: parseDynamicForward(value) });
  },
  ExitOnForwardFailure: (settings, value) => {
    settings.exitOnForwardFailure ??= yesNo(value);
  },
  ForkAfterAuthentication: (settings, value) => {
    settings.background ??= yesNo(value);
  },
  ForwardAgent: onlyNo("fairlead forwards ports, not the agent"),
  ForwardX11: onlyNo("fairlead forwards ports, not X11"),
  GatewayPorts: (settings, value) => {
    // The last of these is the server's word; what is bound here is what the forward asks for.
    settings.gatewayPorts ??= value.toLowerCase() === "clientspecified" || yesNo(value);
  },
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
    settings.identityFiles ??= [];
    if (value.toLowerCase() !== "none") settings.identityFiles.push(expandHome(value));
  },
  KbdInteractiveAuthentication: methodSwitch("keyboard-interactive"),
  KexAlgorithms: algorithmList("kex"),
  LocalForward: (settings, _value, words) => {
    settings.forwards.push({ kind: "local", spec: parseLocalForward(joined(words)) });
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
  PermitRemoteOpen: (settings, _value, words) => {
    settings.permitRemoteOpen ??= words.map(permittedOpen).filter((word) => word !== "none");
  },
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
  RemoteCommand: (settings, value) => {
    if (value.toLowerCase() === "none") return;
    if (/%/.test(value)) throw new SyntaxError("this version does not expand % in it");
    settings.remoteCommand ??= value;
  },
  RemoteForward: (settings, _value, words) => {
    settings.forwards.push({ kind: "remote", spec: parseRemoteForward(joined(words)) });
  },
  RequestTTY: (_settings, value) => {
    if (["yes", "true", "force"].includes(value.toLowerCase())) {
      throw new SyntaxError("fairlead opens no terminal");
    }
    oneOf(value, ["no", "false", "auto"]);
  },
  SessionType: (settings, value) => {
    const type = oneOf(value, ["none", "default", "subsystem"]);
    if (type === "subsystem") throw new SyntaxError(NO_SUBSYSTEM);
    settings.noCommand ??= type === "none";
  },
  StdinNull: (settings, value) => {
    settings.stdinNull ??= yesNo(value);
  },
  StreamLocalBindMask: (settings, value) => {
    settings.streamLocalBindMask ??= permissions(value);
  },
  StreamLocalBindUnlink: (settings, value) => {
    settings.streamLocalBindUnlink ??= yesNo(value);
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
const NOT_YET =
  `AddKeysToAgent BindInterface CanonicalDomains CanonicalizeFallbackLocal CanonicalizeHostname
CanonicalizeMaxDots CanonicalizePermittedCNAMEs CASignatureAlgorithms CertificateFile
ChannelTimeout ConnectionAttempts ControlMaster ControlPath ControlPersist EnableEscapeCommandline
EnableSSHKeysign EscapeChar FingerprintHash ForwardX11Timeout ForwardX11Trusted
GSSAPIDelegateCredentials HashKnownHosts HostbasedAcceptedAlgorithms HostKeyAlias Include IPQoS
IgnoreUnknown KbdInteractiveDevices KnownHostsCommand LocalCommand LogVerbose
NoHostAuthenticationForLocalhost ObscureKeystrokeTiming PermitLocalCommand PKCS11Provider
ProxyCommand ProxyJump ProxyUseFdpass PubkeyAcceptedAlgorithms RekeyLimit RequiredRSASize
RevokedHostKeys SecurityKeyProvider SendEnv ServerAliveCountMax ServerAliveInterval SetEnv
SyslogFacility Tag Tunnel TunnelDevice UpdateHostKeys VerifyHostKeyDNS VersionAddendum
VisualHostKey XAuthLocation`;

function algorithmList(kind: keyof AlgorithmChoice): Rule {
  return (settings, value) => {
    chooseAlgorithms({ [kind]: value });
    settings.algorithms[kind] ??= value;
  };
}

/** In ssh_config the two halves are two words; on the command line a colon joins them. */
function joined(words: readonly string[]): string {
  if (words.length > 2) throw new SyntaxError("expected [bind:]port host:hostport");
  return words.join(":");
}

function permittedOpen(word: string): string {
  if (["any", "none"].includes(word.toLowerCase())) return word.toLowerCase();
  const [, port] = /^(?:\[[^\]]+\]|[^:[\]]+):(\d+|\*)$/.exec(word) ?? [];
  if (port === undefined) throw new SyntaxError("expected any, none, or host:port");
  if (port !== "*") wholeNumber(port, 1, 65_535);
  return word;
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
