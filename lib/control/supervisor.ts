/**
 * All tunnels of one process: brought up, taken down and changed, in the order in which they depend
 * on each other.
 *
 * @module
 */
import process from "node:process";
import { sameTunnel } from "../config/compare.ts";
import { inOrder } from "../config/select.ts";
import type { TunnelConfig, TunnelSecrets } from "../config/tunnel_config.ts";
import { FairleadError, UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import type { Prompter } from "../ssh/prompter.ts";
import { prompterGate } from "../ssh/prompter_gate.ts";
import { controlError } from "./failure.ts";
import type { Call, ControlEvent, TunnelMethods } from "./protocol.ts";
import { inTurn } from "./prompter_in_turn.ts";
import { RunningTunnel } from "./running_tunnel.ts";
import type { Status } from "./status.ts";
import { downMeanwhile } from "./unless_down.ts";

/** More than anybody needs: each is a connection. */
const MOST_TUNNELS = 200;

/** What a supervisor has around it. */
export interface SupervisorOptions {
  /** fairlead's version. */
  readonly version: string;
  /** Called when the last tunnel has gone. */
  readonly onEmpty?: () => void;
  /** Called with whatever happens, as those are who have asked for it. */
  readonly onEvent?: (event: ControlEvent) => void;
}

type Params<Method extends keyof TunnelMethods> = TunnelMethods[Method]["params"];
type Result<Method extends keyof TunnelMethods> = Promise<TunnelMethods[Method]["result"]>;

/** Keeps tunnels. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #since = new Date();
  readonly #tunnels = new Map<string, RunningTunnel>();
  /** Who is told what happens. */
  readonly #calls = new Set<{ readonly call: Call; readonly names: ReadonlySet<string> }>();

  /**
   * @param options The version, and whom to tell when nothing is left to do.
   */
  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** How many tunnels there are, those that have failed included. */
  get size(): number {
    return this.#tunnels.size;
  }

  /**
   * What can be seen of all tunnels.
   *
   * @returns The status.
   */
  status(): Status {
    return {
      version: this.#options.version,
      pid: process.pid,
      since: this.#since.toISOString(),
      tunnels: [...this.#tunnels.values()].map(({ status }) => status),
    };
  }

  /**
   * Brings tunnels up. Those that are up stay as they are.
   *
   * @param params The tunnels, each after those that it depends on, and their secrets.
   * @param call Who asks.
   * @returns The status, once every one of them is up or has failed.
   * @throws {FairleadError} When one of them is up from another file, or was taken down meanwhile.
   */
  async up({ tunnels, secrets }: Params<"up">, call: Call): Result<"up"> {
    const names = new Set(tunnels.map(({ name }) => name));
    this.#check(tunnels);
    return await this.#during(call, names, async (prompter) => {
      const own: RunningTunnel[] = [];
      const ready: Promise<void>[] = [];
      for (const config of inOrder(tunnels, tunnels)) {
        const [tunnel, begun] = await this.#begin(
          config,
          secrets[config.name] ?? {},
          call,
          prompter,
        );
        own.push(tunnel);
        ready.push(begun ? tunnel.ready : tunnel.complete(call.signal));
        tunnel.wantedBy.add(call);
      }
      const giveUp = () => {
        for (const tunnel of own) {
          const wanted = tunnel.wantedBy;
          wanted.delete(call);
          if (wanted.size > 0 || tunnel.isUp || tunnel.over || tunnel.state === "failed") continue;
          void this.#end(tunnel.config.name, true, new Set());
        }
      };
      if (call.signal.aborted) giveUp();
      call.signal.addEventListener("abort", giveUp, { once: true });
      await Promise.all(ready);
      call.signal.removeEventListener("abort", giveUp);
      own.forEach((tunnel) => tunnel.wantedBy.delete(call));
      const gone = own.find(({ over }) => over);
      if (gone !== undefined) throw downMeanwhile(gone.config.name);
      return this.status();
    });
  }

  /**
   * Takes tunnels down, those that depend on them first.
   *
   * @param params Their names; all where none is given.
   * @param call Who asks.
   * @returns The names of those that went down, in that order.
   * @throws {FairleadError} For a name that no tunnel has.
   */
  async down({ names, force = false }: Params<"down">, call?: Call): Result<"down"> {
    const wanted = names ?? [...this.#tunnels.keys()];
    wanted.forEach((name) => this.#named(name));
    const down = new Set<string>();
    const work = () => Promise.all(wanted.map((name) => this.#end(name, force, down)));
    // Who depends on them goes as well, and is told of.
    const told = new Set(this.#tunnels.keys());
    if (call === undefined) await work();
    else await this.#during(call, told, work);
    return { down: [...down] };
  }

  /**
   * Applies a changed file to the tunnels of it that are up. What has not changed is not touched.
   *
   * @param params The file, all its tunnels, and their secrets.
   * @param call Who asks.
   * @returns What has changed, in words, and the status.
   */
  async reload({ file, tunnels, secrets }: Params<"reload">, call: Call): Result<"reload"> {
    const wanted = new Set(tunnels.map(({ name }) => name));
    const own = [...this.#tunnels.values()].filter(({ config }) => config.file === file);
    return await this.#during(call, new Set(this.#tunnels.keys()), async (prompter) => {
      const changes: string[] = [];
      for (const { config: { name } } of own.filter(({ config }) => !wanted.has(config.name))) {
        const down = new Set<string>();
        await this.#end(name, false, down);
        changes.push(...[...down].map((one) => `${one}: down`));
      }
      // A forward may have gone from one tunnel to another.
      for (const config of tunnels) {
        const tunnel = this.#tunnels.get(config.name);
        if (tunnel?.config.file === file) tunnel.release(config);
      }
      for (const config of inOrder(tunnels, tunnels)) {
        changes.push(...await this.#apply(config, secrets[config.name] ?? {}, call, prompter));
      }
      return { changes, status: this.status() };
    });
  }

  /**
   * Connects tunnels anew, each before its present connection is left.
   *
   * @param params Their names; all where none is given.
   * @param call Who asks.
   * @returns The status.
   * @throws {FairleadError} For a name that no tunnel has.
   */
  async restart({ names }: Params<"restart">, call: Call): Result<"restart"> {
    const wanted = (names ?? [...this.#tunnels.keys()]).map((name) => this.#named(name));
    const told = new Set(wanted.map(({ config }) => config.name));
    // What has failed is brought up after what it depends on.
    const configs = [...this.#tunnels.values()].map(({ config }) => config);
    const ordered = inOrder(configs, configs).filter(({ name }) => told.has(name));
    return await this.#during(call, told, async (prompter) => {
      const restarted = new Map<string, Promise<void>>();
      for (const { name, dependsOn } of ordered) {
        const before = dependsOn.map((other) => restarted.get(other));
        const restart = async () => {
          await Promise.all(before);
          const tunnel = this.#tunnels.get(name);
          await tunnel?.restart(this.#dependenciesOf(tunnel.config), prompter);
        };
        restarted.set(
          name,
          restart().catch((error: unknown) => {
            call.event({ event: "failed", name, error: controlError(error) });
          }),
        );
      }
      await Promise.all(restarted.values());
      return this.status();
    });
  }

  /**
   * Adds a forward to a tunnel that is up.
   *
   * @param params The tunnel and the forward.
   * @returns The forward, with its real port.
   * @throws {FairleadError} When the tunnel is not up, or the forward cannot listen.
   */
  async add({ tunnel, forward }: Params<"add">): Result<"add"> {
    return await this.#named(tunnel).add(forward);
  }

  /**
   * Takes a forward away from a tunnel.
   *
   * @param params The tunnel, and what the forward is called.
   * @returns What it was.
   * @throws {FairleadError} When there is none.
   */
  async remove({ tunnel, forward, force = false }: Params<"remove">): Result<"remove"> {
    return await this.#named(tunnel).remove(forward, { force });
  }

  /**
   * Takes all tunnels down.
   *
   * @param options Whether open connections are waited for.
   * @returns When nothing of them is left.
   */
  async close(options: { readonly force?: boolean } = {}): Promise<void> {
    await this.down(options);
  }

  #check(tunnels: readonly TunnelConfig[]): void {
    for (const { name, file } of tunnels) {
      const other = this.#tunnels.get(name)?.config.file;
      if (other === undefined || other === file) continue;
      throw new UsageError(
        `a tunnel ${name} is up already, from ${other}`,
        `fairlead down ${name} takes it down`,
      );
    }
    const added = tunnels.filter(({ name }) => !this.#tunnels.has(name)).length;
    if (this.#tunnels.size + added <= MOST_TUNNELS) return;
    throw new FairleadError(`there can be ${MOST_TUNNELS} tunnels at most`, {
      code: "resource-shortage",
    });
  }

  /** Has a tunnel come up where it is not, and says whether it was not. */
  async #begin(
    config: TunnelConfig,
    secrets: TunnelSecrets,
    call: Call,
    prompter: Prompter | undefined,
  ): Promise<[tunnel: RunningTunnel, begun: boolean]> {
    const { name } = config;
    // What is being taken down is waited for: it may hold the same ports.
    for (let old = this.#tunnels.get(name); old?.over; old = this.#tunnels.get(name)) {
      await this.#end(name, false, new Set());
    }
    const old = this.#tunnels.get(name);
    if (old?.state === "failed") {
      old.retry(config, secrets, this.#dependenciesOf(config), prompter);
      return [old, true];
    }
    if (old !== undefined) {
      call.event({ event: "tunnel", name, state: old.state });
      if (!sameTunnel(old.config, config)) {
        const message = "is up, and differs in the file; fairlead reload applies it";
        call.event({ event: "note", name, message });
      }
      return [old, false];
    }
    const tunnel = new RunningTunnel(config, secrets, {
      dialerOf: (other) => ({
        dial: async (...words) => await this.#named(other).dialer.dial(...words),
      }),
      onEvent: (event) => this.#tell(event),
      onMoved: async () => {
        const through = [...this.#tunnels.values()].filter(({ config }) => config.via === name);
        await Promise.all(through.map((other) => other.follow()));
      },
      onIdle: () => void this.#end(name, true, new Set()),
    });
    this.#tunnels.set(name, tunnel);
    void tunnel.start(this.#dependenciesOf(config), prompter);
    return [tunnel, true];
  }

  /** @returns What a changed file has changed about a tunnel, in words. */
  async #apply(
    config: TunnelConfig,
    secrets: TunnelSecrets,
    call: Call,
    prompter: Prompter | undefined,
  ): Promise<string[]> {
    const { name, file } = config;
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) return [`${name}: not up; fairlead up ${name} brings it up`];
    if (tunnel.config.file !== file) return [`${name}: up from ${tunnel.config.file}, left alone`];
    try {
      const said = await tunnel.become(config, secrets, this.#dependenciesOf(config), prompter);
      return said.map((words) => `${name}: ${words}`);
    } catch (error) {
      call.event({ event: "failed", name, error: controlError(error) });
      return [`${name}: stays as it was`];
    }
  }

  /** Ends a tunnel after those that depend on it. */
  async #end(name: string, force: boolean, down: Set<string>): Promise<void> {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) return;
    const dependents = [...this.#tunnels.values()].filter(({ config }) =>
      config.dependsOn.includes(name)
    );
    await Promise.all(dependents.map(({ config }) => this.#end(config.name, force, down)));
    await tunnel.end({ force });
    down.add(name);
    if (this.#tunnels.get(name) !== tunnel) return;
    this.#tunnels.delete(name);
    if (this.#tunnels.size === 0) this.#options.onEmpty?.();
  }

  #dependenciesOf({ dependsOn }: TunnelConfig): RunningTunnel[] {
    return dependsOn.flatMap((name) => this.#tunnels.get(name) ?? []);
  }

  #named(name: string): RunningTunnel {
    const tunnel = this.#tunnels.get(name);
    if (tunnel !== undefined) return tunnel;
    const names = [...this.#tunnels.keys()];
    const guess = nearest(name, names);
    throw new UsageError(
      `no tunnel ${name} is up`,
      guess !== undefined
        ? `did you mean ${guess}?`
        : names.length === 0
        ? "none is up"
        : `up are ${names.join(", ")}`,
    );
  }

  /** Has a call hear of its tunnels, and its person be asked, until it has been answered. */
  async #during<T>(
    call: Call,
    names: ReadonlySet<string>,
    work: (prompter: Prompter | undefined) => Promise<T>,
  ): Promise<T> {
    const told = { call, names };
    const gate = call.prompter === undefined
      ? undefined
      : prompterGate(call.prompter, "fairlead runs in the background");
    this.#calls.add(told);
    try {
      return await work(gate === undefined ? undefined : inTurn(gate.prompter));
    } finally {
      this.#calls.delete(told);
      gate?.close();
    }
  }

  #tell(event: ControlEvent): void {
    this.#options.onEvent?.(event);
    for (const { call, names } of this.#calls) {
      if (event.name === undefined || names.has(event.name)) call.event(event);
    }
  }
}
