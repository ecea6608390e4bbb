/**
 * One client's connection to the server, from its first byte to its last.
 *
 * @module
 */
import type { Socket } from "node:net";
import { type Destination, formatAddress } from "../dialer.ts";
import { messageOf } from "../errors.ts";
import { relay, type RelayResult } from "../forward/relay.ts";
import { logger } from "../log.ts";
import { SshChannel } from "../ssh/channel.ts";
import { engineChannel } from "../ssh/ssh2.ts";
import { Transport } from "../ssh/transport.ts";
import { type Authorize, guard, type ServerAuthMethod } from "./auth.ts";
import {
  CONNECT_FAILED,
  dialTcp,
  PROHIBITED,
  type Refusal,
  refusalOf,
  RESOURCE_SHORTAGE,
  UNKNOWN_TYPE,
} from "./direct_tcpip.ts";
import type { AcceptChannel, EngineConnection } from "./engine.ts";
import { printable } from "./printable.ts";

const log = logger("server");

/** Channels that one client may have open: each holds a socket and up to two windows of memory. */
const MAX_CHANNELS = 1024;
/** Bytes that a client must be ready to take in one packet; ssh2 sends 0 bytes for ever to 0. */
const MIN_PACKET = 256;
/** Milliseconds between our last word and the end of the socket, whatever the client does. */
const HANG_UP_TIMEOUT = 2_000;

/** DISCONNECT reason codes (RFC 4253 section 11.1). */
const KEY_EXCHANGE_FAILED = 3;
const BY_APPLICATION = 11;
const NO_MORE_AUTH_METHODS = 14;

/** What ssh2 refuses by itself, it refuses without a word. */
const DEFAULT_WORDS: ReadonlyMap<number, string> = new Map([
  [PROHIBITED, "this server only forwards"],
  [CONNECT_FAILED, "Connection failed"],
  [UNKNOWN_TYPE, "unknown channel type"],
  [RESOURCE_SHORTAGE, "no free channel"],
]);

/** What all connections of one server have in common. */
export interface ConnectionPolicy {
  /** Says whether an attempt to authenticate is good enough. */
  readonly authorize: Authorize;
  /** The methods that clients are told of. */
  readonly authMethods: readonly ServerAuthMethod[];
  /** Says whether a user may have connections to a destination. One that throws has said no. */
  readonly allow: (destination: Destination, username: string) => boolean;
  /** Milliseconds for connecting to a destination. */
  readonly connectTimeout: number;
  /** Milliseconds until a client has authenticated. */
  readonly loginGraceTime: number;
}

