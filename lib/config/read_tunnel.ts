/**
 * From what the file says of a tunnel to what is handed on.
 *
 * @module
 */
import { isAbsolute, resolve } from "node:path";
import { FairleadError, messageOf, UsageError } from "../errors.ts";
import { parsePin } from "../ssh/pinned_keys.ts";
import { parseProxy } from "../ssh/proxy.ts";
import { defined } from "../ssh_config/connect_options.ts";
import { readDestination } from "../ssh_config/destination.ts";
import { parseJump } from "../ssh_config/jump_spec.ts";
import { applyKeyword, takesWords } from "../ssh_config/keywords.ts";
import { emptySettings, type ForwardRequest } from "../ssh_config/settings.ts";
import { isNone } from "../ssh_config/values.ts";
import { splitWords } from "../ssh_config/words.ts";
import { ForwardMistake, readForward } from "./forwards.ts";
import { formatPath, type Path, type Problem } from "./problems.ts";
import type { TunnelInput } from "./schema.ts";
import type { SecretNames, SessionConfig, TunnelConfig } from "./tunnel_config.ts";
import { duration, size, truth } from "./values.ts";

/** What a tunnel is read with. */
export interface Context {
  /** The file, an absolute path. */
  readonly file: string;
  /** Its folder, that paths are relative to. */
  readonly folder: string;
  readonly home: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The names of all tunnels of the file. */
  readonly tunnels: readonly string[];
  /** What the place of a key is called: `fairlead.yaml:7: tunnels.mail.port`. */
  readonly where: (path: Path) => string;
  readonly complain: (path: Path, problem: Pick<Problem, "message" | "hint">) => void;
}

/** What the readers of ssh_config call the place; it is told otherwise here. */
const ORIGIN = "fairlead.yaml";

/** A keyword, and where it was said. */
interface Said {
  readonly keyword: string;
  readonly words: readonly string[];
  readonly path: Path;
}

const POLICIES = { strict: "yes", ask: "ask", "accept-new": "accept-new", off: "no" } as const;

/**
 * Reads one tunnel, whose keys have the right form.
 *
 * @param name Its name.
 * @param input What the file says of it, the defaults included.
 * @param pathOf Where a key of it was said: the defaults may have it.
 * @param context Where it stands.
 * @returns The tunnel. What is wrong was complained of.
 */
