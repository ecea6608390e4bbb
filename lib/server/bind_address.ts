/**
 * What a client's bind address means (RFC 4254 section 7.1), as sshd reads it.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { TcpAddress } from "../dialer.ts";
import type { GatewayPorts } from "./policy.ts";

/** Both loopback addresses, to `Listener.bind`. */
const LOOPBACK = "localhost";
/** All interfaces, to `Listener.bind`. */
const ALL = "*";

/**
 * Says where to listen.
 *
 * @param asked The address that the client asked for, in its own words.
 * @param gatewayPorts How much of that it gets.
 * @returns An IP address, `localhost` for both of loopback, or `*` for all interfaces.
 * @throws When the address is a name that leads nowhere.
 */
export async function bindAddress(asked: TcpAddress, gatewayPorts: GatewayPorts): Promise<string> {
  const { host } = asked;
  if (gatewayPorts === "yes") return ALL;
  // One family alone is no wider than both.
  if (host === "127.0.0.1" || host === "::1") return host;
  if (gatewayPorts === "no" || host === LOOPBACK) return LOOPBACK;
  if (host === "" || host === ALL) return ALL;
  // The owner judges addresses: under a name, any of them could hide.
  return isIP(host) > 0 ? host : (await lookup(host)).address;
}
