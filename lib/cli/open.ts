/**
 * The session that a command line asks for.
 *
 * @module
 */
import type { AuthMethod } from "../ssh/auth.ts";
import type { Prompter } from "../ssh/prompter.ts";
import { connect, type Tunnel } from "../tunnel/tunnel.ts";
import type { Output } from "./output.ts";
import type { Settings } from "../ssh_config/settings.ts";
import type { StopSignal } from "./signals.ts";

/**
 * Connects as the settings say.
 *
 * @param settings What the command line asked for.
 * @param prompter Whom to ask, where somebody may be asked.
 * @param output Where the server's banner goes.
 * @param stop The signals.
 * @returns The tunnel; undefined where a signal came first.
 * @throws {SessionError} When the session cannot be had.
 */
export async function open(
  settings: Settings,
  prompter: Prompter | undefined,
  output: Output,
  stop: StopSignal,
): Promise<Tunnel | undefined> {
  const { host, hostName, port, user, family, bindAddress, connectTimeout } = settings;
  const given = {
    port,
    username: user,
    family,
    bindAddress,
    proxy: settings.proxy,
    connectTimeout,
    strictHostKeyChecking: settings.strictHostKeyChecking,
    userKnownHosts: settings.userKnownHosts,
    globalKnownHosts: settings.globalKnownHosts,
    identityFiles: settings.identityFiles,
    identitiesOnly: settings.identitiesOnly,
    agent: settings.identityAgent,
    authMethods: authMethods(settings),
    passwordPrompts: settings.passwordPrompts,
    prompter,
  };
  const opening = connect({
    host: (hostName ?? host) as string,
    ...defined(given),
    algorithms: settings.algorithms,
    onBanner: (text) => output.banner(text),
    signal: stop.first,
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

function authMethods(settings: Settings): AuthMethod[] | undefined {
  const { authMethods, disabledMethods } = settings;
  if (authMethods === undefined && disabledMethods.length === 0) return undefined;
  const all: AuthMethod[] = authMethods ?? ["publickey", "keyboard-interactive", "password"];
  return all.filter((method) => !disabledMethods.includes(method));
}

/** Leaves out what was not said, so that the library's defaults hold. */
function defined<T extends object>(
  values: T,
): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [Key in keyof T]?: Exclude<T[Key], undefined> };
}
