/**
 * The pump between the two ends of a forwarded connection.
 *
 * Each direction is a small state machine of its own, as in OpenSSH's nchan.c: it flows until its
 * reader ends, then ends its writer. The ends are destroyed only when both directions are over, or
 * when either end fails. So a client that sends, ends its side and then waits gets its whole
 * answer.
 *
 * @module
 */
import { Socket } from "node:net";
import type { Duplex } from "node:stream";

/** Which of the two ends. */
export type RelaySide = "local" | "remote";

/** Bytes that are added up while they pass, over as many connections as share it. */
export interface Traffic {
  /** Bytes from local ends to remote ones. */
  sent: number;
  /** Bytes from remote ends to local ones. */
  received: number;
}

/** How a relayed connection went. */
export interface RelayResult {
  /** Bytes from the local end to the remote one. */
  readonly sent: number;
  /** Bytes from the remote end to the local one. */
  readonly received: number;
  /**
   * The first failure and the end it came from, `local` where the signal cut it off; undefined
   * where both directions ended well.
   */
  readonly failure: { readonly side: RelaySide; readonly error: unknown } | undefined;
}

/**
 * Milliseconds that a connection stays after its peer has closed: an answer that was just written
 * would be lost if what the client still sends met a closed socket.
 */
const LINGER = 1_000;

/**
 * Carries bytes both ways until the connection is over.
 *
 * A reader that is slow pauses the writer at the other end. An end that fails takes the other one
 * with it: a socket is reset, so that a cut answer cannot be taken for a whole one.
 *
 * @param local The accepted end.
 * @param remote The dialled end.
 * @param signal Cuts the connection off: both ends are destroyed at once.
 * @param traffic Where bytes are counted besides, as they pass.
 * @returns The counts and the reason of the end, once both ends are closed. It never rejects.
 */
export function relay(
  local: Duplex,
  remote: Duplex,
  signal?: AbortSignal,
  traffic: Traffic = { sent: 0, received: 0 },
): Promise<RelayResult> {
  return new Promise((resolve) => {
    const outward = pump(local, remote, (bytes) => traffic.sent += bytes);
    const inward = pump(remote, local, (bytes) => traffic.received += bytes);
    let failure: RelayResult["failure"];
    let open = 2;
    const watch = (side: RelaySide, end: Duplex, other: Duplex) => {
      const fail = (error: unknown) => {
        failure ??= { side, error };
        abort(other);
      };
      const closed = () => {
        // What lingered after its peer was closed by us, not by whoever is behind it.
        const lingered = other.closed && end.writableFinished;
        if (end.readableEnded || lingered) outlive(other);
        else fail(end.errored ?? new Error("closed before its end"));
        if (--open === 0) resolve({ sent: outward.bytes, received: inward.bytes, failure });
      };
      end.on("error", fail);
      // An end that failed before we came has told everybody already.
      if (end.closed) closed();
      else end.once("close", closed);
    };
    watch("local", local, remote);
    watch("remote", remote, local);
    const cut = () => {
      failure ??= { side: "local", error: signal?.reason };
      abort(local);
      abort(remote);
    };
    if (signal?.aborted) cut();
    else signal?.addEventListener("abort", cut, { once: true });
  });
}

/** One direction. */
function pump(
  source: Duplex,
  sink: Duplex,
  passed: (bytes: number) => void,
): { bytes: number } {
  const counter = { bytes: 0 };
  source.on("data", (chunk: Uint8Array) => {
    counter.bytes += chunk.length;
    passed(chunk.length);
    if (!sink.write(chunk)) source.pause();
  });
  // Who read the beginning (a SOCKS request, say) may have come to the end as well.
  if (source.readableEnded) sink.end();
  else source.once("end", () => sink.end());
  sink.on("drain", () => source.resume());
  return counter;
}

/** The peer of this end is closed for good: what was written still leaves, nothing more enters. */
function outlive(end: Duplex): void {
  // A channel that is done with waits for its peer's word: what was written is on its way.
  if (end.destroyed || (end.readableEnded && end.writableFinished)) return;
  end.removeAllListeners("data");
  end.resume();
  const linger = () => {
    const timer = setTimeout(() => end.destroy(), LINGER);
    end.once("close", () => clearTimeout(timer));
  };
  if (end.writableFinished) linger();
  else end.once("finish", linger);
}

/**
 * Ends a stream in the way that says most clearly that it was cut off.
 *
 * @param end A socket, which is reset, or any other stream; one that is closed stays so.
 */
export function abort(end: Duplex): void {
  if (end.destroyed) return;
  // A Unix socket knows no reset; Node throws.
  if (!(end instanceof Socket) || end.localPort === undefined) end.destroy();
  else if (isEnding(end)) {
    // Node cannot reset it at this moment, and would then never close it: libuv says EINVAL.
    end.once("finish", () => {
      if (!end.destroyed) end.resetAndDestroy();
    });
  } else end.resetAndDestroy();
}

/** Whether all was written and the FIN is just on its way: it is gone with the loop's next turn. */
function isEnding(socket: Socket): boolean {
  return socket.writableEnded && socket.writableLength === 0 && !socket.writableFinished;
}
