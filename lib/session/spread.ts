/**
 * The further connections of a session: forwarded connections are spread over all of them, so that
 * what one loses, or one processor cannot do, is not everybody's.
 *
 * The first connection stays the session's own. It is made as if it were the only one, commands and
 * listeners on the server are on it, and only when none is left is the session lost. What is here
 * is made in the background, one after another, and nobody is asked anything for it.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";
import { messageOf, SessionError } from "../errors.ts";
import { logger } from "../log.ts";
import type { Clock, Timer } from "./clock.ts";
import type { Generation } from "./generation.ts";
import { Idleness } from "./idleness.ts";
import type { SessionOptions } from "./options.ts";
import { Pause } from "./pause.ts";
import { isHopeless, STABLE } from "./retry.ts";

const log = logger("session");

/** Connections that `auto` makes at most, and how many users each has before it makes another. */
const MOST_AUTO = 4;
const BUSY = 8;
/** Milliseconds without a user, after which `auto` closes one. */
const UNUSED = 60_000;
/**
 * Milliseconds after a loss until it is told, and until a new connection is made: where a server
 * goes down, the others follow, and then it is the session that is lost.
 */
const SETTLE = 500;
/** The shortest and the longest pause after an attempt that failed. */
const SHORTEST = 5_000;
const LONGEST = 600_000;

/** What a spread takes from its session. */
export interface SpreadOptions extends Pick<SessionOptions, "retries" | "onConnections"> {
  /** How many connections there are to be, the first included. */
  readonly connections: number | "auto";
  /** What log lines call the server. */
  readonly name: string;
  /** Where they go. */
  readonly logs?: Logger;
  /** Where time comes from. */
  readonly clock: Clock;
  /** A number from 0 to 1. */
  readonly random: () => number;
  /** Makes one more connection, and asks nobody. */
  readonly make: (signal: AbortSignal) => Promise<Generation>;
  /** Has one finish what is open on it. */
  readonly leave: (generation: Generation) => void;
}

/** The further connections of one session. */
export class Spread {
  readonly #options: SpreadOptions;
  readonly #auto: boolean;
  readonly #others = new Map<Generation, Idleness | undefined>();
  #wanted: number;
  /** Ends the making of more. */
  #filling: AbortController | undefined;
  /** Whether trying again would not help, or was not to be done: nothing happens by itself then. */
  #refused = false;
  /** Connections in a row that were lost soon, without having carried anything. */
  #flaps = 0;
  /** What was lost and is not told yet. */
  #untold: { links: number; streams: number; reason: string; timer: Timer } | undefined;

  /**
   * @param options How many there are to be, and what makes them.
   */
  constructor(options: SpreadOptions) {
    this.#options = options;
    this.#auto = options.connections === "auto";
    this.#wanted = options.connections === "auto" ? 1 : options.connections;
  }

  /** How many connections there may be at a time, with the first. */
  get most(): number {
    return this.#auto ? MOST_AUTO : this.#wanted;
  }

  /**
   * Tells whether a connection is one of the further ones.
   *
   * @param generation A connection.
   * @returns Whether it is one, and is not left.
   */
  has(generation: Generation): boolean {
    return this.#others.has(generation);
  }

