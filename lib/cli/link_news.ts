/**
 * What a person, or a script, is told of links that are lost and come back.
 *
 * @module
 */
import type { ConnectionsChange, SessionOptions, StateChange } from "../session/options.ts";
import type { Output } from "./output.ts";

/** The server, and what is made anew of the connections to it. */
interface NamedServer extends Pick<SessionOptions, "retries" | "connections"> {
  readonly name: string;
}

/**
 * Makes what tells of each change.
 *
 * @param output Where to say it.
 * @param server What the server is called, and what was said about connections to it.
 * @returns To be called with each change of the session's state, and of its SSH connections.
 */
export function linkNews(
  output: Output,
  server: NamedServer,
): Required<Pick<SessionOptions, "onState" | "onConnections">> {
  return { onState: stateNews(output, server), onConnections: connectionsNews(output, server) };
}

function stateNews(output: Output, { name }: NamedServer): (change: StateChange) => void {
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

/** Of several connections a person hears when some are lost, and when all are there again. */
function connectionsNews(
  output: Output,
  { name, retries, connections }: NamedServer,
): (change: ConnectionsChange) => void {
  // `auto` makes another one as soon as it is needed.
  const final = retries === 0 && connections !== "auto" ? ", not made again (--retry 0)" : "";
  let missing = false;
  return ({ open, wanted, gone, lost, reason }) => {
    const back = missing && open >= wanted;
    missing = gone > 0 || (missing && !back);
    const words = gone > 0
      ? `lost ${gone} of ${gone + open} SSH connections to ${name} (${reason})${final}; ` +
        `${reset(lost)}${open === 1 ? "1 goes" : `${open} go`} on`
      : back
      ? `${open} SSH connections to ${name} are open again`
      : undefined;
    const why = gone > 0 ? { gone, lost, reason } : {};
    output.event({ event: "connections", open, wanted, ...why }, words);
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
