/**
 * What the demo's servers and its mail client have in common.
 *
 * @module
 */
import type { AddressInfo, Server, Socket } from "node:net";

/**
 * Listens on a free port of 127.0.0.1.
 *
 * @param server A server that does not listen yet.
 * @returns The port.
 */
export function listenOnLoopback(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      server.off("error", reject);
      // What happens to one accept() later must not end the process.
      server.on("error", () => {});
      resolve((server.address() as AddressInfo).port);
    });
  });
}

/**
 * Stops listening and ends what is still open.
 *
 * @param server The server.
 * @param sockets Its open connections, and others that belong to it.
 * @returns When all are closed.
 */
export async function stopListening(server: Server, sockets: Iterable<Socket>): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  for (const socket of sockets) socket.destroy();
  await closed;
}

/**
 * Reads a socket line by line.
 *
 * @param socket The socket; it is destroyed where the reading stops early.
 * @param limit Characters of a line.
 * @returns Each line without its end.
 * @throws {Error} For a longer line.
 */
export async function* readLines(socket: Socket, limit: number): AsyncGenerator<string> {
  socket.setEncoding("latin1");
  let rest = "";
  for await (const chunk of socket) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line.length > limit) throw new Error("the line is too long");
      yield line.replace(/\r$/, "");
    }
    if (rest.length > limit) throw new Error("the line is too long");
  }
}

/**
 * Writes text, and waits until it was sent or cannot be.
 *
 * @param socket The socket.
 * @param text ASCII.
 */
export function writeText(socket: Socket, text: string): Promise<void> {
  return new Promise((resolve) => socket.write(text, "latin1", () => resolve()));
}
