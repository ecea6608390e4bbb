/**
 * What ssh2 and the server report, in words that a person can act on.
 *
 * @module
 */
import { type Destination, formatAddress, isUnix } from "../dialer.ts";
import {
  codeOf,
  ConnectionError,
  type ErrorCode,
  messageOf,
  SessionError,
  systemCodeOf,
} from "../errors.ts";
import { dialAdvice, keySocketAdvice } from "./refusals.ts";

/** Why a server refuses a channel (RFC 4254 section 5.1). */
const PROHIBITED = 1;
const CONNECT_FAILED = 2;
const UNKNOWN_CHANNEL_TYPE = 3;
const RESOURCE_SHORTAGE = 4;

/** SSH_MSG_DISCONNECT reason codes that need words of ours (RFC 4253 section 11.1). */
const TOO_MANY_FAILURES = /too many authentication failures/i;

/** What ciphers say of a packet that is not what was sent. */
const DAMAGED = /^(?:invalid MAC|bad (?:packet|padding) length)$/i;

/**
 * Why a channel was not opened.
 *
 * @param error ssh2's error, with the server's reason code and description.
 * @param destination Where the channel was to lead.
 * @param said The server's debug messages so far.
 * @returns The error for whoever dialled.
 */
export function openFailure(
  error: Error & { reason?: unknown },
  destination: Destination,
  said: readonly string[],
): ConnectionError {
  const where = formatAddress(destination);
  const description = messageOf(error).replace(/^\(SSH\) Channel open failure: ?/, "");
  const words = description === "" ? "" : ` (${printable(description)})`;
  switch (error.reason) {
    case PROHIBITED:
      return new ConnectionError(`the server does not allow forwarding to ${where}${words}`, {
        code: "forwarding-prohibited",
        hint: dialAdvice(said),
        cause: error,
      });
    case CONNECT_FAILED: {
      if (isUnix(destination)) return socketFailure(where, error, said);
      const [code, what] = connectReason(description);
      return new ConnectionError(`${where} ${what}, seen from the server${words}`, {
        code,
        cause: error,
      });
    }
    case UNKNOWN_CHANNEL_TYPE:
      return new ConnectionError(
        `the server does not know how to forward to ${
          isUnix(destination) ? "a Unix socket" : "a host"
        }: ${where}${words}`,
        { code: "not-supported", cause: error },
      );
    case RESOURCE_SHORTAGE:
      return new ConnectionError(`the server has no room for a connection to ${where}${words}`, {
        code: "resource-shortage",
        cause: error,
      });
    case undefined:
      return new ConnectionError("the SSH connection was lost", {
        code: "connection-lost",
        cause: error,
      });
    default:
      return new ConnectionError(`the server did not open a channel to ${where}${words}`, {
        code: "channel-failed",
        cause: error,
      });
  }
}

/** What to do about a server that cannot be reached. */
const CONNECT_HINTS: { readonly [Code in ErrorCode]?: string } = {
  "address-not-available": "check -b, or leave it out",
  "name-not-found": "check the spelling, or give the server's address",
  "connect-refused": "check the port (-p) and that an SSH server is running there",
  timeout: "a firewall may be dropping the connection; check host and port",
  unreachable: "check the network, a VPN, or -4 and -6",
};

/**
 * Why the server could not be reached.
 *
 * @param error What connecting failed with.
 * @returns The error for whoever wanted a session.
 */
export function connectFailure(error: unknown): SessionError {
  const code = codeOf(error);
  const hint = CONNECT_HINTS[code];
  return new SessionError(messageOf(error), {
    code,
    ...(hint === undefined ? {} : { hint }),
    cause: error instanceof Error ? error.cause : error,
  });
}

/**
 * Why a session did not open, or ended.
 *
 * @param error ssh2's error; undefined where the server just hung up.
 * @param server The server, as people write it.
 * @param offered What it was offered to let the user in, to follow the reason; may be empty.
 * @returns The error for whoever owns the session.
 */
