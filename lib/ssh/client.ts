/**
 * One connection to one SSH server: ssh2 inside; promises, AbortSignal and typed errors outside.
 *
 * @module
 */
import { Buffer } from "node:buffer";
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
import { type AlgorithmChoice, type Algorithms, chooseAlgorithms } from "./algorithms.ts";
import { Authenticator, type Credentials } from "./auth.ts";
import { certificateAlgorithms, offerCertificates } from "./certificate_exchange.ts";
import { SshChannel } from "./channel.ts";
import { CommandChannel, type RemoteCommand } from "./command.ts";
import type { HostKeyVerifier } from "./host_keys.ts";
import { type KexInit, parseKexInit, watchKexInit } from "./kex_init.ts";
import { engineMethods, offerMethods } from "./kex_methods.ts";
import { hostName } from "./known_hosts.ts";
import { Listeners } from "./listeners.ts";
import { mismatch } from "./mismatch.ts";
import { openFailure, otherHostKey, printable, sessionFailure } from "./reasons.ts";
import { keepKeysFresh, type RekeyLimit } from "./rekey.ts";
import { directRoute, type Route, type RouteOptions, stepTimeout } from "./route.ts";
import { type ClientChannel, engineChannel, type EngineClient, newClient } from "./ssh2.ts";
import { noteLaxKeyExchange } from "./strict_kex.ts";
import { Transport } from "./transport.ts";
import { UserAuth } from "./userauth.ts";

const log = logger("ssh");

/** Milliseconds for the server to confirm or refuse a channel. Its own connect may take two minutes. */
const DEFAULT_OPEN_TIMEOUT = 135_000;
/** Debug messages of the server that are kept, and characters of each. */
const MAX_SAID = 1_000;
const MAX_SAID_LENGTH = 1_000;
/** How often the deadline of one step may start again before the server has let us in. */
const PATIENCE = 10;
/** Milliseconds that close() gives the server to hang up. */
const CLOSE_TIMEOUT = 2_000;

/** How to reach a server, how to know it, and how to be known by it. */
export interface ClientOptions extends RouteOptions {
  /** The way to the server; straight to it by default. It is closed with the connection. */
  readonly route?: Route;
  /** The user's name there. */
  readonly username: string;
  /** Judges the server's host key. There is no connection without one. */
  readonly hostKeys: HostKeyVerifier;
  /** Keys, passwords, and whom to ask. */
  readonly credentials: Credentials;
  /** Algorithm lists other than the defaults. */
  readonly algorithms?: AlgorithmChoice;
  /** How long the same keys are used. */
  readonly rekeyLimit?: RekeyLimit;
  /** Milliseconds that a server may be silent while keys are exchanged anew; 120,000 by default. */
  readonly rekeyTimeout?: number;
  /** Milliseconds that an exchange of keys may take before it is called stalled; 10,000 by default. */
  readonly rekeyStallTimeout?: number;
  /** Milliseconds for a channel to be confirmed or refused; 135,000 by default. */
  readonly openTimeout?: number;
  /** Called with what the server says before authentication (RFC 4252 section 5.4). */
  readonly onBanner?: (text: string) => void;
}

/** An open, authenticated connection. */
export class SshClient implements Dialer {
  readonly #engine: EngineClient;
  readonly #transport: Transport;
  readonly #route: Route;
  readonly #openTimeout: number;
  readonly #said: readonly string[];
  readonly #listeners: Listeners;
  #closing = false;
  #failure: SessionError | undefined;
  /** Settles when the connection is over: undefined after close(), otherwise the reason. */
  readonly closed: Promise<SessionError | undefined>;
  /** Called with every piece that comes in. */
  onReceived: (() => void) | undefined;
  /** Called when an exchange of keys does not come to its end. */
  onStalled: ((reason: SessionError) => void) | undefined;

