/**
 * What two ends have agreed on, and how much they have said to each other.
 *
 * @module
 */
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { TcpAddress } from "../dialer.ts";

/** One SSH connection, as `-O conninfo` of ssh(1) shows it. */
export interface ConnectionInfo {
  /** Milliseconds since it was made. */
  readonly duration: number;
  /** This machine's end; undefined where a jump host or a command leads there. */
  readonly local: TcpAddress | undefined;
  /** The server's end. */
  readonly remote: TcpAddress | undefined;
  /** The exchange of keys. */
  readonly kex: string;
  /** The host key's algorithm. */
  readonly hostKey: string;
  /** What is encrypted with, and what is decrypted with. */
  readonly cipher: readonly [string, string];
  /** The message authentication codes of both ways. */
  readonly mac: readonly [string, string];
  /** Bytes that came over the wire, where that is known. */
  readonly received: number | undefined;
  /** Bytes that went over it. */
  readonly sent: number | undefined;
}

/** What ssh2 tells of an exchange of keys. */
interface Negotiated {
  readonly kex: string;
  readonly serverHostKey: string;
  readonly cs: { readonly cipher: string; readonly mac: string };
  readonly sc: { readonly cipher: string; readonly mac: string };
}

/**
 * Notes what is agreed on from now on.
 *
 * @param engine ssh2's client, before its handshake.
 * @param stream What the connection runs over.
 * @returns What tells it, once the connection is open.
 */
export function watchInfo(
  engine: { on(event: "handshake", listener: (agreed: Negotiated) => void): unknown },
  stream: Duplex,
): () => ConnectionInfo {
  const since = performance.now();
  let agreed: Negotiated | undefined;
  engine.on("handshake", (next) => agreed = next);
  return () => {
    const { kex = "", serverHostKey = "", cs, sc } = agreed ?? {};
    const socket = stream instanceof Socket ? stream : undefined;
    return {
      duration: performance.now() - since,
      local: addressOf(socket?.localAddress, socket?.localPort),
      remote: addressOf(socket?.remoteAddress, socket?.remotePort),
      kex,
      hostKey: serverHostKey,
      cipher: [cs?.cipher ?? "", sc?.cipher ?? ""],
      // AEAD ciphers have none of their own.
      mac: [cs?.mac || "<implicit>", sc?.mac || "<implicit>"],
      received: socket?.bytesRead,
      sent: socket?.bytesWritten,
    };
  };
}

function addressOf(host: string | undefined, port: number | undefined): TcpAddress | undefined {
  return host === undefined || port === undefined ? undefined : { host, port };
}
