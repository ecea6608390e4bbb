/**
 * Remote forwards: `-R` of ssh(1), a forwarded-tcpip channel of RFC 4254 section 7.2 for each
 * connection that comes in on the server, or OpenSSH's streamlocal channel for a Unix socket.
 *
 * @module
 */
import { connectSocket } from "../connect.ts";
import {
  type Address,
  type Destination,
  type Dialer,
  formatAddress,
  type Incoming,
  isUnix,
} from "../dialer.ts";
import { codeOf, ConnectionError } from "../errors.ts";
import { type Connection, Connections, remoteCaller } from "./connections.ts";
import { Forward } from "./forward.ts";
import { abort, relay } from "./relay.ts";
import { acceptSocks } from "./socks_accept.ts";
import { formatListen, type ListenAddress, type RemoteForwardSpec } from "./spec.ts";

/** What may be said about a remote forward. */
export interface RemoteOptions {
  /** Gives the forward up while the server is asked for it. */
  readonly signal?: AbortSignal;
  /**
   * Where a SOCKS client on the server may connect to (PermitRemoteOpen of ssh_config(5)), as
   * `host:port` with `*` for any host or any port; everywhere by default.
   */
  readonly permitRemoteOpen?: readonly string[];
}

/**
 * Has the server listen, and forwards each connection to a destination that this machine reaches.
 *
 * @param spec Where the server listens, and where to forward to.
 * @param dialer What listens on the far side.
 * @param options Where SOCKS clients may connect to.
 * @returns The forward, listening.
 * @throws {ForwardError} When the server refuses.
 */
export async function forwardRemote(
  spec: RemoteForwardSpec,
  dialer: Dialer,
  options: RemoteOptions = {},
): Promise<Forward<RemoteForwardSpec>> {
  const connections = new Connections(`-R ${spec.name ?? formatListen(spec.listen)}`, dialer.name);
  const { destination } = spec;
  const listener = await dialer.listen(farAddress(spec.listen), (incoming) => {
    connections.run(remoteCaller(incoming), async ({ gone, cut, traffic }) => {
      if (destination === undefined) return await proxy(incoming, { gone, cut, traffic }, options);
      const socket = await connectSocket(destination, { signal: gone });
      try {
        return await relay(incoming.accept(), socket, cut, traffic);
      } catch (error) {
        // The SSH connection was lost meanwhile.
        abort(socket);
        throw error;
      }
    });
  }, options.signal === undefined ? {} : { signal: options.signal });
  const forward = new Forward("remote", spec, connections, {
    addresses: [nearAddress(listener.address)],
    close: () => listener.close(),
  });
  connections.label = `-R ${spec.name ?? (forward.port || formatListen(spec.listen))}`;
  return forward;
}

/** Reverse SOCKS: the client on the server says where to. */
async function proxy(
  incoming: Incoming,
  { gone, cut, traffic }: Connection,
  { permitRemoteOpen }: RemoteOptions,
): ReturnType<typeof relay> {
  const channel = incoming.accept();
  const left = new AbortController();
  const leave = () => left.abort();
  // Until the relay listens, an error would be one that nobody handles.
  channel.on("error", leave);
  channel.once("close", leave);
  // Also while a client that is refused takes its answer.
  cut.addEventListener("abort", () => channel.destroy());
  const signal = AbortSignal.any([gone, left.signal]);
  const caller = await acceptSocks(channel, { signal: gone });
  try {
    if (!isPermitted(caller.destination, permitRemoteOpen)) {
      throw new ConnectionError(
        `PermitRemoteOpen does not allow ${formatAddress(caller.destination)}`,
        { code: "forwarding-prohibited" },
      );
    }
    const socket = await connectSocket(caller.destination, { signal });
    caller.grant();
    return await relay(channel, socket, cut, traffic);
  } catch (error) {
    await caller.refuse(codeOf(error));
    throw error;
  }
}

/** A bind address in the words of RFC 4254 section 7.1. */
function farAddress(listen: ListenAddress): Address {
  if ("path" in listen) return listen;
  const { bind = "localhost", port } = listen;
  return { host: bind === "*" ? "" : bind, port };
}

/** The same in the words of -R, with the port that the server chose. */
function nearAddress(address: Address): Address {
  return isUnix(address) || address.host !== "" ? address : { ...address, host: "*" };
}

function isPermitted(destination: Destination, permitted: readonly string[] | undefined): boolean {
  if (permitted === undefined || permitted.includes("any")) return true;
  if (isUnix(destination)) return false;
  return permitted.some((entry) => {
    const colon = entry.lastIndexOf(":");
    const host = entry.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
    const port = entry.slice(colon + 1);
    return (host === "*" || host.toLowerCase() === destination.host.toLowerCase()) &&
      (port === "*" || port === String(destination.port));
  });
}