  private constructor(
    engine: EngineClient,
    transport: Transport,
    route: Route,
    said: readonly string[],
    options: ClientOptions,
  ) {
    this.#engine = engine;
    this.#transport = transport;
    this.#route = route;
    this.#said = said;
    this.#listeners = new Listeners(engine, transport, said);
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
    log.info("session to {user}@{host} open", {
      user: options.username,
      host: formatAddress(options),
    });
    return client = new SshClient(engine, transport, route, said, options);
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
      (channel) => new SshChannel(engineChannel(channel), this.#transport),
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
      (channel) => new CommandChannel(engineChannel(channel), channel, this.#transport),
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

  /**
   * Asks the server for a sign of life: a request that it does not know is answered as well (RFC
   * 4254 section 4).
   */
  probe(): void {
    if (this.#transport.lost) return;
    this.#engine._callbacks.push(() => {});
    this.#engine._protocol.ping();
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
    adopt: (channel: ClientChannel) => Channel,
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
      try {
        request((error, engineStream) => {
          if (error !== undefined) return fail(explain(error));
          const channel = adopt(engineStream);
          // An open cannot be taken back: who gave up meanwhile must not leak the channel.
          if (settle()) resolve(channel);
          else channel.destroy();
        });
      } catch (error) {
        // ssh2 throws where it is no longer connected (SSH2_NOTES row 18).
        const message = `the SSH connection was lost: ${messageOf(error)}`;
        fail(new ConnectionError(message, { code: "connection-lost" }));
      }
    });
  }
}

/** What a handshake shares with the connection that comes of it. */
interface Surroundings {
  /** Takes the server's debug messages, also later. */
  readonly said: string[];
  /** The server's IP address, where it is known. */
  readonly address: string | undefined;
  /** Hears of later exchanges of keys that take too long. */
  readonly onStalled: (reason: SessionError) => void;
}

/** Resolves when the server has let us in. */
function handshake(
  engine: EngineClient,
  transport: Transport,
  options: ClientOptions,
  { said, address, onStalled }: Surroundings,
): Promise<void> {
  const timeout = stepTimeout(options);
  const target = formatAddress(options);
  const name = hostName(options.host, options.port);
  const authenticator = new Authenticator(options.username, options.host, options.credentials);
  return new Promise((resolve, reject) => {
    let asking = 0;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let algorithms: Algorithms | undefined;
    let offered: KexInit | undefined;
    let settled = false;
    const settle = (finish: () => void) => {
      settled = true;
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", cancel);
      engine.off("error", onError);
      engine.off("close", onClose);
      transport.stream.off("data", restart);
      finish();
    };
    const fail = (error: unknown) => settle(() => reject(error));
    const cancel = () => {
      fail(new SessionError(`connecting to ${target} was cancelled`, { code: "cancelled" }));
    };
    // What a server says keeps it alive, but not for ever: messages could drip without an end.
    let patience = performance.now() + PATIENCE * timeout;
    const restart = () => {
      clearTimeout(timer);
      // The data that settled it is still being handed to its other listeners.
      if (asking > 0 || settled) return;
      const left = Math.max(0, Math.min(timeout, patience - performance.now()));
      timer = setTimeout(() => {
        fail(
          new SessionError(`${target} accepted the connection but did not answer in time`, {
            code: "timeout",
            hint:
              "check that this port belongs to an SSH server; -o ConnectTimeout gives it longer",
          }),
        );
      }, left);
    };
    const onError = (error: Error & { level?: string }) => {
      fail(
        mismatch(error, target, offered, algorithms) ??
          sessionFailure(error, target, authenticator.offered()),
      );
    };
    const onClose = () => fail(sessionFailure(undefined, target));

    if (options.signal?.aborted) return cancel();
    options.signal?.addEventListener("abort", cancel, { once: true });
    engine.on("error", onError);
    engine.once("close", onClose);
    engine.once("ready", () => settle(resolve));
    engine.on("banner", (text: string) => options.onBanner?.(text));
    authenticator.onAsking = (begins) => {
      asking += begins ? 1 : -1;
      patience = performance.now() + PATIENCE * timeout;
      restart();
    };

    options.hostKeys.preferredAlgorithms(name).then((preferred) => {
      // ssh2 hears only what comes after connect(): a server may have hung up while files were read.
      if (transport.lost) return onError(new Error("Connection lost before handshake"));
      algorithms = chooseAlgorithms(options.algorithms, preferred);
      let verified: Buffer | undefined;
      engine.connect({
        sock: transport.stream as never,
        username: options.username,
        readyTimeout: 0,
        strictVendor: false,
        algorithms: {
          ...algorithms,
          kex: engineMethods(algorithms.kex),
          compress: ["none"],
        } as never,
        hostVerifier: (plainKey: Buffer, verify: (valid: boolean) => void) => {
          const key = certificate() ?? plainKey;
          // A rekey asks again (SSH2_NOTES row 10); the same key needs no second judgement.
          if (verified?.equals(key)) return verify(true);
          if (verified !== undefined) {
            // Before ssh2's own words; the first reason is the one that counts.
            engine.emit("error", otherHostKey(target));
            return verify(false);
          }
          authenticator.onAsking(true);
          options.hostKeys.verify(name, key, address)
            .finally(() => authenticator.onAsking(false))
            .then(() => {
              verified = Buffer.from(key);
              verify(true);
            })
            .catch((error: unknown) => {
              fail(error);
              verify(false);
            });
        },
      });
      // After ssh2's own listener, which is there from connect() on.
      for (const event of ["data", "end", "error"]) {
        transport.stream.once(event, () => options.reached?.());
      }
      watchKexInit(engine._protocol, (payload) => {
        offered = parseKexInit(payload);
        return payload;
      });
      offerMethods(engine._protocol, algorithms.kex);
      noteLaxKeyExchange(engine, target);
      keepKeysFresh(engine, transport, onStalled, {
        limit: options.rekeyLimit,
        silence: options.rekeyTimeout,
        stalled: options.rekeyStallTimeout,
      });
      const certificate = offerCertificates(
        engine._protocol,
        certificateAlgorithms(preferred, options.algorithms?.serverHostKey),
      );
      const userAuth = new UserAuth(engine._protocol, options.username, certificate);
      authenticator.authenticate(userAuth).catch(fail);
      // What ssh2 does not show, and sshd explains its refusals with.
      engine._protocol._handlers.DEBUG = (_protocol, _display, message) => {
        if (said.length < MAX_SAID) said.push(message.slice(0, MAX_SAID_LENGTH));
        log.debug("the server says: {message}", { message: printable(message) });
      };
      // Not before: a peer of another kind could drip bytes for ever.
      engine.once("handshake", () => transport.stream.on("data", restart));
      restart();
    }).catch(fail);
  });
}
