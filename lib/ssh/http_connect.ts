/**
 * HTTP proxies: the CONNECT method (RFC 9110 section 9.3.6), with Basic authentication (RFC 7617).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { formatAddress } from "../dialer.ts";
import { ConnectionError, type ErrorCode } from "../errors.ts";
import { askProxy, type ProxyStep } from "./proxy_answer.ts";
import { printable } from "./reasons.ts";

/**
 * Has an HTTP proxy connect to the destination.
 *
 * @param step The connected socket, where to, and who asks.
 * @throws {ConnectionError} When the proxy refuses; its message goes on where it begins with what
 *   the proxy is called.
 */
export async function connectThroughHttp(step: ProxyStep): Promise<void> {
  const where = formatAddress(step.destination);
  // deno-lint-ignore no-control-regex -- a host that ended the line could add headers
  if (/[\s\x00-\x1f\x7f]/.test(where)) {
    throw new ConnectionError("cannot be asked for a host name with spaces in it", {
      code: "name-not-found",
    });
  }
  const { status, words } = await askProxy(step, request(where, step.proxy), parseAnswer);
  if (status < 200 || status >= 300) throw refusal(status, words, where, step.proxy.username);
}

function request(where: string, { username, password }: ProxyStep["proxy"]): Buffer {
  const lines = [`CONNECT ${where} HTTP/1.1`, `Host: ${where}`];
  if (username !== "" || password !== "") {
    const credentials = Buffer.from(`${username}:${password}`).toString("base64");
    lines.push(`Proxy-Authorization: Basic ${credentials}`);
  }
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`);
}

function parseAnswer(
  received: Buffer,
): { answer: { status: number; words: string }; length: number } | undefined {
  const text = received.toString("latin1");
  const start = "HTTP/1.".slice(0, text.length);
  if (!text.startsWith(start)) {
    throw new ConnectionError("does not speak HTTP", {
      code: "protocol-error",
      hint: "check the proxy's URL: a SOCKS proxy is socks5://host:port",
    });
  }
  const end = /\r?\n\r?\n/.exec(text);
  if (end === null) return undefined;
  const [, status = "0", words = ""] = /^HTTP\/1\.\d (\d{3})(?: ([^\r\n]*))?/.exec(text) ?? [];
  return { answer: { status: Number(status), words }, length: end.index + end[0].length };
}

const REFUSALS: ReadonlyMap<number, readonly [ErrorCode, string, string]> = new Map([
  [403, ["forwarding-prohibited", "does not allow", "ask who runs the proxy to allow it"]],
  [405, ["not-supported", "does not do CONNECT, needed for", "ask who runs the proxy"]],
  [502, ["connect-failed", "could not connect to", "check the server's name and port"]],
  [503, ["connect-failed", "could not connect to", "check the server's name and port"]],
  [504, ["timeout", "got no answer from", "check the server's name and port"]],
]);

function refusal(status: number, words: string, where: string, username: string): ConnectionError {
  const answer = `(HTTP ${status}${words === "" ? "" : ` ${printable(words)}`})`;
  if (status === 407) {
    const [what, hint] = username === ""
      ? ["wants a user name and a password", "give them in the URL: http://user:password@host:port"]
      : ["refused the user name and the password", "check them in the proxy's URL"];
    return new ConnectionError(`${what} ${answer}`, { code: "auth-failed", hint });
  }
  const [code, what, hint] = REFUSALS.get(status) ?? [
    "connect-failed",
    "refused to connect to",
    "check the proxy's URL, and that it allows CONNECT to this port",
  ];
  return new ConnectionError(`${what} ${where} ${answer}`, { code, hint });
}