export function sessionFailure(
  error: (Error & { level?: string }) | undefined,
  server: string,
  offered = "",
): SessionError {
  if (error === undefined) {
    return new SessionError(`${server} closed the connection`, { code: "connection-lost" });
  }
  // One of ours, with which the stream was ended.
  if (error instanceof SessionError) return error;
  const message = printable(messageOf(error));
  if (TOO_MANY_FAILURES.test(message)) {
    return new SessionError(`${server} hung up: too many authentication failures${offered}`, {
      code: "auth-failed",
      hint: "too many keys were offered; name the right one with -i and -o IdentitiesOnly=yes",
      cause: error,
    });
  }
  if (message === "Connection lost before handshake") {
    return new SessionError(`${server} hung up before the SSH handshake`, {
      code: "connection-lost",
      hint: "check that this port belongs to an SSH server",
      cause: error,
    });
  }
  if (error.level === "client-socket" || systemCodeOf(error) !== undefined) {
    const reset = ["ECONNRESET", "EPIPE"].includes(systemCodeOf(error) ?? "");
    const reason = reset ? `${server} reset it` : message;
    return new SessionError(`the connection to ${server} was lost: ${reason}`, {
      code: "connection-lost",
      cause: error,
    });
  }
  if (DAMAGED.test(message)) {
    return new SessionError(`what came from ${server} was damaged on the way: ${message}`, {
      code: "connection-lost",
      hint: "nothing of it was passed on; a faulty device on the path does this, or somebody",
      cause: error,
    });
  }
  const code: ErrorCode = error.level === undefined ? "connection-lost" : "protocol-error";
  // Before there are keys, the usual reason is a server of another kind.
  const hint = error.level === "handshake" ? "check that this port belongs to an SSH server" : "";
  return new SessionError(`${server} does not follow the SSH protocol: ${message}`, {
    code,
    ...(hint === "" ? {} : { hint }),
    cause: error,
  });
}

/**
 * Why a session ends whose server changed its host key in the middle of it.
 *
 * @param server The server, as people write it.
 * @returns The error for whoever owns the session.
 */
export function otherHostKey(server: string): SessionError {
  return new SessionError(`${server} showed another host key when keys were exchanged anew`, {
    code: "host-key-changed",
    hint: "somebody may be listening in; ask the server's administrator",
  });
}

/** For a Unix socket sshd gives the same answer whether it may not or cannot connect. */
function socketFailure(where: string, error: Error, said: readonly string[]): ConnectionError {
  const key = keySocketAdvice(said);
  if (key !== undefined) {
    return new ConnectionError(`the server does not allow forwarding to ${where}`, {
      code: "forwarding-prohibited",
      hint: key,
      cause: error,
    });
  }
  return new ConnectionError(`the server does not connect to ${where}`, {
    code: "connect-failed",
    hint: "check that the socket exists there and that the user may use it; or ask the server's " +
      "administrator for yes or local in both AllowStreamLocalForwarding and AllowTcpForwarding, " +
      "and for no PermitOpen: it leaves no Unix socket; DisableForwarding must be no",
    cause: error,
  });
}

function connectReason(description: string): [ErrorCode, string] {
  if (/refused/i.test(description)) return ["connect-refused", "refused the connection"];
  if (/not known|resolve|no address|name/i.test(description)) {
    return ["name-not-found", "could not be resolved"];
  }
  if (/timed? ?out/i.test(description)) return ["timeout", "did not answer"];
  if (/unreachable|no route/i.test(description)) return ["unreachable", "is unreachable"];
  return ["connect-failed", "could not be connected to"];
}

/**
 * Makes what a server sends fit for a terminal: control characters must not reach it.
 *
 * @param text Anything that came from outside.
 * @returns At most 500 characters, on one line.
 */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex -- they are what this is about
  return text.replace(/[\x00-\x1f\x7f-\x9f]+/g, " ").slice(0, 500).trim();
}
