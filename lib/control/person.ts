/**
 * Whom a tunnel asks: whoever had it brought up, and later whoever has it connect anew.
 *
 * @module
 */
import type { Prompter } from "../ssh/prompter.ts";

/** The person of one tunnel. */
export class Person {
  #present: Prompter | undefined;

  /**
   * Has a session ask this person, also for a connection that it makes later.
   *
   * @param first Who had it brought up; asked where nobody else is there.
   * @returns What the session asks.
   */
  prompter(first: Prompter): Prompter {
    const present = () => this.#present ?? first;
    return {
      secret: (...words) => present().secret(...words),
      questions: (...words) => present().questions(...words),
      confirmHostKey: (...words) => present().confirmHostKey(...words),
    };
  }

  /**
   * Has somebody be there for a while.
   *
   * @param prompter Asks them.
   * @param work What may ask.
   * @returns What that returns.
   */
  async during<T>(prompter: Prompter | undefined, work: () => Promise<T>): Promise<T> {
    this.#present = prompter;
    try {
      return await work();
    } finally {
      this.#present = undefined;
    }
  }
}
