/**
 * One tunnel of the background process, from the wish for it to its end.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";
import { inFileWords } from "../config/file_words.ts";
import { sameSecrets, sameSession, sameTunnel } from "../config/compare.ts";
import type { TunnelConfig, TunnelSecrets } from "../config/tunnel_config.ts";
import type { Dialer } from "../dialer.ts";
import { adviceOf, SessionError } from "../errors.ts";
import type { HostConfig } from "../ssh_config/host_config.ts";
import type { ForwardRequest } from "../ssh_config/settings.ts";
import { logger } from "../log.ts";
import type { Prompter } from "../ssh/prompter.ts";
import type { Tunnel } from "../tunnel/tunnel.ts";
import { type Base, DRAIN_TIMEOUT, ForwardSet } from "./forward_set.ts";
import { LeftSessions } from "./left_sessions.ts";
import { openTunnel, tunnelHost } from "./open_tunnel.ts";
import { Person } from "./person.ts";
import type { ControlEvent } from "./protocol.ts";
import { Standing } from "./standing.ts";
import type { ForwardStatus, TunnelState, TunnelStatus } from "./status.ts";
import { Turns } from "./turns.ts";
import { downMeanwhile, unlessDown } from "./unless_down.ts";

/** What a tunnel has around it. */
export interface TunnelSurroundings {
  /** The tunnel of that name, as it stands at the moment of a dial. */
  readonly dialerOf: (name: string) => Pick<Dialer, "dial">;
  readonly onEvent: (event: ControlEvent) => void;
  /** Called when it has another session, before the old one ends: others may lead through that. */
  readonly onMoved: () => Promise<void>;
  /** Called when it has ended by itself: idleTimeout. */
  readonly onIdle: () => void;
}

/** A tunnel, and what has become of it. */
export class RunningTunnel {
  #config: TunnelConfig;
  #secrets: TunnelSecrets;
  readonly #around: TunnelSurroundings;
  /** The requests that wait for it to be up. */
  readonly wantedBy: Set<unknown> = new Set();
  readonly #log: Logger;
  readonly #over = new AbortController();
  readonly #forwards: ForwardSet;
  #tunnel: Tunnel | undefined;
  #host: HostConfig | undefined;
  #destination: string;
  readonly #standing: Standing;
  /** Settles when it is up, or has failed. */
  #ready: Promise<void> = Promise.resolve();
  readonly #turns = new Turns();
  readonly #left = new LeftSessions();
  readonly #person = new Person();

