/** A tool at work: its process, the ports where it listens, and how long it took to listen. */
import { createServer } from "node:net";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Reach } from "../../tests/support/ssh_server.ts";
import { type Running, start, type Stoppable, stoppable } from "../../tests/support/tools.ts";
import type { Command, Forward } from "./tools.ts";

/** A running tool; or the destinations themselves, without a tunnel and a process. */
export interface Tunnel extends Stoppable {
  readonly pid: number | undefined;
  /** Its ports, in the order of the destinations. */
  readonly ports: readonly number[];
  /** Milliseconds from its start until all of them listened. */
  readonly took: number;
}

/** Milliseconds until a tool must listen. */
const PATIENCE = 60_000;
/** Milliseconds between two looks whether it does. */
const LOOK = 3;

/** Starts a tool with one forward to each of these ports. */
export async function openTunnel(
  tool: Command,
  reach: Reach,
  destinations: readonly number[],
): Promise<Tunnel> {
  const ports = await freePorts(destinations.length);
  const forwards: Forward[] = destinations.map((to, index) => ({ listen: ports[index] ?? 0, to }));
  const [program = "", ...args] = tool.command(reach, forwards);
  const begin = performance.now();
  const running = start(program, args);
  try {
    // The last one first: the tools listen in the order of the command line.
    for (const port of [...ports].reverse()) await listening(port, running, begin + PATIENCE);
  } catch (error) {
    await end(running);
    throw new Error(`${tool.label}: ${error instanceof Error ? error.message : error}`);
  }
  const took = performance.now() - begin;
  return stoppable({ pid: running.pid, ports, took }, () => end(running));
}

/** The destinations without anything between. */
export function noTunnel(destinations: readonly number[]): Tunnel {
  return stoppable({ pid: undefined, ports: destinations, took: NaN }, () => Promise.resolve());
}

/** At once: there is nothing to be saved, and a tool with open connections would wait for them. */
async function end(running: Running): Promise<void> {
  running.kill("SIGKILL");
  await running.exited.catch(() => {});
  await running.stop();
}

async function listening(port: number, running: Running, deadline: number): Promise<void> {
  while (!(await accepts(port))) {
    if (!running.running()) throw new Error(`it ended: ${running.stderr().trim()}`);
    if (performance.now() > deadline) {
      throw new Error(`it did not listen in ${PATIENCE / 1_000} s: ${running.stderr().trim()}`);
    }
    await sleep(LOOK);
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** Ports that were free a moment ago, below those that the system itself hands out. */
async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let port = 10_000 + Math.floor(Math.random() * 15_000); ports.length < count; port++) {
    if (port > 32_000) throw new Error(`there are no ${count} free ports`);
    if (await free(port)) ports.push(port);
  }
  return ports;
}

function free(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port }, () => server.close(() => resolve(true)));
  });
}
