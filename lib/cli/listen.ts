/**
 * The forwards that a command line asks for.
 *
 * @module
 */
import { formatAddress, isLoopback, isUnix } from "../dialer.ts";
import { ForwardError } from "../errors.ts";
import type { Forward } from "../forward/forward.ts";
import { formatForward, formatListen } from "../forward/spec.ts";
import type { Tunnel } from "../tunnel/tunnel.ts";
import type { Output } from "./output.ts";
import type { ForwardRequest, Settings } from "../ssh_config/settings.ts";
import { startForward } from "../ssh_config/start_forward.ts";

/** A forward that listens, and its kind. */
interface Listening {
  readonly kind: ForwardRequest["kind"];
  readonly forward: Forward;
}

/**
 * Sets all forwards up, in the order in which they were asked for. Without ExitOnForwardFailure one
 * that fails leaves the others, as in ssh.
 *
 * @param tunnel The session.
 * @param settings What the command line asked for.
 * @param output Where to say what listens, and what does not.
 * @param signal Gives it all up.
 * @returns The forwards that listen.
 * @throws {ForwardError} When one fails that must not; or all do, and there is no command to run.
 */
export async function listen(
  tunnel: Tunnel,
  settings: Settings,
  output: Output,
  signal: AbortSignal,
): Promise<Forward[]> {
  const forwards: Forward[] = [];
  const failures: ForwardError[] = [];
  for (const request of unique(settings.forwards)) {
    try {
      const forward = await startForward(tunnel, request, settings, signal);
      announce({ kind: request.kind, forward }, output);
      forwards.push(forward);
    } catch (error) {
      const final = settings.exitOnForwardFailure || signal.aborted;
      if (!(error instanceof ForwardError) || final) throw error;
      failures.push(error);
    }
  }
  // With none left there is nothing to stay for, and the last word is the reason of the end.
  const nothing = forwards.length === 0 && settings.command === undefined;
  const last = nothing ? failures.pop() : undefined;
  for (const failure of failures) output.error(failure);
  if (last !== undefined) throw last;
  return forwards;
}

/** Exact duplicates are taken once, as ssh does. */
function unique(requests: readonly ForwardRequest[]): ForwardRequest[] {
  const seen = new Map(
    requests.map((request) => [`${request.kind} ${formatForward(request.spec)}`, request]),
  );
  return [...seen.values()];
}

function announce({ kind, forward }: Listening, output: Output): void {
  const { addresses, port, spec } = forward;
  const { name } = spec;
  const destination = "destination" in spec ? spec.destination : undefined;
  const where = addresses.map(formatAddress).join(" and ");
  const to = destination === undefined
    ? "for SOCKS clients"
    : `forwarding to ${formatAddress(destination)}`;
  const words = kind === "remote"
    ? `-R ${name ?? formatListen(spec.listen)}: listening on the server at ${where}, ${to}`
    : `${name === undefined ? "" : `${name}: `}listening on ${where}, ${to}`;
  output.event(
    {
      event: "listening",
      kind,
      forward: formatForward(spec),
      ...(name === undefined ? {} : { name }),
      addresses,
      port,
      ...(destination === undefined ? {} : { destination }),
    },
    words,
  );
  // What a remote listener is open to is the server's decision (GatewayPorts there).
  if (kind === "remote") return;
  const open = addresses.find((address) => !isUnix(address) && !isLoopback(address.host));
  if (open !== undefined) {
    output.warn(`anyone who can reach ${formatAddress(open)} can use this forward`);
  }
}
