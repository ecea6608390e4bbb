/**
 * Every keyword of ssh_config(5), of OpenSSH 9.2 to 10, and what becomes of it. docs/ssh_config.md
 * says the same for people; a test holds the two together.
 *
 * @module
 */
import { isIP } from "node:net";
import type { StrictHostKeyChecking } from "../ssh/host_keys.ts";
import { authorityAlgorithms } from "../ssh/host_certificate.ts";
import { algorithmList, assembled, assembledCiphers } from "./algorithm_lists.ts";
import { DYNAMIC_FORWARD, LOCAL_FORWARD, REMOTE_FORWARD } from "./forwards.ts";
import { readJump } from "./jump_spec.ts";
import { accepted, files, type Keyword, NotSupported, refused, shellOnly, value } from "./rules.ts";
import type { LogLevel } from "./settings.ts";
import { isSafeHostName } from "./names.ts";
import { portOrService } from "./services.ts";
import { expandVariables } from "./tokens.ts";
import {
  byteCount,
  isNone,
  listOrNone,
  oneOf,
  permissions,
  seconds,
  wholeNumber,
  yesNo,
} from "./values.ts";

/** What the library looks for where nothing is named. */
const DEFAULT_IDENTITIES = ["~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519"];
const NO_AGENT = "fairlead forwards ports, not the agent";
const NO_GSSAPI = "fairlead does not use GSSAPI";
const NO_TERMINAL = "fairlead opens no terminal";
const NO_X11 = "fairlead forwards ports, not X11";
const NO_ENVIRONMENT = "fairlead sends no environment";
const NO_CANONICAL = "only CanonicalizeHostname makes use of it";
const FAMILIES = ["any", "inet", "inet6"] as const;
const HOST_KEY_CHECKING: readonly StrictHostKeyChecking[] = ["yes", "ask", "accept-new", "no"];
const LOG_LEVELS: readonly LogLevel[] = [
  ...["quiet", "fatal", "error", "info", "verbose", "debug", "debug2", "debug3"] as const,
];
const OWN_LOG = "fairlead has a log of its own: -v and -E";

