/**
 * What the master of ssh's control socket can be asked for: `-O` of ssh(1).
 *
 * @module
 */
import { hostname } from "node:os";
import process from "node:process";
import { FairleadError } from "../errors.ts";
import type { Forward } from "../forward/forward.ts";
import { formatForward, formatListen } from "../forward/spec.ts";
import type { ForwardRequest } from "../ssh_config/settings.ts";
import { type ListenSettings, startForward } from "../ssh_config/start_forward.ts";
import type { Tunnel } from "../tunnel/tunnel.ts";
import type { Handlers } from "./server.ts";

/** What a master is asked, and what it answers. */
export interface MasterMethods {
  check: { params: Record<never, never>; result: { readonly pid: number } };
  /** The port that it listens on; 0 for a Unix socket. One that is there already stays. */
  forward: { params: { readonly forward: ForwardRequest }; result: { readonly port: number } };
  cancel: { params: { readonly forward: ForwardRequest }; result: null };
  /** No more clients; all goes on for those that are there, and for the forwards. */
  stop: { params: Record<never, never>; result: null };
  /** The end of the master. The socket is gone when it answers. */
  exit: { params: Record<never, never>; result: null };
  conninfo: { params: Record<never, never>; result: string };
  channels: { params: Record<never, never>; result: string };
}

/** A run that others use. */
export interface Master {
  readonly tunnel: Tunnel;
  readonly settings: ListenSettings;
  /** Those that it was started with. */
  readonly forwards: readonly Forward[];
  /** Ends the serving of the socket. */
  readonly stop: () => Promise<void>;
  /** Ends the run. */
  readonly exit: () => void;
}

/** Forwards that others may ask for. */
const MOST_FORWARDS = 1_000;

/**
 * Has a run be used by others.
 *
 * @param master The run.
 * @returns What serveControl() takes.
 */
export function masterHandlers(master: Master): Handlers {
  const { tunnel, settings } = master;
  const forwards = new Map(
    master.forwards.map((forward) => [keyOf(forward), forward]),
  );
  const requestOf = async (method: "forward" | "cancel", params: unknown) => {
    // Most masters are asked for none: the schemas take some milliseconds of a start.
    const { checkedParams } = await import("./params.ts");
    return checkedParams(method, params).forward;
  };
  return {
    check: () => ({ pid: process.pid }),
    forward: async (params) => {
      const request = await requestOf("forward", params);
      const key = keyOf(request);
      const same = forwards.get(key);
      if (same !== undefined) return { port: same.port };
      if (forwards.size >= MOST_FORWARDS) {
        throw new FairleadError(`there are ${MOST_FORWARDS} forwards already`, {
          code: "resource-shortage",
        });
      }
      // It is the run that ends it, and not whoever asked for it.
      const forward = await startForward(tunnel, request, settings, new AbortController().signal);
      forwards.set(key, forward);
      return { port: forward.port };
    },
    cancel: async (params) => {
      const key = keyOf(await requestOf("cancel", params));
      const forward = forwards.get(key);
      if (forward === undefined) {
        throw new FairleadError("port not forwarded", { code: "usage" });
      }
      forwards.delete(key);
      await stopListening(forward);
      return null;
    },
    stop: () => {
      void master.stop();
      return null;
    },
    exit: () => {
      void master.stop();
      master.exit();
      return null;
    },
    conninfo: () => conninfo(tunnel),
    channels: () => channels([...forwards.values()]),
  } satisfies { readonly [Method in keyof MasterMethods]: Handlers[string] };
}

/** As in ssh, its open connections go on for as long as they like. */
async function stopListening(forward: Forward): Promise<void> {
  const closed = forward.close();
  // The port is free before the last connection has ended.
  await Promise.race([closed, new Promise<void>((resolve) => setTimeout(resolve, 100))]);
}

/** What tells forwards apart: a name is none of ssh's. */
function keyOf({ kind, spec: { name: _own, ...spec } }: Pick<Forward, "kind" | "spec">): string {
  return `${kind} ${formatForward(spec)}`;
}

/** As ssh prints it, each line with a carriage return. */
function conninfo(tunnel: Tunnel): string {
  const info = tunnel.connectionInfo;
  if (info === undefined) return "";
  const { local, remote, kex, hostKey, cipher, mac, duration, received, sent } = info;
  const tcp = local === undefined || remote === undefined
    ? []
    : [`tcp ${local.host}:${local.port} -> ${remote.host}:${remote.port}`];
  const traffic = received === undefined ? [] : [`traffic ${received} in, ${sent} out`];
  const lines = [
    ...tcp,
    `duration ${timeframe(duration / 1000)}`,
    `kexalgorithm ${kex}`,
    `hostkeyalgorithm ${hostKey}`,
    `cipher ${once(cipher)}`,
    `mac ${once(mac)}`,
    "compression none",
    ...traffic,
  ];
  const head = `Connection information for ${hostname()} pid ${process.pid}`;
  return [head, ...lines.map((line) => `  ${line}`)].map((line) => `${line}\r\n`).join("");
}

function once([one, other]: readonly [string, string]): string {
  return one === other ? one : `${one},${other}`;
}

/** As ssh writes times: `5s`, `2m 5s` without the space. */
function timeframe(seconds: number): string {
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3_600), Math.floor((whole % 3_600) / 60)];
  return [hours > 0 ? `${hours}h` : "", minutes > 0 ? `${minutes}m` : "", `${whole % 60}s`].join(
    "",
  );
}

const TYPES = {
  local: "direct-tcpip",
  remote: "forwarded-tcpip",
  dynamic: "direct-tcpip",
} as const;

function channels(forwards: readonly Forward[]): string {
  let count = 0;
  const lines = forwards.flatMap((forward) => {
    const { kind, spec, port, connections } = forward;
    const listen = port === 0
      ? `listening path ${formatListen(spec.listen)}`
      : `listening port ${port}`;
    const destination = "destination" in spec ? spec.destination : undefined;
    const to = destination === undefined
      ? ""
      : "path" in destination
      ? ` for ${destination.path}`
      : ` for ${destination.host} port ${destination.port}`;
    return connections.map(({ from }) =>
      `  #${count++} ${TYPES[kind]}: ${listen}${to}, connect from ${from}`
    );
  });
  return ["The following connections are open:", ...lines].map((line) => `${line}\r\n`).join("");
}
