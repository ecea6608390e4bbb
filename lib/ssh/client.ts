/**
 * One connection to one SSH server: ssh2 inside; promises, AbortSignal and typed errors outside.
 *
 * @module
 */
import type { Duplex } from "node:stream";
import {
  type Address,
  type Destination,
  type Dialer,
  type DialOptions,
  formatAddress,
  type Incoming,
  isUnix,
  type RemoteListener,
} from "../dialer.ts";
import { ConnectionError, messageOf, SessionError } from "../errors.ts";
import { logger } from "../log.ts";
import { MIN_PACKET, SshChannel } from "./channel.ts";
import { ChannelTimeouts } from "./channel_timeouts.ts";
import { cipherInUse } from "./ciphers/engine.ts";
import { type ConnectionInfo, watchInfo } from "./connection_info.ts";
import { CommandChannel, type RemoteCommand } from "./command.ts";
import { handshake, type HandshakeOptions } from "./handshake.ts";
import { Listeners } from "./listeners.ts";
import { openFailure, sessionFailure } from "./reasons.ts";
import { directRoute, type Route } from "./route.ts";
import { type ClientChannel, engineChannel, type EngineClient, newClient } from "./ssh2.ts";
import { Transport } from "./transport.ts";
import type { ChannelWindow } from "./window.ts";
import { WindowBudget } from "./window_budget.ts";
import { Windows } from "./windows.ts";

const log = logger("ssh");

/** Milliseconds for the server to confirm or refuse a channel. Its own connect may take two minutes. */
const DEFAULT_OPEN_TIMEOUT = 135_000;
/** Milliseconds that close() gives the server to hang up. */
const CLOSE_TIMEOUT = 2_000;

/** How to reach a server, how to know it, and how to be known by it. */
export interface ClientOptions extends HandshakeOptions {
  /** The way to the server; straight to it by default. It is closed with the connection. */
  readonly route?: Route;
  /** Milliseconds for a channel to be confirmed or refused; 135,000 by default. */
  readonly openTimeout?: number;
  /** Milliseconds that a channel may be idle, by the pattern of its type; no limit by default. */
  readonly channelTimeouts?: Readonly<Record<string, number>>;
  /** Where the windows of its channels come from; a budget of its own by default. */
  readonly windowBudget?: WindowBudget;
}

/** An open, authenticated connection. */
export class SshClient implements Dialer {
  readonly #engine: EngineClient;
  readonly #transport: Transport;
  readonly #route: Route;
  readonly #openTimeout: number;
  readonly #said: readonly string[];
  readonly #timeouts: ChannelTimeouts;
  readonly #windows: Windows;
  readonly #listeners: Listeners;
  #closing = false;
  #failure: SessionError | undefined;
  /** Settles when the connection is over: undefined after close(), otherwise the reason. */
  readonly closed: Promise<SessionError | undefined>;
  /** What was agreed on, and how much has been said. */
  readonly info: () => ConnectionInfo;
  /** Called with every piece that comes in. */
  onReceived: (() => void) | undefined;
  /** Called when an exchange of keys does not come to its end. */
  onStalled: ((reason: SessionError) => void) | undefined;

