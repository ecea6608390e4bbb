/**
 * Serving metrics and health over HTTP.
 *
 * @module
 */
import type { AddressInfo } from "node:net";
import { messageOf, systemCodeOf, UsageError } from "../errors.ts";
import { type ListenAddress, parseDynamicForward } from "../forward/spec.ts";
import { CONTENT_TYPE, notReady, prometheusText } from "./metrics.ts";
import type { Status } from "./status.ts";

/** Clients at a time. */
const MOST_CONNECTIONS = 32;
/** Milliseconds that a request may take to come in. */
const REQUEST_TIMEOUT = 10_000;
/** Bytes of a request's header. */
const MOST_HEADER = 8 * 1024;

/** Metrics that are served. */
export interface MetricsServer {
  /** Where, with the real port. */
  readonly address: { readonly host: string; readonly port: number };
  /** Serves no more. */
  close(): Promise<void>;
}

/**
 * Serves `/metrics`, `/healthz` and `/readyz`.
 *
 * @param text Where: `[bind:]port`; loopback where nothing else is said, port 0 for a free one.
 * @param status What is served, at the moment of each request.
 * @returns The server, listening.
 * @throws {UsageError} When the address is none, or cannot be listened on.
 */
export async function serveMetrics(text: string, status: () => Status): Promise<MetricsServer> {
  const { host, port } = readAddress(text);
  // By import of its own: in the bundle every other one is loaded at each start, this one for 8 ms.
  const { createServer } = await import("node:http");
  const server = createServer({ maxHeaderSize: MOST_HEADER }, (request, response) => {
    answer(request, response, status);
  });
  server.maxConnections = MOST_CONNECTIONS;
  server.requestTimeout = REQUEST_TIMEOUT;
  server.headersTimeout = REQUEST_TIMEOUT;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => {
      const reason = systemCodeOf(error) === "EADDRINUSE"
        ? "another program listens there"
        : messageOf(error);
      reject(new UsageError(`--metrics ${text}: ${reason}`, "port 0 takes a free one"));
    });
    server.listen({ host, port }, resolve);
  });
  server.on("error", () => {});
  const bound = server.address() as AddressInfo;
  return {
    address: { host: bound.address, port: bound.port },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function readAddress(text: string): { host: string; port: number } {
  let listen: ListenAddress;
  try {
    ({ listen } = parseDynamicForward(text));
  } catch (error) {
    throw new UsageError(`--metrics ${text}: ${messageOf(error)}`, "as in 127.0.0.1:9090");
  }
  if ("path" in listen) throw new UsageError(`--metrics ${text}: a port is expected`);
  const { bind = "127.0.0.1", port } = listen;
  return { host: bind === "*" || bind === "" ? "::" : bind, port };
}

/** What an answer is written to. */
interface Response {
  writeHead(code: number, headers: Readonly<Record<string, string>>): unknown;
  end(text?: string): unknown;
}

function answer(
  { method, url = "" }: { readonly method?: string | undefined; readonly url?: string | undefined },
  response: Response,
  status: () => Status,
): void {
  const reply = (code: number, text: string, type = "text/plain; charset=utf-8") => {
    // One answer a connection: none is held open by who has gone.
    response.writeHead(code, {
      "content-type": type,
      "cache-control": "no-store",
      connection: "close",
    });
    response.end(method === "HEAD" ? undefined : text);
  };
  if (method !== "GET" && method !== "HEAD") return reply(405, "GET and HEAD alone\n");
  switch (url.replace(/\?.*$/s, "")) {
    case "/metrics":
      return reply(200, prometheusText(status()), CONTENT_TYPE);
    case "/healthz":
      return reply(200, "ok\n");
    case "/readyz": {
      const wrong = notReady(status());
      if (wrong.length === 0) return reply(200, "ok\n");
      return reply(503, wrong.map((line) => `${line}\n`).join(""));
    }
    default:
      return reply(404, "there are /metrics, /healthz and /readyz\n");
  }
}
