/**
 * How a session connects, the first time and each time after that.
 *
 * @module
 */
import type { Connect } from "../session/link.ts";
import { connectHost, type ConnectOptions } from "../ssh/host.ts";
import type { Prompter } from "../ssh/prompter.ts";
import { RememberedAnswers } from "./remembered.ts";

/**
 * Makes connections by the same options again and again.
 *
 * @param options Where to, and with what. Their signal is for the first connection alone.
 * @returns What makes one connection.
 */
export function connector(options: ConnectOptions): Connect {
  const answers = new RememberedAnswers();
  return async (attempt) => {
    const kept: (() => void)[] = [];
    const wrapped = new Map<Prompter, Prompter>();
    const remember = (person: Prompter): Prompter => {
      const known = wrapped.get(person);
      if (known !== undefined) return known;
      const { prompter, keep } = answers.attempt(person);
      kept.push(keep);
      wrapped.set(person, prompter);
      return prompter;
    };
    const link = await connectHost(forAttempt(options, remember), attempt);
    for (const keep of kept) keep();
    return link;
  };
}

/** The same for every server on the way. */
function forAttempt(
  options: ConnectOptions,
  remember: (person: Prompter) => Prompter,
): ConnectOptions {
  // What gives the first attempt up, a timeout perhaps, must not give up a later one.
  const { prompter, jump, signal: _first, ...rest } = options;
  return {
    ...rest,
    ...(prompter === undefined ? {} : { prompter: remember(prompter) }),
    ...(jump === undefined ? {} : { jump: forAttempt(jump, remember) }),
  };
}
