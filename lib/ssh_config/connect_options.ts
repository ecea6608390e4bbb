/**
 * From what is configured for a host to the options that the library connects with.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import process from "node:process";
import type { AlgorithmChoice } from "../ssh/algorithms.ts";
import type { AuthMethod } from "../ssh/auth.ts";
import type { ConnectOptions } from "../ssh/connect_options.ts";
import { messageOf, systemCodeOf } from "../errors.ts";
import { expanded, type HostConfig } from "./host_config.ts";
import { laterMistake } from "./keywords.ts";
import type { Settings } from "./settings.ts";
import { expandAll, expandCommand, expandHome, PROXY_TOKENS } from "./tokens.ts";
import { isNone, seconds } from "./values.ts";

/** What no file can say: it is the same for every server on the way. */
export type Company = Pick<
  ConnectOptions,
  "prompter" | "onBanner" | "signal" | "privateKeys" | "passphrase" | "systemCrypto"
>;

const GLOBAL_KNOWN_HOSTS = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];
/** The most that a timer can wait, in milliseconds. */
const LONGEST_TIMER = 2_147_483_647;
const AUTH_METHODS: readonly AuthMethod[] = ["publickey", "keyboard-interactive", "password"];

/**
 * The options for one host, but for the servers that lead to it.
 *
 * @param host The host, read by readHost().
 * @param company Whom to ask, and what may end it.
 * @returns What connect() takes.
 * @throws {UsageError} When a value cannot be expanded, or BindAddress has no address.
 */
export async function hostOptions(
  host: HostConfig,
  company: Company = {},
): Promise<ConnectOptions> {
  const { settings, tokens } = host;
  const path = (keyword: string, text: string) =>
    expanded(settings, keyword, () => expandAll(expandHome(text), tokens));
  const paths = (keyword: string, texts: readonly string[] | undefined) =>
    texts?.filter((text) => !isNone(text)).map((text) => path(keyword, text));
  const { prompter, ...rest } = company;
  const { proxyCommand = "none" } = settings;
  return {
    host: host.name,
    port: host.port,
    username: host.user,
    algorithms: algorithms(settings),
    ...rest,
    ...defined({
      prompter: settings.batchMode ? undefined : prompter,
      batchMode: settings.batchMode,
      family: family(settings),
      bindAddress: await boundAddress(host),
      connectTimeout: connectTimeout(settings),
      connectionAttempts: settings.connectionAttempts,
      tcpKeepAlive: settings.tcpKeepAlive,
      proxyCommand: isNone(proxyCommand) ? undefined : expanded(settings, "ProxyCommand", () => {
        return expandCommand(proxyCommand, tokens, PROXY_TOKENS);
      }),
      identityFiles: paths("IdentityFile", settings.identityFiles),
      certificateFiles: paths("CertificateFile", settings.certificateFiles),
      identitiesOnly: settings.identitiesOnly,
      agent: agent(settings),
      authMethods: authMethods(settings),
      passwordPrompts: settings.passwordPrompts,
      pubkeyAcceptedAlgorithms: settings.pubkeyAcceptedAlgorithms,
      requiredRsaSize: settings.requiredRsaSize,
      strictHostKeyChecking: settings.strictHostKeyChecking,
      userKnownHosts: settings.userKnownHosts,
      globalKnownHosts: settings.globalKnownHosts ?? GLOBAL_KNOWN_HOSTS,
      hostKeyAlias: settings.hostKeyAlias,
      hashKnownHosts: settings.hashKnownHosts,
      caSignatureAlgorithms: settings.caSignatureAlgorithms,
      revokedHostKeys: settings.revokedHostKeys === undefined || isNone(settings.revokedHostKeys)
        ? undefined
        : path("RevokedHostKeys", settings.revokedHostKeys),
      noHostAuthenticationForLocalhost: settings.noHostAuthenticationForLocalhost,
      rekeyLimit: rekeyLimit(settings),
      channelTimeouts: channelTimeouts(settings),
      windowBudget: settings.windowBudget,
    }),
  };
}

function family({ addressFamily }: Settings): 4 | 6 | undefined {
  return addressFamily === "inet" ? 4 : addressFamily === "inet6" ? 6 : undefined;
}

