/**
 * The SOCKS handshake over a connection: who calls, where to, and the answer.
 *
 * @module
 */
import type { Duplex } from "node:stream";
import type { TcpAddress } from "../dialer.ts";
import { ConnectionError, type ErrorCode } from "../errors.ts";
import {
  grantReply,
  refuseReply,
  type SocksEvent,
  type SocksRequest,
  SocksServer,
} from "./socks.ts";

/** What may be said about one handshake. */
export interface AcceptSocksOptions {
  /** Milliseconds for the whole greeting, however it trickles in; 30 000 by default. */
  readonly timeout?: number;
  /** Gives the handshake up: the stream is destroyed. */
  readonly signal?: AbortSignal;
}

/** A client that has said where it wants to be connected to, and waits for the answer. */
export interface SocksCaller {
  /** Where to. */
  readonly destination: TcpAddress;
  /**
   * Says yes. From now on what is read from the stream comes from the client, beginning with what
   * it sent together with its request, and what is written goes to it.
   */
  grant(): void;
  /**
   * Says no, and why, and ends the connection.
   *
   * @param code Why the destination was not reached.
   * @returns When the stream is closed: to destroy it earlier could lose the answer.
   */
  refuse(code: ErrorCode): Promise<void>;
}

/** Milliseconds for the whole greeting. */
const TIMEOUT = 30_000;
/**
 * Milliseconds that a refused client has to take its answer and hang up. If the connection were
 * closed while more comes in, the system would reset it and throw the answer away.
 */
const LINGER = 2_000;

/**
 * Takes a client through its SOCKS greeting, up to its request (SOCKS4, 4a and RFC 1928).
 *
 * While the caller dials, the stream goes on reading up to its high-water mark, so that its `end`,
 * `error` and `close` tell of a client that leaves. They are the caller's to listen to: an `error`
 * that nobody listens to would end the process.
 *
 * @param stream A connection that nobody has read from. It must be able to end one way only.
 * @param options A deadline and a signal.
 * @returns The client and its request.
 * @throws {ConnectionError} `protocol-error` for a client that cannot be served, `timeout`,
 *   `connection-reset` or `cancelled`; by then the client was told and the stream is destroyed.
 */
export function acceptSocks(
  stream: Duplex,
  options: AcceptSocksOptions = {},
): Promise<SocksCaller> {
  const { timeout = TIMEOUT, signal } = options;
  return new Promise((resolve, reject) => {
    const server = new SocksServer();
    const read = () => {
      // read() empties the buffer, and has the stream fill it again.
      while (!server.over) {
        const chunk: Uint8Array | null = stream.read();
        if (chunk === null) return;
        server.push(chunk).forEach(act);
      }
    };
    const act = (event: SocksEvent) => {
      switch (event.kind) {
        case "reply":
          stream.write(event.bytes);
          return;
        case "request":
          stop();
          if (event.rest.length > 0) stream.unshift(event.rest);
          resolve(callerOf(stream, event));
          return;
        case "refused": {
          const { bytes, reason, hint } = event;
          const error = new ConnectionError(`the SOCKS client was refused: ${reason}`, {
            code: "protocol-error",
            ...(hint === undefined ? {} : { hint }),
          });
          if (bytes.length === 0) return fail(error);
          stop();
          dismiss(stream, bytes).then(() => reject(error));
          return;
        }
      }
    };
    const fail = (error: ConnectionError) => {
      stop();
      stream.destroy();
      reject(error);
    };
    const ended = () => fail(left("protocol-error"));
    const failed = (cause: unknown) => fail(left("connection-reset", cause));
    const closed = () => failed(stream.errored ?? undefined);
    const late = () => {
      const message = `the client did not complete its SOCKS request in ${timeout} ms`;
      fail(new ConnectionError(message, { code: "timeout" }));
    };
    const cancel = () => {
      const message = "the SOCKS handshake was cancelled";
      fail(new ConnectionError(message, { code: "cancelled", cause: signal?.reason }));
    };
    const timer = setTimeout(late, timeout);
    const stop = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
      stream.off("readable", read);
      stream.off("end", ended);
      stream.off("error", failed);
      stream.off("close", closed);
    };
    if (signal?.aborted) return cancel();
    if (stream.destroyed || stream.readableEnded) return closed();
    signal?.addEventListener("abort", cancel, { once: true });
    stream.on("end", ended);
    stream.on("error", failed);
    stream.on("close", closed);
    stream.on("readable", read);
  });
}

function callerOf(stream: Duplex, { version, destination }: SocksRequest): SocksCaller {
  return {
    destination,
    grant: () => void stream.write(grantReply(version)),
    refuse: (code) => dismiss(stream, refuseReply(version, code)),
  };
}

/** Sends the last bytes and the end, and reads until the client ends as well. */
function dismiss(stream: Duplex, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (stream.closed) return resolve();
    const ignore = () => {};
    const timer = setTimeout(() => stream.destroy(), LINGER);
    stream.on("error", ignore);
    stream.once("close", () => {
      clearTimeout(timer);
      stream.off("error", ignore);
      resolve();
    });
    stream.end(bytes);
    stream.resume();
  });
}

function left(code: "protocol-error" | "connection-reset", cause?: unknown): ConnectionError {
  return new ConnectionError("the client left before it made a SOCKS request", { code, cause });
}
