/**
 * The TCP connection below an SSH connection.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { connect, type Socket } from "node:net";
import { formatAddress, type TcpAddress } from "../dialer.ts";
import { messageOf, SessionError, systemCodeOf } from "../errors.ts";
import { logger } from "../log.ts";

const log = logger("ssh");

/** What may be said about one TCP connection. */
export interface TcpOptions {
  /** IPv4 or IPv6 only. */
  readonly family?: 4 | 6;
  /** The local address to connect from. */
  readonly bindAddress?: string;
  /** Milliseconds for each of the name's addresses. */
  readonly timeout: number;
  /** Gives the attempt up. */
  readonly signal?: AbortSignal;
}

/**
 * Connects to a server, trying each of its addresses in turn.
 *
 * @param server Its name or address, and its port.
 * @param options Family, local address, deadline, signal.
 * @returns A connected socket.
 * @throws {SessionError} `name-not-found`, `connect-refused`, `unreachable`, `timeout`,
 *   `connect-failed` or `cancelled`.
 */
export async function connectTcp(server: TcpAddress, options: TcpOptions): Promise<Socket> {
  let last: unknown;
  for (const address of await resolve(server, options)) {
    if (options.signal?.aborted) break;
    try {
      log.debug("connecting to {address}", { address: formatAddress(address) });
      return await attempt(address, options);
    } catch (error) {
      last = error;
    }
  }
  throw connectFailure(last, server, options);
}

async function resolve(server: TcpAddress, options: TcpOptions): Promise<TcpAddress[]> {
  try {
    const found = await lookup(server.host, { all: true, family: options.family ?? 0 });
    if (found.length > 0) return found.map(({ address }) => ({ host: address, port: server.port }));
    throw new Error("no address");
  } catch (error) {
    const family = options.family === undefined ? "" : ` as an IPv${options.family} address`;
    throw new SessionError(`could not resolve the host name ${server.host}${family}`, {
      code: "name-not-found",
      hint: "check the spelling, or give the server's address",
      cause: error,
    });
  }
}

function attempt(address: TcpAddress, options: TcpOptions): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: address.host,
      port: address.port,
      ...(options.bindAddress === undefined ? {} : { localAddress: options.bindAddress }),
    });
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", cancel);
      socket.off("error", fail);
      settle();
    };
    const fail = (error: unknown) => {
      finish(() => reject(error));
      // A destroyed socket may still report; nobody is left to care.
      socket.on("error", () => {});
      socket.destroy();
    };
    const cancel = () => fail(options.signal?.reason);
    const timer = setTimeout(
      () => fail(Object.assign(new Error("no answer"), { code: "ETIMEDOUT" })),
      options.timeout,
    );
    socket.once("error", fail);
    socket.once("connect", () => finish(() => resolve(socket)));
    options.signal?.addEventListener("abort", cancel, { once: true });
  });
}

function connectFailure(error: unknown, server: TcpAddress, options: TcpOptions): SessionError {
  const where = formatAddress(server);
  if (options.signal?.aborted) {
    return new SessionError(`connecting to ${where} was cancelled`, { code: "cancelled" });
  }
  const code = systemCodeOf(error) ?? "";
  // EINVAL is what Deno 2.9 says for an address that no interface has.
  if (options.bindAddress !== undefined && ["EADDRNOTAVAIL", "EINVAL"].includes(code)) {
    return new SessionError(`this machine has no address ${options.bindAddress} to connect from`, {
      code: "address-not-available",
      hint: "check -b, or leave it out",
      cause: error,
    });
  }
  switch (code) {
    case "ECONNREFUSED":
      return new SessionError(`${where} refused the connection`, {
        code: "connect-refused",
        hint: "check the port (-p) and that an SSH server is running there",
        cause: error,
      });
    case "ETIMEDOUT":
      return new SessionError(`${where} did not answer within ${options.timeout / 1000} s`, {
        code: "timeout",
        hint: "a firewall may be dropping the connection; check host and port",
        cause: error,
      });
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return new SessionError(`${where} is unreachable from here`, {
        code: "unreachable",
        hint: "check the network, a VPN, or -4 and -6",
        cause: error,
      });
    default:
      return new SessionError(`could not connect to ${where}: ${messageOf(error)}`, {
        code: "connect-failed",
        cause: error,
      });
  }
}
