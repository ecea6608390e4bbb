/**
 * Which of a server's settings can be behind a refusal.
 *
 * The answer itself says little: AllowTcpForwarding, PermitOpen and a key's restrictions all give
 * the same code. But sshd also sends debug messages (SSH_MSG_DEBUG): which rights the key has, and
 * which of its checks said no to a request to listen.
 *
 * @module
 */
import { type Address, formatAddress, isAnyInterface, isLoopback, isUnix } from "../dialer.ts";
import { type ErrorCode, ForwardError, messageOf } from "../errors.ts";

/** The rights of the key that we came in with, as sshd lists them. */
const KEY_OPTIONS = /: key options:(.*)$/;
const DISABLED = /Server has disabled (port|streamlocal) forwarding/;
const NOT_PERMITTED = /port forwarding refused/;
const OVERRIDDEN = /^Forwarding listen address ".*" overridden by server GatewayPorts/;
const FIRST_UNPRIVILEGED_PORT = 1024;

/** What follows "ask its administrator" where the key itself is restricted. */
const KEY_MAY_NOT = "this key may not forward: its line in authorized_keys on the server has " +
  "restrict or no-port-forwarding; ask for port-forwarding there";

/**
 * What to do about a channel that the server does not allow. It names no destination: of many
 * that are refused for one reason, it is said once.
 *
 * @param said The server's debug messages so far.
 * @returns The hint.
 */
export function dialAdvice(said: readonly string[]): string {
  if (keyMayNotForward(said)) return KEY_MAY_NOT;
  // sshd lists permitopen only where AllowTcpForwarding allows local forwarding.
  if (keyOptions(said)?.includes("permitopen")) {
    return "this key may connect only to what the permitopen of its line in authorized_keys on " +
      "the server names; ask to add it (where it is there, PermitOpen or DisableForwarding in " +
      "sshd_config forbids it)";
  }
  const others = keyOptions(said) === undefined ? "; dropbear must run without -j" : "";
  return "ask the server's administrator for AllowTcpForwarding yes or local, and for this " +
    `destination in PermitOpen; DisableForwarding must be no${others}`;
}

/**
 * Whether the key that we came in with keeps us from a Unix socket. The server's settings may do
 * so as well, but sshd does not tell that from a socket that is not there.
 *
 * @param said The server's debug messages so far.
 * @returns What to do about it, where it is so.
 */
export function keySocketAdvice(said: readonly string[]): string | undefined {
  if (keyMayNotForward(said)) return KEY_MAY_NOT;
  if (!keyOptions(said)?.includes("permitopen")) return undefined;
  return "this key may connect to no Unix socket: its line in authorized_keys on the server has " +
    "permitopen; ask for a key without it";
}

/**
 * Why the server does not listen.
 *
 * @param error What ssh2 said, or our own deadline.
 * @param address Where it was to listen.
 * @param answered The server's debug messages since the request.
 * @param said All of them.
 * @returns The error for whoever asked.
 */
export function listenFailure(
  error: unknown,
  address: Address,
  answered: readonly string[],
  said: readonly string[],
): ForwardError {
  if (error instanceof ForwardError) return error;
  if (!/Unable to bind/.test(messageOf(error))) {
    return new ForwardError(`the SSH connection was lost: ${messageOf(error)}`, {
      code: "connection-lost",
      cause: error,
    });
  }
  const where = formatListening(address);
  const prohibited = (hint: string) =>
    new ForwardError(`the server does not allow listening on ${where}`, {
      code: "forwarding-prohibited",
      hint,
      cause: error,
    });
  if (answered.some((line) => DISABLED.test(line))) {
    return prohibited(keyMayNotForward(said) ? KEY_MAY_NOT : disabledAdvice(address));
  }
  if (answered.some((line) => NOT_PERMITTED.test(line))) {
    return prohibited(permitAdvice(address, said));
  }
  return cannotListen(where, address, said, error);
}

/**
 * Whether the server listens more widely than it was asked to, which sshd does with
 * `GatewayPorts yes`.
 *
 * @param address Where it was to listen.
 * @param answered The server's debug messages since the request.
 * @returns A warning, where it is so.
 */
