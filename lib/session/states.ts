/**
 * The states of a session, and the changes between them that there can be.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";
import { messageOf } from "../errors.ts";
import { logger } from "../log.ts";
import type { SessionState, StateChange } from "./options.ts";

const log = logger("session");

/** Where each state leads. Whatever is missing here cannot happen. */
const TRANSITIONS: Readonly<Record<SessionState, readonly SessionState[]>> = {
  closed: ["connecting"],
  connecting: ["open", "failed", "closed"],
  open: ["reconnecting", "failed", "closed"],
  reconnecting: ["open", "failed", "closed"],
  failed: [],
};

/** How many connections and callers a change of state concerns. */
export type Concerned = Pick<StateChange, "lost" | "parked">;

/** Where a session stands. */
export class StateMachine {
  #state: SessionState = "closed";
  readonly #name: string;
  readonly #onState: ((change: StateChange) => void) | undefined;
  readonly #log: Logger;

  /**
   * @param name What log lines call the session.
   * @param onState Called with each change.
   * @param logs Where changes are logged.
   */
  constructor(name: string, onState?: (change: StateChange) => void, logs: Logger = log) {
    this.#name = name;
    this.#log = logs;
    this.#onState = onState;
  }

  /** The state now. */
  get state(): SessionState {
    return this.#state;
  }

  /** Whether the session is over and can only be made anew. */
  get over(): boolean {
    return this.#state === "failed" || this.#state === "closed";
  }

  /**
   * Changes the state, and logs it.
   *
   * @param to The new state.
   * @param reason Why, in words.
   * @param concerned Connections and callers that it concerns.
   * @throws {Error} When the one state does not lead to the other: a mistake in fairlead itself.
   */
  to(to: SessionState, reason: string, concerned: Concerned = { lost: 0, parked: 0 }): void {
    const from = this.#state;
    if (!TRANSITIONS[from].includes(to)) {
      throw new Error(`a session that is ${from} cannot become ${to} (${reason})`);
    }
    this.#state = to;
    this.#log.info("{name}: {from} -> {to}: {reason}", { name: this.#name, from, to, reason });
    try {
      this.#onState?.({ from, to, reason, ...concerned });
    } catch (error) {
      // Whoever listens must not keep the session from going on.
      this.#log.error("onState: {reason}", { reason: messageOf(error) });
    }
  }
}
