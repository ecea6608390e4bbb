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
import type { Logger } from "@logtape/logtape";
import { codeOf, messageOf, SessionError } from "../errors.ts";
import { logger } from "../log.ts";
import type { RemoteCommand } from "../ssh/command.ts";
import { attemptOnce } from "./attempt.ts";
import { type Clock, systemClock } from "./clock.ts";
import { Gate, turnedAway } from "./gate.ts";
import { Generation } from "./generation.ts";
import { Idleness } from "./idleness.ts";
import { keepAlive, silence } from "./keepalive.ts";
import type { Connect, Link } from "./link.ts";
import type { SessionOptions, SessionState, Surroundings } from "./options.ts";
import { Persistence } from "./persistence.ts";
import { RemoteListeners } from "./remote_listeners.ts";
import { EAGER_LOOK, isFinal, REACH_TIMEOUT, Retry, sessionError } from "./retry.ts";
import { Spread } from "./spread.ts";
import { StateMachine } from "./states.ts";

const log = logger("session");

/** Links that one dial, or one request to listen, may lose, besides those that stand at a time. */
const MORE_LINKS = 2;

/** A session to one server. */
export class Session implements Dialer {
  readonly #connect: Connect;
  readonly #options: SessionOptions;
  readonly #clock: Clock;
  readonly #name: string;
  readonly #log: Logger;
  readonly #machine: StateMachine;
  readonly #retry: Retry;
  readonly #persistence: Persistence;
  readonly #gate: Gate<Generation>;
  readonly #remote: RemoteListeners;
  readonly #idleness: Idleness;
  /** Where there is to be more than one connection at a time. */
  readonly #spread: Spread | undefined;
  /** Ends whatever still wants to connect. */
  readonly #effort = new AbortController();
  readonly #generations = new Set<Generation>();
  readonly #mostLinks: number;
  #current: Generation | undefined;
  #count = 0;
  #reloading: Promise<void> | undefined;
  /** Gives the attempt of a reload up. */
  #hurry: AbortController | undefined;
  #persisting = false;
  #settle: (reason: SessionError | undefined) => void = () => {};
  /** The tunnel that it belongs to, where log records name it. */
  readonly name: string | undefined;
  /** Settles when the session is over for good: undefined after `close()`, otherwise the reason. */
  readonly closed: Promise<SessionError | undefined>;

