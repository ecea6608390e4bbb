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
  const ordered = new Set<TunnelConfig>();
  const add = (tunnel: TunnelConfig) => {
    for (const other of tunnel.dependsOn) {
      const found = byName.get(other);
      if (found !== undefined && !ordered.has(found)) add(found);
    }
    ordered.add(tunnel);
  };
  wanted.forEach(add);
  return [...ordered];
}
