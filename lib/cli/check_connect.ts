/**
 * The checks of `--connect`: the login, and whether each forward leads anywhere.
 *
 * @module
 */
import type { TunnelConfig } from "../config/tunnel_config.ts";
import { type Destination, formatAddress } from "../dialer.ts";
import { connectSocket } from "../connect.ts";
import { codeOf, type ErrorCode } from "../errors.ts";
import { formatListen, type RemoteForwardSpec } from "../forward/spec.ts";
import type { ForwardRequest } from "../ssh_config/settings.ts";
import { connect, type Tunnel, type TunnelOptions } from "../tunnel/tunnel.ts";
import { type Finding, fine, wrong } from "./finding.ts";

/** Milliseconds for a destination to answer, and for the server to listen. */
const ANSWER_TIMEOUT = 15_000;
/** Milliseconds for a login where nobody is asked. */
const LOGIN_TIMEOUT = 120_000;
/** Logins at once: servers and agents have their limits. */
const MOST_LOGINS = 8;
/** Destinations of one tunnel at once. */
const MOST_DIALS = 16;

const BLOCKED = "a firewall may be in between, or the address be a wrong one";
/** What to do about a destination, where the error does not say it. */
const REMEDIES: { readonly [Code in ErrorCode]?: string } = {
  "connect-refused": "check the port, and that something listens there",
  "name-not-found": "check the spelling, or give the address",
  timeout: BLOCKED,
  unreachable: BLOCKED,
};
const OTHERWISE = "`fairlead -vv` and its host show what happens";

/** Logs in. */
export class Logins {
  readonly #turns = turns(MOST_LOGINS);
  readonly #tunnels: Promise<Tunnel>[] = [];

  /**
   * Logs in.
   *
   * @param name The tunnel's name.
   * @param options What it connects with.
   * @param through The tunnel that it leads through, where it does.
   * @returns The tunnel, without forwards. What went wrong for one that others lead through is
   *   thrown for those, too.
   * @throws {FairleadError} When it cannot be had.
   */
  open(
    name: string,
    options: TunnelOptions,
    through: Promise<Tunnel> | undefined,
  ): Promise<Tunnel> {
    const opening = this.#open(name, options, through);
    opening.catch(() => {});
    this.#tunnels.push(opening);
    return opening;
  }

  /** Ends all of them. */
  async close(): Promise<void> {
    await Promise.all(
      this.#tunnels.map((opening) =>
        opening.then((tunnel) => tunnel.close({ force: true }), () => {})
      ),
    );
  }

  async #open(
    name: string,
    options: TunnelOptions,
    through: Promise<Tunnel> | undefined,
  ): Promise<Tunnel> {
    const via = await through;
    return await this.#turns(() => {
      const { prompter, signal } = options;
      const late = AbortSignal.timeout(LOGIN_TIMEOUT);
      const ends = [
        ...(signal === undefined ? [] : [signal]),
        ...(prompter === undefined ? [late] : []),
      ];
      return connect({
        ...options,
        ...(via === undefined ? {} : { via }),
        // One try says it: what is not there now is what is to be told.
        ...{ wait: false, retries: 0, connections: 1, name, signal: AbortSignal.any(ends) },
      });
    });
  }
}

/**
 * Tries what the forwards of a tunnel lead to.
 *
 * @param config The tunnel.
 * @param tunnel The same, logged in.
 * @param isUp Whether our own background process has a forward already.
 * @returns The findings, in the order of the forwards.
 */
export function tryForwards(
  { forwards }: TunnelConfig,
  tunnel: Tunnel,
  isUp: (forward: ForwardRequest) => Promise<boolean>,
): Promise<Finding[]>[] {
  const turn = turns(MOST_DIALS);
  return forwards.map((forward) =>
    turn(async () => {
      const { kind, spec } = forward;
      switch (kind) {
        case "local":
          return [await answersThere(tunnel, spec.destination)];
        case "remote":
          return [
            await listensThere(tunnel, spec, () => isUp(forward)),
            ...(spec.destination === undefined ? [] : [await answersHere(spec.destination)]),
          ];
        case "dynamic":
          // Where it leads its clients say.
          return [];
      }
    })
  );
}

async function answersThere(tunnel: Tunnel, destination: Destination): Promise<Finding> {
  const where = formatAddress(destination);
  return await bounded(`${where} did not answer within`, async (signal) => {
    const stream = await tunnel.dial(destination, { signal });
    stream.on("error", () => {}).destroy();
    return fine("forward", `${where} answers, seen from the server`);
  });
}

async function answersHere(destination: Destination): Promise<Finding> {
  const where = formatAddress(destination);
  return await bounded(`${where} did not answer within`, async (signal) => {
    const socket = await connectSocket(destination, { signal, timeout: ANSWER_TIMEOUT });
    socket.on("error", () => {}).destroy();
    return fine("forward", `${where} answers here`);
  });
}

async function listensThere(
  tunnel: Tunnel,
  spec: RemoteForwardSpec,
  isUp: () => Promise<boolean>,
): Promise<Finding> {
  const where = formatListen(spec.listen);
  return await bounded(`the server did not listen on ${where} within`, async (signal) => {
    try {
      const forward = await tunnel.forwardRemote(spec, { signal });
      await forward.close({ force: true });
      return fine("forward", `the server listens on ${where}`);
    } catch (error) {
      if (codeOf(error) !== "address-in-use" || !await isUp()) throw error;
      return fine("forward", `${where} on the server is held by the tunnel itself, which is up`);
    }
  });
}

async function bounded(
  late: string,
  attempt: (signal: AbortSignal) => Promise<Finding>,
): Promise<Finding> {
  const timer = new AbortController();
  const timeout = setTimeout(() => timer.abort(), ANSWER_TIMEOUT);
  try {
    return await attempt(timer.signal);
  } catch (error) {
    if (!timer.signal.aborted) return wrong("forward", error, REMEDIES[codeOf(error)] ?? OTHERWISE);
    return wrong("forward", `${late} ${ANSWER_TIMEOUT / 1000} s`, BLOCKED);
  } finally {
    clearTimeout(timeout);
  }
}

/** Lets so many go on at once, in their order. */
function turns(most: number): <T>(run: () => Promise<T>) => Promise<T> {
  let free = most;
  const waiting: (() => void)[] = [];
  return async (run) => {
    if (free === 0) await new Promise<void>((resolve) => waiting.push(resolve));
    else free--;
    try {
      return await run();
    } finally {
      const next = waiting.shift();
      if (next === undefined) free++;
      else next();
    }
  };
}