  /**
   * @param config What it is to be.
   * @param secrets The values of its secrets.
   * @param around What it has around it.
   */
  constructor(config: TunnelConfig, secrets: TunnelSecrets, around: TunnelSurroundings) {
    this.#config = config;
    this.#secrets = secrets;
    this.#around = around;
    this.#log = logger("control").with({ tunnel: config.name });
    this.#destination = config.host;
    this.#standing = new Standing(config.name, this.#log, around.onEvent);
    this.#forwards = new ForwardSet(config.name, config.forwards, this.#log, (forward) => {
      around.onEvent({ event: "forward", name: config.name, forward });
    });
  }

  /** What it is to be. */
  get config(): TunnelConfig {
    return this.#config;
  }

  /** Settles when it is up, or has failed; it never rejects. */
  get ready(): Promise<void> {
    return this.#ready;
  }

  /** Where it stands. */
  get state(): TunnelState {
    return this.#standing.state;
  }

  /** Whether it was taken down. */
  get over(): boolean {
    return this.#over.signal.aborted;
  }

  /** Whether its session is there, or comes back by itself. */
  get isUp(): boolean {
    return this.state === "open" || this.state === "reconnecting";
  }

  /** What opens connections on its server, at this moment. */
  get dialer(): Pick<Dialer, "dial"> {
    return this.#base.tunnel;
  }

  /**
   * Brings it up.
   *
   * @param dependencies The tunnels that must be up before.
   * @param prompter Who may be asked.
   * @returns When it is up or has failed. It never rejects.
   */
  start(
    dependencies: readonly RunningTunnel[],
    prompter: Prompter | undefined,
  ): Promise<void> {
    const names = dependencies.map(({ config }) => config.name).join(", ");
    if (names === "") this.#standing.to("connecting", `to ${this.#config.host}`);
    else this.#standing.to("waiting", `for ${names}`);
    this.#ready = this.#bringUp(dependencies, prompter).catch((error: unknown) => {
      if (!this.over) this.#standing.fail(error);
    });
    return this.#ready;
  }

  /**
   * Waits for a tunnel that was there before: a link that is lost comes back by itself, and what was
   * in the way of a forward may be gone.
   *
   * @param signal Gives it up.
   * @returns When all of it is up, or has failed. It never rejects.
   */
  async complete(signal: AbortSignal): Promise<void> {
    await this.#ready;
    await this.#standing.until(() => this.state !== "reconnecting" || this.over, signal);
    if (signal.aborted || this.state !== "open" || this.#forwards.areUp) return;
    await this.#inTurn(() => this.#forwards.listen(this.#base)).catch(() => {});
  }

  /**
   * Takes it down.
   *
   * @param options Whether open connections are waited for. A second call can cut short what the
   *   first one waits for.
   * @returns When nothing of it is left.
   */
  async end({ force = false }: { force?: boolean } = {}): Promise<void> {
    const first = !this.over;
    this.#over.abort();
    this.#standing.lookAgain();
    if (first && this.#tunnel !== undefined) this.#standing.to("draining", "taken down");
    const options = force ? { force } : { timeout: DRAIN_TIMEOUT };
    await Promise.all([this.#tunnel?.close(options), this.#left.close(options)]);
    await Promise.all([this.#ready, this.#turns.over]);
    if (!first) return;
    this.#log.info("down");
    this.#around.onEvent({ event: "tunnel", name: this.#config.name, state: "down" });
  }

  /**
   * Connects anew, before the present connection is left; a tunnel that has failed is brought up.
   *
   * @param dependencies The tunnels that must be up before.
   * @param prompter Who may be asked.
   * @returns When it is up again, or a tunnel that had failed has failed again.
   * @throws {FairleadError} When no new connection can be had; the present one stays.
   */
  restart(
    dependencies: readonly RunningTunnel[],
    prompter: Prompter | undefined,
  ): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#tunnel === undefined) return await this.start(dependencies, prompter);
      const tunnel = this.#tunnel;
      await this.#person.during(prompter, () => tunnel.reload()).catch((error: unknown) => {
        throw inFileWords(error);
      });
      await this.#forwards.listen(this.#base);
    });
  }

  /**
   * Brings a tunnel that has failed up again, as the file has it now. What its forwards have carried
   * stays counted.
   *
   * @param config What it is to be.
   * @param secrets The values of its secrets.
   * @param dependencies The tunnels that must be up before.
   * @param prompter Who may be asked.
   */
  retry(
    config: TunnelConfig,
    secrets: TunnelSecrets,
    dependencies: readonly RunningTunnel[],
    prompter: Prompter | undefined,
  ): void {
    this.#config = config;
    this.#secrets = secrets;
    this.#forwards.replace(config.forwards);
    void this.start(dependencies, prompter);
  }

  /**
   * Becomes what a changed file says. A tunnel that has failed is tried again where it has changed.
   *
   * @param config What it is to be.
   * @param secrets The values of its secrets.
   * @param dependencies The tunnels that must be up before.
   * @param prompter Who may be asked.
   * @returns What has changed, in words.
   * @throws {FairleadError} When the new session cannot be had; the old one stays.
   */
  become(
    config: TunnelConfig,
    secrets: TunnelSecrets,
    dependencies: readonly RunningTunnel[],
    prompter: Prompter | undefined,
  ): Promise<string[]> {
    return this.#inTurn(async () => {
      const before = this.#tunnel;
      const keeps = sameSession(this.#config, config) && sameSecrets(this.#secrets, secrets);
      if (before === undefined) {
        if (keeps && sameTunnel(this.#config, config)) return [];
        this.#config = config;
        this.#secrets = secrets;
        const changes = this.#forwards.replace(config.forwards);
        await this.start(dependencies, prompter);
        return [this.isUp ? "up again" : "tried again", ...changes];
      }
      const old = this.#base;
      if (!keeps) await this.#connect(config, secrets, prompter);
      this.#config = config;
      this.#secrets = secrets;
      const changes = this.#forwards.replace(config.forwards);
      if (keeps) {
        await this.#forwards.listen(this.#base);
        return changes;
      }
      const moving = this.#forwards.move(this.#base, old);
      this.#left.add(before, this.#around.onMoved());
      await moving;
      return ["connected anew", ...changes];
    });
  }

  /**
   * Stops those forwards that a changed file has no more: another tunnel may want their ports.
   *
   * @param config What it is to become.
   */
  release(config: TunnelConfig): void {
    if (sameSession(this.#config, config)) this.#forwards.release(config.forwards);
  }

  /**
   * Connects anew because the tunnel that this one leads through has another session.
   *
   * @returns When that is done, or cannot be done; it never rejects.
   */
  async follow(): Promise<void> {
    try {
      await this.#tunnel?.reload();
    } catch (error) {
      this.#log.warn("no new connection: {reason}", { reason: adviceOf(error) });
    }
  }

  /**
   * Adds one forward.
   *
   * @param request The forward.
   * @returns What has become of it.
   * @throws {FairleadError} When there is one like it, or it cannot listen.
   */
  add(request: ForwardRequest): Promise<ForwardStatus> {
    return this.#inTurn(async () => {
      const status = await this.#forwards.add(request, this.#base);
      this.#config = { ...this.#config, forwards: this.#forwards.requests };
      return status;
    });
  }

  /**
   * Takes one forward away; its open connections may finish.
   *
   * @param word What it is called: its name, its text, or a port.
   * @param options Whether open connections are waited for.
   * @returns What it was.
   * @throws {FairleadError} When there is none.
   */
  async remove(word: string, options: { force?: boolean }): Promise<ForwardStatus> {
    const removing = this.#forwards.remove(word, options);
    this.#config = { ...this.#config, forwards: this.#forwards.requests };
    return await removing;
  }

  /** What can be seen of it. */
  get status(): TunnelStatus {
    const { name, file, groups, dependsOn } = this.#config;
    return {
      ...{ name, file, groups, dependsOn },
      destination: this.#destination,
      ...this.#standing.status,
      sshConnections: this.#tunnel?.connections ?? 0,
      parked: this.#tunnel?.parked ?? 0,
      forwards: this.#forwards.status,
    };
  }

  async #bringUp(
    dependencies: readonly RunningTunnel[],
    prompter: Prompter | undefined,
  ): Promise<void> {
    if (dependencies.length > 0) {
      await this.#unlessDown(Promise.all(dependencies.map(({ ready }) => ready)));
      for (const { config, isUp } of dependencies) {
        if (isUp) continue;
        throw new SessionError(`the tunnel ${config.name}, which it depends on, is not up`, {
          code: "connect-failed",
        });
      }
      this.#standing.to("connecting", `to ${this.#config.host}`);
    }
    await this.#connect(this.#config, this.#secrets, prompter);
    await this.#forwards.listen(this.#base);
  }

  /** Opens a session, and makes it the one that is used. */
  async #connect(
    config: TunnelConfig,
    secrets: TunnelSecrets,
    prompter: Prompter | undefined,
  ): Promise<void> {
    const { signal } = this.#over;
    const { host, destination } = await tunnelHost(config, signal);
    if (this.#tunnel === undefined) this.#destination = destination;
    const { via } = config;
    // What it was before, or is to be, says nothing any more.
    let own: Tunnel | undefined;
    const opening = openTunnel(config, host, {
      ...{ secrets, signal },
      prompter: prompter === undefined ? undefined : this.#person.prompter(prompter),
      via: via === undefined ? undefined : this.#around.dialerOf(via),
      onBanner: (text) => this.#around.onEvent({ event: "banner", name: config.name, text }),
      onState: (change) => {
        if (own !== undefined && own === this.#tunnel) this.#standing.follow(change);
      },
    });
    // Not every step of it can be given up: the resolver and an agent answer when they like.
    opening.then((late) => {
      own = late;
      if (this.over) void late.close({ force: true });
    }, () => {});
    const tunnel = await this.#unlessDown(opening);
    if (this.over) {
      await tunnel.close({ force: true });
      throw downMeanwhile(config.name);
    }
    this.#destination = destination;
    this.#watch(tunnel, host);
  }

  #watch(tunnel: Tunnel, host: HostConfig): void {
    this.#tunnel = tunnel;
    this.#host = host;
    this.#standing.open(this.#destination);
    tunnel.closed.then((reason) => {
      // Another one has taken its place, or it was taken down.
      if (this.#tunnel !== tunnel) return;
      this.#tunnel = undefined;
      this.#forwards.cut();
      if (this.over) return;
      if (reason === undefined) this.#around.onIdle();
      else this.#standing.fail(inFileWords(reason));
    });
  }

  #unlessDown<T>(promise: Promise<T>): Promise<T> {
    return unlessDown(this.#config.name, this.#over.signal, promise);
  }

  /** Begins when it is up or has failed, and nobody else changes it. */
  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    return this.#turns.take(async () => {
      // What has failed may have been brought up anew meanwhile.
      for (let ready; ready !== this.#ready;) await (ready = this.#ready);
      if (this.over) {
        const message = `the tunnel ${this.#config.name} was taken down meanwhile`;
        throw new SessionError(message, { code: "cancelled" });
      }
      try {
        return await change();
      } catch (error) {
        if (!this.over) this.#log.warn("{reason}", { reason: adviceOf(error), told: true });
        throw error;
      }
    });
  }

  /** What its forwards listen for. */
  get #base(): Base {
    const settings = this.#host?.settings ?? {};
    const { signal } = this.#over;
    if (this.#tunnel !== undefined) return { tunnel: this.#tunnel, settings, signal };
    throw new SessionError(`the tunnel ${this.#config.name} is not up`, {
      code: "connection-lost",
      hint: `fairlead restart ${this.#config.name} tries again`,
    });
  }
}
