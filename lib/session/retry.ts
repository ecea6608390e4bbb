/**
 * When to connect again, and when not to: eagerly where an attempt costs nobody anything, ever more
 * slowly where a server was reached and failed, and not at all where that would not help.
 *
 * sshd punishes clients that keep failing (PerSourcePenalties of sshd_config(5)).
 *
 * @module
 */
import {
  codeOf,
  type ErrorCode,
  FairleadError,
  messageOf,
  SessionError,
  systemCodeOf,
} from "../errors.ts";
import type { SessionOptions } from "./options.ts";

/** Between two looks for a server that cannot be reached. */
const LOOK = 1_000;
/** The same while callers wait for it. */
export const EAGER_LOOK = 250;
/** The shortest and the longest wait after an attempt that reached the server. */
const SHORTEST = 500;
const LONGEST = 30_000;
/** A link that lasted less, and carried nothing, is followed by a pause: nobody may spin. */
export const STABLE = 10_000;
const SHORTEST_FLAP = 100;
/** How often, and how long after each other, a login that was once accepted is tried again. */
const MORE_LOGINS = 3;
const LOGIN_PAUSE = 30_000;
/** A reach timeout for most attempts, and how many there are to one with the usual timeout. */
export const REACH_TIMEOUT = 4_000;
const PATIENT_EVERY = 4;

/** Nothing that time alone will mend. */
const FINAL: readonly ErrorCode[] = [
  "algorithm-mismatch",
  "config-invalid",
  "host-key-changed",
  "host-key-revoked",
  "host-key-unknown",
  "not-supported",
  "usage",
];

/** Where the system says so, nobody has taken the connection. */
const UNREACHED: readonly ErrorCode[] = ["connect-refused", "timeout", "unreachable"];

/** The server, or what lets us in there, said no; directories and agents hiccup. */
const LOGIN: readonly ErrorCode[] = ["auth-failed", "agent-failed", "identity-unreadable"];

/** What is known of an attempt that failed. */
export interface Failure {
  /** Why. */
  readonly error: unknown;
  /** Whether a server was reached: it has cost somebody something. */
  readonly reached: boolean;
}

/** What to do after it. */
export type Verdict =
  | { readonly final: SessionError }
  | {
    /** Milliseconds until the next attempt. */
    readonly wait: number;
    /** Whether it may come after {@linkcode EAGER_LOOK} where callers wait. */
    readonly eager: boolean;
  };

/** Decides over the attempts of one session. */
export class Retry {
  readonly #options: Pick<SessionOptions, "retries" | "retryFor">;
  readonly #now: () => number;
  readonly #random: () => number;
  #since = 0;
  #wasOpen = false;
  #attempts = 0;
  #reached = 0;
  #logins = 0;
  #flaps = 0;
  #counted = -Infinity;

  /**
   * @param options How often and how long to try.
   * @param now Milliseconds that only grow.
   * @param random A number from 0 to 1.
   */
  constructor(
    options: Pick<SessionOptions, "retries" | "retryFor">,
    now: () => number,
    random: () => number = Math.random,
  ) {
    this.#options = options;
    this.#now = now;
    this.#random = random;
    this.#since = now();
  }

  /**
   * Begins to count anew: a link was lost.
   *
   * @param lasted Milliseconds that it was open.
   * @param carried Whether it has carried anything: a server that lets us in only to hang up must
   *   not be logged in to again and again.
   * @returns Milliseconds until the first attempt.
   */
  lost(lasted: number, carried: boolean): number {
    this.#wasOpen = true;
    this.#since = this.#now();
    this.#counted = -Infinity;
    this.#attempts = this.#reached = this.#logins = 0;
    if (carried || lasted >= STABLE) {
      this.#flaps = 0;
      return 0;
    }
    return this.#between(0, Math.min(LONGEST, SHORTEST_FLAP * 2 ** this.#flaps++));
  }

