/**
 * The figures of tunnels in the text format of Prometheus, version 0.0.4. Names and units follow its
 * conventions: base units, and `_total` behind what only grows.
 *
 * @module
 */
import { formatAddress } from "../dialer.ts";
import type { ConnectionStats } from "../forward/connections.ts";
import type { ForwardStatus, Status, TunnelStatus } from "./status.ts";

/** The media type of what is served. */
export const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

interface Family<T> {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
  readonly of: (one: T) => number;
}

const TUNNEL_FAMILIES: readonly Family<TunnelStatus>[] = [
  {
    name: "fairlead_tunnel_up",
    type: "gauge",
    help: "Whether the tunnel's SSH session is open.",
    of: ({ state }) => state === "open" ? 1 : 0,
  },
  {
    name: "fairlead_tunnel_ssh_connections",
    type: "gauge",
    help: "SSH connections that are open.",
    of: ({ sshConnections }) => sshConnections,
  },
  {
    name: "fairlead_tunnel_reconnects_total",
    type: "counter",
    help: "How often a lost link came back.",
    of: ({ reconnects }) => reconnects,
  },
  {
    name: "fairlead_tunnel_parked_connections",
    type: "gauge",
    help: "Callers that wait for a lost link.",
    of: ({ parked }) => parked,
  },
];

const FORWARD_FAMILIES: readonly Family<ForwardStatus>[] = [
  {
    name: "fairlead_forward_up",
    type: "gauge",
    help: "Whether the forward listens.",
    of: ({ state }) => state === "listening" ? 1 : 0,
  },
  {
    name: "fairlead_forward_open_connections",
    type: "gauge",
    help: "Connections that are open, those still being dialled included.",
    of: ({ stats }) => stats.open,
  },
  counter("connections", "Connections accepted.", "total"),
  counter("refused_connections", "Connections whose dial failed.", "refused"),
  counter(
    "gone_connections",
    "Connections whose caller left before the dial was answered.",
    "gone",
  ),
  counter("failed_connections", "Connections that were opened and then failed.", "failed"),
  counter("lost_connections", "Connections that were lost with the SSH connection.", "lost"),
  counter("sent_bytes", "Bytes from those who connected towards the destination.", "sent"),
  counter("received_bytes", "Bytes from the destination.", "received"),
];

function counter(name: string, help: string, field: keyof ConnectionStats): Family<ForwardStatus> {
  return {
    name: `fairlead_forward_${name}_total`,
    type: "counter",
    help,
    of: ({ stats }) => stats[field],
  };
}

/**
 * The figures of tunnels.
 *
 * @param status What can be seen of them.
 * @returns The text.
 */
export function prometheusText({ version, since, tunnels }: Status): string {
  const forwards = tunnels.flatMap((tunnel) =>
    tunnel.forwards.map((forward) => ({ tunnel, forward }))
  );
  const started = Date.parse(since) / 1000;
  return [
    head({ name: "fairlead_build_info", type: "gauge", help: "The version of fairlead." }),
    sample("fairlead_build_info", { version }, 1),
    head({
      name: "process_start_time_seconds",
      type: "gauge",
      help: "When the process began, in seconds since 1970.",
    }),
    sample("process_start_time_seconds", {}, started),
    ...TUNNEL_FAMILIES.flatMap((family) => [
      head(family),
      ...tunnels.map((tunnel) => sample(family.name, { tunnel: tunnel.name }, family.of(tunnel))),
    ]),
    ...FORWARD_FAMILIES.flatMap((family) => [
      head(family),
      ...forwards.map(({ tunnel, forward }) => {
        const { name, kind } = forward;
        const labels = { tunnel: tunnel.name, forward: name ?? forward.forward, kind };
        return sample(family.name, labels, family.of(forward));
      }),
    ]),
  ].join("");
}

/**
 * What is not ready.
 *
 * @param status What can be seen of the tunnels.
 * @returns One line for each tunnel that is not open and each forward that does not listen.
 */
export function notReady({ tunnels }: Pick<Status, "tunnels">): string[] {
  return tunnels.flatMap(({ name, state, forwards }) => [
    ...(state === "open" ? [] : [`${name}: ${state}`]),
    ...forwards.filter((forward) => forward.state !== "listening").map((forward) =>
      `${name}: ${forward.name ?? forward.forward}: ${forward.state}`
    ),
  ]);
}

/**
 * Where metrics are served, for people.
 *
 * @param address The address.
 * @returns A URL.
 */
export function metricsUrl(address: { readonly host: string; readonly port: number }): string {
  return `http://${formatAddress(address)}/metrics`;
}

function head({ name, type, help }: Omit<Family<never>, "of">): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
}

function sample(name: string, labels: Readonly<Record<string, string>>, value: number): string {
  const shown = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`);
  return `${name}${shown.length === 0 ? "" : `{${shown.join(",")}}`} ${value}\n`;
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
