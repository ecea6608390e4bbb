/**
 * The main command: connect, listen, and forward until told to stop.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { formatAddress } from "../dialer.ts";
import { ForwardError } from "../errors.ts";
import type { LocalForward } from "../forward/local.ts";
import { formatLocalForward } from "../forward/spec.ts";
import type { AuthMethod } from "../ssh/auth.ts";
import { connect, type Tunnel } from "../tunnel/tunnel.ts";
import type { Output } from "./output.ts";
import type { Settings } from "./settings.ts";
import type { StopSignal } from "./signals.ts";
import { terminalPrompter } from "./terminal.ts";
import { UsageError } from "./usage.ts";

/** Milliseconds that open connections have after a signal. */
const DRAIN_TIMEOUT = 5_000;
/** Milliseconds after the second one, for a server that does not answer any more. */
const FORCE_TIMEOUT = 300;

/**
 * Forwards until the session ends or a signal comes.
 *
 * @param settings What the command line asked for.
 * @param output Where to say things.
 * @param stop The signals.
 * @returns The exit status.
 * @throws {FairleadError} When the session or the forwards cannot be had, or the session is lost.
 */
export async function forward(
  settings: Settings,
  output: Output,
  stop: StopSignal,
): Promise<number> {
  if (settings.localForwards.length === 0 && !settings.noCommand) {
    throw new UsageError("nothing to forward", "give at least one -L [bind:]port:host:hostport");
  }
  warnOfConfig(settings, output);
  const tunnel = await open(settings, stop);
  if (tunnel === undefined) return stop.status();
  try {
    await listen(tunnel, settings, output);
  } catch (error) {
    await tunnel.close({ force: true });
    throw error;
  }
  const stopped = new Promise<"stopped">((resolve) => {
    if (stop.first.aborted) resolve("stopped");
    stop.first.addEventListener("abort", () => resolve("stopped"));
  });
  const end = await Promise.race([tunnel.closed, stopped]);
  if (end !== "stopped") {
    if (end !== undefined) throw end;
    return 0;
  }
  await drain(tunnel, output, stop);
  return stop.status();
}

/** @returns undefined where a signal came first. */
async function open(settings: Settings, stop: StopSignal): Promise<Tunnel | undefined> {
  const prompter = settings.batchMode ? undefined : terminalPrompter();
  const { host, hostName, port, user, family, bindAddress, connectTimeout } = settings;
  const given = {
    port,
    username: user,
    family,
    bindAddress,
    connectTimeout,
    strictHostKeyChecking: settings.strictHostKeyChecking,
    userKnownHosts: settings.userKnownHosts,
    globalKnownHosts: settings.globalKnownHosts,
    identityFiles: settings.identityFiles.length === 0 ? undefined : settings.identityFiles,
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
    onBanner: (text) => {
      if (settings.verbosity >= 0 && !settings.json) process.stderr.write(printable(text));
    },
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

/** Without ExitOnForwardFailure one forward's failure leaves the others, as in ssh. */
async function listen(tunnel: Tunnel, settings: Settings, output: Output): Promise<void> {
  const failures: ForwardError[] = [];
  const specs = unique(settings);
  for (const spec of specs) {
    try {
      announce(await tunnel.forwardLocal(spec), output);
    } catch (error) {
      if (!(error instanceof ForwardError) || settings.exitOnForwardFailure) throw error;
      failures.push(error);
    }
  }
  // With none left there is nothing to stay for.
  if (failures.length === specs.length && failures[0] !== undefined) throw failures[0];
  for (const failure of failures) output.error(failure);
}

async function drain(tunnel: Tunnel, output: Output, stop: StopSignal): Promise<void> {
  const connections = tunnel.channelCount;
  if (connections > 0) {
    const who = connections === 1
      ? "1 open connection has"
      : `${connections} open connections have`;
    output.event(
      { event: "draining", connections },
      `stopped listening; ${who} ${DRAIN_TIMEOUT / 1000} s to finish, a second signal ends at once`,
    );
  }
  const ended = tunnel.close({ timeout: DRAIN_TIMEOUT });
  const forced = new Promise<void>((resolve) => {
    const force = () => {
      // An exit alone would end them as if they were complete: their clients must see a reset.
      tunnel.close({ force: true }).then(resolve, resolve);
      setTimeout(resolve, FORCE_TIMEOUT);
    };
    if (stop.second.aborted) force();
    stop.second.addEventListener("abort", force);
  });
  await Promise.race([ended, forced]);
}

function announce(forward: LocalForward, output: Output): void {
  const { addresses, port, spec } = forward;
  const where = addresses.map(formatAddress).join(" and ");
  const to = formatAddress(spec.destination);
  output.event(
    {
      event: "listening",
      forward: formatLocalForward(spec),
      ...(spec.name === undefined ? {} : { name: spec.name }),
      addresses,
      port,
      destination: spec.destination,
    },
    `${spec.name === undefined ? "" : `${spec.name}: `}listening on ${where}, forwarding to ${to}`,
  );
  const open = addresses.find(({ host }) => !isLoopback(host));
  if (open !== undefined) {
    output.warn(`anyone who can reach ${formatAddress(open)} can use this forward`);
  }
}

/** Exact duplicates are taken once, as ssh does. */
function unique(settings: Settings): Settings["localForwards"] {
  const seen = new Map(settings.localForwards.map((spec) => [formatLocalForward(spec), spec]));
  return [...seen.values()];
}

function authMethods(settings: Settings): AuthMethod[] | undefined {
  const { authMethods, disabledMethods } = settings;
  if (authMethods === undefined && disabledMethods.length === 0) return undefined;
  const all: AuthMethod[] = authMethods ?? ["publickey", "keyboard-interactive", "password"];
  return all.filter((method) => !disabledMethods.includes(method));
}

function warnOfConfig(settings: Settings, output: Output): void {
  if (settings.noConfig) return;
  if (!existsSync(join(homedir(), ".ssh", "config"))) return;
  output.warn("~/.ssh/config is not read by this version; -F none silences this warning");
}

function isLoopback(host: string): boolean {
  return host === "::1" || host.startsWith("127.");
}

/** Leaves out what was not said, so that the library's defaults hold. */
function defined<T extends object>(
  values: T,
): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [Key in keyof T]?: Exclude<T[Key], undefined> };
}

/** A banner comes from a server that nobody has verified a user to: no control sequences. */
function printable(text: string): string {
  // deno-lint-ignore no-control-regex -- they are what this is about
  return text.replaceAll("\r\n", "\n").replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, "?");
}
