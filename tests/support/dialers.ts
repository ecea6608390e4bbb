/** What forwards are tested with instead of SSH: dialers in the test's hand, and the log. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { configureSync, type LogRecord, resetSync } from "@logtape/logtape";
import type { Destination, Dialer, DialOptions } from "../../lib/dialer.ts";
import { waitFor } from "./tools.ts";

/** Nobody listens on the far side here. */
class Deaf {
  listen(): Promise<never> {
    return Promise.reject(new Error("not in this test"));
  }
}

/** Dials plain TCP, and remembers what it was asked. */
export class TcpDialer extends Deaf implements Dialer {
  readonly asked: { destination: Destination; options: DialOptions }[] = [];

  dial(destination: Destination, options: DialOptions = {}): Promise<Duplex> {
    this.asked.push({ destination, options });
    return new Promise((resolve, reject) => {
      const socket = connect({ ...destination, allowHalfOpen: true });
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(socket);
      });
      socket.once("error", reject);
    });
  }
}

/** A dial that waits for the test's answer. */
export interface PendingDial extends PromiseWithResolvers<Duplex> {
  readonly signal: AbortSignal;
  /** The caller's port, as the server is told it. */
  readonly from: number | undefined;
}

/** Leaves every dial pending until the test answers it. */
export class PendingDialer extends Deaf implements Dialer {
  readonly pending: PendingDial[] = [];

  dial(_destination: Destination, options: DialOptions = {}): Promise<Duplex> {
    const answer = Promise.withResolvers<Duplex>();
    const { signal, originator } = options;
    assert.ok(signal);
    this.pending.push({ ...answer, signal, from: originator?.port });
    return answer.promise;
  }

  async first(): Promise<PendingDial> {
    return await waitFor(() => this.pending[0], { what: "the dial" });
  }
}

/** Runs with everything of level info and above that fairlead logs. */
export async function logged(during: (lines: string[]) => Promise<void>): Promise<void> {
  const lines: string[] = [];
  const keep = (record: LogRecord) => {
    lines.push(`${record.level}: ${record.message.map(String).join("")}`);
  };
  configureSync({
    reset: true,
    sinks: { keep },
    loggers: [
      { category: "fairlead", sinks: ["keep"], lowestLevel: "info" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "fatal" },
    ],
  });
  try {
    await during(lines);
  } finally {
    resetSync();
  }
}

/** A client that half-closes: on a port of loopback, or on a Unix socket. */
export async function connected(where: number | string): Promise<Socket> {
  const address = typeof where === "string" ? { path: where } : { port: where, host: "127.0.0.1" };
  const socket = connect({ ...address, allowHalfOpen: true });
  await once(socket, "connect");
  return socket;
}
