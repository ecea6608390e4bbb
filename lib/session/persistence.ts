/**
 * Trying to connect until there is a link, or trying does not help any more.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";
import { messageOf, type SessionError } from "../errors.ts";
import { logger } from "../log.ts";
import type { Clock } from "./clock.ts";
import type { Attempt, Link } from "./link.ts";
import { Pause } from "./pause.ts";
import { EAGER_LOOK, type Retry } from "./retry.ts";

const log = logger("session");

/** Reasons that are told of one outage: a server could think of ever new ones. */
const MOST_REASONS = 20;

/** What trying takes from its session. */
export interface PersistenceOptions {
  /** Decides over the attempts. */
  readonly retry: Retry;
  /** Where time comes from. */
  readonly clock: Clock;
  /** Where failures are logged. */
  readonly logs?: Logger;
  /** Gives all of it up. */
  readonly signal: AbortSignal;
  /** Makes one attempt, within `most` milliseconds. */
  readonly attempt: (
    own: Pick<Attempt, "reached" | "reachTimeout"> & { readonly most: number },
  ) => Promise<Link>;
  /** Tells whether callers wait for the link. */
  readonly isAwaited: () => boolean;
  /** Called with the reason of each attempt that failed. */
  readonly onFailure: (reason: string) => void;
}

/** Tries, again and again. */
export class Persistence {
  readonly #options: PersistenceOptions;
  /** The pause between two attempts, where it may be cut short. */
  #pause: Pause | undefined;

  /**
   * @param options What makes an attempt, and what decides over the next.
   */
  constructor(options: PersistenceOptions) {
    this.#options = options;
  }

  /**
   * Tries until there is an outcome; it never rejects.
   *
   * @param firstPause Milliseconds until the first attempt.
   * @returns The link, or why there will be none; undefined where it was given up.
   */
  async outcome(firstPause: number): Promise<Link | SessionError | undefined> {
    const { retry, signal, attempt, onFailure, logs = log } = this.#options;
    const told = new Set<string>();
    let wait = firstPause;
    let eager = false;
    for (;;) {
      await this.#rest(wait, eager);
      if (signal.aborted) return undefined;
      let reached = false;
      try {
        const { reachTimeout, attemptTimeout: most } = retry;
        return await attempt({ reached: () => reached = true, reachTimeout, most });
      } catch (error) {
        if (signal.aborted) return undefined;
        const verdict = retry.next({ error, reached });
        if ("final" in verdict) return verdict.final;
        ({ wait, eager } = verdict);
        const reason = messageOf(error);
        onFailure(reason);
        const level = told.has(reason) || told.size >= MOST_REASONS ? "debug" : "warn";
        if (level === "warn") told.add(reason);
        logs[level]("{reason}; trying again in {seconds} s", {
          reason,
          seconds: (wait / 1000).toFixed(1),
        });
      }
    }
  }

  /**
   * Has the next attempt come sooner, unless a server that refused a login, or failed, has its
   * pause.
   *
   * @param delay Milliseconds from now at most.
   */
  hasten(delay: number): void {
    this.#pause?.hasten(delay);
  }

  async #rest(wait: number, eager: boolean): Promise<void> {
    if (wait === 0) return;
    const { clock, signal, isAwaited } = this.#options;
    const pause = new Pause(clock, wait, signal);
    if (eager) this.#pause = pause;
    if (eager && isAwaited()) pause.hasten(EAGER_LOOK);
    await pause.over;
    this.#pause = undefined;
  }
}
