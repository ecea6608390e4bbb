/**
 * The connections of one forward: counted, logged, and ended together.
 *
 * @module
 */
import type { Socket } from "node:net";
import type { Logger } from "@logtape/logtape";
import { formatAddress, type Incoming, type TcpAddress } from "../dialer.ts";
import { codeOf, FairleadError, messageOf } from "../errors.ts";
import { logger } from "../log.ts";
import { abort, type RelayResult, type Traffic } from "./relay.ts";

const log = logger("forward");

/** Connections in a row that end in the same way, each of which is told. */
const MOST_ALIKE = 5;

/** Every connection ends with it: an error of its own for each would cost 13 us. */
const LEFT = new Error("the caller has gone");

/** What a forward has carried so far. */
export interface ConnectionStats {
  /** Connections that are open now, those still being dialled included. */
  readonly open: number;
  /** Connections accepted in all. */
  readonly total: number;
  /**
   * Connections whose dial failed, those included that waited for the server in vain; and those
   * that the forward's end kept from being dialled.
   */
  readonly refused: number;
  /** Connections whose caller left before the dial was answered. */
  readonly gone: number;
  /** Connections that were opened and then failed. */
  readonly failed: number;
  /** Those of the failed ones that were lost together with the SSH connection. */
  readonly lost: number;
  /** Bytes from those who connected towards the destination, so far. */
  readonly sent: number;
  /** Bytes from the destination, so far. */
  readonly received: number;
}

/** One connection that is open. */
export interface OpenConnection {
  /** Its number among those of its forward, from 1. */
  readonly number: number;
  /** Who connected: an address, or `a Unix socket`. */
  readonly from: string;
}

/** How a forward is closed. */
export interface CloseOptions {
  /** Resets open connections at once instead of waiting for their end. */
  readonly force?: boolean;
  /** Milliseconds to wait for open connections before they are reset; for ever by default. */
  readonly timeout?: number;
  /** Why, for the log lines of connections that are reset. */
  readonly reason?: Error | undefined;
}

/** Whoever connected to a forward. */
export interface Caller {
  /** Who it is, for log lines. */
  readonly from: string;
  /** The accepted end, where accepting comes before dialling. */
  readonly socket?: Socket;
  /** Turns the caller away, so that it cannot take this for an empty answer. */
  readonly reject: () => void;
}

/** One connection's life, as seen by what dials and relays. */
export interface Connection {
  /** Aborts when whoever connected has gone before the dial was answered, or the forward closes. */
  readonly gone: AbortSignal;
  /** Aborts when the forward does not wait for the connection's end. */
  readonly cut: AbortSignal;
  /** Where its bytes are counted as they pass. */
  readonly traffic: Traffic;
}

/** Keeps the connections of one forward. */
export class Connections {
  /** What log lines call the forward. */
  label: string;
  readonly #open = new Map<AbortController, OpenConnection>();
  #total = 0;
  #refused = 0;
  #gone = 0;
  #failed = 0;
  #lost = 0;
  readonly #traffic: Traffic = { sent: 0, received: 0 };
  readonly #log: Logger;
  #emptied: (() => void)[] = [];
  readonly #explained = new Set<string>();
  /** How many in a row ended in the same way, and in which. */
  #alike = 0;
  #kind = "";

  /**
   * @param label What log lines call the forward.
   * @param tunnel The tunnel that it belongs to, where log records name it.
   */
  constructor(label: string, tunnel?: string) {
    this.label = label;
    this.#log = tunnel === undefined ? log : log.with({ tunnel });
  }

  /** The counts so far. */
  get stats(): ConnectionStats {
    return {
      open: this.#open.size,
      total: this.#total,
      refused: this.#refused,
      gone: this.#gone,
      failed: this.#failed,
      lost: this.#lost,
      ...this.#traffic,
    };
  }

