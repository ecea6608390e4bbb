/**
 * One SSH server as people speak of it: its name, their keys, their known_hosts files.
 *
 * @module
 */
import { homedir } from "node:os";
import { join } from "node:path";
import { formatAddress } from "../dialer.ts";
import { codeOf } from "../errors.ts";
import { userName } from "../runtime.ts";
import { type AcceptedKeys, withAcceptedKeys } from "./accepted_keys.ts";
import { type ClientOptions, SshClient } from "./client.ts";
import { checkConnectOptions, type ConnectOptions } from "./connect_options.ts";
import { type HostKeyVerifier, type KnownHostsOptions, knownHostsVerifier } from "./host_keys.ts";
import { gatherIdentities } from "./identities.ts";
import { withRsaSize } from "./host_key_size.ts";
import { type Hop, hopFailure, jumpRoute } from "./jump.ts";
import type { KeptHops, ReachedHop } from "./kept_hops.ts";
import { acceptedAlgorithms } from "./key_algorithms.ts";
import { pinnedVerifier } from "./pinned_keys.ts";
import type { Prompter } from "./prompter.ts";
import { proxyRoute } from "./proxy.ts";
import { proxyCommandRoute } from "./proxy_command.ts";
import { withRevokedKeys } from "./revoked_keys.ts";
import { directRoute, type Route, type RouteOptions } from "./route.ts";
import { viaRoute } from "./via.ts";
import { WindowBudget } from "./window_budget.ts";

/** Bits of the smallest RSA key, as in ssh. */
const DEFAULT_RSA_SIZE = 1024;

/** More jump hosts than anybody goes through; a list without an end would never connect. */
const MAX_HOPS = 32;

/** One attempt to connect, of a session that may make many. */
export interface ConnectAttempt {
  /** Gives it up, as the signals of the options do. */
  readonly signal?: AbortSignal;
  /**
   * Called once a server that this attempt logs in to has said anything: what takes a connection
   * and is silent, or hangs up, may be nothing but a kernel, or a load balancer without a server.
   * sshd itself says why it hangs up. A ProxyCommand counts as soon as it runs.
   */
  readonly reached?: () => void;
  /** Milliseconds for a server to take the connection, where it is less than `connectTimeout`. */
  readonly reachTimeout?: number | undefined;
  /** Host keys that the session has accepted so far; added to. */
  readonly hostKeys?: AcceptedKeys;
  /** What all connections of the session share; one of its own by default. */
  readonly windowBudget?: WindowBudget;
  /** Where a jump host is kept that does not lead further now; it is closed where there is none. */
  readonly keptHops?: KeptHops;
  /** Puts something between the servers and whoever they ask, such as a memory. */
  readonly between?: (prompter: Prompter) => Prompter;
  /** Called with each server of the way that has let us in. */
  readonly onLetIn?: (letIn: LetIn) => void;
}

/** A server has let us in. */
export interface LetIn {
  /** Whether it was the last one: the connection is open. */
  readonly opened: boolean;
  /** Whether the way began at a jump host that an earlier attempt had logged in to. */
  readonly goesOn: boolean;
}

/**
 * Connects to a server, through others where there are any, and authenticates.
 *
 * @param options Where to, and with what.
 * @param attempt What concerns this attempt alone.
 * @returns The open connection.
 * @throws {SessionError} When any step fails; the code tells which, and the message which server.
 * @throws {TypeError} When an option is malformed.
 * @throws {RangeError} When a number is out of range.
 */
export async function connectHost(
  options: ConnectOptions,
  attempt: ConnectAttempt = {},
): Promise<SshClient> {
  const way = wayTo(options).map(withoutPerson).map((server) => forAttempt(server, attempt));
  way.forEach(checkConnectOptions);
  const reach = {
    reached: once(attempt.reached),
    reachTimeout: attempt.reachTimeout,
  };
  const windowBudget = attempt.windowBudget ?? new WindowBudget(options.windowBudget);
  let reached = attempt.keptHops?.take();
  const goesOn = reached !== undefined;
  try {
    for (const server of way.slice(reached?.passed ?? 0, -1)) {
      const passed = (reached?.passed ?? 0) + 1;
      const name = hopName(server, passed, way.length - 1);
      try {
        // What a hop carries is read at once, and the last server's windows bound it already.
        const through = { ...reach, windowBudget: new WindowBudget() };
        const client = await connectOne(server, reached?.hop, through, attempt.hostKeys);
        reached = { hop: { client, name }, passed };
        attempt.onLetIn?.({ opened: false, goesOn });
      } catch (error) {
        throw hopFailure(name, error);
      }
    }
    const last = { ...reach, windowBudget };
    const client = await connectOne(way.at(-1) ?? options, reached?.hop, last, attempt.hostKeys);
    attempt.onLetIn?.({ opened: true, goesOn });
    return client;
  } catch (error) {
    if (reached !== undefined) await leave(reached, error, attempt.keptHops);
    throw error;
  }
}

async function leave(reached: ReachedHop, error: unknown, kept?: KeptHops): Promise<void> {
  if (kept === undefined) await reached.hop.client.close();
  else await kept.keep(reached, error);
}

/** The servers in the order to connect to them. */
function wayTo(options: ConnectOptions): ConnectOptions[] {
  const way = [options];
  for (let next = options.jump; next !== undefined; next = next.jump) {
    if (way.length > MAX_HOPS) {
      throw new TypeError(`jump: more than ${MAX_HOPS} servers before ${options.host}`);
    }
    way.unshift(inherit(next, options));
  }
  const [first] = way;
  if (first !== undefined && first !== options) {
    const { proxy, via } = options;
    way[0] = {
      ...(proxy === undefined ? {} : { proxy }),
      ...(via === undefined ? {} : { via }),
      ...first,
    };
  }
  return way;
}

