/**
 * Listening for the connections of a forward.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { createServer, type Server, type Socket } from "node:net";
import { type Address, type Dialer, formatAddress, type TcpAddress } from "../dialer.ts";
import { ForwardError, messageOf, systemCodeOf } from "../errors.ts";
import { mayListen } from "../runtime.ts";
import { Backlog } from "./backlog.ts";
import type { ListenAddress } from "./spec.ts";
import { ACCEPTING, listenUnix, type UnixListenOptions } from "./unix_listener.ts";

/** What may be said about a listener. */
export interface ListenOptions extends UnixListenOptions {
  /** Gives the listener up while its address is looked up and bound. */
  readonly signal?: AbortSignal;
  /** IPv4 or IPv6 only. */
  readonly family?: 4 | 6;
  /** Whether a forward without a bind address listens on all interfaces (`-g` of ssh(1)). */
  readonly gatewayPorts?: boolean;
}

/** Ports below this one need a privilege on most systems. */
const FIRST_UNPRIVILEGED_PORT = 1024;
/** How often to look for a port that is free on every address asked for. */
const PORT_TRIES = 20;

/** A bound listener: one port of one or more addresses, or a Unix socket. */
export class Listener {
  readonly #servers: readonly Server[];
  readonly #backlog: Backlog | undefined;
  /** Where it listens, with the real port. */
  readonly addresses: readonly Address[];

  private constructor(
    servers: readonly Server[],
    addresses: readonly Address[],
    backlog: Backlog | undefined,
  ) {
    this.#servers = servers;
    this.addresses = addresses;
    this.#backlog = backlog;
  }

  /**
   * Binds and listens.
   *
   * @param where A Unix socket, or a port. Its bind address is an address or a name, or `*` for
   *   all interfaces; without one it is loopback, both 127.0.0.1 and ::1 where the machine has
   *   them, as in ssh. Port 0 takes a free one, the same on every address.
   * @param accept Called with each connection. Its sides end one by one, and it is read up to
   *   64 KiB whether or not anybody listens: who is not read from could leave unnoticed.
   * @param options Address family, and what concerns Unix sockets.
   * @param dialer Where it can tell that there is no room, connections wait, unread, until there is.
   * @returns The listener.
   * @throws {ForwardError} `address-in-use`, `privileged-port`, `address-not-available` or
   *   `name-not-found`.
   */
  static async bind(
    where: ListenAddress,
    accept: (socket: Socket) => void,
    options: ListenOptions = {},
    dialer: Pick<Dialer, "room"> = {},
  ): Promise<Listener> {
    const backlog = dialer.room && new Backlog(() => dialer.room?.(), accept);
    const enter = backlog === undefined ? accept : (socket: Socket) => backlog.add(socket);
    const unread = { ...options, pauseOnConnect: backlog !== undefined };
    const servers = "path" in where
      ? [await listenUnix(where.path, enter, unread)]
      : await listenTcp(where, enter, unread);
    if (options.signal?.aborted) {
      backlog?.close();
      await closeAll(servers);
      throw new ForwardError("listening was cancelled", { code: "cancelled" });
    }
    const addresses = "path" in where ? [where] : servers.map(addressOf);
    backlog?.name(addresses.map(formatAddress).join(", "));
    return new Listener(servers, addresses, backlog);
  }

