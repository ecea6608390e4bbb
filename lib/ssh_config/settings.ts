/**
 * What ssh_config(5)'s keywords say, and what only a command line can say besides. As in ssh, the
 * first value given for a keyword is the one that counts.
 *
 * @module
 */
import type { Destination } from "../dialer.ts";
import type { DynamicForwardSpec, LocalForwardSpec, RemoteForwardSpec } from "../forward/spec.ts";
import type { StrictHostKeyChecking } from "../ssh/host_keys.ts";

/** One -L, -R or -D. */
export type ForwardRequest =
  | { readonly kind: "local"; readonly spec: LocalForwardSpec }
  | { readonly kind: "remote"; readonly spec: RemoteForwardSpec }
  | { readonly kind: "dynamic"; readonly spec: DynamicForwardSpec };

/** How much is logged, by LogLevel's names in lower case. */
export type LogLevel =
  | "quiet"
  | "fatal"
  | "error"
  | "info"
  | "verbose"
  | "debug"
  | "debug2"
  | "debug3";

/**
 * The values of keywords, missing where nothing was said. Tokens, variables and `~` stand in them
 * as they were written; forwards have their variables expanded, since those say what is a path.
 */
export interface KeywordSettings {
  addressFamily?: "any" | "inet" | "inet6";
  batchMode?: boolean;
  bindAddress?: string;
  bindInterface?: string;
  caSignatureAlgorithms?: string;
  certificateFiles?: string[];
  channelTimeouts?: string[];
  ciphers?: string;
  clearAllForwardings?: boolean;
  connectionAttempts?: number;
  /** Seconds; 0, or -1 for none, where there is no limit of its own. */
  connectTimeout?: number;
  controlMaster?: string;
  controlPath?: string;
  /** Seconds where it is a time. */
  controlPersist?: boolean | number;
  exitOnForwardFailure?: boolean;
  /** Whether to go to the background once everything is up. */
  forkAfterAuthentication?: boolean;
  /** Whether listeners without a bind address are on all interfaces. */
  gatewayPorts?: boolean;
  globalKnownHosts?: string[];
  hashKnownHosts?: boolean;
  hostKeyAlgorithms?: string;
  hostKeyAlias?: string;
  hostName?: string;
  identitiesOnly?: boolean;
  identityAgent?: string;
  /** `none` among them stands for no file. */
  identityFiles?: string[];
  /** Patterns of keywords that need not be known. */
  ignoreUnknown?: string;
  kbdInteractiveAuthentication?: boolean;
  kexAlgorithms?: string;
  logLevel?: LogLevel;
  macs?: string;
  noHostAuthenticationForLocalhost?: boolean;
  passwordAuthentication?: boolean;
  passwordPrompts?: number;
  /** Where SOCKS clients on the server may connect to, as PermitRemoteOpen has it. */
  permitRemoteOpen?: string[];
  port?: number;
  preferredAuthentications?: string;
  /** `none` where ProxyJump was given first. */
  proxyCommand?: string;
  proxyJump?: string;
  pubkeyAcceptedAlgorithms?: string;
  pubkeyAuthentication?: string;
  /** 0 for the default of either. */
  rekeyLimit?: { readonly bytes: number; readonly seconds: number };
  remoteCommand?: string;
  requiredRsaSize?: number;
  revokedHostKeys?: string;
  serverAliveCountMax?: number;
  /** Seconds. */
  serverAliveInterval?: number;
  sessionType?: "none" | "default";
  /** Whether stdin is not read. */
  stdinNull?: boolean;
  /** Permissions to take away from Unix sockets. */
  streamLocalBindMask?: number;
  streamLocalBindUnlink?: boolean;
  strictHostKeyChecking?: StrictHostKeyChecking;
  tag?: string;
  tcpKeepAlive?: boolean;
  user?: string;
  userKnownHosts?: string[];
  /** In the order in which they were asked for. */
  forwards: ForwardRequest[];
}

/** Everything one run is told. */
export interface Settings extends KeywordSettings {
  /** What the destination says. */
  host?: string;
  /** The file that -F names; `none` for no file at all. */
  configFile?: string;
  /** What -W connects stdin and stdout to. */
  stdioForward?: Destination;
  /** The command line for the server's shell. */
  command?: string;
  /** The server's host keys, in place of known_hosts files; they are not those of a jump host. */
  hostKeys?: string[];
  /** What --proxy says: a URL, which may hold a password, or `env`. */
  proxy?: string;
  /** The variable that it is in. */
  proxyVariable?: string;
  /** Variables that hold private keys: -i env:NAME. */
  keyVariables?: string[];
  /** Whether standard input is a private key: -i -. */
  keyFromStdin?: boolean;
  /** The variable that holds the password. */
  passwordVariable?: string;
  /** The variable that holds the passphrase of encrypted keys. */
  passphraseVariable?: string;
  /** Where log lines go instead of stderr. */
  logFile?: string;
  /** Whether a first connection that fails is tried again. */
  wait?: boolean;
  /** How often a lost link is tried to be made anew. */
  retries?: number;
  /** The same as a time, in milliseconds. */
  retryFor?: number;
  /** Over how many SSH connections forwarded connections are spread. */
  connections?: number | "auto";
  /** Milliseconds that a caller waits for a lost link. */
  park?: number;
  /** Milliseconds without any connection after which the program ends. */
  idleTimeout?: number;
  /** Whether AES-GCM may be the system's libcrypto's; it may where nothing was said. */
  systemCrypto?: boolean;
  /** Bytes that servers may have sent and nobody has read yet. */
  windowBudget?: number;
  /** Where metrics are served. */
  metrics?: string;
  json: boolean;
  /** Where each keyword was said first, for messages. */
  readonly origins: Map<string, string>;
}

/** Settings before anything was said. */
export function emptySettings(): Settings {
  return { forwards: [], json: false, origins: new Map() };
}

/**
 * How much is shown.
 *
 * @param settings What was said.
 * @returns -1 for errors only, 0 as usual, 1 to 3 for -v, -vv, -vvv.
 */
export function verbosityOf({ logLevel = "info" }: KeywordSettings): number {
  switch (logLevel) {
    case "quiet":
    case "fatal":
    case "error":
      return -1;
    case "info":
      return 0;
    case "verbose":
    case "debug":
      return 1;
    case "debug2":
      return 2;
    case "debug3":
      return 3;
  }
}
