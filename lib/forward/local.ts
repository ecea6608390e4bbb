/**
 * Local forwards: `-L` of ssh(1), a direct-tcpip channel of RFC 4254 section 7.2 for each
 * connection.
 *
 * @module
 */
import type { Dialer, TcpAddress } from "../dialer.ts";
import { type CloseOptions, Connections, type ConnectionStats } from "./connections.ts";
import { Listener, type ListenOptions } from "./listener.ts";
import { relay } from "./relay.ts";
import type { LocalForwardSpec } from "./spec.ts";

/** A local forward that listens. Made by `tunnel.forwardLocal()`. */
export class LocalForward {
  /** What was asked for. */
  readonly spec: LocalForwardSpec;
  readonly #connections: Connections;
  readonly #listener: Listener;

  private constructor(spec: LocalForwardSpec, connections: Connections, listener: Listener) {
    this.spec = spec;
    this.#connections = connections;
    this.#listener = listener;
  }

  /**
   * Listens, and forwards each connection to the destination.
   *
   * @param spec Where to listen and where to forward to.
   * @param dialer What opens the channels.
   * @param options Address family.
   * @returns The forward, listening.
   * @throws {ForwardError} When the address cannot be listened on.
   */
  static async listen(
    spec: LocalForwardSpec,
    dialer: Dialer,
    options: ListenOptions = {},
  ): Promise<LocalForward> {
    const connections = new Connections(`-L ${spec.name ?? spec.port}`);
    const listener = await Listener.bind(spec.bind, spec.port, (accepted) => {
      connections.run(accepted, async ({ socket, peer, gone, cut }) => {
        const channel = await dialer.dial(spec.destination, { originator: peer, signal: gone });
        return relay(socket, channel, cut);
      });
    }, options);
    const forward = new LocalForward(spec, connections, listener);
    connections.label = `-L ${spec.name ?? forward.port}`;
    return forward;
  }

  /** Where it listens, with the real port. */
  get addresses(): readonly TcpAddress[] {
    return this.#listener.addresses;
  }

  /** The port it listens on; the one that was chosen, where 0 was asked for. */
  get port(): number {
    return this.#listener.addresses[0]?.port ?? this.spec.port;
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
    await this.#listener.close();
    await this.#connections.close(options);
  }

  /** Closes it, waiting for its open connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
