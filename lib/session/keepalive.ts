/**
 * Knowing that a link is dead: who is silent is asked for a sign of life, and who does not answer
 * is given up.
 *
 * @module
 */
import { SessionError } from "../errors.ts";
import { logger } from "../log.ts";
import type { Clock, Timer } from "./clock.ts";
import type { Link } from "./link.ts";
import type { SessionOptions } from "./options.ts";

const log = logger("session");

/** Milliseconds of silence until the server is asked for a sign of life, and how often. */
const SERVER_ALIVE_INTERVAL = 15_000;
const SERVER_ALIVE_COUNT_MAX = 3;
/** Milliseconds between two looks at the clock: how long a sleep may go unnoticed after it. */
const TICK = 2_000;
/** Milliseconds that have gone by unseen, from which on this machine was asleep. */
const SLEEP = 5_000;
/**
 * Milliseconds for the first sign of life after a sleep. Less than usual: a link is rarely still
 * there then, and callers wait for it. Not much less: a network needs some seconds to come back,
 * and the system sends the question again only after 0.2, 0.4, 0.8, 1.6 and 3.2 s.
 */
const AWAKE_TIMEOUT = 10_000;

/** How silence is judged. */
export interface KeepaliveOptions {
  /** Milliseconds of silence until the peer is asked; 0 where silence says nothing. */
  readonly interval: number;
  /** Questions in a row without an answer; after one more interval the link is dead. */
  readonly countMax: number;
}

/**
 * How silence is judged where nothing else is said.
 *
 * @param options What is said.
 * @returns The same, complete.
 */
export function silence({
  serverAliveInterval: interval = SERVER_ALIVE_INTERVAL,
  serverAliveCountMax: countMax = SERVER_ALIVE_COUNT_MAX,
}: SessionOptions): KeepaliveOptions {
  return { interval, countMax };
}

/** A watch over a link. */
export interface Keepalive {
  /** Ends it: nothing is asked any more, and nobody called. */
  stop(): void;
}

/**
 * Watches a link as ssh does with ServerAliveInterval and ServerAliveCountMax (ssh_config(5)), but
 * any byte of the peer counts as an answer, and a sleep of this machine is followed by a question
 * at once. That question is asked with an interval of 0 as well, but then nothing depends on the
 * answer: the system itself will report a connection that the server has forgotten.
 *
 * @param link An open link; its `onReceived` is taken.
 * @param clock Where time comes from.
 * @param options How silence is judged.
 * @param onDead Called once, with the reason, when the link is dead; the watch has ended then.
 * @returns The watch.
 */
export function keepAlive(
  link: Pick<Link, "onReceived" | "probe">,
  clock: Clock,
  { interval, countMax }: KeepaliveOptions,
  onDead: (reason: SessionError) => void,
): Keepalive {
  let timer: Timer | undefined;
  let heard = clock.now();
  /** When the silence began that is being judged: at the last byte, or at the last question. */
  let since = heard;
  let unanswered = 0;
  /** After a sleep: how long it was, and until when there must be an answer. */
  let awake: { readonly slept: number; readonly deadline: number } | undefined;

  const stop = () => {
    timer?.cancel();
    link.onReceived = undefined;
  };
  const ask = () => {
    unanswered++;
    since = clock.now();
    link.probe();
  };
  const die = (reason: SessionError) => {
    stop();
    onDead(reason);
  };
  const check = (slept: number) => {
    const now = clock.now();
    if (slept > SLEEP) {
      log.info(
        "this machine was asleep for {seconds} s; asking whether the server is still there",
        {
          seconds: inSeconds(slept),
        },
      );
      // Whatever came in meanwhile has not been read yet: nothing from before counts.
      unanswered = 0;
      if (interval > 0) awake = { slept, deadline: now + AWAKE_TIMEOUT };
      ask();
    } else if (awake !== undefined && now >= awake.deadline) {
      return die(silentSince(awake.slept));
    } else if (interval > 0 && now >= since + interval) {
      if (unanswered >= countMax) return die(silentFor(now - heard));
      log.debug("silence for {seconds} s; asking for a sign of life", {
        seconds: inSeconds(now - heard),
      });
      ask();
    }
    wait();
  };
  const wait = () => {
    const now = clock.now();
    const wall = clock.wall();
    const next = Math.min(
      interval > 0 ? since + interval - now : Infinity,
      (awake?.deadline ?? Infinity) - now,
    );
    const delay = Math.min(TICK, Math.max(0, next));
    timer = clock.after(delay, () => {
      // One of the two clocks may have stood still: which one depends on the system.
      check(Math.max(clock.now() - now, clock.wall() - wall) - delay);
    });
  };

  // As cheap as can be: it runs for every piece of every forwarded connection.
  link.onReceived = () => {
    heard = since = clock.now();
    unanswered = 0;
    awake = undefined;
  };
  wait();
  return { stop };
}

function silentFor(silence: number): SessionError {
  return new SessionError(`the server has not answered for ${inSeconds(silence)} s`, {
    code: "timeout",
    hint: "check the network; ServerAliveInterval and ServerAliveCountMax say how long to wait",
  });
}

function silentSince(slept: number): SessionError {
  const seconds = inSeconds(slept);
  return new SessionError(
    `the server has not answered since this machine was asleep for ${seconds} s`,
    { code: "timeout", hint: "check the network" },
  );
}

function inSeconds(milliseconds: number): number {
  return Math.round(milliseconds / 1000);
}