  private constructor(
    engine: EngineClient,
    transport: Transport,
    route: Route,
    said: readonly string[],
    options: ClientOptions & { readonly info: () => ConnectionInfo },
  ) {
    this.info = options.info;
    this.#engine = engine;
    this.#transport = transport;
    this.#route = route;
    this.#said = said;
    this.#timeouts = new ChannelTimeouts(options.channelTimeouts);
    this.#windows = new Windows(engine, transport, options.windowBudget ?? new WindowBudget());
    this.#listeners = new Listeners(engine, transport, said, this.#timeouts, this.#windows);
    this.#openTimeout = options.openTimeout ?? DEFAULT_OPEN_TIMEOUT;
    const target = formatAddress(options);
    transport.stream.on("data", () => this.onReceived?.());
    engine.on("error", (error) => {
      this.#failure ??= sessionFailure(error, target);
      // From now on ssh2's protocol object throws on every use.
      transport.fail(CLOSE_TIMEOUT);
    });
    this.closed = new Promise((resolve) => {
      engine.once("close", () => {
        if (this.#closing) resolve(undefined);
        else resolve(route.explain(this.#failure ?? sessionFailure(undefined, target)));
        void route.close();
      });
    });
  }

  /**
   * Connects and authenticates.
   *
   * @param options Where to, and with what. A route of theirs is closed with the connection; where
   *   there is none, its stream alone is destroyed.
   * @returns The open connection.
   * @throws {SessionError} When any step fails; the code tells which.
   */
  static async connect(options: ClientOptions): Promise<SshClient> {
    const route = options.route ?? await directRoute(options);
    const transport = new Transport(route.stream);
    const engine = newClient();
    const info = watchInfo(engine, route.stream);
    // A late error that nobody listens to ends the process (SSH2_NOTES row 18).
    engine.on("error", (error) => log.debug("engine: {reason}", { reason: messageOf(error) }));
    const said: string[] = [];
    let client: SshClient | undefined;
    const onStalled = (reason: SessionError) => client?.onStalled?.(reason);
    try {
      await handshake(engine, transport, options, { said, address: route.address, onStalled });
    } catch (error) {
      if (options.signal?.aborted) route.destroy();
      const reason = error instanceof SessionError ? await route.explain(error) : error;
      route.stream.destroy();
      throw reason;
    }
    log.info("session to {user}@{host} open, encrypted with {cipher}", {
      user: options.username,
      host: formatAddress(options),
      cipher: cipherInUse(engine._protocol),
    });
    return client = new SshClient(engine, transport, route, said, { ...options, info });
  }

  /** Channels that ssh2 still keeps: open, being opened, or waiting for the peer's CLOSE. */
  get channelCount(): number {
    return this.#engine._chanMgr._count;
  }

  /** @inheritdoc */
  dial(destination: Destination, options: DialOptions = {}): Promise<Duplex> {
    const { signal, originator = { host: "127.0.0.1", port: 0 } } = options;
    return this.#open(
      formatAddress(destination),
      signal,
      (callback) => {
        if (isUnix(destination)) {
          this.#engine.openssh_forwardOutStreamLocal(destination.path, callback);
          return;
        }
        const { host, port } = destination;
        this.#engine.forwardOut(originator.host, originator.port, host, port, callback);
      },
      (channel, window) => {
        const type = isUnix(destination) ? "direct-streamlocal@openssh.com" : "direct-tcpip";
        return this.#timeouts.watch(
          type,
          new SshChannel(engineChannel(channel), this.#transport, window),
        );
      },
      (error) => {
        return openFailure(error, destination, this.#said);
      },
    );
  }

  /** @inheritdoc */
  listen(
    address: Address,
    accept: (incoming: Incoming) => void,
    options: { signal?: AbortSignal } = {},
  ): Promise<RemoteListener> {
    return this.#listeners.listen(address, accept, options.signal);
  }

  /**
   * Runs a command on the server, without a terminal.
   *
   * @param command The command line, for the user's shell there.
   * @param options A signal that gives the start up.
   * @returns The command, started.
   * @throws {ConnectionError} When the server does not start it.
   */
  exec(command: string, options: { signal?: AbortSignal } = {}): Promise<RemoteCommand> {
    return this.#open(
      "a command",
      options.signal,
      (callback) => {
        this.#engine.exec(command, callback);
      },
      (channel, window) =>
        this.#timeouts.watch(
          "session",
          new CommandChannel(engineChannel(channel), channel, this.#transport, window),
        ),
      (error) => {
        return new ConnectionError(`the server does not run a command: ${messageOf(error)}`, {
          code: this.#transport.lost ? "connection-lost" : "channel-failed",
          cause: error,
        });
      },
    );
  }

  /**
   * Ends the connection; channels that are still open fail with `connection-lost`.
   *
   * @returns When it is over.
   */
  async close(): Promise<void> {
    this.#closing = true;
    this.#engine.end();
    // client.destroy() does nothing after end() (SSH2_NOTES row 4).
    const timer = setTimeout(() => this.destroy(), CLOSE_TIMEOUT);
    await this.closed;
    await this.#route.close();
    clearTimeout(timer);
  }

  /** Asks the server for a sign of life. */
  probe(): void {
    this.#windows.roundTrip.ask();
  }

  /**
   * Breaks the connection off, and all that carries it, without a word to the server.
   *
   * @param reason What `closed` settles with.
   */
  destroy(reason?: SessionError): void {
    this.#failure ??= reason;
    this.#route.destroy();
  }

  /**
   * Opens a channel of ssh2's, with a signal and a deadline. It is adopted in the callback and not
   * after a promise: data may follow the confirmation in the same packet.
   */
  #open<Channel extends SshChannel>(
    what: string,
    signal: AbortSignal | undefined,
    request: (callback: (error: Error | undefined, channel: ClientChannel) => void) => void,
    adopt: (channel: ClientChannel, window: ChannelWindow) => Channel,
    explain: (error: Error) => ConnectionError,
  ): Promise<Channel> {
    return new Promise((resolve, reject) => {
      let waiting = true;
      const settle = (): boolean => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", cancel);
        const first = waiting;
        waiting = false;
        return first;
      };
      const fail = (error: unknown) => {
        if (settle()) reject(error);
      };
      const cancel = () => {
        fail(new ConnectionError(`dialling ${what} was cancelled`, { code: "cancelled" }));
      };
      const timer = setTimeout(() => {
        const seconds = this.#openTimeout / 1000;
        const message = `the server did not answer for ${what} in ${seconds} s`;
        fail(new ConnectionError(message, { code: "timeout" }));
      }, this.#openTimeout);
      if (signal?.aborted) return cancel();
      signal?.addEventListener("abort", cancel, { once: true });
      const window = this.#windows.next();
      const begun = performance.now();
      const opened = (error: Error | undefined, engineStream: ClientChannel) => {
        if (error !== undefined) {
          window.close();
          return fail(explain(error));
        }
        this.#windows.roundTrip.note(performance.now() - begun);
        const channel = adopt(engineStream, window);
        if (engineChannel(engineStream).outgoing.packetSize < MIN_PACKET) {
          channel.destroy();
          const message = `the server takes no packets of data for ${what}`;
          return fail(new ConnectionError(message, { code: "protocol-error" }));
        }
        // An open cannot be taken back: who gave up meanwhile must not leak the channel.
        if (settle()) resolve(channel);
        else channel.destroy();
      };
      try {
        this.#windows.offer(window, () => request(opened));
      } catch (error) {
        window.close();
        // ssh2 throws where it is no longer connected (SSH2_NOTES row 18).
        const message = `the SSH connection was lost: ${messageOf(error)}`;
        fail(new ConnectionError(message, { code: "connection-lost" }));
      }
    });
  }
}
