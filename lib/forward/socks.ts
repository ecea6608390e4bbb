/**
 * The server's side of SOCKS 4, 4a and 5: bytes in, events out. Nothing here touches the network,
 * and whatever a client sends, no more than {@linkcode MAX_PENDING} bytes of it are kept.
 *
 * Sources: "SOCKS: A protocol for TCP proxy across firewalls" (Ying-Da Lee) for SOCKS4, "SOCKS 4A:
 * A Simple Extension to SOCKS 4 Protocol" (the same) and RFC 1928 for SOCKS5. As in OpenSSH's
 * channels.c, CONNECT is the only command and "no authentication" the only method.
 *
 * @module
 */
import { Buffer, isUtf8 } from "node:buffer";
import { isIPv6 } from "node:net";
import type { TcpAddress } from "../dialer.ts";
import type { ErrorCode } from "../errors.ts";

/** What a client speaks; 4a is version 4. */
export type SocksVersion = 4 | 5;

/** The method selection of SOCKS5 (RFC 1928 section 3), to be sent. The client's request follows. */
export interface SocksReply {
  readonly kind: "reply";
  /** What to send. */
  readonly bytes: Buffer;
}

/** The client asks for a connection; it waits for {@linkcode grantReply} or `refuseReply`. */
export interface SocksRequest {
  readonly kind: "request";
  /** Which form of answer the client understands. */
  readonly version: SocksVersion;
  /** Where to connect to: a name as it was sent, or an address in its canonical form. */
  readonly destination: TcpAddress;
  /** What the client sent after its request; it belongs to the destination. */
  readonly rest: Buffer;
}

/** Nothing can be done for this client. */
export interface SocksRefusal {
  readonly kind: "refused";
  /** What to send before the end of the connection; empty where no answer would be understood. */
  readonly bytes: Buffer;
  /** Why, for a log line; it quotes nothing that the client chose. */
  readonly reason: string;
  /** What to do next, where there is something to say. */
  readonly hint?: string;
}

/** What comes of a client's bytes. */
export type SocksEvent = SocksReply | SocksRequest | SocksRefusal;

/** The longest user id and 4a name that are read, in bytes, as in OpenSSH. */
const MAX_TEXT = 255;
/** A SOCKS4 request before its user id. */
const HEADER_4 = 8;
/** A SOCKS5 request before its address. */
const HEADER_5 = 4;
/** The most bytes that are kept of a client: a 4a request without its last byte. */
export const MAX_PENDING: number = HEADER_4 + (MAX_TEXT + 1) + MAX_TEXT;

const CONNECT = 1;
const COMMANDS: Readonly<Record<number, string>> = { 2: "BIND", 3: "UDP ASSOCIATE" };

const NO_AUTHENTICATION = 0x00;
const NO_ACCEPTABLE_METHOD = 0xff;

/** Address types (RFC 1928 section 5). */
const IPV4 = 1;
const NAME = 3;
const IPV6 = 4;

/** Replies (RFC 1928 section 6). */
const SUCCEEDED = 0;
const GENERAL_FAILURE = 1;
const NOT_ALLOWED = 2;
const HOST_UNREACHABLE = 4;
const CONNECTION_REFUSED = 5;
const TTL_EXPIRED = 6;
const COMMAND_NOT_SUPPORTED = 7;
const ADDRESS_TYPE_NOT_SUPPORTED = 8;

/** The replies of SOCKS4; its other two are about identd. */
const GRANTED_4 = 90;
const REJECTED_4 = 91;

const REPLIES: Readonly<Partial<Record<ErrorCode, number>>> = {
  "forwarding-prohibited": NOT_ALLOWED,
  // The server does not tell a network without a route from a host: the host it is, either way.
  "unreachable": HOST_UNREACHABLE,
  "name-not-found": HOST_UNREACHABLE,
  "connect-refused": CONNECTION_REFUSED,
  // The RFC has none for it. This is what Tor says.
  "timeout": TTL_EXPIRED,
};

/**
 * Reads what one client sends, up to and with its request.
 *
 * The events depend on the bytes alone, never on how they were cut into chunks; only where `rest`
 * ends is up to the last chunk.
 */
export class SocksServer {
  #pending = Buffer.alloc(0);
  #greeted = false;
  #over = false;

  /** How many bytes wait for those that complete them, at most {@linkcode MAX_PENDING}. */
  get pending(): number {
    return this.#pending.length;
  }

  /** Whether the request or the refusal has come. There are no events after it. */
  get over(): boolean {
    return this.#over;
  }

