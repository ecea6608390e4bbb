/**
 * --metrics.
 *
 * @module
 */
import process from "node:process";
import { formatAddress, isLoopback } from "../dialer.ts";
import { metricsUrl } from "../control/metrics.ts";
import type { MetricsServer } from "../control/metrics_server.ts";
import type { Status, TunnelState } from "../control/status.ts";
import type { Forward } from "../forward/forward.ts";
import { formatForward } from "../forward/spec.ts";
import type { HostConfig } from "../ssh_config/host_config.ts";
import type { Tunnel } from "../tunnel/tunnel.ts";
import type { Output } from "./output.ts";
import { VERSION } from "./version.ts";

/**
 * Serves metrics, and says where.
 *
 * @param address Where, as --metrics has it.
 * @param status What is served.
 * @param output Where it is said.
 * @returns The server.
 * @throws {UsageError} When it cannot be listened on.
 */
export async function startMetrics(
  address: string,
  status: () => Status,
  output: Pick<Output, "event" | "warn">,
): Promise<MetricsServer> {
  // HTTP takes some milliseconds of the start: most runs need none.
  const { serveMetrics } = await import("../control/metrics_server.ts");
  const server = await serveMetrics(address, status);
  sayMetrics(server.address, output);
  return server;
}

/**
 * Says where metrics are served, and who can read them.
 *
 * @param address Where.
 * @param output Where it is said.
 */
export function sayMetrics(
  address: MetricsServer["address"],
  output: Pick<Output, "event" | "warn">,
): void {
  const { host, port } = address;
  output.event({ event: "metrics", host, port }, `metrics at ${metricsUrl(address)}`);
  if (isLoopback(host)) return;
  output.warn(`anyone who can reach ${formatAddress(address)} can read the metrics`);
}

/** What the status of a run that is no named tunnel is made from. */
export interface Run {
  readonly host: HostConfig;
  readonly tunnel: Tunnel;
  readonly forwards: readonly Forward[];
}

/**
 * Serves the metrics of a run that is no named tunnel, where that was asked for.
 *
 * @param run The run.
 * @param output Where it is said.
 * @returns The server; undefined where nobody asked.
 * @throws {UsageError} When it cannot be listened on.
 */
export async function runMetrics(
  run: Run,
  output: Pick<Output, "event" | "warn">,
): Promise<MetricsServer | undefined> {
  const { metrics } = run.host.settings;
  const since = new Date();
  if (metrics === undefined) return undefined;
  return await startMetrics(metrics, () => runStatus(run, since), output);
}

/** It is called as its host was. */
function runStatus({ host, tunnel, forwards }: Run, since: Date): Status {
  const { settings, name, user, port } = host;
  return {
    version: VERSION,
    pid: process.pid,
    since: since.toISOString(),
    tunnels: [{
      name: settings.host ?? name,
      file: "",
      groups: [],
      dependsOn: [],
      destination: `${user}@${formatAddress({ host: name, port })}`,
      state: stateOf(tunnel),
      since: since.toISOString(),
      reconnects: tunnel.reconnects,
      sshConnections: tunnel.connections,
      parked: tunnel.parked,
      forwards: forwards.map(({ kind, spec, addresses, stats }) => ({
        kind,
        forward: formatForward(spec),
        ...(spec.name === undefined ? {} : { name: spec.name }),
        state: "listening",
        addresses,
        stats,
      })),
    }],
  };
}

function stateOf({ state }: Tunnel): TunnelState {
  return state === "closed" ? "draining" : state;
}