export function overrideWarning(
  address: Address,
  answered: readonly string[],
): string | undefined {
  if (!answered.some((line) => OVERRIDDEN.test(line))) return undefined;
  return `the server listens on all its interfaces, not on ${formatListening(address)} as asked: ` +
    "its GatewayPorts is yes; with clientspecified it would do as asked";
}

function disabledAdvice(address: Address): string {
  if (isUnix(address)) {
    return "ask the server's administrator for AllowStreamLocalForwarding yes or remote; " +
      "DisableForwarding must be no";
  }
  const privileged = address.port > 0 && address.port < FIRST_UNPRIVILEGED_PORT
    ? `; or take a port from ${FIRST_UNPRIVILEGED_PORT} on: only root may listen below it`
    : "";
  return "ask the server's administrator for AllowTcpForwarding yes or remote; " +
    `DisableForwarding must be no${privileged}`;
}

function permitAdvice(address: Address, said: readonly string[]): string {
  if (isUnix(address)) {
    // No list names sockets; sshd gives this answer where it keeps all listening shut.
    return "ask the server's administrator for AllowTcpForwarding yes or remote: sshd wants it " +
      "for Unix sockets, too";
  }
  const where = formatListening(address);
  // sshd compares text: 127.0.0.1 in a list does not match a request for localhost.
  return keyOptions(said)?.includes("permitlisten")
    ? "this key may listen only on what the permitlisten of its line in authorized_keys on the " +
      `server names (or PermitListen in sshd_config is narrower still); ask to add ${where}, ` +
      "spelled like this"
    : `ask the server's administrator for ${where} in PermitListen, spelled like this`;
}

/** sshd would have said if it was forbidden; other servers say nothing either way. */
function cannotListen(
  where: string,
  address: Address,
  said: readonly string[],
  cause: unknown,
): ForwardError {
  const [code, hint] = bindReason(address);
  return new ForwardError(`the server could not listen on ${where}`, {
    code,
    hint: said.length === 0 && hint !== UNSAID ? `${hint}; ${UNSAID}` : hint,
    cause,
  });
}

/** The likeliest reason why a server that tried could not. */
function bindReason(address: Address): [ErrorCode, string] {
  if (isUnix(address)) {
    return [
      "address-in-use",
      "a file of that name may exist there: remove it, or ask the server's administrator for " +
      "StreamLocalBindUnlink yes; or its folder is missing, or the user may not write to it",
    ];
  }
  const { host, port } = address;
  const any = port === 0;
  if (!isAnyInterface(host) && host !== "localhost" && !isLoopback(host)) {
    return any ? ["address-not-available", `check that ${host} is an address of the server`] : [
      "address-in-use",
      `check that ${host} is an address of the server, and the port free there`,
    ];
  }
  if (any) return ["forwarding-prohibited", UNSAID];
  if (port < FIRST_UNPRIVILEGED_PORT) {
    return [
      "privileged-port",
      `only root may listen below ${FIRST_UNPRIVILEGED_PORT} there: choose another port; for ` +
      "root, it is in use",
    ];
  }
  return [
    "address-in-use",
    "the port is probably in use there: choose another, or 0 for a free one",
  ];
}

const UNSAID = "the server does not say why: it may not allow it at all (dropbear must run " +
  "without -k)";

function keyMayNotForward(said: readonly string[]): boolean {
  return keyOptions(said)?.includes("port-forwarding") === false;
}

function keyOptions(said: readonly string[]): string[] | undefined {
  const line = said.findLast((one) => KEY_OPTIONS.test(one));
  return KEY_OPTIONS.exec(line ?? "")?.[1]?.split(" ");
}

/**
 * Where a server listens, in the words of -R and of PermitListen.
 *
 * @param address The address; an empty host means all interfaces.
 * @returns The text, with `*` for an empty host.
 */
export function formatListening(address: Address): string {
  return isUnix(address) || address.host !== ""
    ? formatAddress(address)
    : formatAddress({ host: "*", port: address.port });
}
