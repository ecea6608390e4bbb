/**
 * Jump hosts that stay connected from one attempt to the next: while the server behind them is
 * away, looking for it must not cost them a login each time.
 *
 * @module
 */
import { codeOf, type ErrorCode, SessionError } from "../errors.ts";
import type { Hop } from "./jump.ts";

/** Milliseconds that one is kept for the next attempt. Between two looks there are about 1,000. */
const KEPT = 5_000;
/** Milliseconds that it has for a sign of life then: it may have gone itself, without a word. */
const SILENCE = 4_000;

/** A server that is away. All else the jump host has said itself, or it takes more than a look. */
const AWAY: readonly ErrorCode[] = [
  "connect-failed",
  "connect-refused",
  "connection-lost",
  "name-not-found",
  "timeout",
  "unreachable",
];

/** A jump host that is connected to, and where it stands. */
export interface ReachedHop {
  /** The jump host; those before it carry it, and are closed with it. */
  readonly hop: Hop;
  /** How many servers of the way have been connected to, with this one. */
  readonly passed: number;
}

/** Keeps the last jump host that was reached, for the attempts of one session. */
export class KeptHops {
  #kept: ReachedHop & { readonly timer: ReturnType<typeof setTimeout> } | undefined;
  /** Jump hosts from which nothing was heard since they were taken again. */
  readonly #silent = new Map<Hop, ReturnType<typeof setTimeout>>();
  readonly #times: { readonly kept: number; readonly silence: number };
  #over = false;

  /**
   * @param times Milliseconds that one is kept, and that it has for a sign of life then.
   */
  constructor(times: { readonly kept?: number; readonly silence?: number } = {}) {
    this.#times = { kept: KEPT, silence: SILENCE, ...times };
  }

  /**
   * Gives the jump host that was kept. One that does not give a sign of life is broken off.
   *
   * @returns The jump host; undefined where there is none.
   */
  take(): ReachedHop | undefined {
    const kept = this.#kept;
    if (kept === undefined) return undefined;
    clearTimeout(kept.timer);
    this.#kept = undefined;
    const { hop, passed } = kept;
    const { client } = hop;
    this.#silent.set(hop, setTimeout(() => this.#breakOff(hop), this.#times.silence));
    client.onReceived = () => this.#heard(hop);
    client.probe();
    return { hop, passed };
  }

  /**
   * Keeps a jump host that did not lead further, or closes it where that would not help.
   *
   * @param reached The jump host.
   * @param error Why it did not lead further.
   * @returns When it is kept, or closed.
   */
  async keep(reached: ReachedHop, error: unknown): Promise<void> {
    const { hop } = reached;
    // Nobody would answer a goodbye.
    if (this.#silent.has(hop)) return this.#breakOff(hop);
    if (this.#over || !AWAY.includes(codeOf(error))) return await hop.client.close();
    const earlier = this.#drop();
    const timer = setTimeout(() => void this.#drop(), this.#times.kept);
    const kept = this.#kept = { ...reached, timer };
    hop.client.closed.then(() => {
      if (this.#kept === kept) void this.#drop();
    });
    await earlier;
  }

  /**
   * Closes what is kept; nothing is kept any more.
   *
   * @returns When nothing of it is left.
   */
  async close(): Promise<void> {
    this.#over = true;
    await this.#drop();
  }

  /** What it carries later need not be watched. */
  #heard(hop: Hop): void {
    clearTimeout(this.#silent.get(hop));
    this.#silent.delete(hop);
    hop.client.onReceived = undefined;
  }

  #breakOff(hop: Hop): void {
    this.#heard(hop);
    const message = `it has not answered for ${this.#times.silence / 1000} s`;
    hop.client.destroy(new SessionError(message, { code: "timeout" }));
  }

  async #drop(): Promise<void> {
    const kept = this.#kept;
    if (kept === undefined) return;
    this.#kept = undefined;
    clearTimeout(kept.timer);
    await kept.hop.client.close();
  }
}
