/**
 * The session that a command line asks for.
 *
 * @module
 */
import { formatAddress } from "../dialer.ts";
import { UsageError } from "../errors.ts";
import { logger } from "../log.ts";
import type { SessionOptions } from "../session/options.ts";
import type { Prompter } from "../ssh/prompter.ts";
import { connect, type ConnectOptions, type Tunnel } from "../tunnel/tunnel.ts";
import type { Output } from "./output.ts";
import { linkNews } from "./link_news.ts";
import type { HostConfig } from "../ssh_config/host_config.ts";
import { connectOptions } from "../ssh_config/jump.ts";
import { sessionOptions } from "../ssh_config/session_options.ts";
import type { Settings } from "../ssh_config/settings.ts";
import type { Secrets } from "./secrets.ts";
import type { StopSignal } from "./signals.ts";

const log = logger("cli");

/** Different banners that are shown: a server could think of ever new ones. */
const MAX_BANNERS = 100;

/**
 * Connects as it is configured.
 *
 * @param host Where to, and what is configured for it.
 * @param person Whom to ask, where somebody may be asked, and what they have said already.
 * @param output Where the server's banner goes.
 * @param stop The signals.
 * @returns The tunnel; undefined where a signal came first.
 * @throws {SessionError} When the session cannot be had.
 */
export async function open(
  host: HostConfig,
  person: { readonly prompter: Prompter | undefined; readonly secrets: Secrets },
  output: Output,
  stop: StopSignal,
): Promise<Tunnel | undefined> {
  const { prompter, secrets: { password, environment: _taken, ...keys } } = person;
  const { hostKeys, proxy, systemCrypto } = host.settings;
  const company = {
    ...keys,
    ...(systemCrypto === undefined ? {} : { systemCrypto }),
    ...(prompter === undefined ? {} : { prompter }),
    onBanner: newOnly((text) => output.banner(text)),
    signal: stop.first,
  };
  // No file could name those keys for a server on the way. These are for the destination alone.
  const own = {
    ...(hostKeys === undefined ? {} : { hostKeys }),
    ...(password === undefined ? {} : { password }),
    ...(proxy === undefined ? {} : { proxy }),
  };
  const session = runOptions(host.settings);
  const opening = connectOptions(host, company).then((options) => {
    if (proxy !== undefined) checkProxy(options);
    return connect({
      ...options,
      ...own,
      ...session,
      ...linkNews(output, {
        ...session,
        name: formatAddress({ host: host.name, port: host.port }),
      }),
    });
  });
  // Not every step of it can be given up: the resolver and an agent answer when they like.
  const stopped = new Promise<undefined>((resolve) => {
    stop.first.addEventListener("abort", () => resolve(undefined));
  });
  try {
    return await Promise.race([stopped, opening]);
  } catch (error) {
    if (stop.first.aborted) return undefined;
    throw error;
  }
}

/** The options of the session; what is for one channel has one connection, and tells of it. */
function runOptions(settings: Settings): SessionOptions {
  const { connections = 1, command } = settings;
  const forOne = isForOneChannel(settings);
  if (forOne && connections !== 1) {
    log.info("--connections {connections} changes nothing: {what} has one SSH connection", {
      connections,
      what: command === undefined ? "-W" : "a command on the server",
    });
  }
  return {
    ...sessionOptions(settings),
    ...(endsWithLink(settings) ? { retries: 0 } : {}),
    ...(forOne ? { connections: 1 } : {}),
  };
}

/** Each new link brings the same banner. */
function newOnly(show: (text: string) => void): (text: string) => void {
  const shown = new Set<string>();
  return (text) => {
    if (shown.has(text) || shown.size >= MAX_BANNERS) return;
    shown.add(text);
    show(text);
  };
}

/**
 * Tells whether a lost link ends the run: what runs for one channel, -W or a command, is over with
 * it, and no new link brings it back.
 *
 * @param settings What the command line asked for.
 * @returns Whether it is so.
 */
export function endsWithLink(settings: Settings): boolean {
  return isForOneChannel(settings) || settings.retries === 0;
}

function isForOneChannel({ stdioForward, command }: Settings): boolean {
  return stdioForward !== undefined || command !== undefined;
}

/** There is one way to the server that this machine connects to. */
function checkProxy(options: ConnectOptions): void {
  let first = options;
  while (first.jump !== undefined) first = first.jump;
  if (first.proxyCommand === undefined) return;
  throw new UsageError(
    `--proxy and the ProxyCommand of ${first.host} contradict each other`,
    first === options
      ? "-o ProxyCommand=none leaves the command out"
      : "ProxyCommand none, in its Host block, leaves the command out",
  );
}
