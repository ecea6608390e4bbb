/**
 * Where a tunnel of the background process stands, as whoever watches is told it.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";
import { adviceOf, messageOf, SessionError } from "../errors.ts";
import type { StateChange } from "../session/options.ts";
import { controlError, failureOf } from "./failure.ts";
import type { ControlEvent } from "./protocol.ts";
import type { Failure, TunnelState, TunnelStatus } from "./status.ts";

/** Where one tunnel stands. */
export class Standing {
  readonly #name: string;
  readonly #log: Logger;
  readonly #onEvent: (event: ControlEvent) => void;
  readonly #looks = new Set<() => void>();
  #state: TunnelState = "waiting";
  #since = new Date();
  #reconnects = 0;
  #failure: Failure | undefined;

  /**
   * @param name The tunnel's name.
   * @param log Where each change is logged.
   * @param onEvent Called with each change.
   */
  constructor(name: string, log: Logger, onEvent: (event: ControlEvent) => void) {
    this.#name = name;
    this.#log = log;
    this.#onEvent = onEvent;
  }

  /** The state, in one word. */
  get state(): TunnelState {
    return this.#state;
  }

  /** What can be seen of it. */
  get status(): Pick<TunnelStatus, "state" | "since" | "reconnects" | "failure"> {
    return {
      state: this.#state,
      since: this.#since.toISOString(),
      reconnects: this.#reconnects,
      ...(this.#failure === undefined ? {} : { failure: this.#failure }),
    };
  }

  /**
   * Changes the state.
   *
   * @param state The new one.
   * @param reason Why, in words.
   */
  to(state: TunnelState, reason: string): void {
    this.#state = state;
    this.#since = new Date();
    this.#log.info("{state}: {reason}", { state, reason });
    this.#onEvent({ event: "tunnel", name: this.#name, state, reason });
    this.lookAgain();
  }

  /**
   * It is up; what was wrong before is no more.
   *
   * @param destination Where it leads.
   */
  open(destination: string): void {
    this.#failure = undefined;
    this.to("open", `to ${destination}`);
  }

  /**
   * Takes over what a session says of itself.
   *
   * @param change A change of the session's state.
   */
  follow({ from, to, reason }: StateChange): void {
    if (to === "reconnecting") {
      this.#failure = failureOf(new SessionError(reason, { code: "connection-lost" }));
      this.to("reconnecting", reason);
    }
    if (from === "reconnecting" && to === "open") {
      this.#reconnects++;
      this.to("open", reason);
    }
  }

  /**
   * It has failed for good.
   *
   * @param error Why.
   */
  fail(error: unknown): void {
    this.#failure = failureOf(error);
    this.to("failed", messageOf(error));
    this.#log.error("{reason}", { reason: adviceOf(error), told: true });
    this.#onEvent({ event: "failed", name: this.#name, error: controlError(error) });
  }

  /** Has all who wait look again: there is more than the state that they may wait for. */
  lookAgain(): void {
    for (const look of [...this.#looks]) look();
  }

  /**
   * Waits until it is as somebody wants it.
   *
   * @param holds Whether it is; looked at now, and after each change.
   * @param signal Gives it up.
   * @returns When it holds, or was given up.
   */
  until(holds: () => boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (!signal.aborted && !holds()) return;
        this.#looks.delete(look);
        signal.removeEventListener("abort", look);
        resolve();
      };
      this.#looks.add(look);
      signal.addEventListener("abort", look);
      look();
    });
  }
}
