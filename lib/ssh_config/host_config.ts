/**
 * What files and command line say together of one host: read, completed and expanded.
 *
 * @module
 */
import { isIP } from "node:net";
import { UsageError } from "../errors.ts";
import { userName } from "../runtime.ts";
import { mapPaths } from "./forwards.ts";
import { lastHop } from "./jump_spec.ts";
import { laterMistake } from "./keywords.ts";
import { isSafeHostName, isSafeUserName } from "./names.ts";
import { readFiles } from "./read.ts";
import type { Settings } from "./settings.ts";
import {
  expandAll,
  expandHome,
  expandTokens,
  HOST_NAME_TOKENS,
  type Tokens,
  tokensOf,
  USER_TOKENS,
} from "./tokens.ts";

/** One host, as far as anything is known of it without connecting. */
export interface HostConfig {
  /** What was said; what `ssh -G` shows expanded is expanded. */
  readonly settings: Settings;
  /** The name or address that is connected to. */
  readonly name: string;
  readonly user: string;
  readonly port: number;
  readonly tokens: Tokens;
}

/** ssh's, in this order. */
const USER_KNOWN_HOSTS = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"];

/**
 * Reads the files for a host.
 *
 * @param settings What the command line says, its destination in `host`; changed in place.
 * @param options A signal that ends a command of Match exec.
 * @returns The host.
 * @throws {UsageError} When anything is wrong; `config-invalid` where it is in a file.
 */
export async function readHost(
  settings: Settings,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<HostConfig> {
  const { host: originalHost = "" } = settings;
  checkNames(settings);
  const pass = { settings, originalHost, host: originalHost, final: false, ...options };
  const wantsFinal = await readFiles(pass);
  const name = hostName(settings, originalHost);
  if (wantsFinal) {
    settings.hostName = name;
    await readFiles({ ...pass, host: name, final: true });
  }
  const port = settings.port ?? 22;
  const sources = {
    host: name,
    originalHost,
    port,
    hostKeyAlias: settings.hostKeyAlias,
    jump: lastHop(settings.proxyJump),
  };
  const user = userOf(settings, tokensOf({ ...sources, user: "" }));
  const tokens = tokensOf({ ...sources, user });
  expandSettings(settings, tokens);
  return { settings, name, user, port, tokens };
}

/**
 * Expands one value of a keyword.
 *
 * @param settings Where it was said.
 * @param keyword The keyword, for the message.
 * @param expand What is to be done.
 * @returns The value.
 * @throws {UsageError} When it cannot be done.
 */
export function expanded<T>(settings: Settings, keyword: string, expand: () => T): T {
  try {
    return expand();
  } catch (error) {
    if (error instanceof SyntaxError) throw laterMistake(settings, keyword, error);
    throw error;
  }
}

function checkNames({ host = "", user }: Settings): void {
  if (host === "" || !isSafeHostName(host)) {
    throw new UsageError(`${JSON.stringify(host)}: the host name holds what a shell acts on`);
  }
  if (user !== undefined && !isSafeUserName(user)) {
    throw new UsageError(`${JSON.stringify(user)}: the user name holds what a shell acts on`);
  }
}

function hostName(settings: Settings, given: string): string {
  const { hostName = given.replaceAll("%", "%%") } = settings;
  return expanded(settings, "HostName", () => {
    const name = expandTokens(hostName, { h: given }, HOST_NAME_TOKENS);
    if (!isSafeHostName(name)) throw new SyntaxError(`${JSON.stringify(name)} is no host name`);
    return canonical(name);
  });
}

/** In lower case; an address in its shortest form, as known_hosts has it. */
function canonical(name: string): string {
  const [address = "", zone] = name.split("%");
  if (isIP(address) !== 6 || address.includes(".")) {
    return zone === undefined ? name.toLowerCase() : name;
  }
  const shortest = new URL(`http://[${address}]`).hostname.slice(1, -1);
  return zone === undefined ? shortest : `${shortest}%${zone}`;
}

function userOf(settings: Settings, tokens: Tokens): string {
  const { user } = settings;
  if (user === undefined) return settings.user = userName();
  // What the command line says is meant as it is.
  if (["-l", undefined].includes(settings.origins.get("User"))) return user;
  return settings.user = expanded(settings, "User", () => {
    const name = user.includes("%") || user.includes("${")
      ? expandAll(user, only(tokens, USER_TOKENS))
      : user;
    if (name === user || isSafeUserName(name)) return name;
    throw new SyntaxError(`${JSON.stringify(name)} is no user name`);
  });
}

function only(tokens: Tokens, letters: string): Tokens {
  return Object.fromEntries(Object.entries(tokens).filter(([letter]) => letters.includes(letter)));
}

function expandSettings(settings: Settings, tokens: Tokens): void {
  const path = (keyword: string, text: string) =>
    expanded(settings, keyword, () => expandAll(expandHome(text), tokens));
  const command = (keyword: string, text: string) =>
    expanded(settings, keyword, () => expandTokens(text, tokens));
  const { identityAgent, controlPath, remoteCommand } = settings;
  if (identityAgent !== undefined) {
    settings.identityAgent = path("IdentityAgent", identityAgent);
  }
  if (controlPath !== undefined) settings.controlPath = path("ControlPath", controlPath);
  if (remoteCommand !== undefined) {
    settings.remoteCommand = command("RemoteCommand", remoteCommand);
  }
  settings.userKnownHosts = (settings.userKnownHosts ?? USER_KNOWN_HOSTS)
    .map((file) => path("UserKnownHostsFile", file));
  settings.forwards = settings.forwards.map((forward) =>
    mapPaths(forward, (text) => command(FORWARD_KEYWORDS[forward.kind], text))
  );
}

const FORWARD_KEYWORDS = {
  local: "LocalForward",
  remote: "RemoteForward",
  dynamic: "DynamicForward",
} as const;
