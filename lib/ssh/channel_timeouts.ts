/**
 * Channels that nothing moves in are closed: ChannelTimeout of ssh_config(5).
 *
 * @module
 */
import { ConnectionError } from "../errors.ts";
import type { SshChannel } from "./channel.ts";
import { matchesPattern } from "./patterns.ts";

/** The most that a timer can wait, in milliseconds. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** The types of the channels that there are here (RFC 4254; OpenSSH's PROTOCOL, section 2.4). */
export type ChannelType =
  | "direct-tcpip"
  | "direct-streamlocal@openssh.com"
  | "forwarded-tcpip"
  | "forwarded-streamlocal@openssh.com"
  | "session";

/**
 * Looks at what a caller wrote.
 *
 * @param timeouts Milliseconds by the pattern of a type.
 * @throws {RangeError} Where one is no time.
 */
export function checkChannelTimeouts(timeouts: Readonly<Record<string, number>>): void {
  for (const [pattern, timeout] of Object.entries(timeouts)) {
    if (!(timeout >= 0)) {
      const name = `channelTimeouts[${JSON.stringify(pattern)}]`;
      throw new RangeError(`${name} must be a number of milliseconds, not ${timeout}`);
    }
  }
}

/** The limits of one connection's channels. */
export class ChannelTimeouts {
  readonly #rules: readonly (readonly [pattern: string, timeout: number])[];
  /** For all channels together; no pattern stands for it. */
  readonly #common: number;
  readonly #channels = new Set<SshChannel>();
  #together: Idleness | undefined;

  /**
   * @param timeouts Milliseconds by the pattern of a type; the first that matches counts. `global`
   *   is for all channels together.
   */
  constructor(timeouts: Readonly<Record<string, number>> = {}) {
    this.#rules = Object.entries(timeouts).filter(([pattern]) => pattern !== "global");
    this.#common = timeouts.global ?? 0;
  }

  /**
   * Closes a channel once nothing has moved in it, in either direction, for the time of its type.
   *
   * @param type Its type.
   * @param channel The channel, just opened.
   * @returns The same channel.
   */
  watch<Channel extends SshChannel>(type: ChannelType, channel: Channel): Channel {
    const [, timeout = 0] = this.#rules.find(([pattern]) => matchesPattern(type, pattern)) ?? [];
    if (timeout === 0 && this.#common === 0) return channel;
    const alone = timeout === 0
      ? undefined
      : new Idleness(timeout, () => channel.destroy(idleFor(timeout)));
    const together = this.#join(channel);
    channel.onActivity = () => {
      alone?.interrupt();
      together?.interrupt();
    };
    channel.once("close", () => {
      alone?.stop();
      this.#leave(channel);
    });
    return channel;
  }

  #join(channel: SshChannel): Idleness | undefined {
    const limit = this.#common;
    if (limit === 0) return undefined;
    this.#channels.add(channel);
    this.#together ??= new Idleness(limit, () => {
      for (const each of this.#channels) each.destroy(idleFor(limit));
    });
    this.#together.interrupt();
    return this.#together;
  }

  #leave(channel: SshChannel): void {
    this.#channels.delete(channel);
    if (this.#channels.size > 0) return;
    this.#together?.stop();
    this.#together = undefined;
  }
}

/** How long nothing has happened. One timer, which looks at the clock when it runs out. */
class Idleness {
  readonly #limit: number;
  readonly #onReached: () => void;
  #since = performance.now();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(limit: number, onReached: () => void) {
    this.#limit = limit;
    this.#onReached = onReached;
    this.#wait();
  }

  /** Something happened. It runs for every piece of data: no timer is touched. */
  interrupt(): void {
    this.#since = performance.now();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #wait(): void {
    const left = this.#since + this.#limit - performance.now();
    if (left <= 0) return this.#onReached();
    // Rounded up: a timer that runs out a little early would only be set again.
    this.#timer = setTimeout(() => this.#wait(), Math.min(Math.ceil(left), LONGEST_TIMER));
  }
}

function idleFor(timeout: number): ConnectionError {
  return new ConnectionError(`idle for ${inWords(timeout)} (ChannelTimeout)`, { code: "timeout" });
}

function inWords(milliseconds: number): string {
  for (const [unit, size] of [["h", 3_600_000], ["m", 60_000]] as const) {
    if (milliseconds % size === 0) return `${milliseconds / size} ${unit}`;
  }
  return `${milliseconds / 1000} s`;
}
