/**
 * One client's connection to the server, from its first byte to its last.
 *
 * @module
 */
import type { Socket } from "node:net";
import { formatAddress } from "../dialer.ts";
import { messageOf } from "../errors.ts";
import { logger } from "../log.ts";
import { cipherSettings } from "../ssh/ciphers/engine.ts";
import { holdDuringExchange } from "../ssh/rekey.ts";
import { Transport } from "../ssh/transport.ts";
import { type Authorize, guard, type ServerAuthMethod } from "./auth.ts";
import { Channels } from "./channels.ts";
import type { Context } from "./context.ts";
import { direct } from "./direct.ts";
import { type EngineConnection, onRequest, sendDebug } from "./engine.ts";
import { Listeners } from "./listeners.ts";
import type { ForwardingPolicy } from "./policy.ts";
import { printable } from "./printable.ts";

const log = logger("server");

/** Milliseconds between our last word and the end of the socket, whatever the client does. */
const HANG_UP_TIMEOUT = 2_000;

/** DISCONNECT reason codes (RFC 4253 section 11.1). */
const KEY_EXCHANGE_FAILED = 3;
const BY_APPLICATION = 11;
const NO_MORE_AUTH_METHODS = 14;

/** What all connections of one server have in common. */
export interface ConnectionPolicy extends ForwardingPolicy {
  /** Says whether an attempt to authenticate is good enough. */
  readonly authorize: Authorize;
  /** The methods that clients are told of. */
  readonly authMethods: readonly ServerAuthMethod[];
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
  #engine: EngineConnection | undefined;
  #channels: Channels | undefined;
  #listeners: Listeners | undefined;
  #username: string | undefined;
  #draining = false;

  /**
   * Takes over a socket; nobody may have listened to it before.
   *
   * @param socket The accepted socket.
   * @param policy What it is treated by.
   */
  constructor(socket: Socket, policy: ConnectionPolicy) {
    this.#socket = socket;
    socket.setKeepAlive(true);
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
    return this.#channels?.count ?? 0;
  }

  /** Listeners that it has here. */
  get listenerCount(): number {
    return this.#listeners?.count ?? 0;
  }

  /**
   * Takes over ssh2's side of the connection, as soon as there is one.
   *
   * @param engine ssh2's connection over the same socket.
   */
  adopt(engine: EngineConnection): void {
    this.#engine = engine;
    cipherSettings(engine._protocol).sendBuffer = this.#transport.sendBuffer;
    holdDuringExchange(engine, this.#transport);
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
    this.#forward(engine);
  }

  /** Refuses channels from now on, stops listening, and waits until the open ones have ended. */
  async drained(): Promise<void> {
    this.#draining = true;
    await this.#listeners?.close();
    await this.#channels?.ended();
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

  #forward(engine: EngineConnection): void {
    const fail = (error: unknown) => this.#fail(error);
    const tell = (message: string) => sendDebug(engine._protocol, message);
    const channels = new Channels(engine, this.#transport, fail);
    const context = this.#context({ channels, fail, tell });
    const listeners = new Listeners(context);
    this.#channels = channels;
    this.#listeners = listeners;
    engine.on("tcpip", (accept, reject, { destIP: host, destPort: port }) => {
      channels.run(() => direct(context, { host, port }, accept, reject));
    });
    engine.on("openssh.streamlocal", (accept, reject, { socketPath: path }) => {
      channels.run(() => direct(context, { path }, accept, reject));
    });
    onRequest(engine, (request) => listeners.take(request));
  }

  #context(parts: Pick<Context, "channels" | "fail" | "tell">): Context {
    const lost = () => this.#lost;
    const draining = () => this.#draining;
    const username = () => this.#username ?? "";
    return {
      ...parts,
      peer: this.#peer,
      gone: this.#gone.signal,
      policy: this.#policy,
      get username() {
        return username();
      },
      get lost() {
        return lost();
      },
      get draining() {
        return draining();
      },
    };
  }

  #fail(error: unknown): void {
    if (this.#lost) return;
    log.info("{peer}: {reason}", { peer: this.#peer, reason: printable(messageOf(error)) });
    // With an error, so that the transport counts as lost before any channel writes again: after
    // its own failures ssh2 throws on every write.
    this.#socket.destroy(error instanceof Error ? error : new Error(messageOf(error)));
  }
}