  /**
   * The connection for one more user: the one that has the fewest.
   *
   * @param first The session's own connection.
   * @param not Those that have failed the user.
   * @returns The connection; undefined where only those are left.
   */
  choose(
    first: Generation,
    not: ReadonlySet<Generation> | undefined,
  ): Generation | undefined {
    let best: Generation | undefined;
    for (const one of [first, ...this.#others.keys()]) {
      if (!not?.has(one) && one.uses < (best?.uses ?? Infinity)) best = one;
    }
    if (this.#auto && best !== undefined && best.uses >= BUSY) this.#grow();
    return best;
  }

  /**
   * Makes the connections that are missing, in the background. To be called only while the first
   * one stands.
   *
   * @param pause Milliseconds until the first attempt.
   */
  fill(pause = 0): void {
    if (this.#filling !== undefined || this.#refused || this.#open >= this.#wanted) return;
    const stop = this.#filling = new AbortController();
    void this.#fill(pause, stop);
  }

  /** Leaves all of them, and makes new ones. */
  renew(): void {
    this.halt();
    for (const generation of [...this.#others.keys()]) this.#remove(generation);
    if (this.#auto) this.#wanted = 1;
    this.#refused = false;
    this.fill();
  }

  /**
   * Leaves one, and makes a new one.
   *
   * @param generation Any connection of the session.
   * @returns Whether it was one of the further ones.
   */
  replace(generation: Generation): boolean {
    if (!this.has(generation)) return false;
    this.#remove(generation);
    this.fill();
    return true;
  }

  /** To be called when a connection has got its first user, or lost its last one. */
  used(generation: Generation): void {
    this.#others.get(generation)?.changed();
  }

  /**
   * Takes note of a loss.
   *
   * @param generation What was lost: the first connection, or one of the further ones.
   * @param first The first connection.
   * @param reason Why.
   * @returns The connection that is the first from now on; undefined where none is left.
   */
  lost(
    generation: Generation,
    first: Generation | undefined,
    reason: SessionError,
  ): Generation | undefined {
    const heir = generation === first ? this.#others.keys().next().value : first;
    for (const one of [generation, heir]) {
      if (one !== undefined) this.#forget(one);
    }
    const { clock, retries } = this.#options;
    if (heir === undefined) {
      this.halt();
      return undefined;
    }
    const soon = !generation.carried && clock.now() - generation.since < STABLE;
    this.#flaps = soon ? this.#flaps + 1 : 0;
    if (this.#auto || retries === 0) this.#wanted = this.#open;
    this.#note(generation.lost, reason);
    this.fill(SETTLE + this.#flapPause);
    return heir;
  }

  /**
   * The forwarded connections that were reset with connections whose loss is not told yet.
   *
   * @returns How many; whoever asks tells of them.
   */
  takeUntold(): number {
    const { streams = 0, timer } = this.#untold ?? {};
    timer?.cancel();
    this.#untold = undefined;
    return streams;
  }

  /** The session is open again: whatever was refused before is worth one more try. */
  reopened(): void {
    if (this.#auto) this.#wanted = 1;
    this.#refused = false;
    this.fill();
  }

  /** Makes no more of them, for the moment. */
  halt(): void {
    this.#filling?.abort();
    this.#filling = undefined;
  }

  /** Ends it; what is open is the session's to close. */
  end(): void {
    this.halt();
    this.takeUntold();
    for (const idleness of this.#others.values()) idleness?.stop();
  }

  /** How many stand, with the first. */
  get #open(): number {
    return 1 + this.#others.size;
  }

  async #fill(pause: number, stop: AbortController): Promise<void> {
    const { clock, retries = Infinity } = this.#options;
    const { signal } = stop;
    let failures = 0;
    let wait = pause;
    try {
      while (this.#open < this.#wanted) {
        if (wait > 0) await new Pause(clock, wait, signal).over;
        if (signal.aborted) return;
        try {
          await this.#add(signal);
          failures = 0;
          wait = this.#flapPause;
        } catch (error) {
          if (signal.aborted) return;
          this.#refused = ++failures > retries || isHopeless(error);
          this.#say(failures === 1 || this.#refused ? "warn" : "debug", error);
          if (this.#refused) return;
          wait = this.#pauseAfter(failures);
        }
      }
    } finally {
      // Not later than the loop's last look: a loss right after it must find nobody at work.
      if (this.#filling === stop) this.#filling = undefined;
    }
  }

  async #add(signal: AbortSignal): Promise<void> {
    const { make, clock, name } = this.#options;
    const generation = await make(signal);
    if (signal.aborted) return generation.link.destroy();
    if (generation.over.aborted) {
      throw new SessionError(`${name} closed it at once`, { code: "connection-lost" });
    }
    const idleness = this.#auto
      ? new Idleness(clock, UNUSED, () => generation.uses > 0, () => this.#release(generation))
      : undefined;
    this.#others.set(generation, idleness);
    idleness?.changed();
    this.#changed();
  }

  #grow(): void {
    if (this.#filling !== undefined || this.#refused || this.#open >= MOST_AUTO) return;
    this.#wanted = this.#open + 1;
    this.fill();
  }

  /** One that nobody has needed for some time. */
  #release(generation: Generation): void {
    this.#remove(generation);
    this.#wanted = this.#open;
    this.#changed();
  }

  #remove(generation: Generation): void {
    this.#forget(generation);
    this.#options.leave(generation);
  }

  #forget(generation: Generation): void {
    this.#others.get(generation)?.stop();
    this.#others.delete(generation);
  }

  /** A server that lets us in only to hang up must not be logged in to again and again. */
  get #flapPause(): number {
    return this.#flaps === 0 ? 0 : this.#pauseAfter(this.#flaps);
  }

  #pauseAfter(failures: number): number {
    const longest = Math.min(LONGEST, SHORTEST * 2 ** (failures - 1));
    return longest * (0.5 + this.#options.random() / 2);
  }

  #say(level: "warn" | "debug", error: unknown): void {
    this.#log[level]("{name}: no further connection: {reason}; going on with {open} of {wanted}", {
      name: this.#options.name,
      reason: messageOf(error),
      open: this.#open,
      wanted: this.#wanted,
    });
  }

  get #log(): Logger {
    return this.#options.logs ?? log;
  }

  #note(streams: number, reason: SessionError): void {
    this.#untold ??= {
      links: 0,
      streams: 0,
      reason: "",
      timer: this.#options.clock.after(SETTLE, () => this.#tellLoss()),
    };
    this.#untold.links++;
    this.#untold.streams += streams;
    this.#untold.reason = reason.message;
  }

  #tellLoss(): void {
    const { links = 0, streams = 0, reason } = this.#untold ?? {};
    this.#untold = undefined;
    this.#changed({ links, streams, reason });
  }

  #changed({ links = 0, streams = 0, reason }: Loss = {}): void {
    const { name, onConnections } = this.#options;
    const open = this.#open;
    const wanted = Math.max(open, this.#wanted);
    this.#log.info("{name}: {open} of {wanted} connections are open{why}", {
      name,
      open,
      wanted,
      why: reason === undefined ? "" : `: ${reason}`,
    });
    try {
      onConnections?.({ open, wanted, gone: links, lost: streams, reason });
    } catch (error) {
      this.#log.error("onConnections: {reason}", { reason: messageOf(error) });
    }
  }
}

interface Loss {
  readonly links?: number;
  readonly streams?: number;
  readonly reason?: string | undefined;
}
