/**
 * Connections that a client has the server make: direct-tcpip of RFC 4254 section 7.2 (`ssh -L`,
 * `-D`, `-W`, `-J`), and OpenSSH's direct-streamlocal for a Unix socket.
 *
 * @module
 */
import type { Socket } from "node:net";
import { connectSocket } from "../connect.ts";
import { type Address, formatAddress, isUnix } from "../dialer.ts";
import { logger } from "../log.ts";
import { carry } from "./channels.ts";
import type { Context } from "./context.ts";
import type { AcceptChannel } from "./engine.ts";
import { permits } from "./policy.ts";
import { printable } from "./printable.ts";
import {
  CONNECT_FAILED,
  PROHIBITED,
  type Refusal,
  refusalOf,
  RESOURCE_SHORTAGE,
} from "./refusal.ts";
import { socketPath } from "./socket_path.ts";

const log = logger("server");

/**
 * Connects to a destination, and carries bytes until that is over.
 *
 * @param context The client.
 * @param destination Where it wants to.
 * @param accept Confirms its channel.
 * @param reject Refuses it.
 */
export async function direct(
  context: Context,
  destination: Address,
  accept: AcceptChannel,
  reject: () => void,
): Promise<void> {
  const { channels, gone, peer, policy } = context;
  const id = `${peer} -> ${printable(formatAddress(destination))}`;
  const refuse = (refusal: Refusal) => {
    log.info("{id}: refused: {reason}", { id, reason: refusal.description });
    channels.refuse(reject, refusal);
  };
  const refusal = whyNot(context, destination);
  if (refusal !== undefined) return refuse(refusal);
  let socket: Socket;
  try {
    // What was judged, and not what another spelling of it may lead to.
    const target = isUnix(destination) ? { path: socketPath(destination) ?? "" } : destination;
    socket = await connectSocket(target, { timeout: policy.connectTimeout, signal: gone });
  } catch (error) {
    return refuse(refusalOf(error));
  }
  if (context.lost) {
    socket.destroy();
    return;
  }
  await carry({ id, channel: channels.accept(accept), socket, other: "the destination" });
}

function whyNot(context: Context, destination: Address): Refusal | undefined {
  const { channels, policy, username } = context;
  if (context.draining) {
    return { reason: RESOURCE_SHORTAGE, description: "the server is shutting down" };
  }
  if (channels.isFull(1)) {
    return { reason: RESOURCE_SHORTAGE, description: "too many channels are open" };
  }
  if (isUnix(destination)) {
    const path = socketPath(destination);
    if (path === undefined) {
      return { reason: CONNECT_FAILED, description: "not an absolute path" };
    }
    if (!permits(() => policy.allowStreamLocal(path, username, "connect"))) {
      return { reason: PROHIBITED, description: "this Unix socket is not allowed" };
    }
    return undefined;
  }
  const { host, port } = destination;
  if (host === "" || host.length > 255 || port < 1 || port > 65535) {
    return { reason: CONNECT_FAILED, description: "not a TCP address" };
  }
  if (!permits(() => policy.allow(destination, username))) {
    return { reason: PROHIBITED, description: "this destination is not allowed" };
  }
  return undefined;
}
