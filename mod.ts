/**
 * SSH port forwarding that keeps its promises, as a library.
 *
 * {@linkcode connect} opens a session; its tunnel listens ({@linkcode Tunnel.forwardLocal}) or opens
 * single streams ({@linkcode Tunnel.dial}).
 *
 * @example
 * ```ts
 * import { connect } from "@fairlead/fairlead";
 *
 * await using tunnel = await connect({ host: "other.example.com" });
 * const mail = await tunnel.forwardLocal("0:mail.example.com:110");
 * console.log("POP3 on port", mail.port);
 * ```
 *
 * @module
 */
export { connect, type ConnectOptions, Tunnel, type TunnelOptions } from "./lib/tunnel/tunnel.ts";
export type {
  ConnectionsChange,
  SessionOptions,
  SessionState,
  StateChange,
} from "./lib/session/options.ts";
export { Forward } from "./lib/forward/forward.ts";
export type { CloseOptions, ConnectionStats, OpenConnection } from "./lib/forward/connections.ts";
export type { ListenOptions } from "./lib/forward/listener.ts";
export type { RemoteOptions } from "./lib/forward/remote.ts";
export {
  type DynamicForwardSpec,
  formatForward,
  type ForwardSpec,
  type ListenAddress,
  type LocalForwardSpec,
  type NamedSpec,
  parseDestination,
  parseDynamicForward,
  parseLocalForward,
  parseRemoteForward,
  type RemoteForwardSpec,
} from "./lib/forward/spec.ts";
export type { UnixListenOptions } from "./lib/forward/unix_listener.ts";
export type {
  Address,
  Destination,
  Dialer,
  DialOptions,
  Incoming,
  RemoteListener,
  TcpAddress,
  UnixAddress,
} from "./lib/dialer.ts";
export {
  type ForwardRequest,
  type SshConfig,
  sshConfig,
  type SshConfigOptions,
} from "./lib/ssh_config/ssh_config.ts";
export type { CommandExit, RemoteCommand } from "./lib/ssh/command.ts";
export type { ConnectionInfo } from "./lib/ssh/connection_info.ts";
export {
  ConnectionError,
  type ErrorCode,
  type ErrorDetails,
  FairleadError,
  ForwardError,
  SessionError,
  UsageError,
} from "./lib/errors.ts";
export type { AlgorithmChoice, Algorithms } from "./lib/ssh/algorithms.ts";
export type { RekeyLimit } from "./lib/ssh/rekey.ts";
export type { AuthMethod } from "./lib/ssh/auth.ts";
export type { NamedKey } from "./lib/ssh/identities.ts";
export type { StrictHostKeyChecking } from "./lib/ssh/host_keys.ts";
export type { Prompter, Question, UnknownHostKey } from "./lib/ssh/prompter.ts";
