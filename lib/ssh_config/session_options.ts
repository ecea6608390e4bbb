/**
 * From what is configured to what a session does when its link is silent, or lost.
 *
 * @module
 */
import type { SessionOptions } from "../session/options.ts";
import type { Settings } from "./settings.ts";

/** The most that a timer can wait, in milliseconds. */
const LONGEST_TIMER = 2_147_483_647;

/**
 * The options of the session to one host. The servers that lead there need none of their own: who
 * asks at the end of the way asks all of it.
 *
 * @param settings What was said.
 * @returns What connect() takes besides; what was not said is missing.
 */
export function sessionOptions(settings: Settings): SessionOptions {
  const { serverAliveInterval, serverAliveCountMax, wait, retries, retryFor } = settings;
  const { park, idleTimeout, connections } = settings;
  return {
    ...(serverAliveInterval === undefined
      ? {}
      : { serverAliveInterval: Math.min(serverAliveInterval * 1000, LONGEST_TIMER) }),
    ...(serverAliveCountMax === undefined ? {} : { serverAliveCountMax }),
    ...(wait === undefined ? {} : { wait }),
    ...(retries === undefined ? {} : { retries }),
    ...(retryFor === undefined ? {} : { retryFor }),
    ...(park === undefined ? {} : { park }),
    ...(idleTimeout === undefined ? {} : { idleTimeout }),
    ...(connections === undefined ? {} : { connections }),
  };
}
