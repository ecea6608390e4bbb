/**
 * From a tunnel of fairlead.yaml to an open one.
 *
 * @module
 */
import { inFileWords } from "../config/file_words.ts";
import { settingsOf } from "../config/settings_of.ts";
import type { TunnelConfig, TunnelSecrets } from "../config/tunnel_config.ts";
import { type Dialer, formatAddress } from "../dialer.ts";
import { UsageError } from "../errors.ts";
import type { SessionOptions } from "../session/options.ts";
import type { Prompter } from "../ssh/prompter.ts";
import { type HostConfig, readHost } from "../ssh_config/host_config.ts";
import { connectOptions } from "../ssh_config/jump.ts";
import { sessionOptions } from "../ssh_config/session_options.ts";
import { connect, type ConnectOptions, type Tunnel } from "../tunnel/tunnel.ts";

/** What a tunnel is opened with, besides what the file says. */
export interface Opening extends Pick<SessionOptions, "onState"> {
  readonly secrets: TunnelSecrets;
  /** What connects instead of this machine. */
  readonly via?: Pick<Dialer, "dial"> | undefined;
  readonly prompter?: Prompter | undefined;
  readonly signal: AbortSignal;
  readonly onBanner?: (text: string) => void;
}

/**
 * Reads what ssh_config says of a tunnel's host.
 *
 * @param config The tunnel.
 * @param signal Ends a command of Match exec.
 * @returns The host, and where that leads to, for people.
 * @throws {UsageError} When a file is wrong.
 */
export async function tunnelHost(
  config: TunnelConfig,
  signal?: AbortSignal,
): Promise<{ readonly host: HostConfig; readonly destination: string }> {
  const host = await readHost(settingsOf(config), { signal });
  return {
    host,
    destination: `${host.user}@${formatAddress({ host: host.name, port: host.port })}`,
  };
}

/**
 * What a tunnel connects with.
 *
 * @param config The tunnel.
 * @param host Its host.
 * @param opening What it is opened with.
 * @returns What connect() takes.
 * @throws {UsageError} When a file of a jump host is wrong.
 */
export async function tunnelOptions(
  config: TunnelConfig,
  host: HostConfig,
  { secrets, via, prompter, signal, onBanner }: Omit<Opening, "onState">,
): Promise<ConnectOptions & SessionOptions> {
  const { hostKeys, proxy, systemCrypto } = host.settings;
  const { password, passphrase, privateKeys, agent } = secrets;
  const options = await connectOptions(host, {
    signal,
    ...(prompter === undefined ? {} : { prompter }),
    ...(onBanner === undefined ? {} : { onBanner }),
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(privateKeys === undefined ? {} : { privateKeys }),
    ...(systemCrypto === undefined ? {} : { systemCrypto }),
  });
  checkWays(config, options);
  return {
    ...withAgent(config.via === undefined ? options : withoutCommand(options), agent),
    // No file could name those keys for a server on the way. These are for the destination alone.
    ...(hostKeys === undefined ? {} : { hostKeys }),
    ...(password === undefined ? {} : { password }),
    ...(proxy === undefined ? {} : { proxy }),
    ...(via === undefined ? {} : { via }),
    ...sessionOptions({ ...host.settings, ...config.session, hostKeys: [] }),
  };
}

/**
 * Opens a tunnel, without its forwards.
 *
 * @param config The tunnel.
 * @param host Its host.
 * @param opening What it is opened with.
 * @returns The tunnel.
 * @throws {FairleadError} When it cannot be had.
 */
export async function openTunnel(
  config: TunnelConfig,
  host: HostConfig,
  opening: Opening,
): Promise<Tunnel> {
  const { onState } = opening;
  const options = await tunnelOptions(config, host, opening);
  try {
    return await connect({
      ...options,
      name: config.name,
      ...(onState === undefined ? {} : { onState }),
    });
  } catch (error) {
    throw inFileWords(error);
  }
}

/** As -J does on a command line, a tunnel to lead through wins over a ProxyCommand of ssh_config. */
function withoutCommand({ proxyCommand: _other, ...options }: ConnectOptions): ConnectOptions {
  return options;
}

/** There is one way to the server that is connected to first. */
function checkWays({ where, via, session }: TunnelConfig, options: ConnectOptions): void {
  if (session.proxy === undefined) return;
  if (via !== undefined) {
    throw new UsageError(
      `${where}: a proxy and the tunnel ${via} to lead through contradict each other`,
      `give the proxy to ${via}`,
      "config-invalid",
    );
  }
  let first = options;
  while (first.jump !== undefined) first = first.jump;
  if (first.proxyCommand === undefined) return;
  throw new UsageError(
    `${where}: proxy and the ProxyCommand of ${first.host} contradict each other`,
    "ProxyCommand none, in its Host block, leaves the command out",
    "config-invalid",
  );
}

/** The agent of whoever asks, which need not be that of the process that connects. */
function withAgent(options: ConnectOptions, agent: string | undefined): ConnectOptions {
  if (agent === undefined) return options;
  const { jump } = options;
  return {
    agent,
    ...options,
    ...(jump === undefined ? {} : { jump: withAgent(jump, agent) }),
  };
}