export function readTunnel(
  name: string,
  input: TunnelInput,
  pathOf: (key?: string) => Path,
  context: Context,
): TunnelConfig {
  const { environment, complain, where } = context;
  const said: Said[] = [];
  const say = (key: string, keyword: string, ...words: string[]) =>
    said.push({ keyword, words, path: pathOf(key) });
  const path = (text: string) => absolute(text, context);
  const attempt = <T>(key: string, read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      complain(pathOf(key), mistakeOf(error));
      return undefined;
    }
  };
  const variable = (key: string, text: string): string | undefined => {
    const [, named] = /^env:(.*)$/s.exec(text) ?? [];
    if (named === undefined) return text;
    const value = environment[named];
    if (value === undefined) complain(pathOf(key), { message: `the variable ${named} is not set` });
    return value;
  };

  const host = attempt("host", () => destination(input, say)) ?? "";
  const jumps = list(input.jump);
  const [jump = "none"] = jumps;
  const via = jumps.length === 1 && context.tunnels.includes(jump) ? jump : undefined;
  if (via === undefined && jumps.length > 0) {
    // Each hop alone, so that nothing of a list is hidden in one word.
    attempt("jump", () => jumps.forEach((hop) => isNone(hop) || parseJump(hop)));
    say("jump", "ProxyJump", jumps.join(","));
  }
  if (via !== undefined) say("jump", "ProxyJump", "none");

  const identities = list(input.identity);
  for (const identity of identities.filter((one) => !one.startsWith("env:"))) {
    say("identity", "IdentityFile", isNone(identity) ? identity : path(identity));
  }
  for (const file of list(input.certificate)) say("certificate", "CertificateFile", path(file));
  if (input.knownHosts !== undefined) {
    say(
      "knownHosts",
      "UserKnownHostsFile",
      ...list(input.knownHosts).map((file) => isNone(file) ? file : path(file)),
    );
  }
  if (input.hostKeyPolicy !== undefined) {
    say("hostKeyPolicy", "StrictHostKeyChecking", POLICIES[input.hostKeyPolicy]);
  }
  if (input.keepalive !== undefined) {
    const time = input.keepalive === "off" ? 0 : duration(String(input.keepalive));
    say("keepalive", "ServerAliveInterval", String(Math.ceil(time / 1000)));
  }
  if (input.connectTimeout !== undefined) {
    const time = duration(String(input.connectTimeout));
    say("connectTimeout", "ConnectTimeout", String(Math.ceil(time / 1000)));
  }
  if (input.keepaliveCount !== undefined) {
    say("keepaliveCount", "ServerAliveCountMax", String(input.keepaliveCount));
  }
  if (input.agent !== undefined) {
    say("agent", "IdentityAgent", isNone(input.agent) ? input.agent : path(input.agent));
  }
  for (
    const [key, keyword] of [["identitiesOnly", "IdentitiesOnly"], [
      "batchMode",
      "BatchMode",
    ]] as const
  ) {
    const value = input[key];
    if (value !== undefined) say(key, keyword, truth(String(value)) ? "yes" : "no");
  }
  for (const [keyword, value] of Object.entries(input.options ?? {})) {
    const text = typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
    attempt(`options.${keyword}`, () => {
      if (!isNew(said, keyword, pathOf(`options.${keyword}`))) return;
      say(`options.${keyword}`, keyword, ...takesWords(keyword) ? splitWords(text) : [text]);
    });
  }
  checkKeywords(said, complain);

  const forwards = (input.forwards ?? []).flatMap((forward, index) => {
    try {
      return [onOurSide(readForward(forward), context)];
    } catch (error) {
      const { key, hint, message } = error instanceof ForwardMistake
        ? error
        : { key: undefined, hint: undefined, message: messageOf(error) };
      const at = [...pathOf("forwards"), index, ...(key === undefined ? [] : [key])];
      complain(at, { message, hint });
      return [];
    }
  });
  const dependsOn = [...new Set([...(via === undefined ? [] : [via]), ...list(input.dependsOn)])];
  return {
    name,
    file: context.file,
    where: where(pathOf()),
    host,
    keywords: said.map(({ path, ...keyword }) => ({ ...keyword, where: where(path) })),
    ...(input.sshConfig === undefined
      ? {}
      : { configFile: isNone(input.sshConfig) ? "none" : path(input.sshConfig) }),
    session: sessionOf(input, attempt, variable),
    ...(via === undefined ? {} : { via }),
    forwards,
    groups: list(input.groups),
    dependsOn,
    secrets: secretNames(input, identities),
  };
}

/**
 * Takes what the defaults say out of the way of what a tunnel says.
 *
 * @returns Whether a keyword of `options` is to be listened to.
 * @throws {SyntaxError} Where a key says the same thing, or it can have no effect.
 */
function isNew(said: Said[], keyword: string, path: Path): boolean {
  const lower = keyword.toLowerCase();
  if (/^(?:local|remote|dynamic)forward$/.test(lower)) {
    throw new SyntaxError("forwards says what a tunnel forwards");
  }
  if (CUMULATIVE.has(lower)) return true;
  const index = said.findIndex((one) => one.keyword.toLowerCase() === lower);
  const other = said[index]?.path;
  if (other === undefined) return true;
  if (other[0] === path[0]) throw new SyntaxError(`${formatPath(other)} says it already`);
  if (path[0] === "defaults") return false;
  said.splice(index, 1);
  return true;
}

/** Of those each counts, and not the first alone. */
const CUMULATIVE: ReadonlySet<string> = new Set(["identityfile", "certificatefile"]);

/** Unix sockets of this machine are relative to the file. */
function onOurSide(request: ForwardRequest, context: Context): ForwardRequest {
  const near = <T extends object>(end: T): T =>
    "path" in end && !isAbsolute(String(end.path))
      ? { ...end, path: absolutePath(String(end.path), context) }
      : end;
  const { kind, spec } = request;
  if (kind !== "remote") {
    return { kind, spec: { ...spec, listen: near(spec.listen) } } as ForwardRequest;
  }
  if (spec.destination === undefined) return request;
  return { kind, spec: { ...spec, destination: near(spec.destination) } };
}

