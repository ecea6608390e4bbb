/**
 * One tunnel of fairlead.yaml, as it is handed from process to process: complete, without variables,
 * with absolute paths, and plain JSON.
 *
 * @module
 */
import type { ForwardRequest } from "../ssh_config/settings.ts";

/** A keyword of ssh_config(5) that the file sets, as `-o` would. */
export interface ConfiguredKeyword {
  /** Spelt as ssh_config(5) does. */
  readonly keyword: string;
  /** Its words; nothing is left to be split. */
  readonly words: readonly string[];
  /** Where it was said, for messages: `fairlead.yaml:7: tunnels.mail.identity`. */
  readonly where: string;
}

/** What no keyword of ssh_config(5) says. Times are milliseconds, sizes bytes. */
export interface SessionConfig {
  readonly wait?: boolean;
  readonly retries?: number;
  readonly retryFor?: number;
  readonly park?: number;
  readonly idleTimeout?: number;
  readonly connections?: number | "auto";
  readonly windowBudget?: number;
  /** The server's host keys, in place of known_hosts files. */
  readonly hostKeys?: readonly string[];
  /** The proxy to connect through; it may hold a password, and is shown to nobody. */
  readonly proxy?: string;
}

/** One tunnel. */
export interface TunnelConfig {
  /** Its name in the file. */
  readonly name: string;
  /** The file that it stands in, an absolute path. */
  readonly file: string;
  /** Where in the file, for messages: `fairlead.yaml:4: tunnels.mail`. */
  readonly where: string;
  /** A host name, or an alias of ssh_config. */
  readonly host: string;
  /** What leads to it besides; what ssh_config says is not said here. */
  readonly keywords: readonly ConfiguredKeyword[];
  /** The ssh_config to read; the usual ones where it is missing. */
  readonly configFile?: string;
  readonly session: SessionConfig;
  /** The tunnel of the same file whose server makes the connection, where one does. */
  readonly via?: string;
  readonly forwards: readonly ForwardRequest[];
  readonly groups: readonly string[];
  /** Tunnels that must be up before it; `via` is among them. */
  readonly dependsOn: readonly string[];
  /** Variables that its secrets are in; their values travel apart from all else. */
  readonly secrets: SecretNames;
}

/** Names of environment variables: `env:NAME` in the file. */
export interface SecretNames {
  readonly password?: string;
  readonly passphrase?: string;
  readonly identities?: readonly string[];
}

/** The values of a tunnel's secrets. They are in no log, no status and no file. */
export interface TunnelSecrets {
  readonly password?: string;
  readonly passphrase?: string;
  readonly privateKeys?: readonly { readonly name: string; readonly text: string }[];
  /** The agent of whoever asks for the tunnel (SSH_AUTH_SOCK). */
  readonly agent?: string;
}
