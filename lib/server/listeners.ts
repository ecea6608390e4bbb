/**
 * Listening for a client: remote forwards (RFC 4254 section 7.1, and OpenSSH's PROTOCOL section
 * 2.4 for Unix sockets).
 *
 * @module
 */
import type { Socket } from "node:net";
import {
  type Address,
  formatAddress,
  isUnix,
  type TcpAddress,
  type UnixAddress,
} from "../dialer.ts";
import { messageOf } from "../errors.ts";
import { socketCaller } from "../forward/connections.ts";
import { Listener } from "../forward/listener.ts";
import { abort } from "../forward/relay.ts";
import { logger } from "../log.ts";
import type { SshChannel } from "../ssh/channel.ts";
import { bindAddress } from "./bind_address.ts";
import { carry } from "./channels.ts";
import type { Context } from "./context.ts";
import type { EngineRequest } from "./engine.ts";
import { permits } from "./policy.ts";
import { printable } from "./printable.ts";
import { socketPath } from "./socket_path.ts";

const log = logger("server");

/** Listeners that one client may have. */
const MAX_LISTENERS = 100;
/** Requests that one client may have waiting; they are answered one after the other. */
const MAX_WAITING = 256;

/** What sshd says where its settings forbid to listen; a failed bind, it does not explain. */
const NOT_PERMITTED = "port forwarding refused: not permitted here";
const NO_UNIX_SOCKETS = "Server has disabled streamlocal forwarding.";

/** The listeners that one client has on the server. They end with its connection. */
export class Listeners {
  readonly #context: Context;
  readonly #listeners = new Map<string, Listener>();
  #answered: Promise<void> = Promise.resolve();
  #waiting = 0;

  /**
   * @param context The client.
   */
  constructor(context: Context) {
    this.#context = context;
  }

  /** How many there are. */
  get count(): number {
    return this.#listeners.size;
  }

  /**
   * Takes a request to listen or to stop it, and answers when it is done.
   *
   * @param request The client's request.
   */
  take(request: EngineRequest): void {
    if (this.#waiting >= MAX_WAITING) return request.reject?.();
    this.#waiting++;
    this.#answered = this.#answered.then(() => this.#answer(request))
      .catch(this.#context.fail)
      .finally(() => this.#waiting--);
  }

  /** Ends all of them; the connections that they accepted go on. The context is draining. */
  async close(): Promise<void> {
    // One that is being made ends itself.
    await this.#answered;
    const listeners = [...this.#listeners.values()];
    this.#listeners.clear();
    await Promise.all(listeners.map((listener) => listener.close()));
  }

  async #answer(request: EngineRequest): Promise<void> {
    const { name, data: { bindAddr, bindPort, socketPath: path } } = request;
    const { peer } = this.#context;
    // Neither is there where the packet was cut short.
    const address = path !== undefined
      ? { path }
      : { host: bindAddr ?? "\0", port: bindPort ?? -1 };
    try {
      if (name.startsWith("cancel-")) await this.#cancel(address, request);
      else if (isUnix(address)) await this.#listenUnix(address, request);
      else await this.#listenTcp(address, request);
    } catch (error) {
      const where = printable(formatAddress(address));
      const reason = printable(messageOf(error));
      log.info("{peer}: {name} {where}: refused: {reason}", { peer, name, where, reason });
      if (this.#context.lost) return;
      if (error instanceof Prohibited) this.#context.tell(error.words);
      request.reject?.();
    }
  }

  async #listenTcp(asked: TcpAddress, request: EngineRequest): Promise<void> {
    const { policy, username } = this.#context;
    const { host, port } = asked;
    if (host.length > 255 || host.includes("\0") || port < 0 || port > 65535) {
      throw new Error("not a TCP address");
    }
    const bind = await bindAddress(asked, policy.gatewayPorts);
    if (!permits(() => policy.allowListen({ host: bind, port }, username))) {
      throw new Prohibited(NOT_PERMITTED);
    }
    await this.#bind(asked, (accept) => Listener.bind({ bind, port }, accept), request);
  }

  async #listenUnix(asked: UnixAddress, request: EngineRequest): Promise<void> {
    const { policy: { allowStreamLocal, streamLocalBindUnlink }, username } = this.#context;
    const path = socketPath(asked);
    if (path === undefined) throw new Error("not an absolute path");
    if (!permits(() => allowStreamLocal(path, username, "listen"))) {
      throw new Prohibited(NO_UNIX_SOCKETS);
    }
    const options = { streamLocalBindUnlink };
    await this.#bind(asked, (accept) => Listener.bind({ path }, accept, options), request);
  }

  /** @param asked The address as the client will name it, and wants to hear it. */
  async #bind(
    asked: Address,
    listen: (accept: (socket: Socket) => void) => Promise<Listener>,
    { accept }: EngineRequest,
  ): Promise<void> {
    if (this.#context.draining) throw new Error("the server is shutting down");
    if (this.count >= MAX_LISTENERS) throw new Error("too many listeners");
    if (this.#listeners.has(keyOf(asked))) throw new Error("it listens there already");
    // A client must have learned of the port before it hears of connections to it.
    let bound: Address | undefined = undefined;
    const early: Socket[] = [];
    const listener = await listen((socket) => {
      socket.on("error", () => {}); // Until the relay listens.
      if (bound === undefined) early.push(socket);
      else this.#forward(bound, socket);
    });
    if (this.#context.draining || this.#context.lost) {
      early.forEach(abort);
      await listener.close();
      throw new Error("the connection is about to end");
    }
    const [address] = listener.addresses as [Address];
    bound = isUnix(asked) || isUnix(address) ? asked : { host: asked.host, port: address.port };
    this.#listeners.set(keyOf(bound), listener);
    log.info("{peer}: listening on {where}", {
      peer: this.#context.peer,
      where: printable(listener.addresses.map(formatAddress).join(", ")),
    });
    accept?.(isUnix(bound) ? undefined : bound.port);
    for (const socket of early) this.#forward(bound, socket);
  }

  async #cancel(address: Address, { accept }: EngineRequest): Promise<void> {
    const listener = this.#listeners.get(keyOf(address));
    if (listener === undefined) throw new Error("there is no such listener");
    this.#listeners.delete(keyOf(address));
    await listener.close();
    if (!this.#context.lost) accept?.();
  }

  #forward(bound: Address, socket: Socket): void {
    const { channels, peer } = this.#context;
    const caller = socketCaller(socket);
    const id = `${peer} <- ${printable(formatAddress(bound))} from ${caller.from}`;
    channels.run(async () => {
      let channel: SshChannel;
      try {
        if (this.#context.draining) throw new Error("the connection is about to end");
        if (channels.isFull(0)) throw new Error("too many channels are open");
        channel = await channels.open(bound, caller.address);
      } catch (error) {
        log.info("{id}: refused: {reason}", { id, reason: printable(messageOf(error)) });
        abort(socket);
        return;
      }
      await carry({ id, channel, socket, other: "the caller" });
    });
  }
}

/** The owner does not allow it. */
class Prohibited extends Error {
  readonly words: string;

  /** @param words What the client is told. */
  constructor(words: string) {
    super("listening there is not allowed");
    this.words = words;
  }
}

function keyOf(address: Address): string {
  return isUnix(address) ? address.path : `${address.host}\0${address.port}`;
}
