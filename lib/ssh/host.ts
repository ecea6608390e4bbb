/**
 * One SSH server as people speak of it: its name, their keys, their known_hosts files.
 *
 * @module
 */
import { homedir } from "node:os";
import { join } from "node:path";
import { type Dialer, formatAddress } from "../dialer.ts";
import { codeOf, messageOf, quoted } from "../errors.ts";
import { userName } from "../runtime.ts";
import { type AcceptedKeys, withAcceptedKeys } from "./accepted_keys.ts";
import type { AlgorithmChoice } from "./algorithms.ts";
import type { AuthMethod } from "./auth.ts";
import { checkChannelTimeouts } from "./channel_timeouts.ts";
import { type ClientOptions, SshClient } from "./client.ts";
import {
  type HostKeyVerifier,
  type KnownHostsOptions,
  knownHostsVerifier,
  type StrictHostKeyChecking,
} from "./host_keys.ts";
import { gatherIdentities, type NamedKey } from "./identities.ts";
import { withRsaSize } from "./host_key_size.ts";
import { type Hop, hopFailure, jumpRoute } from "./jump.ts";
import type { KeptHops, ReachedHop } from "./kept_hops.ts";
import { acceptedAlgorithms } from "./key_algorithms.ts";
import { pinnedVerifier } from "./pinned_keys.ts";
import type { Prompter } from "./prompter.ts";
import { parseProxy, proxyRoute } from "./proxy.ts";
import { proxyCommandRoute } from "./proxy_command.ts";
import { checkRekeyLimit, type RekeyLimit } from "./rekey.ts";
import { withRevokedKeys } from "./revoked_keys.ts";
import { directRoute, type Route, type RouteOptions } from "./route.ts";
import { viaRoute } from "./via.ts";
import { checkWindowBudget, WindowBudget } from "./window_budget.ts";

/** Bits of the smallest RSA key, as in ssh. */
const DEFAULT_RSA_SIZE = 1024;

/** More jump hosts than anybody goes through; a list without an end would never connect. */
const MAX_HOPS = 32;

