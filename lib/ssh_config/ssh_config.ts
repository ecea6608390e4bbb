/**
 * ssh_config(5) for programs: from an alias to what connect() takes.
 *
 * @module
 */
import type { TunnelOptions } from "../tunnel/tunnel.ts";
import { readHost } from "./host_config.ts";
import { connectOptions } from "./jump.ts";
import { applyKeyword } from "./keywords.ts";
import { sessionOptions } from "./session_options.ts";
import { emptySettings, type ForwardRequest } from "./settings.ts";

export type { ForwardRequest };

/** What is said of a host besides its name. */
export interface SshConfigOptions {
  /** The file to read, `none` for none; as in ssh, the user's and the system's when missing. */
  readonly file?: string;
  /** Keywords that win over those of the files, as `-o` does: `{ Port: "2222" }`. */
  readonly keywords?: { readonly [keyword: string]: string };
  /** Ends a command of Match exec. */
  readonly signal?: AbortSignal;
}

/** What the files say of a host. */
export interface SshConfig {
  /** What connect() takes; a `prompter` and whatever else is missing can be added. */
  readonly connect: TunnelOptions;
  /** LocalForward, RemoteForward and DynamicForward. */
  readonly forwards: readonly ForwardRequest[];
}

/**
 * Reads ssh_config(5) as `ssh host` would, jump hosts included. Like ssh, it runs the commands of
 * `Match exec` that stand in the user's own files.
 *
 * @param host The name or alias, as on ssh's command line, without a user.
 * @param options The file, and what wins over it.
 * @returns What to connect with, and what to forward.
 * @throws {FairleadError} `config-invalid` when a file is wrong, with file and line; `usage` when a
 *   keyword of the options is.
 *
 * @example
 * ```ts
 * import { connect, sshConfig } from "@fairlead/fairlead";
 *
 * const config = await sshConfig("alias.example.com");
 * await using tunnel = await connect(config.connect);
 * for (const { kind, spec } of config.forwards) {
 *   if (kind === "local") await tunnel.forwardLocal(spec);
 * }
 * console.log("connected to", config.connect.host);
 * ```
 */
export async function sshConfig(host: string, options: SshConfigOptions = {}): Promise<SshConfig> {
  const settings = emptySettings();
  settings.host = host;
  for (const [keyword, value] of Object.entries(options.keywords ?? {})) {
    applyKeyword(settings, keyword, value, `-o ${keyword}`);
  }
  if (options.file !== undefined) settings.configFile = options.file;
  const config = await readHost(settings, { signal: options.signal });
  const connect = { ...await connectOptions(config), ...sessionOptions(config.settings) };
  return { connect, forwards: settings.clearAllForwardings ? [] : settings.forwards };
}
