/**
 * SOCKS5 proxies, as their client (RFC 1928), with a user name and a password (RFC 1929).
 *
 * The npm package `socks` is not used here. It hands the socket over in flowing mode: what the
 * server says first is lost unless somebody listens at once, and SSH first has files to read. And
 * its errors carry the password.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { isIP } from "node:net";
import { formatAddress, type TcpAddress } from "../dialer.ts";
import { ConnectionError, type ErrorCode } from "../errors.ts";
import { askProxy, type ProxyStep } from "./proxy_answer.ts";

const VERSION = 5;
const NO_AUTHENTICATION = 0;
const USER_PASSWORD = 2;
const NONE_ACCEPTABLE = 0xff;
const CONNECT = 1;
const IPV4 = 1;
const NAME = 3;
const IPV6 = 4;
const MAX_TEXT = 255;

/**
 * Has a SOCKS5 proxy connect to the destination; a name is resolved by the proxy.
 *
 * @param step The connected socket, where to, and who asks.
 * @throws {ConnectionError} When the proxy refuses; its message goes on where it begins with what
 *   the proxy is called.
 */
export async function connectThroughSocks(step: ProxyStep): Promise<void> {
  const { username, password } = step.proxy;
  const known = username !== "" || password !== "";
  const methods = known ? [NO_AUTHENTICATION, USER_PASSWORD] : [NO_AUTHENTICATION];
  const greeting = Buffer.from([VERSION, methods.length, ...methods]);
  const method = await askProxy(step, greeting, (received) => pair(received, VERSION));
  if (method === USER_PASSWORD && known) await authenticate(step);
  else if (method !== NO_AUTHENTICATION) throw wrongMethod(method, known);
  const reply = await askProxy(step, request(step.destination), parseReply);
  if (reply !== 0) throw refusal(reply, formatAddress(step.destination));
}

async function authenticate(step: ProxyStep): Promise<void> {
  const texts = [step.proxy.username, step.proxy.password].map((text) => Buffer.from(text));
  if (texts.some(({ length }) => length > MAX_TEXT)) {
    throw new ConnectionError("takes no user name or password of more than 255 bytes", {
      code: "auth-failed",
    });
  }
  const message = Buffer.concat([
    Buffer.from([1]),
    ...texts.flatMap((text) => [Buffer.from([text.length]), text]),
  ]);
  const status = await askProxy(step, message, (received) => pair(received, 1));
  if (status === 0) return;
  throw new ConnectionError("refused the user name and the password", {
    code: "auth-failed",
    hint: "check them in the proxy's URL",
  });
}

/** An answer of two bytes: the version, and what it says. */
function pair(received: Buffer, version: number): { answer: number; length: number } | undefined {
  const [first, second] = received;
  if (first !== undefined && first !== version) throw notSocks();
  return second === undefined ? undefined : { answer: second, length: 2 };
}

function request({ host, port }: TcpAddress): Buffer {
  return Buffer.concat([
    Buffer.from([VERSION, CONNECT, 0]),
    encodeHost(host),
    Buffer.from([port >> 8, port & 0xff]),
  ]);
}

function encodeHost(host: string): Buffer {
  if (isIP(host) === 4) return Buffer.from([IPV4, ...host.split(".").map(Number)]);
  if (isIP(host) === 6) return Buffer.from([IPV6, ...ipv6Bytes(host)]);
  const name = Buffer.from(host);
  if (name.length > MAX_TEXT) {
    throw new ConnectionError("takes no host name of more than 255 bytes", {
      code: "name-not-found",
    });
  }
  return Buffer.concat([Buffer.from([NAME, name.length]), name]);
}

function ipv6Bytes(host: string): number[] {
  // The URL parser writes the last 32 bits in hexadecimal and the rest in one form.
  const plain = new URL(`http://[${host.replace(/%.*$/, "")}]/`).hostname.slice(1, -1);
  const [head = "", tail] = plain.split("::");
  const groups = (text: string) => text === "" ? [] : text.split(":");
  const missing = 8 - groups(head).length - groups(tail ?? "").length;
  const zeros = tail === undefined ? [] : Array.from({ length: missing }, () => "0");
  return [...groups(head), ...zeros, ...groups(tail ?? "")]
    .map((group) => parseInt(group, 16))
    .flatMap((group) => [group >> 8, group & 0xff]);
}

function parseReply(received: Buffer): { answer: number; length: number } | undefined {
  const [version, reply, , type, first] = received;
  if (version !== undefined && version !== VERSION) throw notSocks();
  // Who refuses may leave it at that.
  if (reply !== undefined && reply !== 0) return { answer: reply, length: received.length };
  if (reply === undefined || type === undefined || first === undefined) return undefined;
  const address = { [IPV4]: 4, [IPV6]: 16, [NAME]: 1 + first }[type];
  if (address === undefined) throw notSocks();
  const length = 4 + address + 2;
  return received.length < length ? undefined : { answer: reply, length };
}

function notSocks(): ConnectionError {
  return new ConnectionError("does not speak SOCKS5", {
    code: "protocol-error",
    hint: "check the proxy's URL: an HTTP proxy is http://host:port",
  });
}

function wrongMethod(method: number, known: boolean): ConnectionError {
  if (method !== NONE_ACCEPTABLE && method !== USER_PASSWORD) return notSocks();
  return new ConnectionError(
    known ? "accepts no user name and password" : "wants a user name and a password",
    {
      code: "auth-failed",
      hint: known
        ? "leave them out of the proxy's URL, or ask who runs it"
        : "give them in the URL: socks5://user:password@host:port",
    },
  );
}

/** The replies of RFC 1928 section 6. */
const REPLIES: ReadonlyMap<number, readonly [ErrorCode, string]> = new Map([
  [1, ["connect-failed", "could not connect to WHERE (general failure)"]],
  [2, ["forwarding-prohibited", "does not allow a connection to WHERE"]],
  [3, ["unreachable", "could not connect to WHERE: network unreachable"]],
  [4, ["unreachable", "could not connect to WHERE: host unreachable"]],
  [5, ["connect-refused", "could not connect to WHERE: connection refused"]],
  [6, ["timeout", "could not connect to WHERE: time to live expired"]],
  [7, ["not-supported", "does not do CONNECT, needed for WHERE"]],
  [8, ["not-supported", "does not know the address type of WHERE"]],
]);

function refusal(reply: number, where: string): ConnectionError {
  const [code, words] = REPLIES.get(reply) ?? ["connect-failed", "could not connect to WHERE"];
  const hint = code === "forwarding-prohibited"
    ? "ask who runs the proxy to allow it"
    : "check the server's name and port";
  return new ConnectionError(
    `${words.replace("WHERE", () => where)} (SOCKS reply ${reply})`,
    { code, hint },
  );
}
