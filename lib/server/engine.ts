/**
 * The door to the server half of ssh2: what lib/ssh/ssh2.ts has for the client half.
 *
 * @module
 */
import type { Socket } from "node:net";
import type { AuthContext, Connection, ServerChannel } from "ssh2";
import { DEFAULT_ALGORITHMS } from "../ssh/algorithms.ts";
import { type EngineProtocol, Server, type SshKey } from "../ssh/ssh2.ts";

export type { AuthContext };

/** What clients learn of the software: its name, but not its version. */
const IDENT = "fairlead";

/** ssh2's connection from one client, with its inner parts that we reach for. */
export interface EngineConnection extends Connection {
  readonly _sock: Socket;
  readonly _protocol: EngineServerProtocol;
  readonly _chanMgr: { readonly _count: number };
}

/** The protocol machine below a connection. */
export interface EngineServerProtocol extends EngineProtocol {
  readonly _handlers: EngineProtocol["_handlers"] & {
    CHANNEL_OPEN: (protocol: EngineServerProtocol, open: EngineChannelOpen) => void;
  };
  /** Sends DISCONNECT; it throws where the protocol has come to its end. */
  disconnect(reason: number): void;
}

/** What a CHANNEL_OPEN says of the client's end of the channel. */
export interface EngineChannelOpen {
  /** The channel's number at that end. */
  readonly sender: number;
  /** The largest piece of data that it takes. */
  readonly packetSize: number;
}

/** Confirms a channel. */
export type AcceptChannel = () => ServerChannel;

/** Accepts SSH connections over sockets that others have accepted. */
export interface Engine {
  /**
   * Speaks SSH over a socket.
   *
   * @param socket An accepted connection.
   */
  injectSocket(socket: Socket): void;
}

/**
 * Makes the engine.
 *
 * @param hostKeys Private keys, parsed.
 * @param connected Called for each socket whose client has said that it speaks SSH; nothing
 *   after that has happened yet.
 * @returns The engine.
 */
export function newEngine(
  hostKeys: readonly SshKey[],
  connected: (connection: EngineConnection) => void,
): Engine {
  const engine = new Server({
    // ssh2 takes parsed keys as well, which its types do not say.
    hostKeys: hostKeys.map((key) => ({ key })) as never,
    ident: IDENT,
    algorithms: { ...DEFAULT_ALGORITHMS, compress: ["none"] } as never,
  });
  engine.on("connection", (connection) => connected(connection as EngineConnection));
  return engine;
}
