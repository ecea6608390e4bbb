/**
 * What reaching a server takes, and what of it cannot be.
 *
 * @module
 */
import type { Dialer } from "../dialer.ts";
import { messageOf, quoted } from "../errors.ts";
import type { AlgorithmChoice } from "./algorithms.ts";
import type { AuthMethod } from "./auth.ts";
import { checkChannelTimeouts } from "./channel_timeouts.ts";
import type { StrictHostKeyChecking } from "./host_keys.ts";
import type { NamedKey } from "./identities.ts";
import { acceptedAlgorithms } from "./key_algorithms.ts";
import type { Prompter } from "./prompter.ts";
import { parseProxy } from "./proxy.ts";
import { checkRekeyLimit, type RekeyLimit } from "./rekey.ts";
import { checkWindowBudget } from "./window_budget.ts";

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

/**
 * Refuses what is malformed before anything is connected.
 *
 * @param options How to reach one server.
 * @param index Its place on the way, 0 for the first that is connected to.
 * @throws {TypeError} When an option is malformed, or two of them exclude each other.
 * @throws {RangeError} When a number is out of range.
 */
export function checkConnectOptions(options: ConnectOptions, index: number): void {
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