  private constructor(connect: Connect, options: SessionOptions, surroundings: Surroundings) {
    const { name, tunnel, clock = systemClock, random = Math.random } = surroundings;
    const logs = tunnel === undefined ? log : log.with({ tunnel });
    this.#connect = connect;
    this.#options = options;
    this.#clock = clock;
    this.name = tunnel;
    this.#name = name;
    this.#log = logs;
    this.#machine = new StateMachine(name, options.onState, logs);
    this.#retry = new Retry(options, () => clock.now(), random);
    this.#gate = new Gate(clock, options);
    this.#persistence = new Persistence({
      ...{ retry: this.#retry, clock, logs, signal: this.#effort.signal },
      attempt: (own) => this.#attempt(own),
      isAwaited: () => this.#gate.parked > 0,
      onFailure: (reason) => this.#gate.shut(reason),
    });
    this.#gate.onParked = () => this.#persistence.hasten(EAGER_LOOK);
    this.#remote = new RemoteListeners(clock, logs);
    const { idleTimeout = 0, connections = 1 } = options;
    this.#idleness = new Idleness(clock, idleTimeout, () => this.#isUsed, () => {
      const seconds = idleTimeout / 1000;
      logs.warn("{name}: no connection for {seconds} s: it ends", { name, seconds });
      void this.close();
    });
    this.#spread = connections === 1 ? undefined : new Spread({
      ...{ ...options, connections, name, logs, clock, random },
      make: async (signal) => this.#keep(await this.#attempt({ signal, quiet: true })),
      leave: (generation) => this.#leave(generation),
    });
    this.#mostLinks = MORE_LINKS + (this.#spread?.most ?? 1);
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

  /** How many links there are for new streams. */
  get connections(): number {
    return [...this.#generations].filter((one) => this.#serves(one)).length;
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
    const open = (link: Link) => link.dial(destination, options);
    return this.#through(options.signal, (generation) => generation.use(open), { any: true });
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
  listen(
    address: Address,
    accept: (incoming: Incoming) => void,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<RemoteListener> {
    return this.#through(
      signal,
      (generation) => this.#remote.listen(generation, address, accept, signal),
    );
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
    const outcome = await this.#persistence.outcome(firstPause);
    if (outcome instanceof SessionError) this.#fail(outcome);
    else if (outcome !== undefined) this.#adopt(outcome);
  }

  #attempt({ signal = this.#effort.signal, most = Infinity, ...own }: {
    readonly signal?: AbortSignal;
    readonly most?: number;
    readonly reached?: () => void;
    readonly reachTimeout?: number | undefined;
    readonly quiet?: boolean;
  } = {}): Promise<Link> {
    const cancelled = () => {
      return signal.reason instanceof SessionError ? signal.reason : this.#cancelled();
    };
    const bounds = { signal, cancelled, clock: this.#clock, most };
    const attempt = { reached: () => {}, reachTimeout: undefined, ...own };
    return attemptOnce(this.#connect, attempt, bounds);
  }

  /** From now on this is the link; undefined where the session was closed at the last moment. */
  #adopt(link: Link): Generation | undefined {
    if (this.#machine.over) return void link.destroy();
    const generation = this.#keep(link);
    this.#current = generation;
    this.#idleness.changed();
    if (this.#machine.state !== "open") {
      this.#machine.to("open", `connection ${generation.number}`, this.#concerned());
      this.#remote.renew(generation);
      this.#spread?.reopened();
    }
    this.#gate.open(generation);
    return generation;
  }

  /** Watches a link until it is over. */
  #keep(link: Link): Generation {
    const generation = new Generation(++this.#count, link, this.#clock.now(), () => {
      this.#idleness.changed();
      this.#spread?.used(generation);
      this.#leaveIfDone(generation);
    });
    const dead = (reason: SessionError) => link.destroy(reason);
    const watch = keepAlive(link, this.#clock, silence(this.#options), dead);
    link.onStalled = ({ message: reason }) => {
      // What ends with its link has nothing to take to another one.
      if (!this.#serves(generation) || this.#options.retries === 0) return;
      this.#log.warn("{reason}; making a new connection", { reason });
      if (this.#spread?.replace(generation)) return;
      this.reload(reason).catch((error: unknown) => {
        this.#log.warn("no new connection: {reason}", { reason: messageOf(error) });
      });
    };
    this.#generations.add(generation);
    link.closed.then((reason) => {
      watch.stop();
      this.#generations.delete(generation);
      generation.end();
      const closed = `${this.#name} closed the connection`;
      this.#lost(generation, reason ?? new SessionError(closed, { code: "connection-lost" }));
    });
    return generation;
  }

  #lost(generation: Generation, reason: SessionError): void {
    if (!this.#serves(generation)) {
      const { lost } = generation;
      if (lost > 0) this.#log.warn("{lost} connections ended with the one that was left", { lost });
      return;
    }
    if (this.#machine.over) return;
    const first = this.#current;
    this.#current = this.#spread?.lost(generation, first, reason);
    if (this.#current !== undefined) {
      if (this.#current === first) return;
      this.#gate.open(this.#current);
      return this.#remote.renew(this.#current);
    }
    const lost = generation.lost + (this.#spread?.takeUntold() ?? 0);
    this.#gate.shut(reason.message);
    this.#idleness.pause();
    const pause = this.#retry.lost(this.#clock.now() - generation.since, generation.carried);
    if (this.#options.retries === 0 || isFinal(reason)) return this.#fail(reason, lost);
    this.#machine.to("reconnecting", reason.message, this.#concerned(lost));
    // A new connection that is on its way already is the one to wait for, but not for long.
    const going = this.#reloading ?? Promise.resolve();
    const late = this.#clock.after(REACH_TIMEOUT, () => this.#hurry?.abort(reason));
    going.catch(() => {}).then(async () => {
      late.cancel();
      if (this.#machine.state !== "reconnecting" || this.#persisting) return;
      this.#persisting = true;
      await this.#persist(pause).finally(() => this.#persisting = false);
    });
  }

  async #replace(reason: string): Promise<void> {
    if (this.#current === undefined) {
      this.#persistence.hasten(0);
      await this.#gate.pass(this.#gate.ticket()).catch((error: unknown) => {
        throw sessionError(error);
      });
      return;
    }
    const hurry = this.#hurry = new AbortController();
    const signal = AbortSignal.any([this.#effort.signal, hurry.signal]);
    const link = await this.#attempt({ signal });
    // Another one may have taken its place meanwhile, or none.
    const old = this.#current;
    const generation = this.#adopt(link);
    if (old === undefined || generation === undefined) return;
    this.#spread?.renew();
    this.#log.info(
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
    this.#leave(old);
  }

  /** Whether new streams may come to it. */
  #serves(generation: Generation): boolean {
    return generation === this.#current || this.#spread?.has(generation) === true;
  }

  /** Has it finish what is open on it. */
  #leave(generation: Generation): void {
    generation.end();
    this.#leaveIfDone(generation);
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
    this.#spread?.end();
    this.#idleness.stop();
    this.#gate.fail(turnedAway(failure));
  }

  /** Uses the link, or any of several; what the link's loss kept from its end waits for the next. */
  async #through<T>(
    signal: AbortSignal | undefined,
    use: (generation: Generation) => Promise<T>,
    { any = false } = {},
  ): Promise<T> {
    const ticket = this.#gate.ticket();
    let failed: Set<Generation> | undefined;
    for (;;) {
      const generation = (any ? this.#choose(failed) : undefined) ??
        await this.#gate.pass(ticket, { signal, ...(failed === undefined ? {} : { not: failed }) });
      // Of several that die together, the next may be one that is dead already.
      if (failed?.has(generation)) continue;
      try {
        return await use(generation);
      } catch (error) {
        failed = (failed ?? new Set()).add(generation);
        // One that the server cannot bear must not take link after link with it.
        if (!wasLost(generation, error) || failed.size >= this.#mostLinks) throw error;
      }
    }
  }

  /** One of several connections that stand; undefined where that is for the gate to say. */
  #choose(failed: ReadonlySet<Generation> | undefined): Generation | undefined {
    if (this.#current === undefined || this.#machine.over) return undefined;
    return this.#spread?.choose(this.#current, failed);
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
}

/** Whether it was the link that failed, and not what was asked of it. */
function wasLost(generation: Generation, error: unknown): boolean {
  return codeOf(error) === "connection-lost" || generation.over.aborted;
}
