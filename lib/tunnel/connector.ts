/**
 * How a session connects, the first time and each time after that.
 *
 * @module
 */
import { SessionError } from "../errors.ts";
import type { Attempt, Connect, Link } from "../session/link.ts";
import { connectHost, type ConnectOptions } from "../ssh/host.ts";
import type { Prompter } from "../ssh/prompter.ts";
import { WindowBudget } from "../ssh/window_budget.ts";
import { RememberedAnswers } from "./remembered.ts";

/** More servers on the way than connectHost() takes. */
const MOST_HOPS = 100;

/**
 * Makes connections by the same options again and again.
 *
 * @param options Where to, and with what. Their signal is for the first connection alone.
 * @returns What makes one connection.
 */
export function connector(options: ConnectOptions): Connect {
  const answers = new RememberedAnswers();
  const hostKeys = new Map();
  const windowBudget = new WindowBudget(options.windowBudget);
  const lasting = withoutSignals(options);
  const quietly = ({ quiet: _asked, ...attempt }: Attempt): Promise<Link> => {
    // The server is spared a login that is bound to fail: some count those.
    if (answers.needsPerson) return Promise.reject(needsPerson());
    const between = () => answers.quiet();
    return connectHost(lasting, { ...attempt, hostKeys, windowBudget, between });
  };
  return async (attempt) => {
    if (attempt.quiet) return await quietly(attempt);
    const wrapped = new Map<Prompter, ReturnType<RememberedAnswers["attempt"]>>();
    const between = (person: Prompter): Prompter => {
      const one = wrapped.get(person) ?? answers.attempt(person);
      wrapped.set(person, one);
      return one.prompter;
    };
    const link = await connectHost(lasting, { ...attempt, hostKeys, windowBudget, between });
    for (const { keep } of wrapped.values()) keep();
    return link;
  };
}

function needsPerson(): SessionError {
  return new SessionError(
    "the login takes an answer that is good only once, and nobody is asked for it in the background",
    { code: "auth-failed" },
  );
}

/** What gives the first attempt up, a timeout perhaps, must not give up a later one. */
function withoutSignals({ signal: _first, ...rest }: ConnectOptions, depth = 0): ConnectOptions {
  // A list without an end is refused where it is followed.
  if (rest.jump === undefined || depth > MOST_HOPS) return rest;
  return { ...rest, jump: withoutSignals(rest.jump, depth + 1) };
}
