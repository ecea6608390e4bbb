/** An address that answers nothing, as behind a firewall that drops what it does not like. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { scriptCommand } from "./fairlead.ts";
import { start, type Stoppable, stoppable, waitFor } from "./tools.ts";

/** Connections that are begun at a time. Bun's queue is long whatever it is asked for. */
const BATCH = 64;
/** More than any queue holds. */
const MANY = 2048;

/**
 * A port where a connection is neither accepted nor refused: its listener is stopped, and its
 * queue is full. The kernel drops what comes then.
 */
export async function silentPort(
  host = "127.0.0.2",
): Promise<{ host: string; port: number } & Stoppable> {
  const [program, args] = scriptCommand("tests/support/fixtures/silent_listener.ts");
  const listener = start(program, [...args, host]);
  const sockets: Socket[] = [];
  const stop = async () => {
    for (const socket of sockets) socket.destroy();
    listener.kill("SIGKILL");
    await listener.exited;
  };
  try {
    await waitFor(() => /\n/.test(listener.stdout()), { timeout: 20_000, what: "listening" });
    const port = Number(listener.stdout());
    listener.kill("SIGSTOP");
    for (let full = false; !full;) {
      if (sockets.length >= MANY) throw new Error("the queue does not fill");
      const batch = Array.from(
        { length: BATCH },
        () => connect({ port, host }).on("error", () => {}),
      );
      sockets.push(...batch);
      const all = Promise.all(batch.map((socket) => once(socket, "connect")));
      full = !await Promise.race([all.then(() => true), sleep(300, false)]);
    }
    return stoppable({ host, port }, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}