function destination(
  input: TunnelInput,
  say: (key: string, keyword: string, ...words: string[]) => void,
): string {
  const settings = emptySettings();
  try {
    readDestination(settings, input.host);
  } catch (error) {
    // Its advice is for the command line.
    throw new UsageError(messageOf(error), "port: says the port, or ssh://host:22");
  }
  const { user = input.user, port = input.port } = settings;
  if (settings.user !== undefined && input.user !== undefined && settings.user !== input.user) {
    throw new UsageError(`host says the user ${settings.user}, and user says ${input.user}`);
  }
  const other = input.port === undefined ? settings.port : Number(input.port);
  if (settings.port !== undefined && other !== settings.port) {
    throw new UsageError(`host says the port ${settings.port}, and port says ${input.port}`);
  }
  if (user !== undefined) say(settings.user === undefined ? "user" : "host", "User", user);
  if (port !== undefined) say(settings.port === undefined ? "port" : "host", "Port", String(port));
  return settings.host ?? "";
}

/** What another reader refuses is told at its key. */
function checkKeywords(said: readonly Said[], complain: Context["complain"]): void {
  const settings = emptySettings();
  for (const { keyword, words, path } of said) {
    try {
      applyKeyword(settings, keyword, words, ORIGIN);
    } catch (error) {
      const { message, hint } = mistakeOf(error);
      const unknown = message === `-o ${keyword}: no such option`;
      complain(path, {
        message: unknown
          ? "ssh_config(5) has no such keyword"
          : message.replace(`${ORIGIN} `, "found ").replace(`${ORIGIN}: `, ""),
        hint,
      });
    }
  }
}

function sessionOf(
  input: TunnelInput,
  attempt: <T>(key: string, read: () => T) => T | undefined,
  variable: (key: string, text: string) => string | undefined,
): SessionConfig {
  const time = (value: string | number | undefined) =>
    value === undefined ? undefined : duration(String(value));
  const number = (value: string | number | undefined) =>
    value === undefined ? undefined : Number(value);
  const hostKeys = list(input.hostKey).flatMap((text) =>
    (variable("hostKey", text) ?? "").split(/\r?\n/).map((line) => line.trim())
      .filter((line) => line !== "" && !line.startsWith("#"))
  );
  attempt("hostKey", () => hostKeys.forEach(parsePin));
  attempt("hostKey", () => {
    if (input.hostKey === undefined || hostKeys.length > 0) return;
    throw new SyntaxError("there is no host key in it");
  });
  const proxy = input.proxy === undefined || input.proxy === "env"
    ? input.proxy
    : variable("proxy", input.proxy);
  if (proxy !== undefined && proxy !== "env") {
    attempt("proxy", () => checkProxy(proxy, input.proxy));
  }
  return defined({
    wait: input.wait === undefined ? undefined : truth(String(input.wait)),
    retries: number(input.retry),
    retryFor: time(input.retryFor),
    park: time(input.park),
    idleTimeout: time(input.idleTimeout),
    connections: input.connections === "auto" ? input.connections : number(input.connections),
    windowBudget: input.windowBudget === undefined ? undefined : size(String(input.windowBudget)),
    hostKeys: input.hostKey === undefined ? undefined : hostKeys,
    proxy,
  });
}

function checkProxy(url: string, said: string | undefined): void {
  const { password } = parseProxy(url);
  if (password === "" || said?.startsWith("env:")) return;
  throw new SyntaxError("a password belongs into a variable: proxy: env:NAME");
}

function secretNames(input: TunnelInput, identities: readonly string[]): SecretNames {
  const nameOf = (text: string | undefined) => text?.replace(/^env:/, "");
  const variables = identities.filter((one) => one.startsWith("env:")).map((one) => one.slice(4));
  return defined({
    password: nameOf(input.password),
    passphrase: nameOf(input.passphrase),
    identities: variables.length === 0 ? undefined : variables,
  });
}

/** Relative to the file, and nothing in it is expanded any more. */
function absolute(text: string, context: Context): string {
  return absolutePath(text, context).replaceAll("%", "%%");
}

function absolutePath(text: string, { folder, home }: Context): string {
  return /^~(?=\/|\\|$)/.test(text) ? `${home}${text.slice(1)}` : resolve(folder, text);
}

function list(value: string | readonly string[] | undefined): readonly string[] {
  return value === undefined ? [] : typeof value === "string" ? [value] : value;
}

function mistakeOf(error: unknown): Pick<Problem, "message" | "hint"> {
  const hint = error instanceof FairleadError ? error.hint : undefined;
  return { message: messageOf(error), hint };
}
