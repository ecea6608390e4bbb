/**
 * One forward of a tunnel that runs: it stays what it is while tunnels come and go below it.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { codeOf, type ErrorCode } from "../errors.ts";
import type { CloseOptions, ConnectionStats } from "../forward/connections.ts";
import type { Forward } from "../forward/forward.ts";
import { formatForward, formatListen } from "../forward/spec.ts";
import type { ForwardRequest } from "../ssh_config/settings.ts";
import { type ListenSettings, startForward } from "../ssh_config/start_forward.ts";
import type { Tunnel } from "../tunnel/tunnel.ts";
import { failureOf } from "./failure.ts";
import type { Failure, ForwardStatus } from "./status.ts";

/** Milliseconds that a port which was just given up has to be free again. */
const RELEASE_TIMEOUT = 2_000;
const RELEASE_PAUSE = 50;
/** When one of this process last gave its port up; only then is it worth waiting for. */
let released = -Infinity;

const NOTHING: ConnectionStats = {
  open: 0,
  total: 0,
  refused: 0,
  gone: 0,
  failed: 0,
  lost: 0,
  sent: 0,
  received: 0,
};

/** The options of ssh(1) that ask for each kind. */
export const LETTERS = { local: "-L", remote: "-R", dynamic: "-D" } as const;

/**
 * What tells forwards apart.
 *
 * @param request A forward.
 * @returns Its kind and its text.
 */
export function forwardKey({ kind, spec }: ForwardRequest): string {
  return `${kind} ${formatForward(spec)}`;
}

/** A forward that is asked for, whether it listens or not. */
export class RunningForward {
  readonly request: ForwardRequest;
  #forward: Forward | undefined;
  /** What earlier listeners of it have carried. */
  #before: ConnectionStats = NOTHING;
  /** Those that listen no more and still carry something. */
  readonly #draining = new Set<Forward>();
  #failure: Failure | undefined;
  /** The port that it had, where any was asked for. */
  #port = 0;

  /**
   * @param request What is asked for.
   */
  constructor(request: ForwardRequest) {
    this.request = request;
  }

  /**
   * Listens, on the port that it had before where it can. A port that another forward has just left
   * is waited for a little.
   *
   * @param tunnel What it listens for.
   * @param settings How it listens.
   * @param signal Gives it up.
   * @returns The forward.
   * @throws {ForwardError} When it cannot listen; its status has the reason as well.
   */
  async start(
    tunnel: Tunnel,
    settings: ListenSettings,
    signal: AbortSignal,
  ): Promise<Forward> {
    let request = this.#asBefore();
    for (;;) {
      try {
        this.#forward = await startForward(tunnel, request, settings, signal);
        this.#failure = undefined;
        return this.#forward;
      } catch (error) {
        const late = performance.now() > released + RELEASE_TIMEOUT || signal.aborted;
        if (late || !this.#mayBeTaken(codeOf(error))) {
          if (request !== this.request && !signal.aborted) {
            request = this.request;
            continue;
          }
          this.#failure = failureOf(error);
          throw error;
        }
        await sleep(RELEASE_PAUSE);
      }
    }
  }

  /**
   * Stops listening; what is open may finish.
   *
   * @param options How long.
   * @returns When nothing of it is left.
   */
  async stop(options: CloseOptions): Promise<void> {
    const forward = this.#forward;
    if (forward === undefined) return;
    this.#forward = undefined;
    this.#port = forward.port;
    released = performance.now();
    this.#draining.add(forward);
    await forward.close(options);
    this.#draining.delete(forward);
    this.#before = sum(this.#before, forward.stats);
  }

  /** Whether it listens. */
  get isUp(): boolean {
    return this.#forward !== undefined;
  }

  /**
   * Whether a person means this one.
   *
   * @param word Its name, its text as it was asked for, or a port or path that it listens on.
   * @returns Whether it is so.
   */
  isCalled(word: string): boolean {
    const { kind, spec } = this.request;
    const { addresses = [] } = this.#forward ?? {};
    const real = addresses.map((address) =>
      "path" in address ? address.path : String(address.port)
    );
    const { name: _called, ...unnamed } = spec;
    const texts = [spec, unnamed].map(formatForward);
    const said = texts.flatMap((text) => [text, `${LETTERS[kind]} ${text}`]);
    return [spec.name, ...said, formatListen(spec.listen), ...real].includes(word);
  }

  /** A client knows the port that it had, and not that any would have done. */
  #asBefore(): ForwardRequest {
    const { spec } = this.request;
    if (this.#port === 0 || !("port" in spec.listen) || spec.listen.port !== 0) return this.request;
    const listen = { ...spec.listen, port: this.#port };
    return { ...this.request, spec: { ...spec, listen } } as ForwardRequest;
  }

  /** Whether it cannot listen because another one does. */
  #mayBeTaken(code: ErrorCode): boolean {
    // Below 1024, a server's refusal says no more than that.
    return code === "address-in-use" ||
      (this.request.kind === "remote" && code === "privileged-port");
  }

  get #stats(): ConnectionStats {
    const all = [...this.#draining, ...(this.#forward === undefined ? [] : [this.#forward])];
    return all.reduce((stats, forward) => sum(stats, forward.stats), this.#before);
  }

  /** What can be seen of it. */
  get status(): ForwardStatus {
    const { kind, spec } = this.request;
    const destination = "destination" in spec ? spec.destination : undefined;
    return {
      kind,
      forward: formatForward(spec),
      ...(spec.name === undefined ? {} : { name: spec.name }),
      state: this.#forward !== undefined
        ? "listening"
        : this.#failure !== undefined
        ? "failed"
        : "down",
      addresses: this.#forward?.addresses ?? [],
      ...(destination === undefined ? {} : { destination }),
      ...(this.#failure === undefined ? {} : { failure: this.#failure }),
      stats: this.#stats,
    };
  }
}

function sum(one: ConnectionStats, other: ConnectionStats): ConnectionStats {
  const names = Object.keys(NOTHING) as (keyof ConnectionStats)[];
  return Object.fromEntries(
    names.map((name) => [name, one[name] + other[name]]),
  ) as unknown as ConnectionStats;
}
