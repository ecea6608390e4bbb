/** A path to a server that changes one bit of what passes. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type { Direction } from "./faulty_path.ts";
import { type Stoppable, stoppable } from "./tools.ts";

/** A port that leads to a server. */
export interface FlippingPath extends Stoppable {
  readonly host: string;
  readonly port: number;
  /**
   * Changes a bit of what passes from now on.
   *
   * @param direction Seen from the client.
   * @param offset Bytes until there.
   * @param bit 0 to 7.
   */
  flip(direction: Direction, offset: number, bit: number): void;
}

/** Opens a path to a server. */
export async function flippingPath(
  target: { readonly host: string; readonly port: number },
): Promise<FlippingPath> {
  const left: Partial<Record<Direction, { bytes: number; bit: number }>> = {};
  const sockets = new Set<Socket>();
  const pass = (direction: Direction, from: Socket, to: Socket) => {
    sockets.add(from);
    from.on("data", (chunk: Uint8Array) => {
      const next = left[direction];
      if (next !== undefined && next.bytes < chunk.length) {
        delete left[direction];
        chunk[next.bytes]! ^= 1 << next.bit;
      } else if (next !== undefined) {
        next.bytes -= chunk.length;
      }
      if (!to.write(chunk)) from.pause();
    });
    to.on("drain", () => from.resume());
    from.on("end", () => to.end());
    from.on("error", () => to.destroy());
    from.on("close", () => {
      sockets.delete(from);
      to.destroy();
    });
  };
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const upstream = connect({ ...target, allowHalfOpen: true });
    pass("up", client, upstream);
    pass("down", upstream, client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const path = {
    host: "127.0.0.1",
    port,
    flip: (direction: Direction, bytes: number, bit: number) => {
      left[direction] = { bytes, bit };
    },
  };
  return stoppable(path, async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
  });
}
