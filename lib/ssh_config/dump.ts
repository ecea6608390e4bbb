/**
 * `-G`: what is configured for a host, as `ssh -G` prints it.
 *
 * @module
 */
import type { HostConfig } from "./host_config.ts";
import { printJump } from "./jump_spec.ts";
import { KEYWORDS } from "./keyword_table.ts";
import { isNone } from "./values.ts";

/** ssh's order. */
const ORDER = `Port AddressFamily BatchMode ControlMaster ClearAllForwardings ExitOnForwardFailure
GatewayPorts HashKnownHosts IdentitiesOnly KbdInteractiveAuthentication
NoHostAuthenticationForLocalhost PasswordAuthentication PubkeyAuthentication SessionType StdinNull
ForkAfterAuthentication StreamLocalBindUnlink StrictHostKeyChecking TCPKeepAlive ConnectionAttempts
NumberOfPasswordPrompts ServerAliveCountMax ServerAliveInterval RequiredRSASize BindAddress
BindInterface Ciphers ControlPath HostKeyAlgorithms HostKeyAlias IdentityAgent IgnoreUnknown
KexAlgorithms CASignatureAlgorithms RemoteCommand LogLevel MACs PreferredAuthentications PubkeyAcceptedAlgorithms Tag
DynamicForward LocalForward RemoteForward IdentityFile CertificateFile GlobalKnownHostsFile
UserKnownHostsFile RevokedHostKeys ChannelTimeout PermitRemoteOpen ConnectTimeout ControlPersist
RekeyLimit StreamLocalBindMask`.split(/\s+/);

/** What `-G` prints besides, at the beginning and the end. */
const OTHERS = ["User", "HostName", "ProxyCommand", "ProxyJump"];

/**
 * The keywords that `-G` prints.
 *
 * @returns Their names, spelt as ssh_config(5) does.
 */
export function dumpedKeywords(): string[] {
  return [...OTHERS, ...ORDER];
}

/**
 * Prints the outcome.
 *
 * @param host The host, read by readHost().
 * @returns One keyword a line.
 */
export function dumpConfig({ settings, name }: HostConfig): string {
  const lines = [`host ${settings.host}`, `user ${settings.user}`, `hostname ${name}`];
  for (const keyword of ORDER) {
    const values = KEYWORDS[keyword]?.print?.(settings) ?? [];
    lines.push(...values.map((value) => `${keyword.toLowerCase()} ${value}`));
  }
  const { proxyJump = "none", proxyCommand = "none" } = settings;
  if (!isNone(proxyJump)) lines.push(`proxyjump ${printJump(proxyJump)}`);
  else if (!isNone(proxyCommand)) lines.push(`proxycommand ${proxyCommand}`);
  return lines.map((line) => `${line}\n`).join("");
}
