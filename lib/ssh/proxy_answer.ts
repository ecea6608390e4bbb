/**
 * What a proxy answers before the connection through it belongs to somebody else.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import type { TcpAddress } from "../dialer.ts";
import { ConnectionError, messageOf } from "../errors.ts";

/** What a way through a proxy needs. */
export interface ProxyStep {
  /** Connected to the proxy. */
  readonly socket: Socket;
  /** Who asks there. */
  readonly proxy: { readonly username: string; readonly password: string };
  /** Where the proxy shall connect to. */
  readonly destination: TcpAddress;
  /** Milliseconds for each answer. */
  readonly timeout: number;
  /** Gives it up. */
  readonly signal: AbortSignal | undefined;
}

/** More than any answer has. */
const MAX_ANSWER = 16 * 1024;

/**
 * Sends something to a proxy and waits for the answer. What comes after the answer stays in the
 * socket, which is paused then.
 *
 * @param step The socket, the deadline, the signal.
 * @param request What to send.
 * @param parse Reads the answer; undefined while it is not whole. It may throw.
 * @returns What the answer says.
 * @throws {ConnectionError} When there is no answer; its message goes on where it begins with
 *   what the proxy is called.
 */
export function askProxy<Answer>(
  step: ProxyStep,
  request: Uint8Array,
  parse: (received: Buffer) => { readonly answer: Answer; readonly length: number } | undefined,
): Promise<Answer> {
  const { socket, timeout, signal } = step;
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    const settle = (finish: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      socket.pause();
      socket.off("data", onData).off("end", onEnd).off("close", onEnd).off("error", onError);
      finish();
    };
    const fail = (error: unknown) => {
      // A destroyed socket may still report; nobody is left to care.
      socket.on("error", () => {});
      settle(() => reject(error));
    };
    const failure = (words: string, code: ConnectionError["code"], hint?: string) => {
      fail(new ConnectionError(words, { code, ...(hint === undefined ? {} : { hint }) }));
    };
    const onAbort = () => failure("connecting through the proxy was cancelled", "cancelled");
    // As ssh -D does where its server does not reach the destination.
    const onEnd = () => {
      failure("hung up instead of answering", "connection-lost", "it may not reach the server");
    };
    const onError = (error: Error) => failure(`was lost: ${messageOf(error)}`, "connection-lost");
    const onData = (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      try {
        const parsed = parse(received);
        if (parsed === undefined) {
          if (received.length <= MAX_ANSWER) return;
          return failure("answers without an end", "protocol-error");
        }
        settle(() => {
          const rest = received.subarray(parsed.length);
          if (rest.length > 0) socket.unshift(rest);
          resolve(parsed.answer);
        });
      } catch (error) {
        fail(error);
      }
    };
    const timer = setTimeout(() => {
      failure(`did not answer within ${timeout / 1000} s`, "timeout");
    }, timeout);
    socket.on("data", onData).on("end", onEnd).on("close", onEnd).on("error", onError);
    if (signal?.aborted) return onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    socket.write(request);
    socket.resume();
  });
}