function connectTimeout({ connectTimeout = 0 }: Settings): number | undefined {
  return connectTimeout > 0 ? Math.min(connectTimeout * 1000, LONGEST_TIMER) : undefined;
}

async function boundAddress(host: HostConfig): Promise<string | undefined> {
  const { settings } = host;
  const { bindAddress, proxyCommand = "none", proxyJump = "none" } = settings;
  if (bindAddress === undefined) return interfaceAddress(host);
  if (isIP(bindAddress.replace(/%.*/, "")) !== 0) return bindAddress;
  // Where another program or server makes the connection, nobody needs the address.
  if (!isNone(proxyCommand) || !isNone(proxyJump)) return undefined;
  try {
    return (await lookup(bindAddress, { family: family(settings) ?? 0 })).address;
  } catch (error) {
    const reason = `${bindAddress} has no address: ${systemCodeOf(error) ?? messageOf(error)}`;
    throw laterMistake(settings, "BindAddress", new SyntaxError(reason));
  }
}

function interfaceAddress({ settings, name }: HostConfig): string | undefined {
  const { bindInterface } = settings;
  if (bindInterface === undefined) return undefined;
  return expanded(settings, "BindInterface", () => {
    const wanted = family(settings) ?? isIP(name.replace(/%.*/, ""));
    const addresses = (networkInterfaces()[bindInterface] ?? []).map(({ address }) => address);
    const found = addresses.find((address) => wanted === 0 || isIP(address) === wanted);
    if (found !== undefined) return found;
    throw new SyntaxError(`${bindInterface} is no interface here that has an address for this`);
  });
}

function agent({ identityAgent }: Settings): string | undefined {
  if (identityAgent === undefined || identityAgent === "SSH_AUTH_SOCK") return undefined;
  if (isNone(identityAgent)) return "none";
  // A variable that is not set is as good as no agent.
  return identityAgent.startsWith("$")
    ? process.env[identityAgent.slice(1)] ?? "none"
    : identityAgent;
}

function authMethods(settings: Settings): AuthMethod[] | undefined {
  const { preferredAuthentications } = settings;
  const off: Record<AuthMethod, boolean> = {
    publickey: settings.pubkeyAuthentication === "false",
    "keyboard-interactive": settings.kbdInteractiveAuthentication === false,
    password: settings.passwordAuthentication === false,
  };
  const named = preferredAuthentications?.split(",").map((method) => method.trim().toLowerCase());
  if (named === undefined && !Object.values(off).includes(true)) return undefined;
  const wanted = named ?? AUTH_METHODS;
  return AUTH_METHODS.filter((method) => wanted.includes(method) && !off[method])
    .sort((one, other) => wanted.indexOf(one) - wanted.indexOf(other));
}

function algorithms(settings: Settings): AlgorithmChoice {
  const list = (kind: keyof AlgorithmChoice, text: string | undefined) =>
    text === undefined ? {} : { [kind]: text };
  return {
    ...list("kex", settings.kexAlgorithms),
    ...list("cipher", settings.ciphers),
    ...list("hmac", settings.macs),
    ...list("serverHostKey", settings.hostKeyAlgorithms),
  };
}

function rekeyLimit({ rekeyLimit }: Settings): ConnectOptions["rekeyLimit"] | undefined {
  if (rekeyLimit === undefined) return undefined;
  const { bytes, seconds } = rekeyLimit;
  return { ...(bytes === 0 ? {} : { bytes }), ...(seconds === 0 ? {} : { seconds }) };
}

function channelTimeouts({ channelTimeouts = [] }: Settings): ConnectOptions["channelTimeouts"] {
  if (channelTimeouts.length === 0) return undefined;
  const times = new Map<string, number>();
  for (const said of channelTimeouts) {
    const at = said.indexOf("=");
    const pattern = said.slice(0, at);
    // Of the same pattern the first one counts, as among those that match.
    if (!times.has(pattern)) times.set(pattern, seconds(said.slice(at + 1)) * 1000);
  }
  return Object.fromEntries(times);
}

/**
 * Leaves out what was not said, so that the library's defaults hold.
 *
 * @param values What was said, and what was not.
 * @returns What was.
 */
export function defined<T extends object>(
  values: T,
): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [Key in keyof T]?: Exclude<T[Key], undefined> };
}
