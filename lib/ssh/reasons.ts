/**
 * What ssh2 and the server report, in words that a person can act on.
 *
 * @module
 */
import { type Destination, formatAddress } from "../dialer.ts";
import {
  ConnectionError,
  type ErrorCode,
  messageOf,
  SessionError,
  systemCodeOf,
} from "../errors.ts";

/** Why a server refuses a channel (RFC 4254 section 5.1). */
const PROHIBITED = 1;
const CONNECT_FAILED = 2;
const RESOURCE_SHORTAGE = 4;

/** SSH_MSG_DISCONNECT reason codes that need words of ours (RFC 4253 section 11.1). */
const TOO_MANY_FAILURES = /too many authentication failures/i;

/**
 * Why a channel was not opened.
 *
 * @param error ssh2's error, with the server's reason code and description.
 * @param destination Where the channel was to lead.
 * @returns The error for whoever dialled.
 */
export function openFailure(
  error: Error & { reason?: unknown },
  destination: Destination,
): ConnectionError {
  const where = formatAddress(destination);
  const description = messageOf(error).replace(/^\(SSH\) Channel open failure: ?/, "");
  const said = description === "" ? "" : ` (${printable(description)})`;
  switch (error.reason) {
    case PROHIBITED:
      return new ConnectionError(`the server does not allow forwarding to ${where}${said}`, {
        code: "forwarding-prohibited",
        hint: "ask its administrator about AllowTcpForwarding and PermitOpen",
        cause: error,
      });
    case CONNECT_FAILED: {
      const [code, words] = connectReason(description);
      return new ConnectionError(`${where} ${words}, seen from the server${said}`, {
        code,
        cause: error,
      });
    }
    case RESOURCE_SHORTAGE:
      return new ConnectionError(`the server has no room for a connection to ${where}${said}`, {
        code: "resource-shortage",
        cause: error,
      });
    case undefined:
      return new ConnectionError("the SSH connection was lost", {
        code: "connection-lost",
        cause: error,
      });
    default:
      return new ConnectionError(`the server did not open a channel to ${where}${said}`, {
        code: "channel-failed",
        cause: error,
      });
  }
}

/**
 * Why a session did not open, or ended.
 *
 * @param error ssh2's error; undefined where the server just hung up.
 * @param server The server, as people write it.
 * @returns The error for whoever owns the session.
 */
export function sessionFailure(
  error: (Error & { level?: string }) | undefined,
  server: string,
): SessionError {
  if (error === undefined) {
    return new SessionError(`${server} closed the connection`, { code: "connection-lost" });
  }
  const message = printable(messageOf(error));
  const mismatch = /no matching (.+)$/.exec(message)?.[1];
  if (mismatch !== undefined) {
    return new SessionError(`${server} and fairlead have no ${mismatch} in common`, {
      code: "algorithm-mismatch",
      hint: "the server may offer only old algorithms; -c, -m or -o KexAlgorithms can allow one",
      cause: error,
    });
  }
  if (TOO_MANY_FAILURES.test(message)) {
    return new SessionError(`${server} hung up: too many authentication failures`, {
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
  const code: ErrorCode = error.level === undefined ? "connection-lost" : "protocol-error";
  // Before there are keys, the usual reason is a server of another kind.
  const hint = error.level === "handshake" ? "check that this port belongs to an SSH server" : "";
  return new SessionError(`${server} does not follow the SSH protocol: ${message}`, {
    code,
    ...(hint === "" ? {} : { hint }),
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

/** What a server sends may reach a terminal: control characters must not. */
function printable(text: string): string {
  // deno-lint-ignore no-control-regex -- they are what this is about
  return text.replace(/[\x00-\x1f\x7f-\x9f]+/g, " ").slice(0, 500).trim();
}
