/**
 * Sessions that another one has replaced: what is open on them may finish.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { CloseOptions } from "../forward/connections.ts";
import type { Tunnel } from "../tunnel/tunnel.ts";
import { DRAIN_TIMEOUT } from "./forward_set.ts";

/** Milliseconds between two looks at whether one still carries something. */
const PAUSE = 50;

/** Those of one tunnel. */
export class LeftSessions {
  readonly #left = new Map<Tunnel, Promise<void>>();

  /**
   * Leaves one. It ends once nothing is open on it, or its time is over.
   *
   * @param tunnel The session; its forwards listen no more.
   * @param moved Settles when whoever else leads through it had the chance to leave it as well.
   */
  add(tunnel: Tunnel, moved: Promise<void>): void {
    this.#left.set(tunnel, this.#finish(tunnel, moved));
  }

  /**
   * Ends them.
   *
   * @param options Whether what is open is waited for.
   * @returns When nothing of them is left.
   */
  async close(options: CloseOptions): Promise<void> {
    await Promise.all([...this.#left].map(async ([tunnel, finished]) => {
      await tunnel.close(options);
      await finished;
    }));
  }

  async #finish(tunnel: Tunnel, moved: Promise<void>): Promise<void> {
    await moved;
    const deadline = performance.now() + DRAIN_TIMEOUT;
    while (tunnel.channelCount > 0 && performance.now() < deadline) await sleep(PAUSE);
    await tunnel.close({ force: true });
    this.#left.delete(tunnel);
  }
}
