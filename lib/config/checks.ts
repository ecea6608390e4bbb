/**
 * What the tunnels of a file say of each other.
 *
 * @module
 */
import { nearest } from "../nearest.ts";
import { formatForward, formatListen, type ListenAddress } from "../forward/spec.ts";
import { formatPath, type Path, type Problem } from "./problems.ts";
import type { TunnelConfig } from "./tunnel_config.ts";

/** Where things stand, and who is told of a mistake. */
export interface Places {
  readonly lineOf: (path: Path) => number;
  readonly complain: (path: Path, problem: Pick<Problem, "message" | "hint">) => void;
}

/**
 * Looks for tunnels that depend on none there is, or on themselves.
 *
 * @param tunnels The tunnels that could be read.
 * @param names The names of all there are.
 * @param places Where they stand.
 */
export function checkDependencies(
  tunnels: readonly TunnelConfig[],
  names: readonly string[],
  { complain }: Pick<Places, "complain">,
): void {
  const byName = new Map(tunnels.map((tunnel) => [tunnel.name, tunnel]));
  const told = new Set<string>();
  for (const { name, dependsOn, via } of tunnels) {
    for (const [index, other] of dependsOn.entries()) {
      if (names.includes(other)) continue;
      const guess = nearest(other, names.filter((one) => one !== name));
      complain(["tunnels", name, "dependsOn", index], {
        message: `there is no tunnel ${other}`,
        hint: guess === undefined ? undefined : `did you mean ${guess}?`,
      });
    }
    const circle = circleFrom(name, byName);
    if (circle === undefined || told.has(name)) continue;
    for (const one of circle) told.add(one);
    const key = via !== undefined && via === (circle[1] ?? name) ? "jump" : "dependsOn";
    complain(["tunnels", name, key], {
      message: `they depend on each other in a circle: ${[...circle, name].join(" -> ")}`,
    });
  }
}

/** @returns The way that leads from a tunnel back to itself. */
function circleFrom(
  name: string,
  tunnels: ReadonlyMap<string, TunnelConfig>,
): string[] | undefined {
  const seen = new Set<string>();
  const way = [{ at: name, way: [name] }];
  for (let next = way.pop(); next !== undefined; next = way.pop()) {
    for (const other of tunnels.get(next.at)?.dependsOn ?? []) {
      if (other === name) return next.way;
      if (seen.has(other)) continue;
      seen.add(other);
      way.push({ at: other, way: [...next.way, other] });
    }
  }
  return undefined;
}

/** What a listener has to itself: localhost is an address of either family. */
function endsOf(listen: ListenAddress): string[] {
  if ("path" in listen) return [listen.path];
  const { bind = "localhost", port } = listen;
  const addresses = bind === "localhost" ? ["127.0.0.1", "::1"] : [bind];
  return addresses.map((host) => formatListen({ bind: host, port }));
}

/**
 * Looks for forwards that want the same name or the same port.
 *
 * @param tunnels The tunnels that could be read.
 * @param places Where they stand.
 */
export function checkForwards(
  tunnels: readonly Pick<TunnelConfig, "name" | "forwards">[],
  { complain, lineOf }: Places,
): void {
  const here = new Map<string, Path>();
  for (const { name: tunnel, forwards } of tunnels) {
    const own = new Map<string, Path>();
    for (const [index, { kind, spec }] of forwards.entries()) {
      const path = ["tunnels", tunnel, "forwards", index];
      const listen = formatListen(spec.listen);
      const free = "port" in spec.listen && spec.listen.port === 0;
      const taken = (seen: Map<string, Path>, key: string, what: string) => {
        const first = seen.get(key);
        if (first === undefined) return seen.set(key, path);
        return complain(path, {
          message: `${what} is also ${formatPath(first)} (line ${lineOf(first)})`,
        });
      };
      if (spec.name !== undefined) taken(own, `name ${spec.name}`, `the name ${spec.name}`);
      if (kind === "remote") {
        if (!free) taken(own, `remote ${listen}`, `${listen} on the server`);
        else taken(own, `remote ${formatForward(spec)}`, "the same forward");
      } else if (!free) { for (const end of endsOf(spec.listen)) taken(here, end, listen); }
      else taken(own, `${kind} ${formatForward(spec)}`, "the same forward");
    }
  }
}
