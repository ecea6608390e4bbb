/** Proxies for tests: a small HTTP one, and one that answers whatever it is told to. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type Stoppable, stoppable } from "./tools.ts";

/** A proxy that listens. */
export interface TestProxy extends Stoppable {
  readonly host: string;
  readonly port: number;
  /** The first piece that each connection sent. */
  readonly requests: string[];
}

/** An HTTP proxy for CONNECT alone; with `credentials`, `user:password` must be given. */
export function httpProxy(credentials?: string): Promise<TestProxy> {
  return serve((socket, request) => {
    const [, host = "", port = ""] =
      /^CONNECT \[?([^\s\]]+)\]?:(\d+) HTTP\/1\.1\r\n/.exec(request) ??
        [];
    const wanted = credentials === undefined
      ? undefined
      : `Proxy-Authorization: Basic ${Buffer.from(credentials).toString("base64")}\r\n`;
    if (wanted !== undefined && !request.includes(wanted)) {
      socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
      return;
    }
    const far = connect({ host, port: Number(port), allowHalfOpen: true });
    far.on("error", () => socket.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"));
    // With the answer goes, in one piece, what the server says first: nobody may lose it.
    far.once("data", (first: Buffer) => {
      socket.write(Buffer.concat([Buffer.from("HTTP/1.1 200 OK\r\nVia: test\r\n\r\n"), first]));
      far.pipe(socket);
      socket.pipe(far);
    });
    socket.once("close", () => far.destroy());
  });
}

/** Answers each piece that comes with the next of these; hangs up after the last one. */
export function answering(...answers: (string | Uint8Array)[]): Promise<TestProxy> {
  return serve((socket) => {
    const left = [...answers];
    const answer = () => {
      const next = left.shift();
      if (next === undefined) socket.end();
      else socket.write(next);
    };
    answer();
    socket.on("data", answer);
  });
}

async function serve(use: (socket: Socket, request: string) => void): Promise<TestProxy> {
  const sockets = new Set<Socket>();
  const requests: string[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).once("close", () => sockets.delete(socket));
    socket.on("end", () => socket.end());
    socket.once("data", (chunk: Buffer) => {
      const request = chunk.toString("latin1");
      requests.push(request);
      use(socket, request);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return stoppable({ host: "127.0.0.1", port, requests }, async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await closed;
  });
}
