/**
 * One question after the other: of tunnels that connect at the same time, several may ask the same
 * person.
 *
 * @module
 */
import type { Prompter } from "../ssh/prompter.ts";
import { Turns } from "./turns.ts";

/**
 * Has a person asked one thing at a time.
 *
 * @param prompter Who asks.
 * @returns A prompter whose questions wait for each other.
 */
export function inTurn(prompter: Prompter): Prompter {
  const turns = new Turns();
  return {
    secret: (...words) => turns.take(() => prompter.secret(...words)),
    questions: (...words) => turns.take(() => prompter.questions(...words)),
    confirmHostKey: (...words) => turns.take(() => prompter.confirmHostKey(...words)),
  };
}
