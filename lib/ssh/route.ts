/**
 * The way to a server: the byte stream that one SSH connection runs over, and what carries it.
 *
 * @module
 */
import type { Duplex } from "node:stream";
import { connectSocket } from "../connect.ts";
import type { SessionError } from "../errors.ts";
import { connectFailure } from "./reasons.ts";

/** Milliseconds for each step of the way when nothing else is said. */
const DEFAULT_TIMEOUT = 30_000;

/** A byte stream to a server, and what carries it. */
export interface Route {
  /** What the SSH connection reads and writes. */
  readonly stream: Duplex;
  /** The IP address that was connected to, where nothing is in between. */
  readonly address?: string | undefined;
  /**
   * Says why the connection failed, where what carries the stream knows better than the stream.
   *
   * @param error What the connection itself knows.
   * @returns The same error, or a better one.
   */
  explain(error: SessionError): Promise<SessionError>;
  /**
   * Ends what carries the stream, once the connection is over.
   *
   * @returns When nothing of it is left. It never rejects; a second call waits for the first.
   */
  close(): Promise<void>;
  /** Breaks all of it off at once; `close` still says when nothing is left. */
  destroy(): void;
}

/** Where to, and how this machine connects. */
export interface RouteOptions {
  /** The server's name or address. */
  readonly host: string;
  /** Its port. */
  readonly port: number;
  /** IPv4 or IPv6 only. */
  readonly family?: 4 | 6;
  /** The local address to connect from. */
  readonly bindAddress?: string;
  /** How often the address is tried, with a second in between; once by default. */
  readonly connectionAttempts?: number;
  /** Whether the system asks a silent peer whether it is still there; it does by default. */
  readonly tcpKeepAlive?: boolean;
  /** Milliseconds for each step; 30,000 by default. */
  readonly connectTimeout?: number;
  /** Gives it up. */
  readonly signal?: AbortSignal;
  /** Called once the server has said anything, or a command that leads to it runs. */
  readonly reached?: (() => void) | undefined;
  /** Milliseconds for the server to take it, where that should be less than `connectTimeout`. */
  readonly reachTimeout?: number | undefined;
}

/**
 * The deadline for one step of the way.
 *
 * @param options What was asked for.
 * @returns Milliseconds.
 */
export function stepTimeout(options: Pick<RouteOptions, "connectTimeout">): number {
  return options.connectTimeout ?? DEFAULT_TIMEOUT;
}

/**
 * The deadline for the server to take the connection.
 *
 * @param options What was asked for.
 * @returns Milliseconds.
 */
export function reachTimeout(
  options: Pick<RouteOptions, "connectTimeout" | "reachTimeout">,
): number {
  return Math.min(stepTimeout(options), options.reachTimeout ?? Infinity);
}

/**
 * Connects straight to the server.
 *
 * @param options Where to, and how.
 * @returns The way there.
 * @throws {SessionError} When it cannot be connected to.
 */
export async function directRoute(options: RouteOptions): Promise<Route> {
  const { family, bindAddress, connectionAttempts, tcpKeepAlive = true, signal } = options;
  const socket = await connectSocket(options, {
    family,
    bindAddress,
    attempts: connectionAttempts,
    timeout: reachTimeout(options),
    lends: true,
    signal,
  }).catch((error) => {
    throw connectFailure(error);
  });
  socket.setKeepAlive(tcpKeepAlive);
  return {
    stream: socket,
    address: socket.remoteAddress,
    explain: (error) => Promise.resolve(error),
    close: () => Promise.resolve(),
    destroy: () => socket.destroy(),
  };
}
