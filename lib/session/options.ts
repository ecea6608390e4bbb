/**
 * What may be said about a session: when a link is taken for dead, how it comes back, and what
 * happens to callers meanwhile.
 *
 * @module
 */

import { quoted } from "../errors.ts";
import type { Clock } from "./clock.ts";

/** Where a session stands. */
export type SessionState = "closed" | "connecting" | "open" | "reconnecting" | "failed";

/** One change of a session's state. */
export interface StateChange {
  /** The state before. */
  readonly from: SessionState;
  /** The state from now on. */
  readonly to: SessionState;
  /** Why, in words. */
  readonly reason: string;
  /** Forwarded connections that the lost link took with it; 0 for every other change. */
  readonly lost: number;
  /** Callers that wait for the session at this moment. */
  readonly parked: number;
}

/** A change in how many SSH connections a session has, where it may have several. */
export interface ConnectionsChange {
  /** SSH connections that are open now. */
  readonly open: number;
  /** How many there are to be. */
  readonly wanted: number;
  /** SSH connections that were lost: 0 where one was opened, or is not needed any more. */
  readonly gone: number;
  /** Forwarded connections that they took with them. */
  readonly lost: number;
  /** Why they were lost. */
  readonly reason: string | undefined;
}

/** What may be said about a session besides where it leads. All times are milliseconds. */
export interface SessionOptions {
  /**
   * Silence after which the server is asked for a sign of life (ServerAliveInterval of
   * ssh_config(5)); 15,000 by default, 0 for never.
   */
  readonly serverAliveInterval?: number;
  /** Such questions in a row without an answer, until the link counts as dead; 3 by default. */
  readonly serverAliveCountMax?: number;
  /** Whether a first connection that fails is tried again as a lost one is; it is not by default. */
  readonly wait?: boolean;
  /** How often a lost link is tried to be made anew; for ever by default, 0 for not at all. */
  readonly retries?: number;
  /** How long a lost link is tried to be made anew; for ever by default. */
  readonly retryFor?: number;
  /** How long a caller waits for a lost link; 30,000 by default, 0 for not at all. */
  readonly park?: number;
  /** How many callers wait so; the others stay in the listener's backlog. 256 by default. */
  readonly maxParked?: number;
  /**
   * How long the session may be open without any forwarded connection before it ends; 0, as by
   * default, for ever.
   */
  readonly idleTimeout?: number;
  /**
   * Over how many SSH connections forwarded connections are spread, 1 to 16; 1 by default. The
   * first is made first, the others follow in the background; while one is lost, the others take
   * what comes. `auto` begins with one, makes another whenever each carries 8 forwarded connections,
   * up to 4, and closes one that nothing has used for a minute.
   */
  readonly connections?: number | "auto";
  /** Called with each change of the session's state. */
  readonly onState?: (change: StateChange) => void;
  /**
   * Called when one of several SSH connections is opened, lost or closed. Where the last one is
   * lost it is the session's state that changes.
   */
  readonly onConnections?: (change: ConnectionsChange) => void;
}

/** What a session takes from its surroundings. */
export interface Surroundings {
  /** What log lines call the server. */
  readonly name: string;
  /** The tunnel that it belongs to, where log records are to name it. */
  readonly tunnel?: string | undefined;
  /** Gives the first connection up. */
  readonly signal?: AbortSignal | undefined;
  /** Where time comes from. */
  readonly clock?: Clock;
  /** A number from 0 to 1. */
  readonly random?: () => number;
}

/** The most SSH connections that a session may have. */
export const MOST_CONNECTIONS = 16;

/**
 * Looks at what a caller wrote.
 *
 * @param options The options.
 * @throws {TypeError} Where `connections` is neither a number nor a word that it may be.
 * @throws {RangeError} Where a number is out of range.
 */
export function checkSessionOptions(options: SessionOptions): void {
  for (
    const name of [
      "serverAliveInterval",
      "serverAliveCountMax",
      "retries",
      "retryFor",
      "park",
      "maxParked",
      "idleTimeout",
    ] as const
  ) {
    const value = options[name];
    if (value !== undefined && !(value >= 0)) {
      throw new RangeError(`${name} must be a number of 0 or more, not ${value}`);
    }
  }
  const { connections = 1 }: { connections?: unknown } = options;
  if (connections === "auto") return;
  if (typeof connections !== "number") {
    throw new TypeError(`connections must be "auto" or a number, not ${quoted(connections)}`);
  }
  if (!Number.isInteger(connections) || connections < 1 || connections > MOST_CONNECTIONS) {
    throw new RangeError(
      `connections must be "auto" or a number from 1 to ${MOST_CONNECTIONS}, not ${connections}`,
    );
  }
}
