/**
 * Changes of one thing, one after the other.
 *
 * @module
 */

/** A queue of changes. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Makes a change once those before are made, or have failed.
   *
   * @param change What makes it.
   * @returns What that returns.
   */
  take<T>(change: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(change);
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** Settles when no change is being made of those that have been asked for; it never rejects. */
  get over(): Promise<unknown> {
    return this.#last;
  }
}
