/**
 * A session that outlives its connections: the same dialer before, while and after a link is lost.
 * A forward cannot tell the difference, but for callers that wait a little.
 *
 * @module
 */
import type { Duplex } from "node:stream";
import type {
  Address,
  Destination,
  Dialer,
  DialOptions,
  Incoming,
  RemoteListener,
} from "../dialer.ts";
import { codeOf, messageOf, SessionError } from "../errors.ts";
import { logger } from "../log.ts";
import type { RemoteCommand } from "../ssh/command.ts";
import { attemptOnce } from "./attempt.ts";
import { type Clock, systemClock } from "./clock.ts";
import { Gate, turnedAway } from "./gate.ts";
import { Generation } from "./generation.ts";
import { Idleness } from "./idleness.ts";
import { keepAlive } from "./keepalive.ts";
import type { Connect, Link } from "./link.ts";
import type { SessionOptions, SessionState } from "./options.ts";
import { Pause } from "./pause.ts";
import { RemoteListeners } from "./remote_listeners.ts";
import { EAGER_LOOK, isFinal, Retry, sessionError } from "./retry.ts";
import { StateMachine } from "./states.ts";

const log = logger("session");

/** Milliseconds of silence until the server is asked for a sign of life, and how often. */
const SERVER_ALIVE_INTERVAL = 15_000;
const SERVER_ALIVE_COUNT_MAX = 3;
/** Milliseconds that a caller waits for a lost link, and how many wait. */
const PARK = 30_000;
const MAX_PARKED = 256;

/** Links that one dial, or one request to listen, may lose. */
const MOST_LINKS = 3;
/** Reasons that are told of one outage: a server could think of ever new ones. */
const MOST_REASONS = 20;

/** What a session takes from its surroundings. */
export interface Surroundings {
  /** What log lines call the server. */
  readonly name: string;
  /** Gives the first connection up. */
  readonly signal?: AbortSignal | undefined;
  /** Where time comes from. */
  readonly clock?: Clock;
  /** A number from 0 to 1. */
  readonly random?: () => number;
}

/** A session to one server. */
export class Session implements Dialer {
  readonly #connect: Connect;
  readonly #options: SessionOptions;
  readonly #clock: Clock;
  readonly #name: string;
  readonly #machine: StateMachine;
  readonly #retry: Retry;
  readonly #gate: Gate<Generation>;
  readonly #remote: RemoteListeners;
  readonly #idleness: Idleness;
  /** Ends whatever still wants to connect. */
  readonly #effort = new AbortController();
  readonly #generations = new Set<Generation>();
  #current: Generation | undefined;
  #count = 0;
  /** The pause between two attempts, where it may be cut short. */
  #pause: Pause | undefined;
  #reloading: Promise<void> | undefined;
  #persisting = false;
  #settle: (reason: SessionError | undefined) => void = () => {};
  /** Settles when the session is over for good: undefined after `close()`, otherwise the reason. */
  readonly closed: Promise<SessionError | undefined>;

