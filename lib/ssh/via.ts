/**
 * A way to a server that begins at another server: what dials there is a tunnel, or a jump host.
 *
 * @module
 */
import type { Duplex } from "node:stream";
import { type Dialer, formatAddress, type TcpAddress } from "../dialer.ts";
import { codeOf, FairleadError, SessionError } from "../errors.ts";
import { reachTimeout, type Route, type RouteOptions } from "./route.ts";

/**
 * Connects through what outlives this connection, and is not closed with it.
 *
 * @param dialer What dials.
 * @param options The server, deadline and signal.
 * @returns The way there.
 * @throws {SessionError} When it does not lead there.
 */
export async function viaRoute(
  dialer: Pick<Dialer, "dial">,
  options: RouteOptions,
): Promise<Route> {
  const stream = await dialNext(dialer, options).catch((error) => {
    if (!(error instanceof FairleadError)) throw error;
    const { code, hint, message } = error;
    throw new SessionError(message, {
      code,
      ...(hint === undefined ? {} : { hint }),
      cause: error,
    });
  });
  return {
    stream,
    explain: (error) => Promise.resolve(error),
    close: () => Promise.resolve(),
    destroy: () => stream.destroy(),
  };
}

/**
 * Dials the next server, which is resolved and reached from there.
 *
 * @param dialer What dials.
 * @param options The server, deadline and signal.
 * @returns A stream to it.
 * @throws {SessionError} `cancelled` or `timeout`; and whatever the dialer throws.
 */
export async function dialNext(
  dialer: Pick<Dialer, "dial">,
  options: RouteOptions,
): Promise<Duplex> {
  const { signal } = options;
  const timeout = reachTimeout(options);
  const target: TcpAddress = { host: options.host, port: options.port };
  const giveUp = new AbortController();
  const cancel = () => giveUp.abort();
  const timer = setTimeout(cancel, timeout);
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    if (signal?.aborted) cancel();
    return await dialer.dial(target, { signal: giveUp.signal });
  } catch (error) {
    const where = formatAddress(target);
    if (signal?.aborted) {
      throw new SessionError(`connecting to ${where} was cancelled`, { code: "cancelled" });
    }
    // What the dialer itself has to say about a time that ran out says more.
    if (!giveUp.signal.aborted || codeOf(error) === "timeout") throw error;
    const message = `${where} did not answer within ${timeout / 1000} s, seen from the server`;
    throw new SessionError(message, { code: "timeout" });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", cancel);
  }
}
