/**
 * Connecting from this machine.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { connect, type NetConnectOpts, type Socket } from "node:net";
import {
  type Address,
  formatAddress,
  isUnix,
  type TcpAddress,
  type UnixAddress,
} from "./dialer.ts";
import { ConnectionError, type ErrorCode, messageOf, systemCodeOf } from "./errors.ts";
import { logger } from "./log.ts";

const log = logger("connect");

/** Milliseconds for each address when nothing else is said. */
const DEFAULT_TIMEOUT = 30_000;

/** What may be said about one connection. */
export interface ConnectSocketOptions {
  /** IPv4 or IPv6 only. */
  readonly family?: 4 | 6 | undefined;
  /** The local address to connect from. */
  readonly bindAddress?: string | undefined;
  /** Milliseconds for each of the name's addresses; 30,000 by default. */
  readonly timeout?: number | undefined;
  /** Gives the attempt up. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Connects to a TCP address or a Unix socket, trying each of a name's addresses in turn.
 *
 * @param address Where to.
 * @param options Family, local address, deadline, signal.
 * @returns A connected socket that half-closes, without Nagle's algorithm.
 * @throws {ConnectionError} `name-not-found`, `connect-refused`, `unreachable`, `timeout`,
 *   `connect-failed` or `cancelled`.
 */
export async function connectSocket(
  address: Address,
  options: ConnectSocketOptions = {},
): Promise<Socket> {
  let last: unknown = new Error("no address");
  for (const target of await resolve(address, options)) {
    if (options.signal?.aborted) break;
    try {
      log.debug("connecting to {address}", { address: formatAddress(target) });
      return await attempt(target, options);
    } catch (error) {
      last = error;
    }
  }
  throw connectFailure(last, address, options);
}

async function resolve(address: Address, options: ConnectSocketOptions): Promise<Address[]> {
  if (isUnix(address)) return [address];
  try {
    const found = await lookup(address.host, { all: true, family: options.family ?? 0 });
    return found.map(({ address: host }) => ({ host, port: address.port }));
  } catch (error) {
    const family = options.family === undefined ? "" : ` as an IPv${options.family} address`;
    throw new ConnectionError(`could not resolve the host name ${address.host}${family}`, {
      code: "name-not-found",
      cause: error,
    });
  }
}

function attempt(address: Address, options: ConnectSocketOptions): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const { timeout = DEFAULT_TIMEOUT, signal } = options;
    const socket = connect({ ...target(address, options), allowHalfOpen: true, noDelay: true });
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
      socket.off("error", fail);
      settle();
    };
    const fail = (error: unknown) => {
      finish(() => reject(error));
      // A destroyed socket may still report; nobody is left to care.
      socket.on("error", () => {});
      socket.destroy();
    };
    const cancel = () => fail(signal?.reason);
    const timer = setTimeout(
      () => fail(Object.assign(new Error("no answer"), { code: "ETIMEDOUT" })),
      timeout,
    );
    socket.once("error", fail);
    socket.once("connect", () => finish(() => resolve(socket)));
    signal?.addEventListener("abort", cancel, { once: true });
  });
}

function target(address: TcpAddress | UnixAddress, options: ConnectSocketOptions): NetConnectOpts {
  if (isUnix(address)) return { path: address.path };
  const { bindAddress } = options;
  return { ...address, ...(bindAddress === undefined ? {} : { localAddress: bindAddress }) };
}

function connectFailure(
  error: unknown,
  address: Address,
  options: ConnectSocketOptions,
): ConnectionError {
  const where = formatAddress(address);
  const failure = (code: ErrorCode, words: string) =>
    new ConnectionError(`${where} ${words}`, { code, cause: error });
  if (options.signal?.aborted) {
    return new ConnectionError(`connecting to ${where} was cancelled`, { code: "cancelled" });
  }
  const code = systemCodeOf(error) ?? "";
  // EINVAL is what Deno 2.9 says for an address that no interface has.
  if (options.bindAddress !== undefined && ["EADDRNOTAVAIL", "EINVAL"].includes(code)) {
    return new ConnectionError(
      `this machine has no address ${options.bindAddress} to connect from`,
      { code: "address-not-available", cause: error },
    );
  }
  switch (code) {
    case "ECONNREFUSED":
      return failure("connect-refused", "refused the connection");
    case "ENOENT":
      return failure("connect-refused", "does not exist");
    case "ETIMEDOUT":
      return failure(
        "timeout",
        `did not answer within ${(options.timeout ?? DEFAULT_TIMEOUT) / 1000} s`,
      );
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return failure("unreachable", "is unreachable from here");
    default:
      return failure("connect-failed", `could not be connected to: ${messageOf(error)}`);
  }
}
