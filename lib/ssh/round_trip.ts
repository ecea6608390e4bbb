/**
 * How long the way to the server and back is.
 *
 * @module
 */
import type { EngineClient } from "./ssh2.ts";
import type { Transport } from "./transport.ts";

/** Milliseconds between two questions during a transfer. */
const PAUSE = 1_000;

/** The shortest round trip that was seen on one connection. */
export class RoundTrip {
  readonly #engine: Pick<EngineClient, "_callbacks" | "_protocol">;
  readonly #transport: Pick<Transport, "lost">;
  readonly #now: () => number;
  #shortest: number | undefined;
  #measured = false;
  #asking = 0;
  #asked = -Infinity;

  /**
   * @param engine The open connection.
   * @param transport What it runs over.
   * @param now Milliseconds of a clock that never goes back.
   */
  constructor(
    engine: Pick<EngineClient, "_callbacks" | "_protocol">,
    transport: Pick<Transport, "lost">,
    now: () => number = () => performance.now(),
  ) {
    this.#engine = engine;
    this.#transport = transport;
    this.#now = now;
  }

  /**
   * Milliseconds; undefined as long as nothing was answered. It is never forgotten: while much is
   * under way every answer is late, and a window by that measure would only lengthen the queue.
   */
  get shortest(): number | undefined {
    return this.#shortest;
  }

  /** Whether a question was answered: the server itself did, and waited for nobody else. */
  get measured(): boolean {
    return this.#measured;
  }

  /**
   * Counts what an answer took.
   *
   * @param milliseconds From the question to the answer.
   */
  note(milliseconds: number): void {
    this.#shortest = Math.min(this.#shortest ?? Infinity, milliseconds);
  }

  /**
   * Asks the server for an answer: a request that it does not know is answered as well (RFC 4254
   * section 4).
   */
  ask(): void {
    if (this.#transport.lost) return;
    const begun = this.#asked = this.#now();
    this.#asking++;
    // Answers come in the order of asking; every one of ssh2's own requests waits in this list.
    this.#engine._callbacks.push((refused) => {
      this.#asking--;
      if (refused instanceof Error) return;
      this.#measured = true;
      this.note(this.#now() - begun);
    });
    this.#engine._protocol.ping();
  }

  /** Asks, unless an answer is on its way or was a moment ago. */
  refresh(): void {
    if (this.#asking === 0 && this.#now() - this.#asked >= PAUSE) this.ask();
  }
}
