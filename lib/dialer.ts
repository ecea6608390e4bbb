/**
 * The one thing that forwards know of what carries them: something that can dial, and that can
 * listen on the far side.
 *
 * @module
 */
import type { Duplex } from "node:stream";

/** A TCP address, as the side that uses it will resolve it. */
export interface TcpAddress {
  /** A host name, an IPv4 address, or an IPv6 address without brackets. */
  readonly host: string;
  /** A port, 1 to 65535 (0 where a free one may be chosen). */
  readonly port: number;
}

/** A Unix socket. */
export interface UnixAddress {
  /** Its path in the file system of the side that uses it. */
  readonly path: string;
}

/** A TCP address or a Unix socket. */
export type Address = TcpAddress | UnixAddress;

/** Where a forwarded connection goes, seen from the side that connects to it. */
export type Destination = Address;

/** What may be said about one dial. */
export interface DialOptions {
  /** Gives the dial up; a channel that is confirmed later is closed at once. */
  signal?: AbortSignal;
  /** Who connected, as the server is told it (RFC 4254 section 7.2); 127.0.0.1 port 0 by default. */
  originator?: TcpAddress;
}

/** A connection that came in on the far side and waits for an answer. */
export interface Incoming {
  /** Who connected there, as the server says; undefined for a Unix socket. */
  readonly originator: TcpAddress | undefined;
  /** Takes it. */
  accept(): Duplex;
  /** Refuses it (RFC 4254 section 5.1, SSH_OPEN_CONNECT_FAILED). */
  refuse(): void;
}

/** A listener on the far side. */
export interface RemoteListener {
  /** Where it listens, with the port that the far side chose where 0 was asked for. */
  readonly address: Address;
  /** Ends it; connections that it accepted go on. It never rejects. */
  close(): Promise<void>;
}

/**
 * Opens streams to destinations, and listens on the far side. One SSH connection is a dialer, and
 * so is a session that outlives its connections: a forward cannot tell the difference.
 */
export interface Dialer {
  /** The tunnel behind it, where log records are to name one (their property `tunnel`). */
  readonly name?: string | undefined;
  /**
   * Opens one stream to a destination.
   *
   * @param destination Where to; names are resolved on the far side.
   * @param options A signal, and who asks.
   * @returns A stream, open both ways, that half-closes: `end()` ends only the sending side.
   * @throws {ConnectionError} When the far side refuses, or nothing answers in time.
   */
  dial(destination: Destination, options?: DialOptions): Promise<Duplex>;
  /**
   * Listens on the far side.
   *
   * @param address Where; an empty host means all its interfaces, port 0 a free one.
   * @param accept Called with each connection that comes in there.
   * @param options A signal that gives the request up; a listener that comes later is ended.
   * @returns The listener.
   * @throws {ForwardError} When the far side refuses.
   */
  listen(
    address: Address,
    accept: (incoming: Incoming) => void,
    options?: { signal?: AbortSignal },
  ): Promise<RemoteListener>;
  /**
   * Whether one more caller may come in while nothing can be dialled. Until then a listener leaves
   * its callers in its backlog, unread.
   *
   * @returns undefined where there is room; otherwise what settles when it is worth asking again.
   */
  room?(): Promise<void> | undefined;
}

/**
 * Tells a Unix socket from a TCP address.
 *
 * @param address Either.
 * @returns Whether it is a Unix socket.
 */
export function isUnix(address: Address): address is UnixAddress {
  return "path" in address;
}

/**
 * Tells whether a bind address means every interface, in any of the forms that servers echo.
 *
 * @param host The bind address.
 * @returns Whether it is no particular one.
 */
export function isAnyInterface(host: string): boolean {
  return ["", "*", "0.0.0.0", "::"].includes(host);
}

/**
 * Tells whether an address is this machine's own.
 *
 * @param host An IP address.
 * @returns Whether it is one of loopback.
 */
export function isLoopback(host: string): boolean {
  return host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/**
 * The address as people write it: `host:port` with brackets around an IPv6 address, or a path.
 *
 * @param address A host and port, or a Unix socket.
 * @returns The text.
 */
export function formatAddress(address: Address): string {
  if (isUnix(address)) return address.path;
  return address.host.includes(":")
    ? `[${address.host}]:${address.port}`
    : `${address.host}:${address.port}`;
}
