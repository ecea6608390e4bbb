/**
 * One SSH server as people speak of it: its name, their keys, their known_hosts files.
 *
 * @module
 */
import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { codeOf } from "../errors.ts";
import { userName } from "../runtime.ts";
import type { AlgorithmChoice } from "./algorithms.ts";
import type { AuthMethod } from "./auth.ts";
import { SshClient } from "./client.ts";
import {
  type HostKeyVerifier,
  type KnownHostsOptions,
  knownHostsVerifier,
  type StrictHostKeyChecking,
} from "./host_keys.ts";
import { gatherIdentities } from "./identities.ts";
import { pinnedVerifier } from "./pinned_keys.ts";
import type { Prompter } from "./prompter.ts";
import { withRevokedKeys } from "./revoked_keys.ts";

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
  /** Private keys as text, in OpenSSH's format or PEM; decrypted. */
  readonly privateKeys?: readonly string[];
  /** Whether only the keys named here are offered, whatever the agent holds besides. */
  readonly identitiesOnly?: boolean;
  /** The agent's socket; `SSH_AUTH_SOCK` by default, `"none"` for no agent. */
  readonly agent?: string;
  /** A password that needs no asking. */
  readonly password?: string;
  /** Asks a person for whatever else is needed; without one nobody is asked. */
  readonly prompter?: Prompter;
  /** Authentication methods in the order to try them. */
  readonly authMethods?: readonly AuthMethod[];
  /** How often a password is asked for; 3 by default. */
  readonly passwordPrompts?: number;
  /** Algorithm lists other than the defaults. */
  readonly algorithms?: AlgorithmChoice;
  /** IPv4 or IPv6 only, for the connection to the server and for listeners. */
  readonly family?: 4 | 6;
  /** The local address to connect from. */
  readonly bindAddress?: string;
  /** Milliseconds for each step until the session is open; 30,000 by default. */
  readonly connectTimeout?: number;
  /** Called with what the server says before authentication. */
  readonly onBanner?: (text: string) => void;
  /** Gives the connection up while it is being made. */
  readonly signal?: AbortSignal;
}

/**
 * Connects to a server and authenticates.
 *
 * @param options Where to, and with what.
 * @returns The open connection.
 * @throws {SessionError} When any step fails; the code tells which.
 * @throws {TypeError} When an option is malformed.
 */
export async function connectHost(options: ConnectOptions): Promise<SshClient> {
  const { port = 22, username = userName() } = options;
  if (options.host === "") throw new TypeError("host must not be empty");
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw new RangeError(`port must be a number from 1 to 65535, not ${port}`);
  }
  const hostKeys = verifierOf(options);
  const client = {
    ...options,
    port,
    username,
    hostKeys,
    credentials: {
      identities: await gatherIdentities({
        files: options.identityFiles,
        texts: options.privateKeys,
        only: options.identitiesOnly,
        agent: options.agent ?? process.env["SSH_AUTH_SOCK"],
        prompter: options.prompter,
      }),
      password: options.password,
      prompter: options.prompter,
      methods: options.authMethods,
      passwordPrompts: options.passwordPrompts,
    },
  };
  for (;;) {
    try {
      return await SshClient.connect(client);
    } catch (error) {
      if (codeOf(error) !== "host-key-changed" || !hostKeys.hasAnother?.()) throw error;
    }
  }
}

function verifierOf(options: ConnectOptions): HostKeyVerifier {
  const { hostKeys, revokedHostKeys } = options;
  const verifier = hostKeys === undefined
    ? knownHostsVerifier(knownHostsOptions(options))
    : pinnedVerifier(hostKeys);
  return revokedHostKeys === undefined ? verifier : withRevokedKeys(verifier, revokedHostKeys);
}

function knownHostsOptions(options: ConnectOptions): KnownHostsOptions {
  const { prompter, hostKeyAlias } = options;
  return {
    userFiles: options.userKnownHosts ?? [join(homedir(), ".ssh", "known_hosts")],
    globalFiles: options.globalKnownHosts ?? ["/etc/ssh/ssh_known_hosts"],
    strict: options.strictHostKeyChecking ?? "ask",
    ...(prompter === undefined ? {} : { prompter }),
    ...(hostKeyAlias === undefined ? {} : { hostKeyAlias }),
    hashKnownHosts: options.hashKnownHosts ?? false,
    noHostAuthenticationForLocalhost: options.noHostAuthenticationForLocalhost ?? false,
  };
}
