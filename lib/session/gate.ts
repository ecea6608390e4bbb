/**
 * Where callers wait while there is no link: in order, not too many, and not for ever.
 *
 * @module
 */
import { ConnectionError, type SessionError } from "../errors.ts";
import type { Clock, Timer } from "./clock.ts";
import type { SessionOptions } from "./options.ts";

/** Milliseconds that a caller waits for a lost link, and how many wait. */
const PARK = 30_000;
const MAX_PARKED = 256;
/** How many callers may wait beyond those whose time runs: a bound, not a promise. */
const MAX_LINE = 4_096;

/** How long callers wait, and how many. */
interface Waiting {
  /** Milliseconds for each; 0 to turn everybody away. */
  readonly park: number;
  /** How many at a time. */
  readonly maxParked: number;
}

interface Caller<Link> {
  /** Its place in the order. */
  readonly ticket: number;
  readonly admit: (link: Link) => void;
  readonly turnAway: (error: ConnectionError) => void;
  /** Runs from the moment on at which the caller is one of the parked. */
  timer?: Timer;
}

/** Lets callers through to the link, when there is one. */
export class Gate<Link> {
  readonly #clock: Clock;
  readonly #options: Waiting;
  /** Called when one more caller waits. */
  onParked: (() => void) | undefined;
  #link: Link | undefined;
  /** Why there is none. */
  #reason = "it is not open yet";
  #failure: ConnectionError | undefined;
  readonly #line: Caller<Link>[] = [];
  #tickets = 0;
  #roomMade: (() => void)[] = [];

  /**
   * @param clock Where time comes from.
   * @param options How long callers wait, and how many.
   */
  constructor(clock: Clock, options: Pick<SessionOptions, "park" | "maxParked">) {
    this.#clock = clock;
    const { park = PARK, maxParked = MAX_PARKED } = options;
    this.#options = { park, maxParked };
  }

  /** How many callers wait. */
  get parked(): number {
    return this.#line.length;
  }

  /** A place in the order, to be kept through several waits. */
  ticket(): number {
    return ++this.#tickets;
  }

  /**
   * Lets everybody through, in order.
   *
   * @param link What they get.
   */
  open(link: Link): void {
    this.#link = link;
    for (const caller of this.#line.splice(0)) {
      caller.timer?.cancel();
      caller.admit(link);
    }
    this.#makeRoom();
  }

  /**
   * Has everybody wait from now on.
   *
   * @param reason Why, for those who wait in vain.
   */
  shut(reason: string): void {
    this.#link = undefined;
    this.#reason = reason;
  }

  /**
   * Turns everybody away, now and from now on.
   *
   * @param failure Why.
   */
  fail(failure: ConnectionError): void {
    this.#link = undefined;
    this.#failure = failure;
    for (const caller of this.#line.splice(0)) {
      caller.timer?.cancel();
      caller.turnAway(failure);
    }
    this.#makeRoom();
  }

  /**
   * Waits for the link.
   *
   * @param ticket The caller's place in the order.
   * @param options A signal that gives it up, and the links that have failed the caller.
   * @returns The link.
   * @throws {ConnectionError} `timeout` when the time is up, `cancelled`, `connection-lost` or
   *   `resource-shortage` when there is no waiting; or what the gate failed with.
   */
  pass(
    ticket: number,
    { signal, not }: {
      readonly signal?: AbortSignal | undefined;
      readonly not?: ReadonlySet<Link>;
    } = {},
  ): Promise<Link> {
    if (signal?.aborted) return Promise.reject(cancelled());
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const link = this.#link;
    if (link !== undefined && !not?.has(link)) return Promise.resolve(link);
    if (this.#options.park === 0 || this.#options.maxParked === 0) {
      const message = `there is no connection to the server: ${this.#reason}`;
      return Promise.reject(new ConnectionError(message, { code: "connection-lost" }));
    }
    if (this.#line.length >= MAX_LINE) {
      const message = `${MAX_LINE} callers wait for the server already`;
      return Promise.reject(new ConnectionError(message, { code: "resource-shortage" }));
    }
    return this.#wait(ticket, signal);
  }

  /**
   * Whether one more caller may wait.
   *
   * @returns undefined where one may; otherwise what settles when it is worth asking again.
   */
  room(): Promise<void> | undefined {
    if (this.#line.length < this.#options.maxParked) return undefined;
    return new Promise((resolve) => this.#roomMade.push(resolve));
  }

  #wait(ticket: number, signal: AbortSignal | undefined): Promise<Link> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        const place = this.#line.indexOf(caller);
        if (place < 0) return;
        this.#line.splice(place, 1);
        caller.timer?.cancel();
        caller.turnAway(cancelled());
        this.#startTimers();
        this.#makeRoom();
      };
      const caller: Caller<Link> = {
        ticket,
        admit: (link) => {
          signal?.removeEventListener("abort", leave);
          resolve(link);
        },
        turnAway: (error) => {
          signal?.removeEventListener("abort", leave);
          reject(error);
        },
      };
      signal?.addEventListener("abort", leave, { once: true });
      // Who has waited before stands before those who came later.
      const behind = this.#line.findIndex((other) => other.ticket > ticket);
      this.#line.splice(behind < 0 ? this.#line.length : behind, 0, caller);
      this.#startTimers();
      this.onParked?.();
    });
  }

  /** Only so many are parked; the others wait as in a listener's backlog, without a limit. */
  #startTimers(): void {
    const { park, maxParked } = this.#options;
    for (const caller of this.#line.slice(0, maxParked)) {
      caller.timer ??= this.#clock.after(park, () => this.#expire(caller));
    }
  }

  #expire(caller: Caller<Link>): void {
    const place = this.#line.indexOf(caller);
    if (place < 0) return;
    this.#line.splice(place, 1);
    const seconds = this.#options.park / 1000;
    const message = `waited ${seconds} s for the server in vain: ${this.#reason}`;
    caller.turnAway(new ConnectionError(message, { code: "timeout" }));
    this.#startTimers();
    this.#makeRoom();
  }

  #makeRoom(): void {
    for (const made of this.#roomMade.splice(0)) made();
  }
}

/**
 * What a caller gets that waits for a session which is over.
 *
 * @param failure Why it is over.
 * @returns The error for the caller.
 */
export function turnedAway(failure: SessionError): ConnectionError {
  const { code, hint, message } = failure;
  return new ConnectionError(message, {
    code,
    ...(hint === undefined ? {} : { hint }),
    cause: failure,
  });
}

function cancelled(): ConnectionError {
  return new ConnectionError("waiting for the server was cancelled", { code: "cancelled" });
}
