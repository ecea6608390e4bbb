/** What a run needs: sshd, the destinations, who makes the load, the long links, the tunnels. */
import { appendFile } from "node:fs/promises";
import { knownHostsLine } from "../../tests/support/keys.ts";
import { type SshServer, startSshd } from "../../tests/support/sshd.ts";
import type { Reach } from "../../tests/support/ssh_server.ts";
import { type Stoppable, stoppable } from "../../tests/support/tools.ts";
import { bun, node } from "../runtimes.ts";
import type { Tool } from "./tools.ts";
import { noTunnel, openTunnel, type Tunnel } from "./tunnel.ts";
import { startWorker, type Worker } from "./workers.ts";

/** Where a forward of the bench can lead. */
export interface Destinations {
  readonly source: number;
  readonly sink: number;
  readonly echo: number;
}

/** Who is measured: a tool, or nothing at all, which shows what the machine would allow. */
export type Contender = Tool | "direct";

/** All of it. */
export interface Stage extends Stoppable {
  readonly sshd: SshServer;
  readonly destinations: Destinations;
  /** Behind the tunnel: what receives and sends in bulk. */
  readonly bulkPeer: Worker;
  /** Before it. */
  readonly bulkLoad: Worker;
  /** Asks, connects and holds connections; not the bulk's, so as not to wait for it. */
  readonly echoLoad: Worker;
  /**
   * A tunnel with the three destinations over a link that takes `rtt` milliseconds there and back;
   * the same one until `closeTunnels`.
   */
  tunnel(contender: Contender, rtt: number): Promise<Tunnel & { readonly to: Destinations }>;
  /** Ends all that `tunnel` opened, or those over one link. */
  closeTunnels(rtt?: number): Promise<void>;
  /** A tunnel of one's own, with `forwards` forwards to the echo, over no link at all. */
  ownTunnel(tool: Tool, forwards?: number): Promise<Tunnel>;
}

/** What runs a worker: a program and what stands before the script. */
export interface WorkerRuntimes {
  /** Those that send, receive, ask and answer. */
  readonly load: readonly string[];
  /** The one that is the long links. */
  readonly link: readonly string[];
}

/**
 * What is fastest. Measured: Bun's sockets carry most for the least time, but Node makes the cheaper
 * long link (1,200 MB/s at 0.8 s/GB, where Bun's carries 500 MB/s at 2 s/GB).
 */
export function fastestRuntimes(): WorkerRuntimes {
  return { load: [bun()], link: [node()] };
}

/** Starts it. */
export async function openStage({ load, link }: WorkerRuntimes): Promise<Stage> {
  await using parts = new AsyncDisposableStack();
  const sshd = parts.use(await startSshd({ config: ["LogLevel INFO"] }));
  const bulkPeer = parts.use(startWorker(load));
  const bulkLoad = parts.use(startWorker(load));
  const echoPeer = parts.use(startWorker(load));
  const echoLoad = parts.use(startWorker(load));
  const links = parts.use(startWorker(link));
  const destinations = {
    ...await bulkPeer.ask("serveBulk"),
    echo: await echoPeer.ask("serveEcho"),
  };
  const ports = [destinations.source, destinations.sink, destinations.echo];

  const delayed = memory((key: string) => {
    const [to = 0, rtt = 0] = key.split("/").map(Number);
    return links.ask("serveDelay", { to, delay: rtt / 2 });
  });
  const through = async (to: number, rtt: number) =>
    rtt === 0 ? to : await delayed.get(`${to}/${rtt}`);

  const reach = memory(async (key: string): Promise<Reach> => {
    const { host, user, identity, knownHosts, hostKeys } = sshd;
    const port = await through(sshd.port, Number(key));
    const lines = hostKeys.map(({ publicLine }) => `${knownHostsLine(host, port, publicLine)}\n`);
    if (port !== sshd.port) await appendFile(knownHosts, lines.join(""));
    return { host, port, user, identity, knownHosts };
  });

  const open = new Map<string, Promise<Tunnel & { to: Destinations }>>();
  const closeTunnels = async (rtt?: number) => {
    for (const [key, opening] of [...open]) {
      if (rtt !== undefined && !key.endsWith(`/${rtt}`)) continue;
      open.delete(key);
      // One that could not be opened has been reported to who asked for it.
      await opening.then((tunnel) => tunnel.stop(), () => {});
    }
  };
  const start = async (contender: Contender, rtt: number) => {
    const tunnel = contender === "direct"
      ? noTunnel(await Promise.all(ports.map((port) => through(port, rtt))))
      : await openTunnel(contender, await reach.get(String(rtt)), ports);
    const [source = 0, sink = 0, echo = 0] = tunnel.ports;
    return Object.assign(tunnel, { to: { source, sink, echo } });
  };

  parts.defer(() => closeTunnels());
  const all = parts.move();
  return stoppable<Omit<Stage, keyof Stoppable>>({
    sshd,
    destinations,
    bulkPeer,
    bulkLoad,
    echoLoad,
    tunnel: (contender, rtt) => {
      const key = `${contender === "direct" ? contender : contender.name}/${rtt}`;
      const opening = open.get(key) ?? start(contender, rtt);
      open.set(key, opening);
      return opening;
    },
    closeTunnels,
    ownTunnel: (tool, forwards = 1) =>
      openTunnel(tool, sshd, Array.from({ length: forwards }, () => destinations.echo)),
  }, () => all.disposeAsync());
}

/** Makes each once. */
function memory<T>(make: (key: string) => Promise<T>): { get(key: string): Promise<T> } {
  const made = new Map<string, Promise<T>>();
  return {
    get: (key) => {
      const value = made.get(key) ?? make(key);
      made.set(key, value);
      return value;
    },
  };
}