  /**
   * How long the next attempt may take to reach the server. A lost SYN is sent again after 1, 3, 7
   * and 15 seconds: who waits for it finds a path that is back only then. A short attempt finds it
   * sooner, and now and then a patient one suits a path that is slow.
   *
   * @returns Milliseconds; undefined for as long as usual.
   */
  get reachTimeout(): number | undefined {
    return this.#attempts % PATIENT_EVERY === PATIENT_EVERY - 1 ? undefined : REACH_TIMEOUT;
  }

  /** Milliseconds until there is no more trying; below 0 when the time is up. */
  get left(): number {
    return (this.#options.retryFor ?? Infinity) - (this.#now() - this.#since);
  }

  /** Milliseconds for the next attempt: the last one has a moment, too. */
  get attemptTimeout(): number {
    return Math.max(this.left, LOOK);
  }

  /**
   * Judges an attempt that failed.
   *
   * @param failure What is known of it.
   * @returns When to try again, or the error that ends the session.
   */
  next({ error, reached }: Failure): Verdict {
    const failure = sessionError(error);
    if (isMistake(error) || isFinal(failure)) return { final: failure };
    const login = LOGIN.includes(failure.code);
    if (login && (!this.#wasOpen || ++this.#logins > MORE_LOGINS)) return { final: failure };
    const { left } = this;
    this.#count(reached);
    if (this.#attempts >= this.#most || left <= 0 || (login && left < LOGIN_PAUSE)) {
      return { final: this.#givenUp(failure) };
    }
    if (login) return { wait: this.#between(LOGIN_PAUSE, 1.2 * LOGIN_PAUSE), eager: false };
    if (!reached) {
      // Whoever took the connection only to close it, a proxy perhaps, has work with each look.
      const eager = UNREACHED.includes(failure.code) && systemCodeOf(failure.cause) !== undefined;
      return { wait: Math.min(left, this.#between(0.9, 1.1) * LOOK), eager };
    }
    const longest = Math.min(LONGEST, 2 * SHORTEST * 2 ** this.#reached++);
    return { wait: Math.min(left, this.#between(SHORTEST, longest)), eager: false };
  }

  /** More looks for the sake of callers are not more tries: traffic must not end a session. */
  #count(reached: boolean): void {
    const now = this.#now();
    if (!reached && now - this.#counted < 0.8 * LOOK) return;
    this.#counted = now;
    this.#attempts++;
  }

  /** Without retries a lost link is the end; a first connection can be waited for all the same. */
  get #most(): number {
    const { retries = Infinity } = this.#options;
    return retries === 0 && !this.#wasOpen ? Infinity : retries;
  }

  #givenUp(failure: SessionError): SessionError {
    const { code, hint } = failure;
    const tries = this.#attempts === 1 ? "1 try" : `${this.#attempts} tries`;
    return new SessionError(`gave up after ${tries}: ${failure.message}`, {
      code,
      ...(hint === undefined ? {} : { hint }),
      cause: failure,
    });
  }

  #between(least: number, most: number): number {
    return least + this.#random() * (most - least);
  }
}

/**
 * Tells whether a link that ended for this must not be made anew.
 *
 * @param error Why it ended.
 * @returns Whether it is final.
 */
export function isFinal(error: SessionError): boolean {
  return FINAL.includes(error.code);
}

/**
 * Tells whether a further attempt would end as the last one did, as long as nobody does anything.
 *
 * @param error What was thrown.
 * @returns Whether it is so: also where a login was refused that a person might be let in with.
 */
export function isHopeless(error: unknown): boolean {
  const failure = sessionError(error);
  return isMistake(error) || isFinal(failure) || LOGIN.includes(failure.code);
}

/** Of the options, or of ours: no server has anything to do with it. */
function isMistake(error: unknown): boolean {
  return [TypeError, RangeError, SyntaxError].some((kind) => error instanceof kind);
}

/**
 * Whatever kept a session from opening, as an error of a session.
 *
 * @param error What was thrown.
 * @returns The same, or one around it.
 */
export function sessionError(error: unknown): SessionError {
  if (error instanceof SessionError) return error;
  const hint = error instanceof FairleadError ? error.hint : undefined;
  return new SessionError(messageOf(error), {
    code: codeOf(error),
    ...(hint === undefined ? {} : { hint }),
    cause: error,
  });
}
