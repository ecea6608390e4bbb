/**
 * What a server's owner lets clients do once they are in.
 *
 * @module
 */
import type { TcpAddress } from "../dialer.ts";
import { messageOf } from "../errors.ts";
import { logger } from "../log.ts";

const log = logger("server");

/**
 * Where remote forwards listen, as GatewayPorts of sshd_config(5): `no` for loopback whatever the
 * client asks for, `yes` for all interfaces whatever it asks for, `clientspecified` for what it
 * asks for.
 */
export type GatewayPorts = "no" | "yes" | "clientspecified";

/** What a client does with a Unix socket: it connects to one, or has the server listen on one. */
export type StreamLocalUse = "connect" | "listen";

/** What clients may have the server connect to, and listen on. */
export interface ForwardingPolicy {
  /** Says whether a user may have connections to a destination. */
  readonly allow: (destination: TcpAddress, username: string) => boolean;
  /** Says whether a user may have the server listen on an address. */
  readonly allowListen: (address: TcpAddress, username: string) => boolean;
  /** Says whether a user may use a Unix socket; the path is absolute and has no `..` in it. */
  readonly allowStreamLocal: (path: string, username: string, use: StreamLocalUse) => boolean;
  /** Where remote forwards listen. */
  readonly gatewayPorts: GatewayPorts;
  /** Whether a socket file that nobody listens on gives way. */
  readonly streamLocalBindUnlink: boolean;
  /** Milliseconds for connecting to a destination. */
  readonly connectTimeout: number;
}

/**
 * Asks the owner. A question that fails is answered with no.
 *
 * @param question Calls what the owner gave us.
 * @returns Whether the answer was yes.
 */
export function permits(question: () => boolean): boolean {
  try {
    return question() === true;
  } catch (error) {
    log.error("cannot judge what a client asks for: {reason}", { reason: messageOf(error) });
    return false;
  }
}
