/**
 * A dialer whose session can be another one: what listens on this machine goes on meanwhile.
 *
 * @module
 */
import type { Dialer } from "../dialer.ts";

/** Dials through the session that it has at that moment. */
export class MovableDialer implements Dialer {
  #dialer: Dialer;

  /**
   * @param dialer What it dials through at first.
   */
  constructor(dialer: Dialer) {
    this.#dialer = dialer;
  }

  /**
   * Dials through another one from now on. What is open, or being opened, stays where it is.
   *
   * @param dialer The other one.
   */
  move(dialer: Dialer): void {
    this.#dialer = dialer;
  }

  /** The tunnel's name. */
  get name(): string | undefined {
    return this.#dialer.name;
  }

  /** @ignore As the dialer does. */
  dial(...words: Parameters<Dialer["dial"]>): ReturnType<Dialer["dial"]> {
    return this.#dialer.dial(...words);
  }

  /** @ignore As the dialer does. */
  listen(...words: Parameters<Dialer["listen"]>): ReturnType<Dialer["listen"]> {
    return this.#dialer.listen(...words);
  }

  /** @ignore As the dialer does. */
  room(): Promise<void> | undefined {
    return this.#dialer.room?.();
  }
}
