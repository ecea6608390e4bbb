/**
 * Listening on the server (RFC 4254 section 7.1, and OpenSSH's PROTOCOL section 2.4 for Unix
 * sockets).
 *
 * @module
 */
import type { Duplex } from "node:stream";
import {
  type Address,
  formatAddress,
  type Incoming,
  isAnyInterface,
  isUnix,
  type RemoteListener,
} from "../dialer.ts";
import { ConnectionError, ForwardError, messageOf } from "../errors.ts";
import { logger } from "../log.ts";
import { MIN_PACKET, SshChannel } from "./channel.ts";
import type { ChannelTimeouts } from "./channel_timeouts.ts";
import { listenFailure, overrideWarning } from "./refusals.ts";
import { type ChannelOpen, engineChannel, type EngineClient } from "./ssh2.ts";
import type { Transport } from "./transport.ts";
import type { Windows } from "./windows.ts";

const log = logger("ssh");

/** Milliseconds for the server to answer a request to listen. */
const REQUEST_TIMEOUT = 30_000;
/** Milliseconds for the server to answer a request to stop; nothing depends on the answer. */
const CANCEL_TIMEOUT = 2_000;

type Accept = (incoming: Incoming) => void;

/** The listeners that one connection has on its server. */
export class Listeners {
  readonly #engine: EngineClient;
  readonly #transport: Transport;
  readonly #said: readonly string[];
  readonly #timeouts: ChannelTimeouts;
  readonly #windows: Windows;
  readonly #listeners = new Map<string, Accept>();
  /** How many of the debug messages belong to requests that were answered. */
  #heard = 0;

  /**
   * @param engine The open connection.
   * @param transport What it runs over.
   * @param said What the server sent as debug messages so far; it explains refusals.
   * @param timeouts How long the channels of its callers may be idle.
   * @param windows What the server may send on them.
   */
  constructor(
    engine: EngineClient,
    transport: Transport,
    said: readonly string[],
    timeouts: ChannelTimeouts,
    windows: Windows,
  ) {
    this.#engine = engine;
    this.#transport = transport;
    this.#said = said;
    this.#timeouts = timeouts;
    this.#windows = windows;
    this.#matchOtherForms();
    engine.on("tcp connection", (info, accept, reject) => {
      const originator = { host: info.srcIP, port: info.srcPort };
      const address = { host: info.destIP, port: info.destPort };
      this.#take(address, originator, accept as () => Duplex, reject);
    });
    engine.on("unix connection", (info, accept, reject) => {
      this.#take({ path: info.socketPath }, undefined, accept as () => Duplex, reject);
    });
  }

