/**
 * Whether the ports and Unix sockets that forwards listen on are to be had on this machine.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import process from "node:process";
import type { TunnelConfig } from "../config/tunnel_config.ts";
import { connectControl } from "../control/client.ts";
import { controlSocketPath } from "../control/socket_path.ts";
import type { Status, TunnelStatus } from "../control/status.ts";
import { isUnix } from "../dialer.ts";
import { codeOf, messageOf } from "../errors.ts";
import { Listener } from "../forward/listener.ts";
import { formatForward, formatListen, type ListenAddress } from "../forward/spec.ts";
import type { ForwardRequest, Settings } from "../ssh_config/settings.ts";
import { type Finding, fine, wrong } from "./finding.ts";
import { ownerWords, portOwner } from "./port_owner.ts";

const NEW_PATH = "choose another path";
/** Milliseconds for our own background process to say what it has. */
const STATUS_TIMEOUT = 3_000;

/** A listener that is there for as long as the others are tried. */
interface Held {
  readonly tunnel: string;
  readonly listener: Listener;
}

/** Tries listeners, one after the other. */
export class ListenerChecks {
  readonly #held: Held[] = [];
  readonly #ask: () => Promise<Status | undefined>;
  #status: Promise<Status | undefined> | undefined;

  /** @param ask Asks our own background process what it has; nothing where there is none. */
  constructor(ask: () => Promise<Status | undefined> = askStatus) {
    this.#ask = ask;
  }

  /**
   * Tries all listeners of a tunnel.
   *
   * @param config The tunnel.
   * @param settings What is configured for its host.
   * @returns One finding each; none for what listens on the server.
   */
  async check(config: TunnelConfig, settings: Settings): Promise<Finding[]> {
    const findings: Finding[] = [];
    for (const { kind, spec } of config.forwards) {
      if (kind !== "remote") findings.push(await this.#checkOne(config, spec.listen, settings));
    }
    return findings;
  }

  /**
   * Whether our own background process has a forward already.
   *
   * @param config The tunnel.
   * @param forward The forward.
   * @returns Whether it listens.
   */
  async isUp(config: TunnelConfig, forward: ForwardRequest): Promise<boolean> {
    const own = ofConfig(await this.#up(), config);
    const text = formatForward(forward.spec);
    return own?.forwards.some((one) =>
      one.kind === forward.kind && one.state === "listening" && one.forward === text
    ) === true;
  }

  /** Ends all of them. */
  async close(): Promise<void> {
    await Promise.all(this.#held.map(({ listener }) => listener.close()));
  }

  async #up(): Promise<readonly TunnelStatus[]> {
    return (await (this.#status ??= this.#ask()))?.tunnels ?? [];
  }

  async #checkOne(
    config: TunnelConfig,
    where: ListenAddress,
    { addressFamily, gatewayPorts, streamLocalBindUnlink }: Settings,
  ): Promise<Finding> {
    const what = "path" in where ? `socket ${where.path}` : `port ${formatListen(where)}`;
    try {
      const listener = await Listener.bind(where, (socket) => socket.destroy(), {
        ...(gatewayPorts === undefined ? {} : { gatewayPorts }),
        ...(addressFamily === "inet" ? { family: 4 } : {}),
        ...(addressFamily === "inet6" ? { family: 6 } : {}),
      });
      this.#held.push({ tunnel: config.name, listener });
      if ("path" in where) return fine("listener", `${what} can be made`);
      return where.port === 0
        ? fine("listener", `${what}: a free one will be taken`)
        : fine("listener", `${what} is free`);
    } catch (error) {
      // One that may be replaced is not replaced for a check.
      if (streamLocalBindUnlink && /nobody listens/.test(messageOf(error))) {
        return fine("listener", `${what} is left over, and will be replaced`);
      }
      if (codeOf(error) === "address-in-use") return await this.#taken(config, where, what, error);
      if (codeOf(error) === "privileged-port") {
        return wrong(
          "listener",
          `${what}: this user may not listen below 1024`,
          `choose another, such as ${8000 + ("port" in where ? where.port : 0)}`,
        );
      }
      return wrong("listener", error, "path" in where ? NEW_PATH : "choose another address");
    }
  }

  async #taken(
    config: TunnelConfig,
    where: ListenAddress,
    what: string,
    error: unknown,
  ): Promise<Finding> {
    const tunnels = await this.#up();
    const holder = tunnels.find((tunnel) => listensOn(tunnel, where));
    if (holder !== undefined) {
      if (holder === ofConfig(tunnels, config)) {
        return fine("listener", `${what} is held by the tunnel itself, which is up`);
      }
      return wrong(
        "listener",
        `${what} is taken by the tunnel ${holder.name} of ${holder.file}, which is up`,
        "choose another, or end that one with fairlead down",
      );
    }
    if ("path" in where) return wrong("listener", error, NEW_PATH);
    const { bind } = where;
    const owner = await portOwner(where.port, bind === undefined ? ["127.0.0.1", "::1"] : [bind]);
    if (owner?.pid === process.pid) {
      const other = this.#held.find(({ listener }) =>
        listener.addresses.some((address) => !isUnix(address) && address.port === where.port)
      );
      return wrong(
        "listener",
        `${what} is wanted by the tunnel ${other?.tunnel}, too`,
        "choose another, or 0 for a free one",
      );
    }
    return wrong(
      "listener",
      `${what} is taken by ${ownerWords(owner)}`,
      "choose another, or 0 for a free one",
    );
  }
}

function ofConfig(
  tunnels: readonly TunnelStatus[],
  config: TunnelConfig,
): TunnelStatus | undefined {
  return tunnels.find(({ name, file }) => name === config.name && file === config.file);
}

function listensOn({ forwards }: TunnelStatus, where: ListenAddress): boolean {
  return forwards.some(({ kind, addresses }) =>
    kind !== "remote" &&
    addresses.some((address) =>
      isUnix(address)
        ? "path" in where && address.path === where.path
        : "port" in where && address.port === where.port
    )
  );
}

/** What cannot be asked is not up. */
async function askStatus(): Promise<Status | undefined> {
  const late = sleep(STATUS_TIMEOUT, undefined, { ref: false });
  const asking = (async () => {
    const client = await connectControl(controlSocketPath());
    try {
      return client?.greeting.serves === "tunnels" ? await client.ask("status", {}) : undefined;
    } finally {
      client?.close();
    }
  })().catch(() => undefined);
  return await Promise.race([asking, late]);
}
