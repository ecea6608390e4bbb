/**
 * The one thing that forwards know of what carries them: something that can dial.
 *
 * @module
 */
import type { Duplex } from "node:stream";

/** A TCP address, as the side that dials it will resolve it. */
export interface TcpAddress {
  /** A host name, an IPv4 address, or an IPv6 address without brackets. */
  readonly host: string;
  /** A port, 1 to 65535 (0 where a free one may be chosen). */
  readonly port: number;
}

/** Where a forwarded connection goes, seen from the SSH server. */
export type Destination = TcpAddress;

/** What may be said about one dial. */
export interface DialOptions {
  /** Gives the dial up; a channel that is confirmed later is closed at once. */
  signal?: AbortSignal;
  /** Who connected, as the server is told it (RFC 4254 section 7.2); 127.0.0.1 port 0 by default. */
  originator?: TcpAddress;
}

/**
 * Opens streams to destinations. One SSH connection is a dialer, and so is a session that
 * outlives its connections: a forward cannot tell the difference.
 */
export interface Dialer {
  /**
   * Opens one stream to a destination.
   *
   * @param destination Where to; names are resolved on the far side.
   * @param options A signal, and who asks.
   * @returns A stream, open both ways, that half-closes: `end()` ends only the sending side.
   * @throws {ConnectionError} When the far side refuses, or nothing answers in time.
   */
  dial(destination: Destination, options?: DialOptions): Promise<Duplex>;
}

/**
 * The address as people write it: `host:port`, with brackets around an IPv6 address.
 *
 * @param address A host and a port.
 * @returns The text.
 */
export function formatAddress(address: TcpAddress): string {
  return address.host.includes(":")
    ? `[${address.host}]:${address.port}`
    : `${address.host}:${address.port}`;
}
