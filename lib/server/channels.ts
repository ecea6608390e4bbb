/**
 * The channels of one client: confirmed, refused, opened, and counted.
 *
 * @module
 */
import type { Socket } from "node:net";
import { type Address, isUnix, type TcpAddress } from "../dialer.ts";
import { codeOf, messageOf } from "../errors.ts";
import { relay, type RelayResult } from "../forward/relay.ts";
import { logger } from "../log.ts";
import { MIN_PACKET, SshChannel } from "../ssh/channel.ts";
import { engineChannel } from "../ssh/ssh2.ts";
import type { Transport } from "../ssh/transport.ts";
import { ChannelWindow } from "../ssh/window.ts";
import { WindowBudget } from "../ssh/window_budget.ts";
import type {
  AcceptChannel,
  EngineConnection,
  EngineServerChannel,
  ServerChannel,
} from "./engine.ts";
import {
  CONNECT_FAILED,
  PROHIBITED,
  type Refusal,
  RESOURCE_SHORTAGE,
  UNKNOWN_TYPE,
} from "./refusal.ts";

const log = logger("server");

/** Channels that one client may have open: each holds a socket and up to two windows of memory. */
const MAX_CHANNELS = 1024;

/** What ssh2 refuses by itself, it refuses without a word. */
const DEFAULT_WORDS: ReadonlyMap<number, string> = new Map([
  [PROHIBITED, "this server only forwards"],
  [CONNECT_FAILED, "Connection failed"],
  [UNKNOWN_TYPE, "unknown channel type"],
  [RESOURCE_SHORTAGE, "no free channel"],
]);

/** The channels of one connection, in both directions. */
export class Channels {
  readonly #engine: EngineConnection;
  readonly #transport: Transport;
  readonly #onError: (error: unknown) => void;
  readonly #work = new Set<Promise<void>>();
  #refusal: Refusal | undefined;

  /**
   * @param engine ssh2's side of the connection.
   * @param transport What it runs over.
   * @param onError Called when the client breaks the protocol so that the connection must end.
   */
  constructor(engine: EngineConnection, transport: Transport, onError: (error: unknown) => void) {
    this.#engine = engine;
    this.#transport = transport;
    this.#onError = onError;
    this.#watchOpens();
  }

  /** Channels that are open, being opened, or waiting for the client's CLOSE. */
  get count(): number {
    return this.#engine._chanMgr._count;
  }

  /**
   * Does what belongs to one channel, from its opening to its end.
   *
   * @param work What to do; the connection ends where it rejects.
   */
  run(work: () => Promise<void>): void {
    const done: Promise<void> = work().catch(this.#onError).finally(() => this.#work.delete(done));
    this.#work.add(done);
  }

  /** Waits until none of the work is left that has begun. */
  async ended(): Promise<void> {
    await Promise.all(this.#work);
  }

  /**
   * Whether a channel more than those that are counted would be too many.
   *
   * @param reserved How many of the counted ones are the one that is asked about.
   */
  isFull(reserved: 0 | 1): boolean {
    return this.count - reserved >= MAX_CHANNELS;
  }

  /**
   * Confirms a channel that the client opens.
   *
   * @param accept ssh2's way to do it.
   * @returns The channel.
   */
  accept(accept: AcceptChannel): SshChannel {
    return this.#wrap(accept());
  }

  /**
   * Refuses a channel that the client opens.
   *
   * @param reject ssh2's way to do it.
   * @param refusal Why.
   */
  refuse(reject: () => void, refusal: Refusal): void {
    if (this.#transport.lost) return;
    this.#refusal = refusal;
    reject();
    this.#refusal = undefined;
  }

  /**
   * Opens a channel to the client, for a connection that came in on one of its listeners.
   *
   * @param bound The listener's address, in the client's words.
   * @param originator Who connected; not told of a Unix socket.
   * @returns The channel.
   * @throws When the client refuses, or goes.
   */
  open(bound: Address, originator: TcpAddress): Promise<SshChannel> {
    return new Promise((resolve, reject) => {
      const opened = (error: Error | undefined, channel: ServerChannel) => {
        if (error) return reject(error);
        const stream = this.#wrap(channel);
        if ((channel as EngineServerChannel).outgoing.packetSize >= MIN_PACKET) {
          return resolve(stream);
        }
        stream.destroy();
        reject(new Error("the maximum packet size is too small"));
      };
      if (isUnix(bound)) this.#engine.openssh_forwardOutStreamLocal(bound.path, opened);
      else {
        const { host, port } = originator;
        this.#engine.forwardOut(bound.host, bound.port, host, port, opened);
      }
    });
  }

  #wrap(stream: ServerChannel): SshChannel {
    // The 2 MiB that ssh2 offers.
    const window = new ChannelWindow(new WindowBudget(Infinity));
    const channel = new SshChannel(engineChannel(stream), this.#transport, window);
    channel.on("error", (error) => {
      if (codeOf(error) === "protocol-error") this.#onError(error);
    });
    return channel;
  }

  /** Gives each refusal its reason and its words, and keeps from ssh2 what it cannot deal with. */
  #watchOpens(): void {
    const protocol = this.#engine._protocol;
    const fail = protocol.channelOpenFail.bind(protocol);
    protocol.channelOpenFail = (recipient, reason) => {
      const refusal = this.#refusal ?? { reason, description: DEFAULT_WORDS.get(reason) ?? "" };
      fail(recipient, refusal.reason, refusal.description);
    };
    const open = protocol._handlers.CHANNEL_OPEN;
    protocol._handlers.CHANNEL_OPEN = (self, info) => {
      if (info.packetSize >= MIN_PACKET) open(self, info);
      else fail(info.sender, RESOURCE_SHORTAGE, "the maximum packet size is too small");
    };
  }
}

/** The two ends of a forwarded connection, and what log lines call them. */
export interface Ends {
  /** What log lines call the connection. */
  readonly id: string;
  /** The client's end. */
  readonly channel: SshChannel;
  /** The other end, on the server's side. */
  readonly socket: Socket;
  /** What log lines call whoever is behind the socket. */
  readonly other: string;
}

/**
 * Carries bytes both ways until the connection is over. One line is logged at its end.
 *
 * @param ends The two ends.
 */
export async function carry({ id, channel, socket, other }: Ends): Promise<void> {
  const { sent, received, failure }: RelayResult = await relay(channel, socket);
  const bytes = `${sent} bytes sent, ${received} received`;
  if (failure === undefined) return log.info("{id}: closed; {bytes}", { id, bytes });
  log.info("{id}: ended by {who}: {reason}; {bytes}", {
    id,
    who: failure.side === "local" ? "the client" : other,
    reason: messageOf(failure.error),
    bytes,
  });
}
