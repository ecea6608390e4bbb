/** A long way to a server: bytes arrive late, and are counted while they are under way. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type Stoppable, stoppable } from "./tools.ts";

/** A port that leads to a server over a long way, on which there is room for everything. */
export interface DelayedPath extends Stoppable {
  readonly host: string;
  readonly port: number;
  /** The most bytes that were under way from the server to clients at a time. */
  readonly mostUnderWay: number;
}

/**
 * Opens a long way to a server.
 *
 * @param target The server.
 * @param oneWay Milliseconds that a byte takes, either way.
 */
export async function delayedPath(
  target: { readonly host: string; readonly port: number },
  oneWay: number,
): Promise<DelayedPath> {
  let underWay = 0;
  let mostUnderWay = 0;
  const sockets = new Set<Socket>();

  const pass = (from: Socket, to: Socket, count: (bytes: number) => void) => {
    const later = (act: () => void) =>
      setTimeout(() => {
        if (!to.destroyed) act();
      }, oneWay);
    from.on("data", (chunk) => {
      count(chunk.length);
      later(() => {
        count(-chunk.length);
        to.write(chunk);
      });
    });
    from.on("end", () => later(() => to.end()));
    from.on("error", () => to.destroy());
    from.once("close", () => sockets.delete(from));
    sockets.add(from);
  };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const far = connect({ ...target, allowHalfOpen: true, noDelay: true });
    pass(client, far, () => {});
    pass(far, client, (bytes) => {
      underWay += bytes;
      mostUnderWay = Math.max(mostUnderWay, underWay);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  return stoppable<Omit<DelayedPath, keyof Stoppable>>({
    host: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    get mostUnderWay() {
      return mostUnderWay;
    },
  }, async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
  });
}
