/**
 * What has changed between two readings of a file.
 *
 * @module
 */
import type { TunnelConfig, TunnelSecrets } from "./tunnel_config.ts";

/**
 * Whether two say the same of a tunnel, wherever they say it.
 *
 * @param one A tunnel.
 * @param other The same tunnel, read at another time.
 * @returns Whether nothing has changed.
 */
export function sameTunnel(one: TunnelConfig, other: TunnelConfig): boolean {
  const rest = ({ forwards, groups, dependsOn }: TunnelConfig) =>
    JSON.stringify([forwards, groups, dependsOn]);
  return sameSession(one, other) && rest(one) === rest(other);
}

/**
 * Whether two lead to the same server in the same way: a session can stay as it is.
 *
 * @param one A tunnel.
 * @param other The same tunnel, read at another time.
 * @returns Whether they do.
 */
export function sameSession(one: TunnelConfig, other: TunnelConfig): boolean {
  const essence = ({ host, keywords, configFile, session, via, secrets }: TunnelConfig) => {
    const said = keywords.map(({ keyword, words }) => [keyword, words]);
    return JSON.stringify([host, said, configFile, session, via, secrets]);
  };
  return essence(one) === essence(other);
}

/**
 * Whether two have the same secrets. Another terminal has another agent: that is no change.
 *
 * @param one The secrets of a tunnel.
 * @param other Those of another time.
 * @returns Whether they are the same.
 */
export function sameSecrets(one: TunnelSecrets, other: TunnelSecrets): boolean {
  const essence = ({ agent: _own, ...secrets }: TunnelSecrets) => JSON.stringify(secrets);
  return essence(one) === essence(other);
}