/** Every keyword but Host, Match and Include, which shape the files. */
export const KEYWORDS: Readonly<Record<string, Keyword>> = {
  AddKeysToAgent: accepted("keys are not added to the agent"),
  AddressFamily: value("addressFamily", (word) => oneOf(word, FAMILIES), {
    choices: FAMILIES,
    unset: "any",
  }),
  BatchMode: value("batchMode", yesNo, { unset: "no" }),
  BindAddress: value("bindAddress", (word) => {
    if (isIP(word.replace(/%.*/, "")) !== 0 || isSafeHostName(word)) return word;
    throw new SyntaxError("expected an address of this machine, or a name of it");
  }),
  BindInterface: value("bindInterface", String),
  CanonicalDomains: accepted(NO_CANONICAL),
  CanonicalizeFallbackLocal: accepted(NO_CANONICAL),
  CanonicalizeHostname: refused(
    "fairlead does not look for a name's canonical form; HostName can say it",
  ),
  CanonicalizeMaxDots: accepted(NO_CANONICAL),
  CanonicalizePermittedCNAMEs: refused("fairlead does not follow CNAMEs to another name"),
  CASignatureAlgorithms: value("caSignatureAlgorithms", (word) => {
    authorityAlgorithms(word);
    return word;
  }, {
    unset: authorityAlgorithms().join(","),
    print: (list) => authorityAlgorithms(list).join(","),
  }),
  CertificateFile: files("certificateFiles"),
  ChannelTimeout: value("channelTimeouts", (_word, words) => channelTimeouts(words), {
    form: "words",
    unset: "none",
  }),
  CheckHostIP: accepted("the host key is looked up by the name alone, as ssh does by default"),
  Ciphers: {
    ...value("ciphers", algorithmList("cipher")),
    print: ({ ciphers, systemCrypto }) => [assembledCiphers(ciphers, systemCrypto)],
  },
  ClearAllForwardings: value("clearAllForwardings", yesNo, { unset: "no" }),
  Compression: accepted("nothing is compressed; ssh leaves that to the server's choice as well"),
  ConnectionAttempts: value("connectionAttempts", wholeNumber(1, 1000), { unset: "1" }),
  ConnectTimeout: value("connectTimeout", (word) => isNone(word) ? -1 : seconds(word), {
    unset: "none",
    print: (time) => time < 0 ? "none" : String(time),
  }),
  ControlMaster: value(
    "controlMaster",
    (word) => oneOf(word.replace(/^yes$/i, "true").replace(/^no$/i, "false"), CONTROL_MASTER),
    { choices: ["yes", "no", "auto", "ask", "autoask"], unset: "false" },
  ),
  ControlPath: value("controlPath", String, { print: unlessNone }),
  ControlPersist: value("controlPersist", (word) => {
    return /^(?:yes|no|true|false)$/.test(word) ? yesNo(word) : seconds(word);
  }, { unset: "no", print: (time) => time === 0 ? "yes" : yesOrNumber(time) }),
  DynamicForward: DYNAMIC_FORWARD,
  EnableEscapeCommandline: accepted(NO_TERMINAL),
  EnableSSHKeysign: accepted("it concerns the system's file and host-based authentication alone"),
  EscapeChar: accepted(NO_TERMINAL),
  ExitOnForwardFailure: value("exitOnForwardFailure", yesNo, { unset: "no" }),
  FingerprintHash: accepted("fingerprints are shown as SHA256"),
  ForkAfterAuthentication: value("forkAfterAuthentication", yesNo, { unset: "no" }),
  ForwardAgent: shellOnly(NO_AGENT),
  ForwardX11: shellOnly(NO_X11),
  ForwardX11Timeout: accepted(NO_X11),
  ForwardX11Trusted: accepted(NO_X11),
  GatewayPorts: value(
    "gatewayPorts",
    // "clientspecified" is sshd_config's word; what is bound here is what the forward asks for.
    (word) => word.toLowerCase() === "clientspecified" || yesNo(word),
    { choices: ["yes", "no"], unset: "no" },
  ),
  GlobalKnownHostsFile: value("globalKnownHosts", (_word, words) => listOrNone(words), {
    form: "words",
    unset: "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2",
  }),
  GSSAPIAuthentication: shellOnly(NO_GSSAPI),
  GSSAPIDelegateCredentials: shellOnly(NO_GSSAPI),
  HashKnownHosts: value("hashKnownHosts", yesNo, { unset: "no" }),
  HostbasedAcceptedAlgorithms: accepted("fairlead does not use host-based authentication"),
  HostbasedAuthentication: shellOnly("fairlead does not use host-based authentication"),
  HostKeyAlgorithms: value("hostKeyAlgorithms", algorithmList("serverHostKey"), {
    unset: assembled("serverHostKey", undefined),
    print: (list) => assembled("serverHostKey", list),
  }),
  HostKeyAlias: value("hostKeyAlias", (word) => word.toLowerCase()),
  HostName: value("hostName", String),
  IdentitiesOnly: value("identitiesOnly", yesNo, { unset: "no" }),
  IdentityAgent: value("identityAgent", (word) => {
    if (/^\$[^{]/.test(word) && !/^\$[A-Za-z0-9_]+$/.test(word)) {
      throw new SyntaxError("expected a path, none, SSH_AUTH_SOCK or $VARIABLE");
    }
    expandVariables(word);
    return word;
  }),
  IdentityFile: files("identityFiles", DEFAULT_IDENTITIES),
  IgnoreUnknown: value("ignoreUnknown", String),
  IPQoS: accepted("the runtimes cannot set it"),
  KbdInteractiveAuthentication: value("kbdInteractiveAuthentication", yesNo, { unset: "yes" }),
  KbdInteractiveDevices: accepted("the server chooses"),
  KexAlgorithms: value("kexAlgorithms", algorithmList("kex"), {
    unset: assembled("kex", undefined),
    print: (list) => assembled("kex", list),
  }),
  KnownHostsCommand: refused("fairlead takes host keys from files alone"),
  LocalCommand: accepted("fairlead runs no local command"),
  LocalForward: LOCAL_FORWARD,
  LogLevel: value("logLevel", logLevel, {
    choices: LOG_LEVELS.map((level) => level.toUpperCase()),
    unset: "INFO",
    print: (level) => level === "quiet" ? "SILENT" : level.toUpperCase(),
  }),
  LogVerbose: accepted(OWN_LOG),
  MACs: value("macs", algorithmList("hmac"), {
    unset: assembled("hmac", undefined),
    print: (list) => assembled("hmac", list),
  }),
  NoHostAuthenticationForLocalhost: value("noHostAuthenticationForLocalhost", yesNo, {
    unset: "no",
  }),
  NumberOfPasswordPrompts: value("passwordPrompts", wholeNumber(1, 100), { unset: "3" }),
  ObscureKeystrokeTiming: accepted(NO_TERMINAL),
  PasswordAuthentication: value("passwordAuthentication", yesNo, { unset: "yes" }),
  PermitLocalCommand: accepted("fairlead runs no local command"),
  PermitRemoteOpen: value("permitRemoteOpen", (_word, words) => permittedOpens(words), {
    form: "words",
    unset: "any",
  }),
  PKCS11Provider: refused("fairlead does not load PKCS#11; an agent can hold the token's keys"),
  Port: value("port", portOrService, { unset: "22" }),
  // As in ssh, a method that is unknown is passed over.
  PreferredAuthentications: value("preferredAuthentications", String),
  ProxyCommand: value("proxyCommand", (line) => {
    if (line !== "-") return line;
    throw new NotSupported("fairlead's stdin and stdout are no way to a server");
  }, { form: "line" }),
  ProxyJump: {
    policy: "honoured",
    form: "line",
    apply: (settings, [text = ""]) => {
      const jump = readJump(text);
      if (jump === undefined) {
        settings.proxyJump ??= "none";
      } else if (settings.proxyCommand === undefined && settings.proxyJump === undefined) {
        settings.proxyJump = jump;
        // As in ssh, whichever of the two comes first is the one.
        settings.proxyCommand = "none";
      }
    },
  },
  ProxyUseFdpass: refused("the runtimes cannot take over a connection from another program"),
  PubkeyAcceptedAlgorithms: value("pubkeyAcceptedAlgorithms", (word) => {
    if (/^[+^-]?[A-Za-z0-9@.*?!_-]+(?:,[A-Za-z0-9@.*?!_-]+)*$/.test(word)) return word;
    throw new SyntaxError("expected names with commas");
  }),
  PubkeyAuthentication: value(
    "pubkeyAuthentication",
    (word) => oneOf(word.replace(/^yes$/i, "true").replace(/^no$/i, "false"), PUBKEY),
    { choices: ["yes", "no", "unbound", "host-bound"], unset: "true" },
  ),
  RefuseConnection: {
    policy: "honoured",
    form: "word",
    apply: (_settings, [text = ""]) => {
      throw new NotSupported(text);
    },
  },
  RekeyLimit: value("rekeyLimit", (_word, words) => rekeyLimit(words), {
    form: "words",
    unset: "0 0",
    print: (limit) => `${limit.bytes} ${limit.seconds}`,
  }),
  RemoteCommand: value("remoteCommand", String, { form: "line", print: unlessNone }),
  RemoteForward: REMOTE_FORWARD,
  RequestTTY: shellOnly(NO_TERMINAL, ["auto"]),
  RequiredRSASize: value("requiredRsaSize", wholeNumber(0, 65_536), { unset: "1024" }),
  RevokedHostKeys: value("revokedHostKeys", String),
  SecurityKeyProvider: refused("fairlead uses FIDO keys through an agent alone", ["internal"]),
  SendEnv: accepted(NO_ENVIRONMENT),
  ServerAliveCountMax: value("serverAliveCountMax", wholeNumber(0, 2_147_483_647), {
    unset: "3",
  }),
  ServerAliveInterval: value("serverAliveInterval", (word) => isNone(word) ? 0 : seconds(word), {
    unset: "15",
  }),
  SessionType: value("sessionType", (word) => {
    const type = oneOf(word, ["none", "default", "subsystem"]);
    if (type !== "subsystem") return type;
    throw new NotSupported("fairlead forwards ports and starts no subsystem");
  }, { choices: ["none", "default"], unset: "default" }),
  SetEnv: accepted(NO_ENVIRONMENT),
  StdinNull: value("stdinNull", yesNo, { unset: "no" }),
  StreamLocalBindMask: value("streamLocalBindMask", permissions, {
    unset: "0177",
    print: (mask) => `0${mask.toString(8)}`,
  }),
  StreamLocalBindUnlink: value("streamLocalBindUnlink", yesNo, { unset: "no" }),
  StrictHostKeyChecking: value("strictHostKeyChecking", (word) => {
    const plain = word.replace(/^(?:off|false)$/i, "no").replace(/^true$/i, "yes");
    return oneOf(plain, HOST_KEY_CHECKING);
  }, {
    choices: HOST_KEY_CHECKING,
    unset: "ask",
    print: (checking) =>
      ({ yes: "true", no: "false" } as Record<string, string>)[checking] ?? checking,
  }),
  SyslogFacility: accepted(OWN_LOG),
  Tag: value("tag", String),
  TCPKeepAlive: value("tcpKeepAlive", yesNo, { unset: "yes" }),
  Tunnel: refused("fairlead forwards TCP connections and opens no tunnel device"),
  TunnelDevice: accepted("only Tunnel makes use of it"),
  UpdateHostKeys: accepted("fairlead does not ask the server for its other host keys"),
  User: value("user", String),
  UserKnownHostsFile: value("userKnownHosts", (_word, words) => listOrNone(words), {
    form: "words",
  }),
  VerifyHostKeyDNS: accepted("host keys are looked up in files alone"),
  VersionAddendum: accepted("fairlead's greeting says its own name alone"),
  VisualHostKey: accepted("fingerprints are shown as SHA256"),
  WarnWeakCrypto: accepted("old algorithms are off unless they are named"),
  XAuthLocation: accepted(NO_X11),
};

/** Other names that ssh knows for the same; in lower case. */
export const ALIASES: Readonly<Record<string, string>> = {
  challengeresponseauthentication: "KbdInteractiveAuthentication",
  skeyauthentication: "KbdInteractiveAuthentication",
  tisauthentication: "KbdInteractiveAuthentication",
  dsaauthentication: "PubkeyAuthentication",
  hostbasedkeytypes: "HostbasedAcceptedAlgorithms",
  identityfile2: "IdentityFile",
  keepalive: "TCPKeepAlive",
  pubkeyacceptedkeytypes: "PubkeyAcceptedAlgorithms",
  smartcarddevice: "PKCS11Provider",
};

/** What ssh itself, or a distribution's, no longer does anything for; in lower case. */
export const FORGOTTEN: ReadonlySet<string> = new Set(
  `protocol cipher fallbacktorsh globalknownhostsfile2 rhostsauthentication userknownhostsfile2
  useroaming usersh useprivilegedport afstokenpassing kerberosauthentication kerberostgtpassing
  rsaauthentication rhostsrsaauthentication compressionlevel gssapikeyexchange gssapiclientidentity
  gssapiserveridentity gssapirenewalforcesrekey gssapitrustdns gssapikexalgorithms
  usekeychain`.split(/\s+/),
);

const CONTROL_MASTER = ["true", "false", "auto", "ask", "autoask"] as const;
const PUBKEY = ["true", "false", "unbound", "host-bound"] as const;

function logLevel(word: string): LogLevel {
  return oneOf(word.replace(/^debug1$/i, "debug").replace(/^silent$/i, "quiet"), LOG_LEVELS);
}

function unlessNone(text: string): string | undefined {
  return isNone(text) ? undefined : text;
}

function yesOrNumber(time: boolean | number): string {
  if (typeof time === "number") return String(time);
  return time ? "yes" : "no";
}

function permittedOpens(words: readonly string[]): string[] {
  const [first = ""] = words;
  if (/^(?:any|none)$/i.test(first)) {
    if (words.length > 1) throw new SyntaxError(`${first} must stand alone`);
    return isNone(first) ? [] : ["any"];
  }
  for (const word of words) {
    const [, port] = /^(?:\[[^\]]+\]|[^:[\]]+):(\d+|\*)$/.exec(word) ?? [];
    if (port === undefined) throw new SyntaxError("expected any, none, or host:port");
    if (port !== "*") wholeNumber(1, 65_535)(port);
  }
  return [...words];
}

function channelTimeouts(words: readonly string[]): string[] {
  for (const word of listOrNone(words)) {
    const [, time = ""] = /^[^=]+=(.+)$/.exec(word) ?? [];
    seconds(time);
  }
  return listOrNone(words);
}

function rekeyLimit(words: readonly string[]): { bytes: number; seconds: number } {
  const [amount = "", time = "none", ...more] = words;
  if (more.length > 0) throw new SyntaxError("expected a number of bytes and a time");
  const bytes = /^(?:default|none)$/i.test(amount) ? 0 : byteCount(amount);
  if (bytes !== 0 && bytes < 16) throw new SyntaxError("fewer than 16 bytes");
  return { bytes, seconds: isNone(time) ? 0 : seconds(time) };
}