  /**
   * Takes what the client sent. It never throws.
   *
   * @param chunk The next bytes, any number of them.
   * @returns What comes of them, in order; often nothing.
   */
  push(chunk: Uint8Array): SocksEvent[] {
    if (this.#over) return [];
    const events: SocksEvent[] = [];
    let bytes = Buffer.concat([this.#pending, chunk]);
    let event = this.#greeted ? readRequest5(bytes) : readOpening(bytes);
    if (event?.kind === "reply") {
      this.#greeted = true;
      events.push(event);
      // A client may send its request without waiting for our choice; OpenSSH allows it, too.
      bytes = bytes.subarray(greetingLength(bytes));
      event = readRequest5(bytes);
    }
    if (event !== undefined) {
      this.#over = true;
      events.push(event);
      bytes = Buffer.alloc(0);
    }
    this.#pending = bytes;
    return events;
  }
}

/**
 * The answer to a request that was fulfilled.
 *
 * The address it carries is all zeros, as OpenSSH's: what the server is bound to at the far end
 * is not known here.
 *
 * @param version The request's version.
 * @returns What to send (SOCKS4: 90; SOCKS5: RFC 1928 section 6).
 */
export function grantReply(version: SocksVersion): Buffer {
  return version === 4 ? reply4(GRANTED_4) : reply5(SUCCEEDED);
}

/**
 * The answer to a request that failed.
 *
 * SOCKS5 is told what it has a word for (RFC 1928 section 6): 2, not allowed, for
 * `forwarding-prohibited`; 4, host unreachable, for `unreachable` and `name-not-found`; 5, refused,
 * for `connect-refused`; 6, TTL expired, for `timeout`, as by Tor; 1, general failure, otherwise.
 * SOCKS4 has one word for all of it.
 *
 * @param version The request's version.
 * @param code Why it failed.
 * @returns What to send before the end of the connection.
 */
export function refuseReply(version: SocksVersion, code: ErrorCode): Buffer {
  return version === 4 ? reply4(REJECTED_4) : reply5(REPLIES[code] ?? GENERAL_FAILURE);
}

function readOpening(bytes: Buffer): SocksEvent | undefined {
  switch (bytes[0]) {
    case undefined:
      return undefined;
    case 4:
      return readRequest4(bytes);
    case 5:
      return readGreeting5(bytes);
    default:
      return notSocks(bytes[0]);
  }
}

/** `4, command, port (2), address (4), user id, 0`, and for 4a `name, 0`. */
function readRequest4(bytes: Buffer): SocksEvent | undefined {
  if (bytes.length < HEADER_4) return undefined;
  const refuse = (reason: string) => refused(reply4(REJECTED_4), reason);
  const command = bytes.readUInt8(1);
  if (command !== CONNECT) return refuse(unsupported(command));
  const port = bytes.readUInt16BE(2);
  if (port === 0) return refuse("port 0 cannot be connected to");
  const userEnd = findNul(bytes, HEADER_4);
  if (userEnd === undefined) return undefined;
  if (userEnd === "too far") return refuse("the user id is too long");
  const address = bytes.subarray(4, HEADER_4);
  if (!/^0\.0\.0\.[1-9]/.test(address.join("."))) {
    return request(4, address.join("."), port, bytes.subarray(userEnd + 1));
  }
  const nameEnd = findNul(bytes, userEnd + 1);
  if (nameEnd === undefined) return undefined;
  if (nameEnd === "too far") return refuse("the name is too long");
  const name = hostOf(bytes.subarray(userEnd + 1, nameEnd));
  if (name === undefined) return refuse("the name is not a host name");
  return request(4, name, port, bytes.subarray(nameEnd + 1));
}

/** `5, number of methods, methods` (RFC 1928 section 3). */
function readGreeting5(bytes: Buffer): SocksReply | SocksRefusal | undefined {
  if (bytes.length < greetingLength(bytes)) return undefined;
  const methods = bytes.subarray(2, greetingLength(bytes));
  if (methods.includes(NO_AUTHENTICATION)) {
    return { kind: "reply", bytes: Buffer.of(5, NO_AUTHENTICATION) };
  }
  return refused(
    Buffer.of(5, NO_ACCEPTABLE_METHOD),
    "the client insists on authentication, which there is none of",
    "take the user name and the password out of the client's proxy settings",
  );
}

function greetingLength(bytes: Buffer): number {
  return 2 + (bytes[1] ?? 0);
}

/** `5, command, 0, address type, address, port (2)` (RFC 1928 section 4). */
function readRequest5(bytes: Buffer): SocksRequest | SocksRefusal | undefined {
  if (bytes.length < HEADER_5) return undefined;
  const [version, command = 0, reserved, type = 0] = bytes;
  const refuse = (reason: string, code = GENERAL_FAILURE) => refused(reply5(code), reason);
  if (version !== 5 || reserved !== 0) return refuse("what follows the greeting is no request");
  if (command !== CONNECT) return refuse(unsupported(command), COMMAND_NOT_SUPPORTED);
  // A name has its length before it.
  const start = type === NAME ? HEADER_5 + 1 : HEADER_5;
  const length = addressLength(type, bytes[HEADER_5]);
  if (length === undefined) {
    return refuse(`address type ${type} is unknown`, ADDRESS_TYPE_NOT_SUPPORTED);
  }
  const end = start + length;
  if (bytes.length < end + 2) return undefined;
  const host = formatHost(type, bytes.subarray(start, end));
  if (host === undefined) return refuse("the name is not a host name");
  const port = bytes.readUInt16BE(end);
  if (port === 0) return refuse("port 0 cannot be connected to");
  return request(5, host, port, bytes.subarray(end + 2));
}

/** In bytes; undefined for an unknown type. A name whose length has not come counts as empty. */
function addressLength(type: number, nameLength = 0): number | undefined {
  switch (type) {
    case IPV4:
      return 4;
    case NAME:
      return nameLength;
    case IPV6:
      return 16;
    default:
      return undefined;
  }
}

function formatHost(type: number, address: Buffer): string | undefined {
  if (type === NAME) return hostOf(address);
  return type === IPV4 ? address.join(".") : formatIPv6(address);
}

/** The canonical text (RFC 5952), with the IPv4 form of a mapped address, as inet_ntop(3) has it. */
function formatIPv6(address: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => address.readUInt16BE(2 * index));
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${address.subarray(12).join(".")}`;
  }
  const text = groups.map((group) => group.toString(16)).join(":");
  // The longest run of two zeros or more; the first of equal ones.
  const runs = text.match(/\b0(?::0)+\b/g) ?? [];
  const longest = runs.reduce((best, run) => run.length > best.length ? run : best, "");
  if (longest === "") return text;
  const index = text.search(new RegExp(`\\b${longest}\\b`));
  const [head, tail] = [text.slice(0, index), text.slice(index + longest.length)];
  return `${head.replace(/:$/, "")}::${tail.replace(/^:/, "")}`;
}

/** What a name or an IP address in text may be; the far side has the last word on the rest. */
function hostOf(bytes: Buffer): string | undefined {
  if (!isUtf8(bytes)) return undefined;
  const text = bytes.toString("utf8");
  // The same as for -L; a slash would be a Unix socket's, a dash an option's.
  if (!/^(?!-)[^\s\p{Cc}[\]"'\\*?,=@#/]+$/u.test(text)) return undefined;
  return text.includes(":") && !isIPv6(text) ? undefined : text;
}

/** The index of the zero that ends a text; undefined where more must come first. */
function findNul(bytes: Buffer, start: number): number | "too far" | undefined {
  const index = bytes.subarray(start, start + MAX_TEXT + 1).indexOf(0);
  if (index !== -1) return start + index;
  return bytes.length > start + MAX_TEXT ? "too far" : undefined;
}

function request(version: SocksVersion, host: string, port: number, rest: Buffer): SocksRequest {
  return { kind: "request", version, destination: { host, port }, rest };
}

function refused(bytes: Buffer, reason: string, hint?: string): SocksRefusal {
  return { kind: "refused", bytes, reason, ...(hint === undefined ? {} : { hint }) };
}

/** The first byte alone decides, so that a client is not waited for in vain. */
function notSocks(first: number): SocksRefusal {
  const none = Buffer.alloc(0);
  // CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE.
  if ("CDGHOPT".includes(String.fromCharCode(first))) {
    const hint = "set the program to use a SOCKS proxy, not an HTTP proxy";
    return refused(none, "not SOCKS: looks like an HTTP request", hint);
  }
  if (first === 0x16) {
    const hint = "this is the port of a SOCKS proxy: nothing else can be reached there directly";
    return refused(none, "not SOCKS: looks like TLS", hint);
  }
  return refused(none, `not SOCKS: begins with 0x${first.toString(16).padStart(2, "0")}`);
}

function unsupported(command: number): string {
  return `${COMMANDS[command] ?? `command ${command}`} is not supported, only CONNECT is`;
}

function reply4(code: number): Buffer {
  return Buffer.of(0, code, 0, 0, 0, 0, 0, 0);
}

function reply5(code: number): Buffer {
  return Buffer.of(5, code, 0, IPV4, 0, 0, 0, 0, 0, 0);
}