  /** Those that are open, in the order in which they came. */
  get open(): OpenConnection[] {
    return [...this.#open.values()];
  }

  /**
   * Takes a caller through its connection's life. One line is logged at its end.
   *
   * @param caller Who connected.
   * @param carry Dials and relays; it rejects when the dial fails.
   */
  async run(
    caller: Caller,
    carry: (connection: Connection) => Promise<RelayResult>,
  ): Promise<void> {
    const gone = new AbortController();
    const cut = new AbortController();
    const leave = () => gone.abort(LEFT);
    // Until the relay listens, a reset would be an error that nobody handles.
    caller.socket?.on("error", leave);
    caller.socket?.once("close", leave);
    cut.signal.addEventListener("abort", () => {
      leave();
      // Also where it is not relayed: a SOCKS client may be about to take its refusal.
      if (caller.socket) abort(caller.socket);
    });
    const number = ++this.#total;
    this.#open.set(cut, { number, from: caller.from });
    const id = `${this.label} #${number} from ${caller.from}`;
    this.#log.debug("{id}: accepted", { id });
    try {
      const result = await carry({
        ...{ gone: gone.signal, cut: cut.signal },
        traffic: this.#traffic,
      });
      this.#logEnd(id, result, cut.signal.aborted);
    } catch (error) {
      this.#logRefusal(id, error, gone.signal, cut.signal);
      caller.reject();
    } finally {
      this.#open.delete(cut);
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
      const reason = options.reason ?? new Error("the forward was closed");
      for (const cut of this.#open.keys()) cut.abort(reason);
    };
    let timer: ReturnType<typeof setTimeout> | undefined;
    if (options.force) reset();
    else if (options.timeout !== undefined) timer = setTimeout(reset, options.timeout);
    await empty;
    clearTimeout(timer);
  }

  /** What to do about a failure is said once; what failed is said of every connection. */
  #explain(error: unknown): string {
    if (!(error instanceof FairleadError) || error.hint === undefined) return messageOf(error);
    if (this.#explained.has(error.hint)) return error.message;
    this.#explained.add(error.hint);
    return `${error.message}; ${error.hint}`;
  }

  #logRefusal(id: string, error: unknown, gone: AbortSignal, cut: AbortSignal): void {
    const cancelled = gone.aborted && ["cancelled", "connect-failed"].includes(codeOf(error));
    if (cancelled && !cut.aborted) {
      this.#gone++;
      this.#log.info("{id}: left before it was connected", { id });
      return;
    }
    this.#refused++;
    const reason = cancelled
      ? `reset before it was connected: ${messageOf(cut.reason)}`
      : this.#explain(error);
    const level = codeOf(error) === "timeout" ? this.#level("timeout") : "warn";
    this.#log[level]("{id}: {reason}", { id, reason });
  }

  /** An outage ends many in the same way: after a few, the others are for whoever asks for more. */
  #level(kind: string): "warn" | "info" {
    this.#alike = kind === this.#kind ? this.#alike + 1 : 1;
    this.#kind = kind;
    if (this.#alike <= MOST_ALIKE) return "warn";
    if (this.#alike === MOST_ALIKE + 1) {
      this.#log.warn("{label}: and others in the same way (-v shows each)", { label: this.label });
    }
    return "info";
  }

  #logEnd(id: string, { sent, received, failure }: RelayResult, cut: boolean): void {
    const bytes = `${sent} bytes sent, ${received} received`;
    if (failure === undefined) {
      this.#kind = "";
      this.#log.info("{id}: closed; {bytes}", { id, bytes });
      return;
    }
    this.#failed++;
    // A time that has run out is ours as well: neither side has ended it.
    if (cut || codeOf(failure.error) === "timeout") {
      this.#log.warn("{id}: reset: {reason}; {bytes}", {
        id,
        reason: messageOf(failure.error),
        bytes,
      });
      return;
    }
    if (codeOf(failure.error) === "connection-lost") {
      this.#lost++;
      const reason = messageOf(failure.error);
      this.#log[this.#level("lost")]("{id}: {reason}; {bytes}", { id, reason, bytes });
      return;
    }
    const who = failure.side === "local" ? "the client" : "the far side";
    this.#log.warn("{id}: ended by {who}: {reason}; {bytes}", {
      id,
      who,
      reason: messageOf(failure.error),
      bytes,
    });
  }
}

/**
 * The caller behind a socket that was accepted on this machine.
 *
 * @param socket The accepted socket.
 * @returns The caller, and its address as the server is to be told.
 */
export function socketCaller(socket: Socket): Caller & { readonly address: TcpAddress } {
  // A socket for both families has IPv4 callers under an IPv6 form.
  const host = socket.remoteAddress?.replace(/^::ffff:(?=[\d.]+$)/, "");
  const address = { host: host ?? "127.0.0.1", port: socket.remotePort ?? 0 };
  return {
    from: host === undefined ? "a Unix socket" : formatAddress(address),
    address,
    socket,
    reject: () => abort(socket),
  };
}

/**
 * The caller behind a connection that came in on the far side.
 *
 * @param incoming The connection.
 * @returns The caller.
 */
export function remoteCaller(incoming: Incoming): Caller {
  const { originator } = incoming;
  return {
    from: originator === undefined ? "a Unix socket" : formatAddress(originator),
    reject: () => incoming.refuse(),
  };
}
