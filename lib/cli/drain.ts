/**
 * The end of a run that has listened: what is open may finish, for a while.
 *
 * @module
 */
import type { Forward } from "../forward/forward.ts";
import type { Tunnel } from "../tunnel/tunnel.ts";
import type { Output } from "./output.ts";

/** Milliseconds that open connections have. */
const DRAIN_TIMEOUT = 5_000;
/** Milliseconds after a signal that does not wait, for a server that does not answer any more. */
const FORCE_TIMEOUT = 300;

/**
 * Stops listening, gives open connections 5 seconds, and closes the tunnel.
 *
 * @param run The tunnel, its forwards, and where to say that something is waited for.
 * @param force Ends it at once, with a reset.
 * @param remark What ends it at once, in words.
 * @returns When nothing of it is left.
 */
export async function drain(
  run: {
    readonly tunnel: Tunnel;
    readonly forwards: readonly Forward[];
    readonly output: Output;
  },
  force: AbortSignal,
  remark: string,
): Promise<void> {
  const { tunnel, forwards, output } = run;
  sayDraining({ forwards, output }, (named, have) => {
    return `${named} ${have} ${DRAIN_TIMEOUT / 1000} s to finish, ${remark}`;
  });
  const ended = tunnel.close({ timeout: DRAIN_TIMEOUT });
  const forced = new Promise<void>((resolve) => {
    const end = () => {
      // An exit alone would end them as if they were complete: their clients must see a reset.
      tunnel.close({ force: true }).then(resolve, resolve);
      setTimeout(resolve, FORCE_TIMEOUT);
    };
    if (force.aborted) end();
    force.addEventListener("abort", end);
  });
  await Promise.race([ended, forced]);
}

/**
 * Says that open connections are waited for, where there are any.
 *
 * @param run The forwards, and where to say it.
 * @param words What is said of them, from what they are called and `has` or `have`.
 */
export function sayDraining(
  { forwards, output }: { readonly forwards: readonly Forward[]; readonly output: Output },
  words: (named: string, have: "has" | "have") => string,
): void {
  const connections = forwards.reduce((sum, { stats }) => sum + stats.open, 0);
  if (connections === 0) return;
  const one = connections === 1;
  const said = words(
    one ? "1 open connection" : `${connections} open connections`,
    one ? "has" : "have",
  );
  output.event({ event: "draining", connections }, `stopped listening; ${said}`);
}
