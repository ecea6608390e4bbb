/**
 * Local forwards: `-L` of ssh(1), a direct-tcpip channel of RFC 4254 section 7.2 for each
 * connection, or OpenSSH's streamlocal channel for a Unix socket.
 *
 * @module
 */
import type { Dialer } from "../dialer.ts";
import { Connections, socketCaller } from "./connections.ts";
import { Forward } from "./forward.ts";
import { Listener, type ListenOptions } from "./listener.ts";
import { relay } from "./relay.ts";
import { formatListen, type LocalForwardSpec } from "./spec.ts";

/**
 * Listens on this machine, and forwards each connection to the destination.
 *
 * @param spec Where to listen and where to forward to.
 * @param dialer What opens the channels.
 * @param options Address family, and what concerns Unix sockets.
 * @returns The forward, listening.
 * @throws {ForwardError} When the address cannot be listened on.
 */
export async function forwardLocal(
  spec: LocalForwardSpec,
  dialer: Dialer,
  options: ListenOptions = {},
): Promise<Forward<LocalForwardSpec>> {
  const connections = new Connections(`-L ${spec.name ?? formatListen(spec.listen)}`, dialer.name);
  const listener = await Listener.bind(
    spec.listen,
    (socket) => {
      const caller = socketCaller(socket);
      connections.run(caller, async ({ gone, cut, traffic }) => {
        const channel = await dialer.dial(spec.destination, {
          originator: caller.address,
          signal: gone,
        });
        return relay(socket, channel, cut, traffic);
      });
    },
    options,
    dialer,
  );
  const forward = new Forward("local", spec, connections, listener);
  connections.label = `-L ${spec.name ?? (forward.port || formatListen(spec.listen))}`;
  return forward;
}
