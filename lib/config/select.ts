/**
 * Which tunnels of a file are meant.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import type { ConfigFile } from "./load.ts";
import type { TunnelConfig } from "./tunnel_config.ts";

/**
 * The tunnels that names stand for, and those that they depend on.
 *
 * @param file The file.
 * @param names Names of tunnels and of groups; all tunnels where there is none.
 * @returns The tunnels, each after those that it depends on.
 * @throws {UsageError} For a name that is neither.
 */
export function selectTunnels(
  { shown, tunnels }: ConfigFile,
  names: readonly string[],
): TunnelConfig[] {
  const byName = new Map(tunnels.map((tunnel) => [tunnel.name, tunnel]));
  const groups = new Set(tunnels.flatMap((tunnel) => tunnel.groups));
  const wanted = names.length === 0 ? [...tunnels] : names.flatMap((name) => {
    const one = byName.get(name);
    if (one !== undefined) return [one];
    if (groups.has(name)) return tunnels.filter((tunnel) => tunnel.groups.includes(name));
    const guess = nearest(name, [...byName.keys(), ...groups]);
    throw new UsageError(
      `${shown} has no tunnel and no group ${JSON.stringify(name)}`,
      guess === undefined ? `it has ${[...byName.keys()].join(", ")}` : `did you mean ${guess}?`,
    );
  });
  return inOrder(tunnels, wanted);
}

/**
 * Puts tunnels into the order in which they can be brought up.
 *
 * @param all All tunnels that there are; none depends on itself.
 * @param wanted Those that are meant.
 * @returns Those, and the ones that they depend on, each after the latter.
 */
export function inOrder(
  all: readonly TunnelConfig[],
  wanted: readonly TunnelConfig[],
): TunnelConfig[] {
  const byName = new Map(all.map((tunnel) => [tunnel.name, tunnel]));
  const seen = new Set<TunnelConfig>();
  const ordered: TunnelConfig[] = [];
  const add = (tunnel: TunnelConfig) => {
    if (seen.has(tunnel)) return;
    seen.add(tunnel);
    for (const name of tunnel.dependsOn) {
      const other = byName.get(name);
      if (other !== undefined) add(other);
    }
    ordered.push(tunnel);
  };
  wanted.forEach(add);
  return ordered;
}
