/**
 * Listeners on the server that outlive the connection they were asked for on: they are asked for
 * again on each new one, with the same port.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";
import type { Address, Incoming, RemoteListener } from "../dialer.ts";
import { codeOf, messageOf } from "../errors.ts";
import { logger } from "../log.ts";
import { formatListening } from "../ssh/refusals.ts";
import type { Clock } from "./clock.ts";
import type { Generation } from "./generation.ts";
import { Pause } from "./pause.ts";

const log = logger("session");

/** Between two requests for a port that the server still holds, at first and in the end. */
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 5_000;

interface Wanted {
  /** Where it listens, with the port that the server chose at first. */
  readonly address: Address;
  readonly accept: (incoming: Incoming) => void;
  /** The listener of the present connection; undefined while there is none. */
  current: RemoteListener | undefined;
  /** Ends the asking for it on one connection. */
  asking: AbortController | undefined;
  /** Ends it, and all asking for it. */
  readonly ended: AbortController;
}

/** The listeners that a session has on its server. */
export class RemoteListeners {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #wanted = new Set<Wanted>();
  /** The connection that all of them belong on. */
  #latest: Generation | undefined;

  /**
   * @param clock Where time comes from.
   * @param logs Where it is logged that a listener is not there, and is again.
   */
  constructor(clock: Clock, logs: Logger = log) {
    this.#clock = clock;
    this.#log = logs;
  }

  /**
   * Has the server listen, now and on each later connection.
   *
   * @param generation The present connection.
   * @param address Where; port 0 for one that the server chooses, and keeps from then on.
   * @param accept Called with each connection.
   * @param signal Gives the first request up.
   * @returns The listener.
   * @throws {ForwardError} When the server refuses now.
   */
  async listen(
    generation: Generation,
    address: Address,
    accept: (incoming: Incoming) => void,
    signal?: AbortSignal,
  ): Promise<RemoteListener> {
    this.#latest ??= generation;
    const current = await generation.listen(address, accept, signal);
    const wanted: Wanted = {
      address: current.address,
      accept,
      current,
      asking: undefined,
      ended: new AbortController(),
    };
    this.#wanted.add(wanted);
    // Another connection has taken over meanwhile, and has asked for all it knew of.
    if (this.#latest !== generation) await this.#take(wanted, this.#latest);
    return {
      address: wanted.address,
      close: async () => {
        this.#wanted.delete(wanted);
        wanted.ended.abort();
        await wanted.current?.close();
      },
    };
  }

  /**
   * Asks a new connection for every listener.
   *
   * @param generation The new connection.
   */
  renew(generation: Generation): void {
    this.#latest = generation;
    for (const wanted of this.#wanted) {
      wanted.current = undefined;
      void this.#ask(wanted, generation);
    }
  }

  /**
   * Takes the listeners from a connection that still stands to a new one: what is bound to one port
   * cannot be asked for on the new one before it is cancelled on the old.
   *
   * @param generation The new connection.
   */
  async move(generation: Generation): Promise<void> {
    this.#latest = generation;
    await Promise.all([...this.#wanted].map((wanted) => this.#take(wanted, generation)));
  }

  async #take(wanted: Wanted, generation: Generation): Promise<void> {
    wanted.asking?.abort();
    const old = wanted.current;
    wanted.current = undefined;
    await old?.close();
    await this.#ask(wanted, generation);
  }

  /**
   * Asks once, and goes on asking where that was not enough: the server may still hold what the
   * lost connection had.
   *
   * @returns When the server has answered once. It never rejects.
   */
  async #ask(wanted: Wanted, generation: Generation): Promise<void> {
    wanted.asking?.abort();
    wanted.asking = new AbortController();
    const signal = AbortSignal.any([wanted.asking.signal, wanted.ended.signal, generation.over]);
    const refusal = await this.#try(wanted, generation, signal);
    if (refusal !== undefined) void this.#keepAsking(wanted, generation, signal, refusal);
    else this.#tellAgain("info", wanted, signal);
  }

  async #keepAsking(
    wanted: Wanted,
    generation: Generation,
    signal: AbortSignal,
    refusal: unknown,
  ): Promise<void> {
    let told: string | undefined;
    let refused = refusal;
    for (
      let pause = FIRST_PAUSE;
      refused !== undefined;
      pause = Math.min(2 * pause, LONGEST_PAUSE)
    ) {
      const reason = messageOf(refused);
      if (reason !== told) {
        this.#log.warn("{reason}; {plan}", { reason, plan: planAfter(refused) });
      }
      told = reason;
      await new Pause(this.#clock, pause, signal).over;
      refused = await this.#try(wanted, generation, signal);
    }
    this.#tellAgain("warn", wanted, signal);
  }

  /** @returns Why the server does not listen; undefined where it does, or nobody asks any more. */
  async #try(
    wanted: Wanted,
    generation: Generation,
    signal: AbortSignal,
  ): Promise<unknown> {
    if (signal.aborted) return undefined;
    try {
      const listener = await generation.listen(wanted.address, wanted.accept, signal);
      if (signal.aborted) await listener.close();
      else wanted.current = listener;
      return undefined;
    } catch (error) {
      return signal.aborted || codeOf(error) === "connection-lost" ? undefined : error;
    }
  }

  /** Who was warned that it does not listen is told as loudly that it does. */
  #tellAgain(level: "info" | "warn", { address, current }: Wanted, signal: AbortSignal): void {
    // The link may have been lost over the question.
    if (signal.aborted || current === undefined) return;
    this.#log[level]("the server listens on {where} again", { where: formatListening(address) });
  }
}

function planAfter(refusal: unknown): string {
  // Of a policy that was changed meanwhile, an older connection is not the reason.
  return codeOf(refusal) === "forwarding-prohibited"
    ? "asking until it does"
    : "it may still hold it for the connection that was lost: asking until it lets go";
}
