/**
 * What all kinds of forward have in common once they listen.
 *
 * @module
 */
import { type Address, isUnix } from "../dialer.ts";
import type { CloseOptions, Connections, ConnectionStats } from "./connections.ts";
import type { ForwardSpec } from "./spec.ts";

/** What a forward listens with, on this machine or on the server. */
interface Listening {
  readonly addresses: readonly Address[];
  close(): Promise<void>;
}

/**
 * A forward that listens. Made by `tunnel.forwardLocal()`, `tunnel.forwardRemote()` and
 * `tunnel.forwardDynamic()`.
 */
export class Forward<Spec extends ForwardSpec = ForwardSpec> implements AsyncDisposable {
  /** Which of -L, -R and -D it is. */
  readonly kind: "local" | "remote" | "dynamic";
  /** What was asked for. */
  readonly spec: Spec;
  readonly #connections: Connections;
  readonly #listener: Listening;
  /** @ignore Called when nothing of it is left: the tunnel need not keep it. */
  onClosed: (() => void) | undefined;

  /** @ignore Made by the tunnel. */
  constructor(
    kind: Forward["kind"],
    spec: Spec,
    connections: Connections,
    listener: Listening,
  ) {
    this.kind = kind;
    this.spec = spec;
    this.#connections = connections;
    this.#listener = listener;
  }

  /** Where it listens, with the real port. */
  get addresses(): readonly Address[] {
    return this.#listener.addresses;
  }

  /** The port it listens on, the one that was chosen where 0 was asked for; 0 for a Unix socket. */
  get port(): number {
    const [address] = this.#listener.addresses;
    return address === undefined || isUnix(address) ? 0 : address.port;
  }

  /** What it has carried so far. */
  get stats(): ConnectionStats {
    return this.#connections.stats;
  }

  /**
   * Stops listening and waits until its open connections have ended.
   *
   * @param options How long to wait, or not at all.
   * @returns When nothing of it is left.
   */
  async close(options: CloseOptions = {}): Promise<void> {
    // Side by side: a server that is slow to answer must not hold up the deadline.
    await Promise.all([this.#listener.close(), this.#connections.close(options)]);
    await this.#connections.close(options);
    this.onClosed?.();
  }

  /** Closes it, waiting for its open connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
