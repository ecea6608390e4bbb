/**
 * How a session connects, the first time and each time after that.
 *
 * @module
 */
import { SessionError } from "../errors.ts";
import type { Attempt, Connect, Link } from "../session/link.ts";
import type { SshClient } from "../ssh/client.ts";
import { type ConnectAttempt, connectHost, type ConnectOptions, type LetIn } from "../ssh/host.ts";
import type { KeptHops } from "../ssh/kept_hops.ts";
import type { Prompter } from "../ssh/prompter.ts";
import { WindowBudget } from "../ssh/window_budget.ts";
import { type AttemptAnswers, RememberedAnswers } from "./remembered.ts";

/** More servers on the way than connectHost() takes. */
const MOST_HOPS = 100;

/**
 * Makes connections by the same options again and again.
 *
 * @param options Where to, and with what. Their signal is for the first connection alone.
 * @param keptHops Where jump hosts wait for the next attempt; it is for the caller to close.
 * @param onClient Called with each connection that was made.
 * @returns What makes one connection.
 */
export function connector(
  options: ConnectOptions,
  keptHops: KeptHops,
  onClient: (client: SshClient) => void = () => {},
): Connect {
  const answers = new RememberedAnswers();
  const hostKeys = new Map();
  const windowBudget = new WindowBudget(options.windowBudget);
  const lasting = withoutSignals(options);
  const connected = async (attempt: ConnectAttempt): Promise<SshClient> => {
    const client = await connectHost(lasting, { ...attempt, hostKeys, keptHops, windowBudget });
    onClient(client);
    return client;
  };
  const quietly = ({ quiet: _asked, ...attempt }: Attempt): Promise<Link> => {
    // The server is spared a login that is bound to fail: some count those.
    if (answers.needsPerson) return Promise.reject(needsPerson());
    const between = () => answers.quiet();
    return connected({ ...attempt, between });
  };
  return async (attempt) => {
    if (attempt.quiet) return await quietly(attempt);
    const wrapped = new Map<Prompter, AttemptAnswers>();
    const between = (person: Prompter): Prompter => {
      const one = wrapped.get(person) ?? answers.attempt(person);
      wrapped.set(person, one);
      return one.prompter;
    };
    const onLetIn = ({ opened, goesOn }: LetIn) => {
      // The jump host that an attempt goes on from was logged in to by another one.
      let more = goesOn;
      for (const { keep } of wrapped.values()) {
        keep({ opened, more });
        more = true;
      }
    };
    return await connected({ ...attempt, between, onLetIn });
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
