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
export { connect, type ConnectOptions, Tunnel } from "./lib/tunnel/tunnel.ts";
export { LocalForward } from "./lib/forward/local.ts";
export type { CloseOptions, ConnectionStats } from "./lib/forward/connections.ts";
export type { ListenOptions } from "./lib/forward/listener.ts";
export {
  formatLocalForward,
  type LocalForwardSpec,
  parseLocalForward,
} from "./lib/forward/spec.ts";
export type { Destination, Dialer, DialOptions, TcpAddress } from "./lib/dialer.ts";
export {
  ConnectionError,
  type ErrorCode,
  type ErrorDetails,
  FairleadError,
  ForwardError,
  SessionError,
} from "./lib/errors.ts";
export type { AlgorithmChoice, Algorithms } from "./lib/ssh/algorithms.ts";
export type { AuthMethod } from "./lib/ssh/auth.ts";
export type { StrictHostKeyChecking } from "./lib/ssh/host_keys.ts";
export type { Prompter, Question, UnknownHostKey } from "./lib/ssh/prompter.ts";
