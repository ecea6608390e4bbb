/** A path to a server that can be made to fail in the ways in which networks do. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { abort } from "../../lib/forward/relay.ts";
import { type Stoppable, stoppable } from "./tools.ts";

/** Seen from the client: to the server, from the server. */
export type Direction = "up" | "down";

const BOTH: readonly Direction[] = ["up", "down"];

/** A port that leads to a server. */
export interface FaultyPath extends Stoppable {
  readonly host: string;
  readonly port: number;
  /** How many connections came so far. */
  readonly connections: number;
  /** How many of them have not ended on both sides. */
  readonly open: number;
  /**
   * Passes no byte and no end any more, and closes nothing: a black hole. New connections wait, for
   * no handshake comes through. What is held back is kept, as TCP sends it again.
   */
  stall(directions?: readonly Direction[]): void;
  /** Passes everything on that was held back, and goes on. */
  resume(): void;
  /** Whatever is connected is stalled for ever, as by a firewall that forgot it; new ones pass. */
  forget(): void;
  /** Resets the clients' ends and leaves the server with its own: it hears of nothing. */
  desert(): void;
  /** Refuses new connections; open ones go on. */
  refuse(): Promise<void>;
  /** Takes new connections again. */
  accept(): Promise<void>;
  /** Resets whatever is connected, on both sides. */
  reset(): void;
}

/** Opens a path to a server. */
export async function faultyPath(
  target: { readonly host: string; readonly port: number },
): Promise<FaultyPath> {
  const host = "127.0.0.1";
  const stalled = new Set<Direction>();
  const pairs = new Set<Pair>();
  let connections = 0;
  let server: Server;
  let port = 0;

  const listen = async () => {
    server = createServer({ allowHalfOpen: true }, (client) => {
      connections++;
      const pair = new Pair(client, target, stalled);
      pairs.add(pair);
      pair.ended.then(() => pairs.delete(pair));
    });
    server.listen({ host, port });
    await once(server, "listening");
    port = (server.address() as AddressInfo).port;
  };
  await listen();

  return stoppable<Omit<FaultyPath, keyof Stoppable>>({
    host,
    port,
    get connections() {
      return connections;
    },
    get open() {
      return pairs.size;
    },
    stall: (directions = BOTH) => {
      for (const direction of directions) stalled.add(direction);
      for (const pair of pairs) pair.update();
    },
    resume: () => {
      stalled.clear();
      for (const pair of pairs) pair.update();
    },
    forget: () => {
      for (const pair of pairs) pair.forget();
    },
    desert: () => {
      for (const pair of pairs) pair.desert();
    },
    refuse: () => {
      server.close();
      // The callback waits for every connection; closing the port does not.
      return new Promise((resolve) => setImmediate(resolve));
    },
    accept: listen,
    reset: () => {
      for (const pair of pairs) pair.destroy();
    },
  }, () => {
    server.close();
    for (const pair of pairs) pair.destroy();
    return Promise.resolve();
  });
}

/** One connection: the client's end, and one to the server. */
class Pair {
  readonly #client: Socket;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #stalled: ReadonlySet<Direction>;
  #forgotten = false;
  #server: Socket | undefined;
  #lanes: Lane[] = [];
  #end: () => void = () => {};
  /** Settles when both ends are closed. */
  readonly ended: Promise<void>;

  constructor(
    client: Socket,
    target: { readonly host: string; readonly port: number },
    stalled: ReadonlySet<Direction>,
  ) {
    this.#client = client;
    this.#target = target;
    this.#stalled = stalled;
    this.ended = new Promise((resolve) => this.#end = resolve);
    client.on("error", () => {});
    client.once("close", () => this.#mayEnd());
    client.pause();
    this.update();
  }

  /** Looks again at what may pass. */
  update(): void {
    const passes = (direction: Direction) => !this.#forgotten && !this.#stalled.has(direction);
    if (this.#server === undefined && BOTH.every(passes)) this.#begin();
    for (const lane of this.#lanes) lane.pass(passes(lane.direction));
  }

  forget(): void {
    this.#forgotten = true;
    this.update();
  }

  desert(): void {
    this.forget();
    abort(this.#client);
  }

  destroy(): void {
    abort(this.#client);
    if (this.#server) abort(this.#server);
  }

  #begin(): void {
    const client = this.#client;
    const server = this.#server = connect({ ...this.#target, allowHalfOpen: true, noDelay: true });
    server.on("error", () => {});
    server.once("close", () => this.#mayEnd());
    client.setNoDelay(true);
    this.#lanes = [new Lane("up", client, server), new Lane("down", server, client)];
  }

  #mayEnd(): void {
    if (this.#client.closed && this.#server?.closed !== false) this.#end();
  }
}

/** One direction of a connection. */
class Lane {
  readonly direction: Direction;
  readonly #from: Socket;
  readonly #to: Socket;
  #open = true;
  /** What came while nothing passes. */
  #held: (() => void)[] = [];

  constructor(direction: Direction, from: Socket, to: Socket) {
    this.direction = direction;
    this.#from = from;
    this.#to = to;
    from.on("data", (chunk: Uint8Array) => this.#do(() => this.#write(chunk)));
    from.once("end", () => this.#do(() => to.end()));
    // An end of one side that is no FIN is none for the other side either.
    from.once("error", () => this.#do(() => abort(to)));
    from.once("close", () => this.#do(() => to.destroy()));
    to.on("drain", () => this.#open && from.resume());
    if (from.destroyed) to.destroy();
    else from.resume();
  }

  pass(open: boolean): void {
    if (open === this.#open) return;
    this.#open = open;
    if (!open) return void this.#from.pause();
    for (const act of this.#held.splice(0)) act();
    this.#from.resume();
  }

  #do(act: () => void): void {
    if (this.#open) act();
    else this.#held.push(act);
  }

  #write(chunk: Uint8Array): void {
    if (this.#to.destroyed || this.#to.writableEnded) return;
    if (!this.#to.write(chunk)) this.#from.pause();
  }
}
