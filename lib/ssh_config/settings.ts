/**
 * What the command line asks for, under the keywords of ssh_config(5). As in ssh, the first value
 * given for a keyword is the one that counts.
 *
 * @module
 */
import type { Destination } from "../dialer.ts";
import type { DynamicForwardSpec, LocalForwardSpec, RemoteForwardSpec } from "../forward/spec.ts";
import type { AlgorithmChoice } from "../ssh/algorithms.ts";
import type { AuthMethod } from "../ssh/auth.ts";
import type { StrictHostKeyChecking } from "../ssh/host_keys.ts";

/** One -L, -R or -D. */
export type ForwardRequest =
  | { readonly kind: "local"; readonly spec: LocalForwardSpec }
  | { readonly kind: "remote"; readonly spec: RemoteForwardSpec }
  | { readonly kind: "dynamic"; readonly spec: DynamicForwardSpec };

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
  /** What --proxy says: a URL, which may hold a password, or `env`. */
  proxy?: string;
  /** Milliseconds. */
  connectTimeout?: number;
  strictHostKeyChecking?: StrictHostKeyChecking;
  userKnownHosts?: string[];
  globalKnownHosts?: string[];
  /** Missing where the default identities are meant. */
  identityFiles?: string[];
  identitiesOnly?: boolean;
  identityAgent?: string;
  authMethods?: AuthMethod[];
  disabledMethods: AuthMethod[];
  passwordPrompts?: number;
  batchMode?: boolean;
  algorithms: { -readonly [Kind in keyof AlgorithmChoice]: AlgorithmChoice[Kind] };
  /** In the order in which they were asked for. */
  forwards: ForwardRequest[];
  exitOnForwardFailure?: boolean;
  clearAllForwardings?: boolean;
  /** Whether listeners without a bind address are on all interfaces. */
  gatewayPorts?: boolean;
  /** Permissions to take away from Unix sockets. */
  streamLocalBindMask?: number;
  streamLocalBindUnlink?: boolean;
  /** Where SOCKS clients on the server may connect to, as PermitRemoteOpen has it. */
  permitRemoteOpen?: string[];
  /** What -W connects stdin and stdout to. */
  stdioForward?: Destination;
  /** The command line for the server's shell. */
  command?: string;
  /** The same from RemoteCommand. */
  remoteCommand?: string;
  /** Whether stdin is not read. */
  stdinNull?: boolean;
  /** Whether to go to the background once everything is up. */
  background?: boolean;
  /** Where log lines go instead of stderr. */
  logFile?: string;
  /** How many -v; -1 for -q. */
  verbosity: number;
  json: boolean;
  /** Whether -N was given: a run without a command is meant, even without forwards. */
  noCommand?: boolean;
  /** Whether -F none was given. */
  noConfig: boolean;
}

/** Settings before anything was said. */
export function emptySettings(): Settings {
  return {
    disabledMethods: [],
    algorithms: {},
    forwards: [],
    verbosity: 0,
    json: false,
    noConfig: false,
  };
}