  /**
   * Asks the server to listen.
   *
   * @param address Where; an empty host means all its interfaces, port 0 a free one.
   * @param accept Called with each connection.
   * @param signal Gives the request up.
   * @returns The listener, with the port that the server chose.
   * @throws {ForwardError} When the server refuses, or does not answer.
   */
  async listen(address: Address, accept: Accept, signal?: AbortSignal): Promise<RemoteListener> {
    let bound = address;
    let answered: readonly string[] = [];
    let givenUp = false;
    // At once, not in a promise: the first connection may follow in the same packet.
    const answer = (error: unknown, port?: number) => {
      answered = this.#hear();
      if (!isUnix(address)) bound = { host: address.host, port: port ?? address.port };
      if (error) return;
      // What nobody waits for any more must not stay open on the server.
      if (givenUp) this.#cancel(bound);
      else this.#listeners.set(keyOf(bound), accept);
    };
    try {
      await this.#request(REQUEST_TIMEOUT, signal, (callback) => {
        if (isUnix(address)) {
          this.#engine.openssh_forwardInStreamLocal(address.path, (error) => {
            answer(error);
            callback(error);
          });
          return;
        }
        this.#engine.forwardIn(address.host, address.port, (error, port) => {
          answer(error, port);
          callback(error);
        });
      });
    } catch (error) {
      givenUp = true;
      throw listenFailure(error, address, answered, this.#said);
    }
    const warning = overrideWarning(address, answered);
    if (warning !== undefined) log.warn("{warning}", { warning });
    return { address: bound, close: () => this.#close(bound) };
  }

  /** What the server said about the request that it just answered: it answers them in order. */
  #hear(): readonly string[] {
    const answered = this.#said.slice(this.#heard);
    this.#heard = this.#said.length;
    return answered;
  }

  async #close(address: Address): Promise<void> {
    if (this.#listeners.delete(keyOf(address))) await this.#cancel(address);
  }

  async #cancel(address: Address): Promise<void> {
    if (this.#transport.lost) return;
    try {
      await this.#request(CANCEL_TIMEOUT, undefined, (callback) => {
        if (isUnix(address)) {
          this.#engine.openssh_unforwardInStreamLocal(address.path, callback);
        } else {
          this.#engine.unforwardIn(address.host, address.port, callback);
        }
      });
    } catch (error) {
      log.debug("ending the listener on {address}: {reason}", {
        address: formatAddress(address),
        reason: messageOf(error),
      });
    }
  }

  #take(
    address: Address,
    originator: Incoming["originator"],
    accept: () => Duplex,
    refuse: () => void,
  ): void {
    const listener = this.#listeners.get(keyOf(address));
    if (listener === undefined) return refuse();
    let channel: SshChannel | undefined;
    listener({
      originator,
      accept: () => {
        if (this.#transport.lost) {
          throw new ConnectionError("the SSH connection was lost", { code: "connection-lost" });
        }
        const window = this.#windows.next();
        const codec = engineChannel(this.#windows.offer(window, accept));
        channel = new SshChannel(codec, this.#transport, window);
        if (codec.outgoing.packetSize < MIN_PACKET) {
          channel.destroy();
          const message = "the server takes no packets of data";
          throw new ConnectionError(message, { code: "protocol-error" });
        }
        const type = isUnix(address) ? "forwarded-streamlocal@openssh.com" : "forwarded-tcpip";
        return this.#timeouts.watch(type, channel);
      },
      refuse: () => {
        // A second answer to one open would be a protocol error, and sshd hangs up at those.
        if (channel !== undefined) channel.destroy();
        else if (!this.#transport.lost) refuse();
      },
    });
  }

  /**
   * ssh2 knows a channel only by the exact text of the bind address. Servers echo it in another
   * form: `localhost` for an empty one, `0.0.0.0` for `*` (SSH2_NOTES row 16). The port says which
   * listener is meant, unless there are several on it.
   */
  #matchOtherForms(): void {
    const handlers = this.#engine._protocol._handlers;
    const open = handlers.CHANNEL_OPEN;
    handlers.CHANNEL_OPEN = (protocol, info: ChannelOpen) => {
      if (info.type === "forwarded-tcpip") {
        const { destIP: host, destPort: port } = info.data;
        const same = [...this.#listeners.keys()].filter((key) => key.endsWith(`:${port}`));
        const wanted = same.includes(keyOf({ host, port }))
          ? undefined
          : same.find((key) => isAnyInterface(hostOf(key))) ?? same[0];
        if (wanted !== undefined) info.data.destIP = hostOf(wanted);
      }
      open(protocol, info);
    };
  }

  #request(
    timeout: number,
    signal: AbortSignal | undefined,
    send: (callback: (error?: Error | null) => void) => void,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (error?: unknown) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", cancel);
        if (error) reject(error);
        else resolve();
      };
      const cancel = () => {
        settle(new ForwardError("the request to listen was cancelled", { code: "cancelled" }));
      };
      const timer = setTimeout(() => {
        settle(new ForwardError("the server did not answer", { code: "timeout" }));
      }, timeout);
      if (signal?.aborted) return cancel();
      signal?.addEventListener("abort", cancel, { once: true });
      try {
        send(settle);
      } catch (error) {
        settle(error);
      }
    });
  }
}

function keyOf(address: Address): string {
  return isUnix(address) ? address.path : `${address.host}:${address.port}`;
}

function hostOf(key: string): string {
  return key.slice(0, key.lastIndexOf(":"));
}