  /**
   * Stops accepting. Connections that were accepted go on; those for which there was no room are
   * reset.
   *
   * @returns When the port is free again.
   */
  close(): Promise<void> {
    this.#backlog?.close();
    return closeAll(this.#servers);
  }
}

async function listenTcp(
  where: { readonly bind?: string; readonly port: number },
  accept: (socket: Socket) => void,
  options: ListenOptions & { readonly pauseOnConnect: boolean },
): Promise<readonly Server[]> {
  const { pauseOnConnect } = options;
  const { bind = options.gatewayPorts ? "*" : undefined, port } = where;
  const hosts = await hostsOf(bind, port, options);
  for (let tries = 1;; tries++) {
    const servers: Server[] = [];
    try {
      for (const [index, { host, dispensable, ...flags }] of hosts.entries()) {
        // Port 0 is settled by the first address; the others follow it.
        const wanted = servers[0] === undefined ? port : addressOf(servers[0]).port;
        try {
          servers.push(await listen({ host, port: wanted, ...flags, pauseOnConnect }, accept));
        } catch (error) {
          const needed = servers.length === 0 && index === hosts.length - 1;
          if (needed || !dispensable?.(error)) throw error;
        }
      }
      return servers;
    } catch (error) {
      await closeAll(servers);
      const retry = port === 0 && tries < PORT_TRIES && isInUse(error);
      if (!retry) throw bindFailure(error, bind, port);
    }
  }
}

interface Host {
  readonly host: string;
  /** Whether an IPv6 address leaves IPv4 alone. Deno 2.9 does not do it. */
  readonly ipv6Only?: boolean;
  /** Whether the other addresses are enough, when this one fails so. */
  readonly dispensable?: (error: unknown) => boolean;
}

async function hostsOf(
  bind: string | undefined,
  port: number,
  options: ListenOptions,
): Promise<readonly Host[]> {
  const wanted = ({ host }: Host) =>
    options.family === undefined || host.includes(":") === (options.family === 6);
  if (bind === undefined || bind === "localhost") {
    const dispensable = (error: unknown) => isMissing(error) || isNotPermitted(error);
    return [{ host: "127.0.0.1" }, { host: "::1", dispensable }].filter(wanted);
  }
  if (bind === "*") {
    // Where one socket serves both families, the other one finds its address in use: by us.
    return [
      { host: "::", ipv6Only: options.family === 6, dispensable: isMissing },
      { host: "0.0.0.0", dispensable: isInUse },
    ].filter(wanted);
  }
  try {
    const found = await lookup(bind, { all: true, family: options.family ?? 0 });
    return found.map(({ address }) => ({ host: address, ipv6Only: true }));
  } catch (error) {
    throw new ForwardError(
      `cannot listen on ${formatAddress({ host: bind, port })}: no such host`,
      {
        code: "name-not-found",
        hint: "check the bind address; without one, fairlead listens on loopback",
        cause: error,
      },
    );
  }
}

async function listen(
  address: TcpAddress & { ipv6Only?: boolean; pauseOnConnect: boolean },
  accept: (socket: Socket) => void,
): Promise<Server> {
  // Deno would throw where nobody can catch it.
  if (!mayListen(address.host, address.port)) throw notPermitted(address);
  return await new Promise((resolve, reject) => {
    const { pauseOnConnect, ...where } = address;
    const server = createServer({ ...ACCEPTING, pauseOnConnect, noDelay: true }, accept);
    server.once("error", reject);
    server.listen(where, () => {
      server.removeAllListeners("error");
      // What happens to one accept() later (too many open files) must not end the process.
      server.on("error", () => {});
      resolve(server);
    });
  });
}

function notPermitted(address: TcpAddress): ForwardError {
  const where = formatAddress(address);
  return new ForwardError(`cannot listen on ${where}: Deno's --allow-net does not name it`, {
    code: "not-permitted",
    hint: `add it: --allow-net=…,${address.port === 0 ? address.host : where}`,
  });
}

function isNotPermitted(error: unknown): boolean {
  return error instanceof ForwardError && error.code === "not-permitted";
}

/** EINVAL is what Deno 2.9 says for an address that no interface has. */
function isMissing(error: unknown): boolean {
  const codes = ["EADDRNOTAVAIL", "EAFNOSUPPORT", "EINVAL"];
  return codes.includes(systemCodeOf(error) ?? "");
}

function isInUse(error: unknown): boolean {
  return systemCodeOf(error) === "EADDRINUSE";
}

function bindFailure(error: unknown, bind: string | undefined, port: number): ForwardError {
  if (error instanceof ForwardError) return error;
  const where = formatAddress({ host: bind ?? "localhost", port });
  switch (systemCodeOf(error)) {
    case "EADDRINUSE":
      return new ForwardError(`cannot listen on ${where}: the address is in use`, {
        code: "address-in-use",
        hint: "another program listens there; choose another port, or 0 for a free one",
        cause: error,
      });
    case "EACCES":
      if (port >= FIRST_UNPRIVILEGED_PORT) break;
      return new ForwardError(
        `cannot listen on ${where}: ports below ${FIRST_UNPRIVILEGED_PORT} need a privilege`,
        {
          code: "privileged-port",
          hint: `use another port, such as ${port + 8000}; or give the program the capability ` +
            "(setcap cap_net_bind_service=+ep); or lower the limit " +
            `(sysctl net.ipv4.ip_unprivileged_port_start=${port})`,
          cause: error,
        },
      );
  }
  if (isMissing(error)) {
    return new ForwardError(`cannot listen on ${where}: this machine has no such address`, {
      code: "address-not-available",
      hint: "check the bind address; without one, fairlead listens on loopback",
      cause: error,
    });
  }
  return new ForwardError(`cannot listen on ${where}: ${messageOf(error)}`, {
    code: "address-not-available",
    cause: error,
  });
}

function addressOf(server: Server): TcpAddress {
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("not a TCP listener");
  return { host: address.address, port: address.port };
}

async function closeAll(servers: readonly Server[]): Promise<void> {
  await Promise.all(servers.map((server) =>
    new Promise<void>((resolve) => {
      // The callback waits for every connection; closing the port does not.
      server.close();
      setImmediate(resolve);
    })
  ));
}