/** How to reach a server, how to know it, and how to be known by it. */
export interface ConnectOptions {
  /** The server's name or address. */
  readonly host: string;
  /** Its port; 22 by default. */
  readonly port?: number;
  /** The user's name there; this user's name by default. */
  readonly username?: string;
  /**
   * How the server is known: its key or keys, each as `SHA256:…` or as a public key line. Without
   * this the known_hosts files decide.
   */
  readonly hostKeys?: string | readonly string[];
  /** known_hosts files; `~/.ssh/known_hosts` by default. Unknown keys are added to the first. */
  readonly userKnownHosts?: readonly string[];
  /** known_hosts files that are only read; `/etc/ssh/ssh_known_hosts` by default. */
  readonly globalKnownHosts?: readonly string[];
  /** What becomes of a key that no file holds (ssh_config(5)); `ask` by default. */
  readonly strictHostKeyChecking?: StrictHostKeyChecking;
  /**
   * The name that the known_hosts files have for the server, instead of its own name and port
   * (ssh_config(5), HostKeyAlias).
   */
  readonly hostKeyAlias?: string;
  /** Whether the names of hosts that are added are hashed (HashKnownHosts); they are not by default. */
  readonly hashKnownHosts?: boolean;
  /**
   * What the authority of a host certificate may sign with (CASignatureAlgorithms): `a,b`, `+a,b`,
   * `-a,b` or `^a,b`, with `*` and `?`.
   */
  readonly caSignatureAlgorithms?: string;
  /**
   * A file of public keys, one a line, that are refused whatever else vouches for them
   * (RevokedHostKeys). When it cannot be read, every host is refused.
   */
  readonly revokedHostKeys?: string;
  /**
   * Whether a server at a loopback address may show any key, where the known_hosts files decide
   * (NoHostAuthenticationForLocalhost); it may not by default.
   */
  readonly noHostAuthenticationForLocalhost?: boolean;
  /** Private key files; ssh's default identities when missing. */
  readonly identityFiles?: readonly string[];
  /**
   * Private keys as text, in OpenSSH's format or PEM; also as CI systems keep them, with `\n`
   * written out or the whole in base64. With a name, messages call the key so.
   */
  readonly privateKeys?: readonly (string | NamedKey)[];
  /** The passphrase of encrypted keys, where it needs no asking. */
  readonly passphrase?: string;
  /** Certificate files; `KEY-cert.pub` beside each key file when missing. */
  readonly certificateFiles?: readonly string[];
  /**
   * Algorithms that keys are used with, as PubkeyAcceptedAlgorithms of ssh_config(5): `a,b`,
   * `+a,b`, `-a,b` or `^a,b`, with `*` and `?`. RSA with SHA-1 is off unless named.
   */
  readonly pubkeyAcceptedAlgorithms?: string;
  /** Bits of the smallest RSA key that is used, or accepted of a server; 1024 by default. */
  readonly requiredRsaSize?: number;
  /** Whether only the keys named here are offered, whatever the agent holds besides. */
  readonly identitiesOnly?: boolean;
  /**
   * The agent's socket, or its named pipe on Windows; `"none"` for no agent, `"$NAME"` for what a
   * variable says. `"SSH_AUTH_SOCK"`, the variable of that name, by default; on Windows, where it
   * is not set, OpenSSH's pipe.
   */
  readonly agent?: string;
  /** A password that needs no asking. */
  readonly password?: string;
  /** Asks a person for whatever else is needed; without one nobody is asked. */
  readonly prompter?: Prompter;
  /** Whether nobody is asked, whatever `prompter` there is (BatchMode). */
  readonly batchMode?: boolean;
  /** Authentication methods in the order to try them. */
  readonly authMethods?: readonly AuthMethod[];
  /** How often a password is asked for; 3 by default. */
  readonly passwordPrompts?: number;
  /** Algorithm lists other than the defaults. */
  readonly algorithms?: AlgorithmChoice;
  /**
   * Whether AES-GCM may be that of the system's libcrypto, which on Deno with `--allow-ffi` is
   * several times faster; it may by default.
   */
  readonly systemCrypto?: boolean;
  /** How long the same keys are used: 1 GiB with ChaCha20, 64 GiB with AES by default. */
  readonly rekeyLimit?: RekeyLimit;
  /**
   * The server to go through (ProxyJump of ssh_config(5)). It may itself have one, and so on: the
   * last of them is the one that this machine connects to. Each is known, and logged in to, by its
   * own options; it takes from here only `signal` and `prompter`, where it has none.
   */
  readonly jump?: ConnectOptions;
  /**
   * A command whose stdin and stdout lead to the server (ProxyCommand of ssh_config(5)), with
   * nothing left to expand. The user's shell runs it.
   */
  readonly proxyCommand?: string;
  /**
   * The proxy to connect through: `socks5://[user:password@]host:port`, the same with `http`, or
   * `env` for what `ALL_PROXY` names and `NO_PROXY` does not except. `socks5h` is the same as
   * `socks5`: the proxy resolves the server's name. With `jump` it is for the first connection,
   * the one that this machine makes.
   */
  readonly proxy?: string;
  /**
   * Another tunnel, or whatever else can dial: its server makes the connection instead of this
   * machine. With `jump` it is for the first connection.
   */
  readonly via?: Pick<Dialer, "dial">;
  /** IPv4 or IPv6 only, for the connection that this machine makes and for listeners. */
  readonly family?: 4 | 6;
  /** The local address to connect from; only addresses of its family are tried. */
  readonly bindAddress?: string;
  /** How often to try to connect, with a second in between; once by default. */
  readonly connectionAttempts?: number;
  /** Whether the system asks a silent server whether it is still there; it does by default. */
  readonly tcpKeepAlive?: boolean;
  /** Milliseconds for each step until the session is open; 30,000 by default. */
  readonly connectTimeout?: number;
  /**
   * Inactivity after which an open channel is closed, in milliseconds by the channel's type
   * (ChannelTimeout of ssh_config(5)): `direct-tcpip`, `forwarded-tcpip`,
   * `direct-streamlocal@openssh.com`, `forwarded-streamlocal@openssh.com`, `session`. A type may
   * hold `*` and `?`; the first that matches counts, and 0 stands for no limit, as no match does.
   * `global`, which no pattern stands for, closes all channels once nothing has moved in any.
   */
  readonly channelTimeouts?: Readonly<Record<string, number>>;
  /**
   * Bytes that servers may have sent and nobody has read yet, over all that this connects to;
   * 67,108,864 (64 MiB) by default. One transfer gets at most half of it for its window, which is
   * what it can carry within a round trip. A window once granted cannot be taken back: where idle
   * ones hold all of it, each channel that moves data and whose reader keeps up has up to a 64th
   * more, 1 MiB at most. With `jump` that of the last server counts.
   */
  readonly windowBudget?: number;
  /** Called with what the server says before authentication. */
  readonly onBanner?: (text: string) => void;
  /** Gives the connection up while it is being made. */
  readonly signal?: AbortSignal;
}

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
  way.forEach(check);
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

function check(options: ConnectOptions, index: number): void {
  const { host, port = 22, jump, proxy, proxyCommand, via } = options;
  if (host === "") throw new TypeError("host must not be empty");
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw new RangeError(`port must be a number from 1 to 65535, not ${port}`);
  }
  acceptedAlgorithms(options.pubkeyAcceptedAlgorithms);
  checkRekeyLimit(options.rekeyLimit ?? {});
  checkChannelTimeouts(options.channelTimeouts ?? {});
  try {
    checkWindowBudget(options.windowBudget);
  } catch (error) {
    const Kind = error instanceof TypeError ? TypeError : RangeError;
    throw new Kind(`windowBudget: ${messageOf(error)}`);
  }
  const { systemCrypto = true }: { systemCrypto?: unknown } = options;
  if (typeof systemCrypto !== "boolean") {
    throw new TypeError(`systemCrypto must be true or false, not ${quoted(systemCrypto)}`);
  }
  if (jump !== undefined && proxyCommand !== undefined) {
    throw new TypeError(`jump and proxyCommand are two ways to ${host}: give one`);
  }
  if (index === 0 && proxy !== undefined && proxyCommand !== undefined) {
    throw new TypeError(`proxy and proxyCommand are two ways to ${host}: give one`);
  }
  if (index === 0 && via !== undefined && (proxy ?? proxyCommand) !== undefined) {
    const other = proxy === undefined ? "proxyCommand" : "proxy";
    throw new TypeError(`via and ${other} are two ways to ${host}: give one`);
  }
  if (proxy === undefined || proxy === "env") return;
  try {
    parseProxy(proxy);
  } catch (error) {
    throw new TypeError(`proxy: ${messageOf(error)}`);
  }
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
