/**
 * The door to the server half of ssh2: what lib/ssh/ssh2.ts has for the client half.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import type { AuthContext, Connection, ServerChannel } from "ssh2";
import { DEFAULT_ALGORITHMS } from "../ssh/algorithms.ts";
import { cipherSettings } from "../ssh/ciphers/engine.ts";
import { LARGEST_PACKET } from "../ssh/ciphers/settings.ts";
import { engineMethods, offerMethods } from "../ssh/kex_methods.ts";
import { type EngineProtocol, Server, type SshKey } from "../ssh/ssh2.ts";

export type { AuthContext, ServerChannel };

/** What clients learn of the software: its name, but not its version. */
const IDENT = "fairlead";

/** The number of SSH_MSG_DEBUG. */
const DEBUG = 4;

/** ssh2's connection from one client, with its inner parts that we reach for. */
export interface EngineConnection extends Connection {
  readonly _sock: Socket;
  readonly _protocol: EngineServerProtocol;
  readonly _chanMgr: { readonly _count: number };
}

/** The protocol machine below a connection. */
export interface EngineServerProtocol extends EngineProtocol {
  /** Sends DISCONNECT; it throws where the protocol has come to its end. */
  disconnect(reason: number): void;
  readonly _packetRW: EngineProtocol["_packetRW"] & {
    readonly write: {
      /** Where the payload begins in a packet. */
      readonly allocStart: number;
      alloc(payloadSize: number): Buffer;
      finalize(packet: Buffer): Buffer;
    };
  };
  readonly _cipher: { encrypt(packet: Buffer): void };
}

/** ssh2's end of a channel on a server. */
export type EngineServerChannel = ServerChannel & {
  readonly outgoing: {
    /** The largest piece of data that the client takes. */
    readonly packetSize: number;
  };
};

/** Confirms a channel. */
export type AcceptChannel = () => ServerChannel;

/** A global request that ssh2 understands (RFC 4254 section 4), and its answer. */
export interface EngineRequest {
  readonly name: string;
  /** Any of these may be missing where the client's packet is malformed. */
  readonly data: {
    readonly bindAddr?: string;
    readonly bindPort?: number;
    readonly socketPath?: string;
  };
  /** Answers with yes; missing, as is `reject`, where the client wants no answer. */
  readonly accept: ((chosenPort?: number) => void) | undefined;
  /** Answers with no. */
  readonly reject: (() => void) | undefined;
}

/**
 * Sends SSH_MSG_DEBUG (RFC 4253 section 11.3), which ssh2 has no method for. `ssh -v` shows it, and
 * clients of ours learn from it why they may not listen: the refusal itself cannot say.
 *
 * @param protocol The protocol machine of an open connection.
 * @param message One line.
 */
export function sendDebug(protocol: EngineServerProtocol, message: string): void {
  // It is worth less than the trouble of a queue.
  if (protocol._kexinit !== undefined) return;
  const { _packetRW: { write }, _cipher: cipher } = protocol;
  const text = Buffer.from(message);
  const packet = write.alloc(1 + 1 + 4 + text.length + 4);
  const start = write.allocStart;
  packet[start] = DEBUG;
  packet[start + 1] = 0; // Not to be shown always.
  packet.writeUInt32BE(text.length, start + 2);
  packet.set(text, start + 6);
  packet.writeUInt32BE(0, start + 6 + text.length); // No language.
  cipher.encrypt(write.finalize(packet));
}

/**
 * Takes the requests to listen, and to stop it.
 *
 * @param connection The connection.
 * @param take Called with each, in the order in which ssh2 sends the answers, too.
 */
export function onRequest(
  connection: EngineConnection,
  take: (request: EngineRequest) => void,
): void {
  const listener = (
    accept: EngineRequest["accept"],
    reject: EngineRequest["reject"],
    name: string,
    data: EngineRequest["data"],
  ) => take({ name, data, accept, reject });
  connection.on("request", listener as never);
}

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
  const { kex } = DEFAULT_ALGORITHMS;
  const engine = new Server({
    // ssh2 takes parsed keys as well, which its types do not say.
    hostKeys: hostKeys.map((key) => ({ key })) as never,
    ident: IDENT,
    algorithms: { ...DEFAULT_ALGORITHMS, kex: engineMethods(kex), compress: ["none"] } as never,
  });
  engine.on("connection", (connection) => {
    const { _protocol: protocol } = connection as EngineConnection;
    offerMethods(protocol, kex);
    const ciphers = cipherSettings(protocol);
    connection.once("ready", () => ciphers.largestPacket = LARGEST_PACKET);
    connected(connection as EngineConnection);
  });
  return engine;
}
