/**
 * A session with its forwards.
 *
 * @module
 */
import type { Duplex } from "node:stream";
import { type Destination, type DialOptions, formatAddress } from "../dialer.ts";
import { ForwardError, type SessionError } from "../errors.ts";
import type { CloseOptions } from "../forward/connections.ts";
import type { ListenOptions } from "../forward/listener.ts";
import { forwardDynamic } from "../forward/dynamic.ts";
import type { Forward } from "../forward/forward.ts";
import { forwardLocal } from "../forward/local.ts";
import { forwardRemote, type RemoteOptions } from "../forward/remote.ts";
import {
  type DynamicForwardSpec,
  type ForwardSpec,
  type LocalForwardSpec,
  parseDynamicForward,
  parseLocalForward,
  parseRemoteForward,
  type RemoteForwardSpec,
} from "../forward/spec.ts";
import {
  checkSessionOptions,
  type SessionOptions,
  type SessionState,
  type StateChange,
} from "../session/options.ts";
import { Session } from "../session/session.ts";
import type { SshClient } from "../ssh/client.ts";
import type { RemoteCommand } from "../ssh/command.ts";
import type { ConnectionInfo } from "../ssh/connection_info.ts";
import type { ConnectOptions } from "../ssh/host.ts";
import { KeptHops } from "../ssh/kept_hops.ts";
import { connector } from "./connector.ts";
import { MovableDialer } from "./movable_dialer.ts";

export type { ConnectOptions };

/** Where to, with what, and what happens when the link is lost. */
export interface TunnelOptions extends ConnectOptions, SessionOptions {
  /** What log records call the tunnel, in their property `tunnel`; none have it by default. */
  readonly name?: string;
}

/**
 * Connects to an SSH server: the start of everything.
 *
 * The tunnel outlives its connection: when the link is lost, listeners stay, whoever connects to
 * them waits, and a new connection is made.
 *
 * @param options Where to, and with what.
 * @returns A tunnel without forwards yet.
 * @throws {SessionError} When any step of the first connection fails; the code tells which.
 * @throws {TypeError} When an option is malformed.
 * @throws {RangeError} When a number is out of range.
 *
 * @example
 * ```ts
 * import { connect } from "@fairlead/fairlead";
 *
 * await using tunnel = await connect({ host: "other.example.com" });
 * const mail = await tunnel.forwardLocal("0:mail.example.com:110");
 * console.log("listening on port", mail.port);
 * ```
 */
export async function connect(options: TunnelOptions): Promise<Tunnel> {
  checkSessionOptions(options);
  const { host, port = 22, signal, family, name: tunnel } = options;
  let reconnects = 0;
  let latest: SshClient | undefined;
  const onState = (change: StateChange) => {
    if (change.from === "reconnecting" && change.to === "open") reconnects++;
    options.onState?.(change);
  };
  const hops = new KeptHops();
  const make = connector(options, hops, (client) => latest = client);
  const surroundings = { name: formatAddress({ host, port }), tunnel, signal };
  try {
    const session = await Session.open(make, { ...options, onState }, surroundings);
    return new Tunnel(session, family, {
      reconnects: () => reconnects,
      info: () => latest?.info(),
      close: () => hops.close(),
    });
  } catch (error) {
    await hops.close();
    throw error;
  }
}

/** What is seen of the connections below the session, and closed after it. */
interface Below {
  readonly reconnects: () => number;
  readonly info: () => ConnectionInfo | undefined;
  readonly close: () => Promise<void>;
}

const NOTHING: Below = {
  reconnects: () => 0,
  info: () => undefined,
  close: () => Promise.resolve(),
};

/** An open session and the forwards that use it. Made by {@linkcode connect}. */
export class Tunnel implements AsyncDisposable {
  readonly #session: Session;
  readonly #listenOptions: ListenOptions;
  readonly #below: Below;
  /** What those that listen on this machine dial through; the server's listeners cannot move. */
  readonly #forwards = new Map<Forward, MovableDialer | undefined>();
  /** Whether no forward may be added any more: nobody would close it. */
  #over = false;
  /**
   * Settles when the session is over for good: undefined after close() or idleTimeout, otherwise
   * the reason. A lost link by itself does not end it.
   */
  readonly closed: Promise<SessionError | undefined>;

