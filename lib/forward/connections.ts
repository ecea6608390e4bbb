/**
 * The connections of one forward: counted, logged, and ended together.
 *
 * @module
 */
import type { Socket } from "node:net";
import { formatAddress, type TcpAddress } from "../dialer.ts";
import { adviceOf, messageOf } from "../errors.ts";
import { logger } from "../log.ts";
import type { RelayResult } from "./relay.ts";

const log = logger("forward");

/** What a forward has carried so far. */
export interface ConnectionStats {
  /** Connections that are open now, those still being dialled included. */
  readonly open: number;
  /** Connections accepted in all. */
  readonly total: number;
  /** Connections whose dial failed. */
  readonly refused: number;
  /** Connections that were opened and then failed. */
  readonly failed: number;
  /** Bytes from those who connected towards the destination. */
  readonly sent: number;
  /** Bytes from the destination. */
  readonly received: number;
}

/** How a forward is closed. */
export interface CloseOptions {
  /** Resets open connections at once instead of waiting for their end. */
  readonly force?: boolean;
  /** Milliseconds to wait for open connections before they are reset; for ever by default. */
  readonly timeout?: number;
}

/** One accepted connection. */
export interface Connection {
  /** The accepted socket. */
  readonly socket: Socket;
  /** Who connected. */
  readonly peer: TcpAddress;
  /** Aborts when whoever connected has gone before the dial was answered. */
  readonly gone: AbortSignal;
  /** Aborts when the forward does not wait for the connection's end. */
  readonly cut: AbortSignal;
}

/** Keeps the connections of one forward. */
export class Connections {
  /** What log lines call the forward. */
  label: string;
  readonly #open = new Map<Socket, AbortController>();
  #total = 0;
  #refused = 0;
  #failed = 0;
  #sent = 0;
  #received = 0;
  #emptied: (() => void)[] = [];

  /**
   * @param label What log lines call the forward.
   */
  constructor(label: string) {
    this.label = label;
  }

  /** The counts so far. */
  get stats(): ConnectionStats {
    return {
      open: this.#open.size,
      total: this.#total,
      refused: this.#refused,
      failed: this.#failed,
      sent: this.#sent,
      received: this.#received,
    };
  }

  /**
   * Takes an accepted socket through its life. One line is logged at its end.
   *
   * @param socket The accepted socket.
   * @param carry Dials and relays; it rejects when the dial fails.
   */
  async run(
    socket: Socket,
    carry: (connection: Connection) => Promise<RelayResult>,
  ): Promise<void> {
    const gone = new AbortController();
    const cut = new AbortController();
    const leave = () => gone.abort();
    // Until the relay listens, a reset would be an error that nobody handles.
    socket.on("error", leave);
    socket.once("close", leave);
    this.#open.set(socket, cut);
    // A socket for both families has IPv4 callers under an IPv6 form.
    const host = socket.remoteAddress?.replace(/^::ffff:(?=[\d.]+$)/, "") ?? "unknown";
    const peer = { host, port: socket.remotePort ?? 0 };
    const id = `${this.label} #${++this.#total} from ${formatAddress(peer)}`;
    log.debug("{id}: accepted", { id });
    try {
      const result = await carry({ socket, peer, gone: gone.signal, cut: cut.signal });
      this.#sent += result.sent;
      this.#received += result.received;
      this.#logEnd(id, result, cut.signal.aborted);
    } catch (error) {
      this.#refused++;
      if (gone.signal.aborted) log.info("{id}: left before it was connected", { id });
      else log.warn("{id}: {reason}", { id, reason: adviceOf(error) });
      socket.resetAndDestroy();
    } finally {
      this.#open.delete(socket);
      if (this.#open.size === 0) this.#emptied.splice(0).forEach((emptied) => emptied());
    }
  }

  /**
   * Waits for the open connections, or ends them.
   *
   * @param options How long to wait.
   * @returns When none is open.
   */
  async close(options: CloseOptions = {}): Promise<void> {
    if (this.#open.size === 0) return;
    const empty = new Promise<void>((resolve) => this.#emptied.push(resolve));
    const reset = () => {
      for (const [socket, cut] of this.#open) {
        cut.abort(new Error("the forward was closed"));
        socket.resetAndDestroy();
      }
    };
    let timer: ReturnType<typeof setTimeout> | undefined;
    if (options.force) reset();
    else if (options.timeout !== undefined) timer = setTimeout(reset, options.timeout);
    await empty;
    clearTimeout(timer);
  }

  #logEnd(id: string, { sent, received, failure }: RelayResult, cut: boolean): void {
    const bytes = `${sent} bytes sent, ${received} received`;
    if (failure === undefined) {
      log.info("{id}: closed; {bytes}", { id, bytes });
      return;
    }
    this.#failed++;
    if (cut) {
      log.warn("{id}: reset, because the forward was closed; {bytes}", { id, bytes });
      return;
    }
    const who = failure.side === "local" ? "the client" : "the far side";
    log.warn("{id}: ended by {who}: {reason}; {bytes}", {
      id,
      who,
      reason: messageOf(failure.error),
      bytes,
    });
  }
}