function inherit(hop: ConnectOptions, { signal, prompter }: ConnectOptions): ConnectOptions {
  return {
    ...(signal === undefined ? {} : { signal }),
    ...(prompter === undefined ? {} : { prompter }),
    ...hop,
  };
}

/** With `batchMode` there is nobody to ask. */
function withoutPerson(options: ConnectOptions): ConnectOptions {
  if (!options.batchMode) return options;
  const { prompter: _nobody, ...rest } = options;
  return rest;
}

function forAttempt(options: ConnectOptions, { signal, between }: ConnectAttempt): ConnectOptions {
  const { prompter, signal: own = signal } = options;
  return {
    ...options,
    // Not for one alone: Node keeps a little of each for as long as that one lives.
    ...(own === undefined
      ? {}
      : { signal: signal === undefined || own === signal ? own : AbortSignal.any([signal, own]) }),
    ...(prompter === undefined || between === undefined ? {} : { prompter: between(prompter) }),
  };
}

/** A changed host key may be tried once more, over another connection. */
function once(callback: (() => void) | undefined): () => void {
  return () => {
    callback?.();
    callback = undefined;
  };
}

function hopName(server: ConnectOptions, position: number, count: number): string {
  const { host, port = 22, username = userName() } = server;
  const which = count === 1 ? "" : ` ${position} of ${count}`;
  return `jump host${which} (${username}@${formatAddress({ host, port })})`;
}

/** Connects to one server. */
async function connectOne(
  options: Omit<ConnectOptions, "windowBudget">,
  hop: Hop | undefined,
  reach: Pick<ClientOptions, "reached" | "reachTimeout" | "windowBudget">,
  accepted: AcceptedKeys = new Map(),
): Promise<SshClient> {
  const { port = 22, username = userName() } = options;
  const credentials = {
    identities: await gatherIdentities({
      files: options.identityFiles,
      texts: options.privateKeys,
      certificates: options.certificateFiles,
      only: options.identitiesOnly,
      agent: options.agent,
      passphrase: options.passphrase,
      prompter: options.prompter,
      signal: options.signal,
    }),
    acceptedAlgorithms: acceptedAlgorithms(options.pubkeyAcceptedAlgorithms),
    requiredRsaSize: options.requiredRsaSize,
    password: options.password,
    prompter: options.prompter,
    methods: options.authMethods,
    passwordPrompts: options.passwordPrompts,
  };
  const hostKeys = verifierOf(options, accepted);
  for (;;) {
    const route = await routeTo({ ...options, ...reach, port }, hop);
    const client = { ...options, ...reach, port, username, hostKeys, credentials, route };
    try {
      return await SshClient.connect(client);
    } catch (error) {
      // The next attempt needs the hop again; all else is made anew.
      if (hop === undefined) await route.close();
      if (codeOf(error) !== "host-key-changed" || !hostKeys.hasAnother?.()) throw error;
    }
  }
}

async function routeTo(
  options: Omit<ConnectOptions, "windowBudget"> & RouteOptions,
  hop: Hop | undefined,
): Promise<Route> {
  const { proxyCommand, proxy, via } = options;
  if (hop !== undefined) return await jumpRoute(hop, options);
  if (via !== undefined) return await viaRoute(via, options);
  if (proxyCommand !== undefined) return await proxyCommandRoute(proxyCommand, options);
  const proxied = proxy === undefined ? undefined : await proxyRoute(proxy, options);
  return proxied ?? await directRoute(options);
}

function verifierOf(options: ConnectOptions, accepted: AcceptedKeys): HostKeyVerifier {
  const { hostKeys, revokedHostKeys } = options;
  const verifier = hostKeys === undefined
    ? knownHosts(options, accepted)
    : pinnedVerifier(hostKeys);
  const sized = withRsaSize(verifier, options.requiredRsaSize ?? DEFAULT_RSA_SIZE);
  return revokedHostKeys === undefined ? sized : withRevokedKeys(sized, revokedHostKeys);
}

function knownHosts(options: ConnectOptions, accepted: AcceptedKeys): HostKeyVerifier {
  const { prompter: _nobody, ...asked } = knownHostsOptions(options);
  const verifier = knownHostsVerifier(knownHostsOptions(options));
  // Who wants no checks gets none.
  if (["no", "off"].includes(asked.strict)) return verifier;
  return withAcceptedKeys(verifier, knownHostsVerifier({ ...asked, strict: "yes" }), accepted);
}

function knownHostsOptions(options: ConnectOptions): KnownHostsOptions {
  const { prompter, hostKeyAlias, caSignatureAlgorithms } = options;
  return {
    userFiles: options.userKnownHosts ?? [join(homedir(), ".ssh", "known_hosts")],
    globalFiles: options.globalKnownHosts ?? ["/etc/ssh/ssh_known_hosts"],
    strict: options.strictHostKeyChecking ?? "ask",
    ...(prompter === undefined ? {} : { prompter }),
    ...(hostKeyAlias === undefined ? {} : { hostKeyAlias }),
    ...(caSignatureAlgorithms === undefined ? {} : { caSignatureAlgorithms }),
    hashKnownHosts: options.hashKnownHosts ?? false,
    noHostAuthenticationForLocalhost: options.noHostAuthenticationForLocalhost ?? false,
  };
}
