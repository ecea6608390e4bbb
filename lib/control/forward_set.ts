/**
 * The forwards of one tunnel that runs.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";
import { formatAddress } from "../dialer.ts";
import { adviceOf, FairleadError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import type { ForwardRequest } from "../ssh_config/settings.ts";
import { type ListenSettings, sameListening } from "../ssh_config/start_forward.ts";
import type { Tunnel } from "../tunnel/tunnel.ts";
import { forwardKey, LETTERS, RunningForward } from "./running_forward.ts";
import type { ForwardStatus } from "./status.ts";

/** Milliseconds that open connections have when their forward goes. */
export const DRAIN_TIMEOUT = 5_000;
/** Forwards of one tunnel, those added while it runs included. */
const MOST_FORWARDS = 1_000;

/** What forwards listen for, and how. */
export interface Base {
  readonly tunnel: Tunnel;
  readonly settings: ListenSettings;
  readonly signal: AbortSignal;
}

/** The forwards of one tunnel. */
export class ForwardSet {
  readonly #tunnel: string;
  readonly #log: Logger;
  readonly #onChange: (forward: ForwardStatus) => void;
  #forwards: RunningForward[];

  /**
   * @param tunnel The tunnel's name, for messages.
   * @param requests What is asked for.
   * @param log Where it is said what became of each.
   * @param onChange Called when one listens, or cannot.
   */
  constructor(
    tunnel: string,
    requests: readonly ForwardRequest[],
    log: Logger,
    onChange: (forward: ForwardStatus) => void,
  ) {
    this.#tunnel = tunnel;
    this.#log = log;
    this.#onChange = onChange;
    this.#forwards = requests.map((request) => new RunningForward(request));
  }

  /** What is asked for. */
  get requests(): ForwardRequest[] {
    return this.#forwards.map(({ request }) => request);
  }

  /** What can be seen of them, in order. */
  get status(): ForwardStatus[] {
    return this.#forwards.map(({ status }) => status);
  }

  /** Whether all of them listen. */
  get areUp(): boolean {
    return this.#forwards.every(({ isUp }) => isUp);
  }

  /**
   * Has all listen that do not.
   *
   * @param base What they listen for.
   * @returns When each of them does, or has failed; it never rejects.
   */
  async listen(base: Base): Promise<void> {
    await this.#start(this.#forwards.filter(({ isUp }) => !isUp), base);
  }

  /**
   * Moves those that listen to another tunnel; connections that are open may finish on the old one.
   *
   * @param base The new tunnel.
   * @param before The old one. What listens on this machine goes on, where it is to listen as it
   *   does.
   * @returns When each of them listens, or has failed.
   */
  async move(base: Base, before: Base): Promise<void> {
    const stays = sameListening(base.settings, before.settings);
    if (stays) base.tunnel.takeOver(before.tunnel);
    const moved = this.#forwards.filter(({ isUp, request }) =>
      isUp && (!stays || request.kind === "remote")
    );
    // There is one port for both.
    for (const forward of moved) void forward.stop({ timeout: DRAIN_TIMEOUT });
    await this.listen(base);
  }

  /**
   * Stops all of them at once.
   */
  cut(): void {
    for (const forward of this.#forwards) void forward.stop({ force: true });
  }

  /**
   * Stops those that another set has no more.
   *
   * @param requests The other set.
   */
  release(requests: readonly ForwardRequest[]): void {
    const wanted = new Set(requests.map(forwardKey));
    for (const forward of this.#forwards) {
      if (!wanted.has(forwardKey(forward.request))) void forward.stop({ timeout: DRAIN_TIMEOUT });
    }
  }

  /**
   * Becomes another set. Those that are in both are not touched; those that are new do not listen
   * before listen().
   *
   * @param requests What is asked for from now on.
   * @returns What has changed, in words.
   */
  replace(requests: readonly ForwardRequest[]): string[] {
    this.release(requests);
    const wanted = new Map(requests.map((request) => [forwardKey(request), request]));
    const kept = new Map(this.#forwards.map((forward) => [forwardKey(forward.request), forward]));
    const gone = this.#forwards.filter(({ request }) => !wanted.has(forwardKey(request)));
    const added: RunningForward[] = [];
    this.#forwards = [...wanted].map(([key, request]) => {
      const old = kept.get(key);
      if (old !== undefined) return old;
      const forward = new RunningForward(request);
      added.push(forward);
      return forward;
    });
    return [
      ...gone.map(({ status }) => `${nameOf(status)} removed`),
      ...added.map(({ status }) => `${nameOf(status)} added`),
    ];
  }

  /**
   * Adds one.
   *
   * @param request The forward.
   * @param base What it listens for.
   * @returns What has become of it.
   * @throws {FairleadError} When there is one like it, or it cannot listen.
   */
  async add(request: ForwardRequest, base: Base): Promise<ForwardStatus> {
    const { name } = request.spec;
    const same = this.#forwards.find((one) =>
      forwardKey(one.request) === forwardKey(request) ||
      (name !== undefined && one.request.spec.name === name)
    );
    if (same !== undefined) {
      const what = name === undefined ? same.status.forward : `named ${name}`;
      throw new FairleadError(`${this.#tunnel} has a forward ${what} already`, {
        code: "address-in-use",
      });
    }
    if (this.#forwards.length >= MOST_FORWARDS) {
      throw new FairleadError(`${this.#tunnel} has ${MOST_FORWARDS} forwards already`, {
        code: "resource-shortage",
      });
    }
    const forward = new RunningForward(request);
    await forward.start(base.tunnel, base.settings, base.signal);
    this.#forwards.push(forward);
    this.#tell(forward);
    return forward.status;
  }

  /**
   * Takes one away; its open connections may finish.
   *
   * @param word What it is called: its name, its text, or a port.
   * @param options Whether open connections are waited for.
   * @returns What it was.
   * @throws {FairleadError} When there is none, or more than one.
   */
  async remove(word: string, { force = false }: { force?: boolean }): Promise<ForwardStatus> {
    const [forward, another] = this.#forwards.filter((one) => one.isCalled(word));
    if (forward === undefined || another !== undefined) {
      const names = this.status.map(nameOf);
      const guess = nearest(word, names);
      throw new FairleadError(
        `${this.#tunnel} has ${forward === undefined ? "no forward" : "several forwards"} ${word}`,
        {
          code: "usage",
          hint: forward === undefined && guess !== undefined
            ? `did you mean ${guess}?`
            : names.length === 0
            ? "it has none"
            : `it has ${names.join(", ")}`,
        },
      );
    }
    this.#forwards = this.#forwards.filter((one) => one !== forward);
    await forward.stop(force ? { force } : { timeout: DRAIN_TIMEOUT });
    this.#log.info("{forward}: removed", { forward: nameOf(forward.status) });
    return forward.status;
  }

  async #start(forwards: readonly RunningForward[], base: Base): Promise<void> {
    const { tunnel, settings, signal } = base;
    for (const forward of forwards) {
      if (signal.aborted) return;
      try {
        await forward.start(tunnel, settings, signal);
      } catch (error) {
        this.#log.warn("{reason}", { reason: adviceOf(error), told: true });
      }
      this.#tell(forward);
    }
  }

  #tell({ status }: RunningForward): void {
    if (status.state === "listening") {
      this.#log.info("{forward}: listening on {where}", {
        forward: nameOf(status),
        where: status.addresses.map(formatAddress).join(" and "),
      });
    }
    this.#onChange(status);
  }
}

/** As a command line would have it. */
function nameOf({ kind, name, forward }: ForwardStatus): string {
  return name ?? `${LETTERS[kind]} ${forward}`;
}
