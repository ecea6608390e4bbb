/**
 * What may be said about a session: when a link is taken for dead, how it comes back, and what
 * happens to callers meanwhile.
 *
 * @module
 */

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
  /** Called with each change of the session's state. */
  readonly onState?: (change: StateChange) => void;
}

/**
 * Looks at what a caller wrote.
 *
 * @param options The options.
 * @throws {RangeError} Where a number is none of 0 and above.
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
}
