/**
 * The callers of a listener for whom there is no room yet.
 *
 * No runtime lets a listener stop accepting and listen on: maxConnections hangs up on whoever
 * comes, and only closing the port keeps callers in the system's own backlog. So they are accepted
 * and left unread, which comes to the same: what they send waits in the system's buffers.
 *
 * @module
 */
import type { Socket } from "node:net";
import { logger } from "../log.ts";
import { abort } from "./relay.ts";

const log = logger("forward");

/** How many wait; the system's own backlog is no longer by default (net.core.somaxconn is 4096). */
const MAX_WAITING = 1_024;

/** Keeps callers in order until there is room. */
export class Backlog {
  readonly #room: () => Promise<void> | undefined;
  readonly #letIn: (socket: Socket) => void;
  readonly #waiting = new Set<Socket>();
  #where = "the listener";
  /** Somebody waits to be told of room. */
  #asked = false;
  #overflowed = false;
  #closed = false;

  /**
   * @param room Says whether one more may come in, as `Dialer.room` does.
   * @param letIn Takes a caller; it is called once for each, in the order of their coming.
   */
  constructor(room: () => Promise<void> | undefined, letIn: (socket: Socket) => void) {
    this.#room = room;
    this.#letIn = letIn;
  }

  /**
   * Names it in the log.
   *
   * @param where The address that is listened on.
   */
  name(where: string): void {
    this.#where = where;
  }

  /**
   * Takes a caller that has just been accepted. It is let in at once where there is room and nobody
   * waits.
   *
   * @param socket A socket of a listener with pauseOnConnect: nobody has read from it.
   */
  add(socket: Socket): void {
    if (this.#closed) return abort(socket);
    if (this.#waiting.size >= MAX_WAITING) return this.#overflow(socket);
    // Who has gone by the time it is let in has no address any more; Node remembers this answer.
    void socket.remoteAddress;
    socket.on("error", ignore);
    this.#waiting.add(socket);
    // Bun tells of a reset even so.
    socket.once("close", () => this.#waiting.delete(socket));
    this.#next();
  }

  /** Resets whoever waits; nobody is let in any more. */
  close(): void {
    this.#closed = true;
    for (const socket of this.#waiting) abort(socket);
    this.#waiting.clear();
  }

  #next(): void {
    if (this.#asked) return;
    for (const socket of this.#waiting) {
      const room = this.#room();
      if (room !== undefined) {
        this.#asked = true;
        const again = () => {
          this.#asked = false;
          this.#next();
        };
        room.then(again, again);
        return;
      }
      this.#waiting.delete(socket);
      if (socket.destroyed) continue;
      wake(socket);
      this.#letIn(socket);
      socket.off("error", ignore);
    }
    this.#overflowed = false;
  }

  #overflow(socket: Socket): void {
    socket.on("error", ignore);
    abort(socket);
    if (this.#overflowed) return;
    this.#overflowed = true;
    log.warn("{where}: {count} callers wait already; until there is room, others are reset", {
      where: this.#where,
      count: MAX_WAITING,
    });
  }
}

function ignore(): void {}

/**
 * Has a paused socket read up to its high-water mark, as one does that never was paused. resume()
 * would throw away what comes before somebody listens.
 */
function wake(socket: Socket): void {
  socket.on("readable", ignore);
  socket.off("readable", ignore);
}
