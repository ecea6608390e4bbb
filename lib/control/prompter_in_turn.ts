/**
 * One question after the other: of tunnels that connect at the same time, several may ask the same
 * person.
 *
 * @module
 */
import type { Prompter } from "../ssh/prompter.ts";

/**
 * Has a person asked one thing at a time.
 *
 * @param prompter Who asks.
 * @returns A prompter whose questions wait for each other.
 */
export function inTurn(prompter: Prompter): Prompter {
  let last: Promise<unknown> = Promise.resolve();
  const wait = <T>(ask: () => Promise<T>): Promise<T> => {
    const answer = last.then(ask);
    last = answer.catch(() => {});
    return answer;
  };
  return {
    secret: (...words) => wait(() => prompter.secret(...words)),
    questions: (...words) => wait(() => prompter.questions(...words)),
    confirmHostKey: (...words) => wait(() => prompter.confirmHostKey(...words)),
  };
}
