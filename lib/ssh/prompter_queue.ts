/**
 * Asking one question at a time: several connections may have one each.
 *
 * @module
 */
import type { Prompter } from "./prompter.ts";

/**
 * Has every question wait for the answer to the one before.
 *
 * @param prompter Who asks.
 * @returns A prompter that can be asked at any time.
 */
export function oneAtATime(prompter: Prompter): Prompter {
  let before: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(ask: () => Promise<T>): Promise<T> => {
    const answer = before.then(ask);
    before = answer.catch(() => {});
    return answer;
  };
  return {
    secret: (...words) => inTurn(() => prompter.secret(...words)),
    questions: (...words) => inTurn(() => prompter.questions(...words)),
    confirmHostKey: (...words) => inTurn(() => prompter.confirmHostKey(...words)),
  };
}
