/**
 * Dynamic forwards: `-D` of ssh(1), a SOCKS server (RFC 1928, SOCKS 4 and 4a) whose clients say
 * where to. Names are resolved on the far side.
 *
 * @module
 */
import type { Dialer } from "../dialer.ts";
import { codeOf } from "../errors.ts";
import { Connections, socketCaller } from "./connections.ts";
import { Forward } from "./forward.ts";
import { Listener, type ListenOptions } from "./listener.ts";
import { relay } from "./relay.ts";
import { acceptSocks } from "./socks_accept.ts";
import { type DynamicForwardSpec, formatListen } from "./spec.ts";

/**
 * Listens for SOCKS clients on this machine, and forwards each connection to where its client says.
 *
 * The client is answered only when the channel is confirmed or refused, so that it learns the
 * reason; OpenSSH answers before.
 *
 * @param spec Where to listen.
 * @param dialer What opens the channels.
 * @param options Address family.
 * @returns The forward, listening.
 * @throws {ForwardError} When the address cannot be listened on.
 */
export async function forwardDynamic(
  spec: DynamicForwardSpec,
  dialer: Dialer,
  options: ListenOptions = {},
): Promise<Forward<DynamicForwardSpec>> {
  const connections = new Connections(`-D ${spec.name ?? formatListen(spec.listen)}`, dialer.name);
  const listener = await Listener.bind(
    spec.listen,
    (socket) => {
      const caller = socketCaller(socket);
      connections.run(caller, async ({ gone, cut, traffic }) => {
        const client = await acceptSocks(socket, { signal: gone });
        try {
          const channel = await dialer.dial(client.destination, {
            originator: caller.address,
            signal: gone,
          });
          client.grant();
          return await relay(socket, channel, cut, traffic);
        } catch (error) {
          await client.refuse(codeOf(error));
          throw error;
        }
      });
    },
    options,
    dialer,
  );
  const forward = new Forward("dynamic", spec, connections, listener);
  connections.label = `-D ${spec.name ?? (forward.port || formatListen(spec.listen))}`;
  return forward;
}
