/**
 * One connection of a session, with what uses it. Whatever belongs to an older generation cannot
 * touch a newer one: each holds its own link, and nobody else does.
 *
 * @module
 */
import type { Duplex } from "node:stream";
import type { Address, Incoming, RemoteListener } from "../dialer.ts";
import { codeOf } from "../errors.ts";
import type { Link } from "./link.ts";

/** A link and its number. */
export class Generation {
  /** 1 for the first connection of a session, 2 for the next, … */
  readonly number: number;
  /** The connection. */
  readonly link: Link;
  /** When it was opened, by the session's clock. */
  readonly since: number;
  readonly #over = new AbortController();
  readonly #onUse: () => void;
  #uses = 0;
  #open = 0;
  #cut = 0;
  #carried = false;

  /**
   * @param number Its place among the session's connections.
   * @param link The connection.
   * @param since When it was opened.
   * @param onUse Called when it gets its first user, and when it loses its last one.
   */
  constructor(number: number, link: Link, since: number, onUse: () => void) {
    this.number = number;
    this.link = link;
    this.since = since;
    this.#onUse = onUse;
  }

  /** Aborts when the link is lost or left. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  /** How many streams are open or being opened. */
  get uses(): number {
    return this.#uses;
  }

  /** Whether a stream was ever open. */
  get carried(): boolean {
    return this.#carried;
  }

  /** How many streams were open when the link was lost; they fail one by one. */
  get lost(): number {
    return this.#open + this.#cut;
  }

  /** Ends it for everybody who watches `over`; what is open goes on as long as the link does. */
  end(): void {
    this.#over.abort();
  }

  /**
   * Opens a stream that counts as long as it lives.
   *
   * @param open Opens it over the link.
   * @returns The stream.
   */
  async use<Stream extends Duplex>(open: (link: Link) => Promise<Stream>): Promise<Stream> {
    const leave = this.#enter();
    try {
      const stream = await open(this.link);
      this.#watch(stream, leave);
      return stream;
    } catch (error) {
      leave();
      throw error;
    }
  }

  /**
   * Has the server listen, and counts what comes in.
   *
   * @param address Where.
   * @param accept Called with each connection.
   * @param signal Gives the request up.
   * @returns The listener.
   */
  listen(
    address: Address,
    accept: (incoming: Incoming) => void,
    signal?: AbortSignal,
  ): Promise<RemoteListener> {
    return this.link.listen(address, (incoming) => {
      accept({
        originator: incoming.originator,
        accept: () => {
          const stream = incoming.accept();
          this.#watch(stream, this.#enter());
          return stream;
        },
        refuse: () => incoming.refuse(),
      });
    }, signal === undefined ? {} : { signal });
  }

  #watch(stream: Duplex, leave: () => void): void {
    this.#open++;
    this.#carried = true;
    const close = () => {
      this.#open--;
      if (codeOf(stream.errored) === "connection-lost") this.#cut++;
      leave();
    };
    if (stream.closed) close();
    else stream.once("close", close);
  }

  #enter(): () => void {
    if (++this.#uses === 1) this.#onUse();
    return () => {
      if (--this.#uses === 0) this.#onUse();
    };
  }
}