  private constructor(connect: Connect, options: SessionOptions, surroundings: Surroundings) {
    const { name, clock = systemClock, random } = surroundings;
    this.#connect = connect;
    this.#options = options;
    this.#clock = clock;
    this.#name = name;
    this.#machine = new StateMachine(name, options.onState);
    this.#retry = new Retry(options, () => clock.now(), random);
    this.#gate = new Gate(clock, {
      park: options.park ?? PARK,
      maxParked: options.maxParked ?? MAX_PARKED,
    });
    this.#gate.onParked = () => this.#pause?.hasten(EAGER_LOOK);
    this.#remote = new RemoteListeners(clock);
    const { idleTimeout = 0 } = options;
    this.#idleness = new Idleness(clock, idleTimeout, () => this.#isUsed, () => {
      const seconds = idleTimeout / 1000;
      log.warn("{name}: no connection for {seconds} s: it ends", { name, seconds });
      void this.close();
    });
    this.closed = new Promise((resolve) => this.#settle = resolve);
  }

  /**
   * Connects for the first time.
   *
   * @param connect Makes a connection; called again for each later one.
   * @param options When a link counts as dead, and what happens then.
   * @param surroundings The server's name, a signal, and in tests the time.
   * @returns The open session.
   * @throws {SessionError} When the first connection fails, and `wait` was not asked for; or fails
   *   in a way that waiting does not mend.
   */
  static async open(
    connect: Connect,
    options: SessionOptions,
    surroundings: Surroundings,
  ): Promise<Session> {
    const session = new Session(connect, options, surroundings);
    const { signal } = surroundings;
    const cancel = () => session.#effort.abort();
    signal?.addEventListener("abort", cancel, { once: true });
    if (signal?.aborted) cancel();
    try {
      await session.#begin();
      return session;
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  /** Where the session stands. */
  get state(): SessionState {
    return this.#machine.state;
  }

  /** How many callers wait for the link. */
  get parked(): number {
    return this.#gate.parked;
  }

  /** Channels that are open, being opened, or waiting for the server's CLOSE. */
  get channelCount(): number {
    return [...this.#generations].reduce((sum, { link }) => sum + link.channelCount, 0);
  }

  /** @inheritdoc */
  dial(destination: Destination, options: DialOptions = {}): Promise<Duplex> {
    return this.#through(options.signal, (link) => link.dial(destination, options));
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
    const ticket = this.#gate.ticket();
    return this.#gate.pass(ticket, options)
      // Not tried twice: the server may have started it before the link was lost.
      .then((generation) => generation.use((link) => link.exec(command, options)));
  }

  /** @inheritdoc */
  async listen(
    address: Address,
    accept: (incoming: Incoming) => void,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<RemoteListener> {
    const ticket = this.#gate.ticket();
    let failed: Generation | undefined;
    for (let links = 1;; links++) {
      const generation = await this.#gate.pass(ticket, { signal, ...not(failed) });
      try {
        return await this.#remote.listen(generation, address, accept, signal);
      } catch (error) {
        if (!wasLost(generation, error) || links >= MOST_LINKS) throw error;
        failed = generation;
      }
    }
  }

  /** @inheritdoc */
  room(): Promise<void> | undefined {
    return this.#current === undefined ? this.#gate.room() : undefined;
  }

  /**
   * Makes a new connection before the present one is left: what is open there finishes there.
   * Listeners on the server are cancelled on the one and asked for on the other.
   *
   * @param reason Why, for the log.
   * @returns When the new connection is the one that is used.
   * @throws {SessionError} When it cannot be had; the present one stays.
   */
  reload(reason = "reload"): Promise<void> {
    if (this.#machine.over) {
      return Promise.reject(
        new SessionError(`the session to ${this.#name} is over`, { code: "connection-lost" }),
      );
    }
    this.#reloading ??= this.#replace(reason).finally(() => this.#reloading = undefined);
    return this.#reloading;
  }

  /**
   * Ends the session, in whatever state it is; callers that wait are turned away.
   *
   * @returns When no connection is left; within seconds also where the server is silent.
   */
  async close(): Promise<void> {
    const message = `the session to ${this.#name} is closed`;
    const failure = new SessionError(message, { code: "connection-lost" });
    this.#end("closed", "closed here", failure);
    await Promise.all([...this.#generations].map(({ link }) => link.close()));
    this.#settle(undefined);
  }

  async #begin(): Promise<void> {
    this.#machine.to("connecting", `to ${this.#name}`);
    if (this.#options.wait) await this.#persist(0);
    else {
      try {
        this.#adopt(await this.#attempt());
      } catch (error) {
        if (this.#effort.signal.aborted) await this.close();
        else this.#fail(sessionError(error));
        throw error;
      }
    }
    if (this.#machine.state === "open" && !this.#effort.signal.aborted) return;
    if (!this.#machine.over) await this.close();
    throw await this.closed ?? this.#cancelled();
  }

  /** Tries until there is a link, or no more trying; never rejects. */
  async #persist(firstPause: number): Promise<void> {
    const told = new Set<string>();
    let wait = firstPause;
    let eager = false;
    for (;;) {
      await this.#rest(wait, eager);
      if (this.#effort.signal.aborted) return;
      let reached = false;
      try {
        const { reachTimeout, attemptTimeout } = this.#retry;
        this.#adopt(await this.#attempt(() => reached = true, reachTimeout, attemptTimeout));
        return;
      } catch (error) {
        if (this.#effort.signal.aborted) return;
        const verdict = this.#retry.next({ error, reached });
        if ("final" in verdict) return this.#fail(verdict.final);
        ({ wait, eager } = verdict);
        const reason = messageOf(error);
        this.#gate.shut(reason);
        const level = told.has(reason) || told.size >= MOST_REASONS ? "debug" : "warn";
        if (level === "warn") told.add(reason);
        log[level]("{reason}; trying again in {seconds} s", {
          reason,
          seconds: (wait / 1000).toFixed(1),
        });
      }
    }
  }

  async #rest(wait: number, eager: boolean): Promise<void> {
    if (wait === 0) return;
    const pause = new Pause(this.#clock, wait, this.#effort.signal);
    if (eager) this.#pause = pause;
    if (eager && this.#gate.parked > 0) pause.hasten(EAGER_LOOK);
    await pause.over;
    this.#pause = undefined;
  }

  #attempt(
    reached: () => void = () => {},
    reachTimeout?: number,
    most: number = Infinity,
  ): Promise<Link> {
    const { signal } = this.#effort;
    const bounds = { signal, cancelled: () => this.#cancelled(), clock: this.#clock, most };
    return attemptOnce(this.#connect, { reached, reachTimeout }, bounds);
  }

  /** From now on this is the link; undefined where the session was closed at the last moment. */
  #adopt(link: Link): Generation | undefined {
    if (this.#machine.over) return void link.destroy();
    const generation = new Generation(++this.#count, link, this.#clock.now(), () => {
      this.#idleness.changed();
      this.#leaveIfDone(generation);
    });
    const { serverAliveInterval, serverAliveCountMax } = this.#options;
    const watch = keepAlive(link, this.#clock, {
      interval: serverAliveInterval ?? SERVER_ALIVE_INTERVAL,
      countMax: serverAliveCountMax ?? SERVER_ALIVE_COUNT_MAX,
    }, (reason) => link.destroy(reason));
    link.onStalled = (reason) => {
      // What ends with its link has nothing to take to another one.
      if (generation !== this.#current || this.#options.retries === 0) return;
      log.warn("{reason}; making a new connection", { reason: reason.message });
      this.reload(reason.message).catch((error: unknown) => {
        log.warn("no new connection: {reason}", { reason: messageOf(error) });
      });
    };
    this.#generations.add(generation);
    link.closed.then((reason) => {
      watch.stop();
      this.#generations.delete(generation);
      generation.end();
      this.#lost(generation, reason ?? this.#closedByPeer());
    });
    this.#current = generation;
    this.#idleness.changed();
    if (this.#machine.state !== "open") {
      this.#machine.to("open", `connection ${generation.number}`, this.#concerned());
      this.#remote.renew(generation);
    }
    this.#gate.open(generation);
    return generation;
  }

  #lost(generation: Generation, reason: SessionError): void {
    const { lost } = generation;
    if (generation !== this.#current) {
      if (lost > 0) log.warn("{lost} connections ended with the one that was left", { lost });
      return;
    }
    this.#current = undefined;
    if (this.#machine.over) return;
    this.#gate.shut(reason.message);
    this.#idleness.pause();
    const pause = this.#retry.lost(this.#clock.now() - generation.since, generation.carried);
    if (this.#options.retries === 0 || isFinal(reason)) return this.#fail(reason, lost);
    this.#machine.to("reconnecting", reason.message, this.#concerned(lost));
    // A new connection that is on its way already is the one to wait for.
    const going = this.#reloading ?? Promise.resolve();
    going.catch(() => {}).then(async () => {
      if (this.#machine.state !== "reconnecting" || this.#persisting) return;
      this.#persisting = true;
      await this.#persist(pause).finally(() => this.#persisting = false);
    });
  }

  async #replace(reason: string): Promise<void> {
    const old = this.#current;
    if (old === undefined) {
      // A server that refused a login, or failed, has its pause all the same.
      this.#pause?.hasten(0);
      await this.#gate.pass(this.#gate.ticket()).catch((error: unknown) => {
        throw sessionError(error);
      });
      return;
    }
    const link = await this.#attempt();
    const stands = old === this.#current;
    const generation = this.#adopt(link);
    if (!stands || generation === undefined) return;
    log.info(
      "{name}: connection {number} takes over ({reason}); {uses} connections finish on {old}",
      {
        name: this.#name,
        number: generation.number,
        reason,
        uses: old.uses,
        old: old.number,
      },
    );
    await this.#remote.move(generation);
    old.end();
    this.#leaveIfDone(old);
  }

  /** Closes a connection that was left, once nobody uses it. */
  #leaveIfDone(generation: Generation): void {
    if (generation === this.#current || generation.uses > 0 || !generation.over.aborted) return;
    void generation.link.close();
  }

  #fail(failure: SessionError, lost = 0): void {
    this.#end("failed", failure.message, failure, lost);
    for (const { link } of this.#generations) link.destroy(failure);
    this.#settle(failure);
  }

  #end(to: "closed" | "failed", reason: string, failure: SessionError, lost = 0): void {
    if (this.#machine.over) return;
    this.#machine.to(to, reason, this.#concerned(lost));
    this.#effort.abort();
    this.#idleness.stop();
    this.#gate.fail(turnedAway(failure));
  }

  /** Opens a stream over the link; one that the link's loss kept from opening waits for the next. */
  async #through<Stream extends Duplex>(
    signal: AbortSignal | undefined,
    open: (link: Link) => Promise<Stream>,
  ): Promise<Stream> {
    const ticket = this.#gate.ticket();
    let failed: Generation | undefined;
    for (let links = 1;; links++) {
      const generation = await this.#gate.pass(ticket, { signal, ...not(failed) });
      try {
        return await generation.use(open);
      } catch (error) {
        // One that the server cannot bear must not take link after link with it.
        if (!wasLost(generation, error) || links >= MOST_LINKS) throw error;
        failed = generation;
      }
    }
  }

  /** A caller that waits is a user: its time is limited anyway. */
  get #isUsed(): boolean {
    return this.#gate.parked > 0 || [...this.#generations].some(({ uses }) => uses > 0);
  }

  #concerned(lost = 0): { lost: number; parked: number } {
    return { lost, parked: this.#gate.parked };
  }

  #cancelled(): SessionError {
    return new SessionError(`connecting to ${this.#name} was cancelled`, { code: "cancelled" });
  }

  #closedByPeer(): SessionError {
    return new SessionError(`${this.#name} closed the connection`, { code: "connection-lost" });
  }
}

/** Whether it was the link that failed, and not what was asked of it. */
function wasLost(generation: Generation, error: unknown): boolean {
  return codeOf(error) === "connection-lost" || generation.over.aborted;
}

function not(failed: Generation | undefined): { not?: Generation } {
  return failed === undefined ? {} : { not: failed };
}