  /** @ignore Made by {@linkcode connect}. */
  constructor(session: Session, family?: 4 | 6, below: Below = NOTHING) {
    this.#session = session;
    this.#below = below;
    this.#listenOptions = family === undefined ? {} : { family };
    this.closed = session.closed.then(async (reason) => {
      this.#over = true;
      void below.close();
      // Without a session a listener would accept only to refuse.
      await this.#closeForwards({ force: true, reason });
      return reason;
    });
  }

  /** Channels that are open, being opened, or waiting for the server's CLOSE. */
  get channelCount(): number {
    return this.#session.channelCount;
  }

  /** Where the session stands. */
  get state(): SessionState {
    return this.#session.state;
  }

  /** SSH connections that are open now, for new forwarded connections. */
  get connections(): number {
    return this.#session.connections;
  }

  /** How often a lost link was made anew. */
  get reconnects(): number {
    return this.#below.reconnects();
  }

  /** What the newest SSH connection has agreed on with its server; undefined before there is one. */
  get connectionInfo(): ConnectionInfo | undefined {
    return this.#below.info();
  }

  /** How many callers wait for a lost link. */
  get parked(): number {
    return this.#session.parked;
  }

  /**
   * Listens on this machine and forwards each connection through the server: `-L` of ssh(1).
   *
   * @param spec The forward, or its text as `-L` takes it: `[bind:]port:host:hostport`.
   * @param options What concerns the listener.
   * @returns The forward, listening.
   * @throws {ForwardError} When the address cannot be listened on.
   * @throws {SyntaxError} When the text is malformed.
   *
   * @example
   * ```ts
   * import { connect } from "@fairlead/fairlead";
   *
   * await using tunnel = await connect({ host: "other.example.com" });
   * await using web = await tunnel.forwardLocal({
   *   listen: { port: 0 },
   *   destination: { host: "web.example.com", port: 80 },
   * });
   * console.log(web.addresses, web.stats.open);
   * ```
   */
  forwardLocal(
    spec: LocalForwardSpec | string,
    options: ListenOptions = {},
  ): Promise<Forward<LocalForwardSpec>> {
    const parsed = typeof spec === "string" ? parseLocalForward(spec) : spec;
    const dialer = new MovableDialer(this.#session);
    return this.#keep(forwardLocal(parsed, dialer, { ...this.#listenOptions, ...options }), dialer);
  }

  /**
   * Has the server listen, and forwards each connection to a destination that this machine
   * reaches: `-R` of ssh(1). Without a destination, the server's listener is a SOCKS proxy.
   *
   * @param spec The forward, or its text as `-R` takes it.
   * @param options Where SOCKS clients may connect to.
   * @returns The forward, with the port that the server chose.
   * @throws {ForwardError} When the server refuses; the hint says which setting can be behind it.
   * @throws {SyntaxError} When the text is malformed.
   *
   * @example
   * ```ts
   * import { connect } from "@fairlead/fairlead";
   *
   * await using tunnel = await connect({ host: "other.example.com" });
   * await using web = await tunnel.forwardRemote("0:localhost:3000");
   * console.log("port", web.port, "of the server leads to port 3000 here");
   * ```
   */
  forwardRemote(
    spec: RemoteForwardSpec | string,
    options: RemoteOptions = {},
  ): Promise<Forward<RemoteForwardSpec>> {
    const parsed = typeof spec === "string" ? parseRemoteForward(spec) : spec;
    return this.#keep(forwardRemote(parsed, this.#session, options));
  }

  /**
   * Listens for SOCKS clients on this machine, who say where the server connects to: `-D` of
   * ssh(1).
   *
   * @param spec The forward, or its text as `-D` takes it: `[bind:]port`.
   * @param options What concerns the listener.
   * @returns The forward, listening.
   * @throws {ForwardError} When the address cannot be listened on.
   * @throws {SyntaxError} When the text is malformed.
   *
   * @example
   * ```ts
   * import { connect } from "@fairlead/fairlead";
   *
   * await using tunnel = await connect({ host: "other.example.com" });
   * await using proxy = await tunnel.forwardDynamic("0");
   * console.log(`curl --proxy socks5h://localhost:${proxy.port} http://intranet.example.com/`);
   * ```
   */
  forwardDynamic(
    spec: DynamicForwardSpec | string,
    options: ListenOptions = {},
  ): Promise<Forward<DynamicForwardSpec>> {
    const parsed = typeof spec === "string" ? parseDynamicForward(spec) : spec;
    const dialer = new MovableDialer(this.#session);
    return this.#keep(
      forwardDynamic(parsed, dialer, { ...this.#listenOptions, ...options }),
      dialer,
    );
  }

  /**
   * Runs a command on the server, without a terminal: what `ssh host command` does.
   *
   * @param command The command line, for the user's shell there.
   * @param options A signal that gives the start up.
   * @returns The command: write its stdin, read its stdout and `stderr`, await its `exit`.
   * @throws {ConnectionError} When the server does not start it.
   *
   * @example
   * ```ts
   * import { connect } from "@fairlead/fairlead";
   *
   * await using tunnel = await connect({ host: "shell.example.com" });
   * const command = await tunnel.exec("uptime");
   * command.end();
   * for await (const chunk of command) console.log(String(chunk));
   * console.log((await command.exit).status);
   * ```
   */
  exec(command: string, options: { signal?: AbortSignal } = {}): Promise<RemoteCommand> {
    return this.#session.exec(command, options);
  }

  /**
   * Opens one stream to a destination, with no listener at all.
   *
   * @param destination A host and port, as the server resolves and reaches them.
   * @param options A signal, and who asks.
   * @returns A stream that half-closes: `end()` ends only the sending side.
   * @throws {ConnectionError} When the server refuses, or nothing answers in time.
   *
   * @example
   * ```ts
   * import { connect } from "@fairlead/fairlead";
   *
   * await using tunnel = await connect({ host: "other.example.com" });
   * const stream = await tunnel.dial({ host: "mail.example.com", port: 110 });
   * for await (const greeting of stream) {
   *   console.log(String(greeting)); // +OK …
   *   break;
   * }
   * ```
   */
  dial(destination: Destination, options: DialOptions = {}): Promise<Duplex> {
    return this.#session.dial(destination, options);
  }

  /**
   * Makes a new connection to the server before the present one is left. Connections that are open
   * finish on the old one; local listeners do not notice; a listener on the server is cancelled on
   * the old one and asked for on the new.
   *
   * @returns When the new connection is the one that is used.
   * @throws {SessionError} When it cannot be had; the present one stays.
   *
   * @example
   * ```ts
   * import { connect } from "@fairlead/fairlead";
   *
   * await using tunnel = await connect({ host: "other.example.com" });
   * await tunnel.reload();
   * console.log(tunnel.state); // open
   * ```
   */
  reload(): Promise<void> {
    return this.#session.reload();
  }

  /**
   * Has what listens on this machine for another tunnel go on for this one. What is open stays on
   * the other one's session.
   *
   * @ignore For the background process, whose tunnels may come to lead elsewhere.
   * @param other The tunnel that has them.
   */
  takeOver(other: Tunnel): void {
    for (const [forward, dialer] of other.#forwards) {
      if (dialer === undefined) continue;
      other.#forwards.delete(forward);
      dialer.move(this.#session);
      this.#own(forward, dialer);
      if (this.#over) void forward.close({ force: true });
    }
  }

  /**
   * Stops listening, waits for open connections, and ends the session.
   *
   * @param options How long to wait, or not at all.
   * @returns When nothing of it is left.
   */
  async close(options: CloseOptions = {}): Promise<void> {
    this.#over = true;
    await this.#closeForwards(options);
    await this.#session.close();
    await this.#below.close();
  }

  /** Closes it, waiting for its open connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #keep<Spec extends ForwardSpec>(
    made: Promise<Forward<Spec>>,
    dialer?: MovableDialer,
  ): Promise<Forward<Spec>> {
    const forward = await made;
    if (this.#over) {
      await forward.close({ force: true });
      throw new ForwardError("the SSH connection is closed", { code: "connection-lost" });
    }
    this.#own(forward as unknown as Forward, dialer);
    return forward;
  }

  #own(forward: Forward, dialer: MovableDialer | undefined): void {
    this.#forwards.set(forward, dialer);
    forward.onClosed = () => this.#forwards.delete(forward);
  }

  async #closeForwards(options: CloseOptions): Promise<void> {
    await Promise.all([...this.#forwards.keys()].map((forward) => forward.close(options)));
  }
}
