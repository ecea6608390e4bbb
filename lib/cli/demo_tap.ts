/**
 * A listener on the wire: it passes connections on and keeps a copy of every byte, as somebody
 * could who sits between a client and its server.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { connect, createServer, type Socket } from "node:net";
import { relay } from "../forward/relay.ts";
import { listenOnLoopback, stopListening } from "./demo_net.ts";

/** A tap, listening. */
export interface Tap {
  /** Its port on 127.0.0.1. */
  readonly port: number;
  /** Bytes recorded so far. */
  readonly size: number;
  /**
   * Ends the recording; connections go on.
   *
   * @returns What went over all connections, first all that went out, then all that came back.
   */
  captured(): Buffer;
  /** Ends it and its connections. */
  close(): Promise<void>;
}

/**
 * Starts a tap in front of a server.
 *
 * @param target The server's port on 127.0.0.1.
 * @returns The tap, recording.
 */
export async function startTap(target: number): Promise<Tap> {
  const sockets = new Set<Socket>();
  const sent: Buffer[] = [];
  const received: Buffer[] = [];
  let recording = true;
  let size = 0;
  const keep = (socket: Socket, chunks: Buffer[]) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("data", (chunk) => {
      if (!recording) return;
      chunks.push(chunk as Buffer);
      size += chunk.length;
    });
  };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const upstream = connect({
      port: target,
      host: "127.0.0.1",
      allowHalfOpen: true,
      noDelay: true,
    });
    relay(client, upstream);
    keep(client, sent);
    keep(upstream, received);
  });
  return {
    port: await listenOnLoopback(server),
    get size() {
      return size;
    },
    captured: () => {
      recording = false;
      return Buffer.concat([...sent.splice(0), ...received.splice(0)]);
    },
    close: () => stopListening(server, sockets),
  };
}
