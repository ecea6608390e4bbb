/**
 * What a person, or a script, is told of a link that is lost and comes back.
 *
 * @module
 */
import type { StateChange } from "../session/options.ts";
import type { Output } from "./output.ts";

/**
 * Makes what tells of each change.
 *
 * @param output Where to say it.
 * @param name What the server is called.
 * @returns To be called with each change of the session's state.
 */
export function linkNews(output: Output, name: string): (change: StateChange) => void {
  let since = 0;
  return ({ from, to, reason, lost, parked }) => {
    if (to === "open") output.connectsAgain();
    if (to === "reconnecting") {
      since = performance.now();
      output.event(
        { event: "lost", reason, lost },
        `lost the connection (${reason}); ${reset(lost)}connecting again`,
      );
    }
    if (from === "reconnecting" && to === "open") {
      const seconds = Math.round(performance.now() - since) / 1000;
      output.event(
        { event: "reconnected", seconds, parked },
        `connected to ${name} again after ${seconds.toFixed(1)} s${served(parked)}`,
      );
    }
  };
}

function reset(lost: number): string {
  if (lost === 0) return "";
  return lost === 1 ? "1 connection was reset; " : `${lost} connections were reset; `;
}

function served(parked: number): string {
  if (parked === 0) return "";
  return parked === 1 ? "; 1 caller had waited" : `; ${parked} callers had waited`;
}