/** One client. Whatever becomes of it, the others go on. */
export class ServerConnection {
  /** Settles when nothing is left of it: no socket, neither the client's nor a destination's. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #transport: Transport;
  readonly #policy: ConnectionPolicy;
  readonly #peer: string;
  readonly #gone = new AbortController();
  readonly #forwards = new Set<Promise<void>>();
  #engine: EngineConnection | undefined;
  #username: string | undefined;
  #refusal: Refusal | undefined;
  #draining = false;

  /**
   * Takes over a socket; nobody may have listened to it before.
   *
   * @param socket The accepted socket.
   * @param policy What it is treated by.
   */
  constructor(socket: Socket, policy: ConnectionPolicy) {
    this.#socket = socket;
    this.#transport = new Transport(socket);
    this.#policy = policy;
    const host = socket.remoteAddress ?? "unknown";
    this.#peer = formatAddress({ host, port: socket.remotePort ?? 0 });
    const grace = setTimeout(() => {
      if (this.authenticated) return;
      log.info("{peer}: did not log in in time", { peer: this.#peer });
      socket.destroy();
    }, policy.loginGraceTime);
    // The listener leaves sockets half open, which an SSH connection never is.
    socket.once("end", () => socket.destroy());
    this.closed = new Promise<void>((resolve) => {
      socket.once("close", () => {
        clearTimeout(grace);
        this.#gone.abort();
        log.debug("{peer}: closed", { peer: this.#peer });
        resolve();
      });
    }).then(() => this.drained());
  }

  /** Whether the client has been let in. */
  get authenticated(): boolean {
    return this.#username !== undefined;
  }

  /** Channels that are open, being opened, or waiting for the client's CLOSE. */
  get channelCount(): number {
    return this.#engine?._chanMgr._count ?? 0;
  }

  /**
   * Takes over ssh2's side of the connection, as soon as there is one.
   *
   * @param engine ssh2's connection over the same socket.
   */
  adopt(engine: EngineConnection): void {
    this.#engine = engine;
    engine.on("error", (error) => this.#fail(error));
    engine.on("handshake", ({ serverHostKey }) => {
      // ssh2 offers it with every RSA key, whatever its algorithm lists say.
      if (serverHostKey !== "ssh-rsa") return;
      log.info("{peer}: takes host keys only with SHA-1 (ssh-rsa)", { peer: this.#peer });
      this.hangUp(KEY_EXCHANGE_FAILED);
    });
    guard(engine, {
      authorize: this.#policy.authorize,
      methods: this.#policy.authMethods,
      peer: this.#peer,
      lost: () => this.#lost,
      onError: (error) => this.#fail(error),
      onSuccess: (username) => {
        this.#username = username;
        log.info(`{peer}: logged in as "{user}"`, { peer: this.#peer, user: printable(username) });
      },
      onExhausted: () => {
        log.warn("{peer}: too many authentication failures", { peer: this.#peer });
        this.hangUp(NO_MORE_AUTH_METHODS);
      },
    });
    this.#watchOpens(engine);
    engine.on("tcpip", (accept, reject, { destIP, destPort }) => {
      const forward = this.#directTcpip({ host: destIP, port: destPort }, accept, reject)
        .catch((error: unknown) => this.#fail(error))
        .finally(() => this.#forwards.delete(forward));
      this.#forwards.add(forward);
    });
  }

  /** Refuses channels from now on, and waits until the open ones have ended. */
  async drained(): Promise<void> {
    this.#draining = true;
    await Promise.all(this.#forwards);
  }

  /**
   * Says goodbye and ends the socket, soon and in any case.
   *
   * @param reason The reason code of the DISCONNECT message.
   */
  hangUp(reason: number = BY_APPLICATION): void {
    if (this.#engine === undefined || this.#lost) {
      this.#socket.destroy();
      return;
    }
    this.#engine._protocol.disconnect(reason);
    this.#socket.end();
    const timer = setTimeout(() => this.#socket.destroy(), HANG_UP_TIMEOUT);
    this.#socket.once("close", () => clearTimeout(timer));
  }

  /** Whether nothing can be sent any more: ssh2 throws where one tries. */
  get #lost(): boolean {
    return this.#transport.lost || this.#socket.destroyed;
  }

  async #directTcpip(
    destination: Destination,
    accept: AcceptChannel,
    reject: () => void,
  ): Promise<void> {
    const id = `${this.#peer} -> ${printable(formatAddress(destination))}`;
    const refuse = (refusal: Refusal) => {
      log.info("{id}: refused: {reason}", { id, reason: refusal.description });
      this.#refuse(reject, refusal);
    };
    const prohibited = this.#prohibited(destination);
    if (prohibited !== undefined) return refuse(prohibited);
    let socket: Socket;
    try {
      const timeout = this.#policy.connectTimeout;
      socket = await dialTcp(destination, { timeout, signal: this.#gone.signal });
    } catch (error) {
      return refuse(refusalOf(error));
    }
    if (this.#lost) {
      socket.destroy();
      return;
    }
    logEnd(id, await relay(this.#open(accept), socket));
  }

  #prohibited(destination: Destination): Refusal | undefined {
    if (this.#draining) {
      return { reason: RESOURCE_SHORTAGE, description: "the server is shutting down" };
    }
    if (this.channelCount > MAX_CHANNELS) {
      return { reason: RESOURCE_SHORTAGE, description: "too many channels are open" };
    }
    const { host, port } = destination;
    if (host === "" || host.length > 255 || port < 1 || port > 65535) {
      return { reason: CONNECT_FAILED, description: "not a TCP address" };
    }
    if (!this.#allowed(destination)) {
      return { reason: PROHIBITED, description: "this destination is not allowed" };
    }
    return undefined;
  }

  #allowed(destination: Destination): boolean {
    try {
      return this.#policy.allow(destination, this.#username ?? "");
    } catch (error) {
      log.error("cannot judge a destination: {reason}", { reason: messageOf(error) });
      return false;
    }
  }

  #open(accept: AcceptChannel): SshChannel {
    const codec = engineChannel(accept());
    const channel = new SshChannel(codec, this.#transport);
    const receive = codec.push;
    codec.push = (chunk) => {
      // ssh2 lets a client send more than it was granted, as much as it likes.
      if (chunk === null || codec.incoming.window >= 0) return receive(chunk);
      this.#fail(new Error("it sent more than its window"));
      return false;
    };
    return channel;
  }

  /** Gives each refusal its reason and its words, and keeps from ssh2 what it cannot deal with. */
  #watchOpens({ _protocol: protocol }: EngineConnection): void {
    const fail = protocol.channelOpenFail.bind(protocol);
    protocol.channelOpenFail = (recipient, reason) => {
      const refusal = this.#refusal ?? { reason, description: DEFAULT_WORDS.get(reason) ?? "" };
      fail(recipient, refusal.reason, refusal.description);
    };
    const open = protocol._handlers.CHANNEL_OPEN;
    protocol._handlers.CHANNEL_OPEN = (self, info) => {
      if (info.packetSize >= MIN_PACKET) open(self, info);
      else fail(info.sender, RESOURCE_SHORTAGE, "the maximum packet size is too small");
    };
  }

  #refuse(reject: () => void, refusal: Refusal): void {
    if (this.#lost) return;
    this.#refusal = refusal;
    reject();
    this.#refusal = undefined;
  }

  #fail(error: unknown): void {
    if (this.#lost) return;
    log.info("{peer}: {reason}", { peer: this.#peer, reason: printable(messageOf(error)) });
    // With an error, so that the transport counts as lost before any channel writes again: after
    // its own failures ssh2 throws on every write.
    this.#socket.destroy(error instanceof Error ? error : new Error(messageOf(error)));
  }
}

function logEnd(id: string, { sent, received, failure }: RelayResult): void {
  const bytes = `${sent} bytes sent, ${received} received`;
  if (failure === undefined) return log.info("{id}: closed; {bytes}", { id, bytes });
  log.info("{id}: ended by {who}: {reason}; {bytes}", {
    id,
    who: failure.side === "local" ? "the client" : "the destination",
    reason: messageOf(failure.error),
    bytes,
  });
}
