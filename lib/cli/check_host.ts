/**
 * Whether the names of a tunnel's servers resolve, as far as this machine resolves them.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { TunnelConfig } from "../config/tunnel_config.ts";
import { systemCodeOf } from "../errors.ts";
import type { ConnectOptions } from "../tunnel/tunnel.ts";
import { type Finding, fine, wrong } from "./finding.ts";

/** Milliseconds for a name. */
const TIMEOUT = 5_000;
/** Addresses of a name that are shown. */
const MOST_ADDRESSES = 3;

/**
 * Resolves what this machine will connect to.
 *
 * @param config The tunnel.
 * @param options What it connects with.
 * @returns One finding, or two where there is a jump host.
 */
export async function checkHost(
  config: TunnelConfig,
  options: ConnectOptions,
): Promise<Finding[]> {
  const { host } = options;
  if (config.via !== undefined) {
    return [fine("host", `host ${host} is resolved by the server of the tunnel ${config.via}`)];
  }
  const first = firstHop(options);
  const others = first === options ? [] : [
    fine("host", `host ${host} is resolved by the jump host ${options.jump?.host}`),
  ];
  const name = first === options ? "host" : "jump host";
  const { proxyCommand } = first;
  if (proxyCommand !== undefined) {
    return [fine("host", `${name} ${first.host} is reached by its ProxyCommand`), ...others];
  }
  if (options.proxy !== undefined) {
    return [fine("host", `${name} ${first.host} is resolved by the proxy`), ...others];
  }
  return [await resolves(name, first), ...others];
}

/**
 * The server that this machine itself connects to.
 *
 * @param options What a tunnel connects with.
 * @returns The first one on the way.
 */
export function firstHop(options: ConnectOptions): ConnectOptions {
  let first = options;
  while (first.jump !== undefined) first = first.jump;
  return first;
}

async function resolves(what: string, { host, family }: ConnectOptions): Promise<Finding> {
  if (isIP(host.replace(/%.*/, "")) !== 0) return fine("host", `${what} ${host} is an address`);
  const late = new AbortController();
  try {
    const found = await Promise.race([
      lookup(host, { all: true, family: family ?? 0 }),
      sleep(TIMEOUT, undefined, { signal: late.signal }),
    ]);
    if (found === undefined) {
      return wrong(
        "host",
        `${what} ${host}: the resolver did not answer within ${TIMEOUT / 1000} s`,
        "check this machine's network and its DNS servers",
      );
    }
    const addresses = [...new Set(found.map(({ address }) => address))];
    const more = addresses.length - MOST_ADDRESSES;
    return fine(
      "host",
      `${what} ${host} resolves to ${addresses.slice(0, MOST_ADDRESSES).join(", ")}` +
        (more > 0 ? ` and ${more} more` : ""),
    );
  } catch (error) {
    const again = systemCodeOf(error) === "EAI_AGAIN";
    return wrong(
      "host",
      `${what} ${host} does not resolve`,
      again
        ? "the resolver gave no answer: check this machine's network"
        : "check its spelling; where only another server knows it, name that one as jump",
    );
  } finally {
    late.abort();
  }
}
