/**
 * The texts of `-L`, `-R`, `-D` and `-W` and what they mean, both ways. Nothing here touches the
 * network.
 *
 * @module
 */
import { type Destination, formatAddress, type TcpAddress, type UnixAddress } from "../dialer.ts";

/** Where a forward listens. */
export type ListenAddress = UnixAddress | {
  /** An address or a name, `*` for all interfaces; loopback where it is missing. */
  readonly bind?: string;
  /** The port, 1 to 65535; 0 for a free one (on `-L` and `-D` our extension). */
  readonly port: number;
};

/** What every forward has. */
export interface NamedSpec {
  /** A name for it, our extension: `db=0:db.internal:5432`. */
  readonly name?: string;
}

/** A local forward: `-L` of ssh(1). */
export interface LocalForwardSpec extends NamedSpec {
  /** Where to listen on this machine. */
  readonly listen: ListenAddress;
  /** Where the server connects to. */
  readonly destination: Destination;
}

/** A remote forward: `-R` of ssh(1). */
export interface RemoteForwardSpec extends NamedSpec {
  /** Where the server listens. */
  readonly listen: ListenAddress;
  /** Where this machine connects to; undefined for a SOCKS proxy to this machine's side. */
  readonly destination?: Destination;
}

/** A dynamic forward: `-D` of ssh(1). */
export interface DynamicForwardSpec extends NamedSpec {
  /** Where to listen for SOCKS clients on this machine. */
  readonly listen: ListenAddress;
}

/** Any forward. */
export type ForwardSpec = LocalForwardSpec | RemoteForwardSpec | DynamicForwardSpec;

const LOCAL_FORM = "[bind:]port:host:hostport";
const DYNAMIC_FORM = "[bind:]port";
const NAME = /^([A-Za-z][A-Za-z0-9_-]*)=/;

/**
 * Reads the argument of `-L` (ssh(1)).
 *
 * @param text `[name=][bind:]port:host:hostport`; a path in place of `[bind:]port` or of
 *   `host:hostport` is a Unix socket. IPv6 addresses stand in brackets; an empty bind address or
 *   `*` means all interfaces.
 * @returns The forward.
 * @throws {SyntaxError} With a message that says what is wrong with which part.
 *
 * @example
 * ```ts
 * import { parseLocalForward } from "@fairlead/fairlead";
 *
 * const spec = parseLocalForward("1100:mail.example.com:110");
 * console.log(spec.listen, spec.destination); // { port: 1100 } { host: "mail.example.com", … }
 * ```
 */
export function parseLocalForward(text: string): LocalForwardSpec {
  const { name, fields } = readFields(text, LOCAL_FORM);
  const { listen, destination } = readPair(fields);
  return { ...name, listen, destination };
}

/**
 * Reads the argument of `-R` (ssh(1)).
 *
 * @param text As for `-L`, or `[name=][bind:]port` alone for a SOCKS proxy on the server.
 * @returns The forward.
 * @throws {SyntaxError} With a message that says what is wrong with which part.
 *
 * @example
 * ```ts
 * import { parseRemoteForward } from "@fairlead/fairlead";
 *
 * console.log(parseRemoteForward("8080:localhost:3000").destination); // localhost, 3000
 * console.log(parseRemoteForward("1080").destination); // undefined: a SOCKS proxy
 * ```
 */
export function parseRemoteForward(text: string): RemoteForwardSpec {
  const { name, fields } = readFields(text, LOCAL_FORM);
  if (fields.length <= 2 && !fields.some(isPath)) {
    return { ...name, listen: readListen(fields) };
  }
  const { listen, destination } = readPair(fields);
  return { ...name, listen, destination };
}

/**
 * Reads the argument of `-D` (ssh(1)).
 *
 * @param text `[name=][bind:]port`.
 * @returns The forward.
 * @throws {SyntaxError} With a message that says what is wrong with which part.
 *
 * @example
 * ```ts
 * import { parseDynamicForward } from "@fairlead/fairlead";
 *
 * console.log(parseDynamicForward("[::1]:1080").listen); // { bind: "::1", port: 1080 }
 * ```
 */
export function parseDynamicForward(text: string): DynamicForwardSpec {
  const { name, fields } = readFields(text, DYNAMIC_FORM);
  if (fields.length > 2) throw formError(DYNAMIC_FORM, fields);
  return { ...name, listen: readListen(fields) };
}

/**
 * Reads the argument of `-W` (ssh(1)).
 *
 * @param text `host:port`, or a path.
 * @returns The destination.
 * @throws {SyntaxError} With a message that says what is wrong with which part.
 *
 * @example
 * ```ts
 * import { parseDestination } from "@fairlead/fairlead";
 *
 * console.log(parseDestination("[2001:db8::1]:22")); // { host: "2001:db8::1", port: 22 }
 * ```
 */
export function parseDestination(text: string): Destination {
  const fields = splitFields(text, "host:port");
  const [host = "", port = ""] = fields;
  if (fields.length === 1 && isPath(host)) return { path: host };
  if (fields.length !== 2) throw formError("host:port", fields);
  return readHostPort(host, port);
}

/**
 * Prints a forward the way `-L`, `-R` or `-D` reads it.
 *
 * @param spec The forward.
 * @returns Its text; the reader of its kind gives the same forward back.
 *
 * @example
 * ```ts
 * import { formatForward } from "@fairlead/fairlead";
 *
 * const listen = { port: 8080 };
 * console.log(formatForward({ listen, destination: { host: "::1", port: 80 } })); // 8080:[::1]:80
 * ```
 */
export function formatForward(spec: ForwardSpec): string {
  const listen = formatListen(spec.listen);
  // A path that begins like a name stands in brackets.
  const unnamed = NAME.test(listen) ? `[${listen}]` : listen;
  const destination = "destination" in spec && spec.destination !== undefined
    ? `:${formatEnd(spec.destination)}`
    : "";
  return `${spec.name === undefined ? unnamed : `${spec.name}=${listen}`}${destination}`;
}

/**
 * Prints where a forward listens.
 *
 * @param listen A port with or without a bind address, or a Unix socket.
 * @returns `[bind:]port` or the path.
 */
export function formatListen(listen: ListenAddress): string {
  if ("path" in listen) return formatEnd(listen);
  const { bind, port } = listen;
  return bind === undefined ? String(port) : formatAddress({ host: bind, port });
}

/** A path with a colon, or that begins like a bracketed field, stands in brackets. */
function formatEnd(address: Destination): string {
  const text = formatAddress(address);
  return "path" in address && /^\[|:/.test(text) ? `[${text}]` : text;
}

function readFields(
  text: string,
  form: string,
): { name: { name?: string }; fields: string[] } {
  const name = NAME.exec(text)?.[1];
  const fields = splitFields(name === undefined ? text : text.slice(name.length + 1), form);
  return { name: name === undefined ? {} : { name }, fields };
}

/** `[bind:]port` or a path, then `host:hostport` or a path. */
function readPair(fields: readonly string[]): {
  listen: ListenAddress;
  destination: Destination;
} {
  const last = fields.at(-1) ?? "";
  const toPath = fields.length > 1 && isPath(last);
  const from = fields.slice(0, toPath ? -1 : -2);
  const fromPath = from.length === 1 && isPath(from[0] ?? "");
  if (fields.length < 2 || from.length === 0 || from.length > 2) {
    throw formError(LOCAL_FORM, fields);
  }
  const listen = fromPath ? { path: from[0] as string } : readListen(from);
  if (toPath) return { listen, destination: { path: last } };
  return { listen, destination: readHostPort(fields.at(-2) ?? "", last) };
}

function readListen(fields: readonly string[]): { bind?: string; port: number } {
  const [bind, port] = fields.length === 1 ? [undefined, fields[0]] : fields;
  return {
    ...(bind === undefined ? {} : { bind: readBind(bind) }),
    port: readPort(port ?? "", "listen port", 0),
  };
}

/** Splits at the colons outside of brackets; a bracketed field loses its brackets. */
function splitFields(text: string, form: string): string[] {
  const fields: string[] = [];
  for (let rest = text;;) {
    const bracketed = /^\[([^\]]*)\](?=:|$)/.exec(rest);
    if (bracketed === null && rest.startsWith("[")) {
      const reason = rest.includes("]") ? `text after "]"` : `"[" without "]"`;
      throw new SyntaxError(`${reason}; expected ${form}`);
    }
    const [whole, field] = bracketed ?? /^([^:]*)/.exec(rest) ?? ["", ""];
    if (bracketed !== null && field === "") throw new SyntaxError("empty brackets");
    fields.push(field as string);
    if (whole.length === rest.length) return fields;
    rest = rest.slice(whole.length + 1);
  }
}

function formError(form: string, fields: readonly string[]): SyntaxError {
  const advice = fields.length > 3 && !fields.some(isPath)
    ? "; an IPv6 address needs brackets, as in [::1]"
    : "";
  return new SyntaxError(`expected ${form}${advice}`);
}

/** As in ssh, what holds a slash is a Unix socket. */
function isPath(text: string): boolean {
  return text.includes("/");
}

function readHostPort(host: string, port: string): TcpAddress {
  return { host: readHost(host, "host"), port: readPort(port, "destination port", 1) };
}

function readBind(text: string): string {
  return text === "" || text === "*" ? "*" : readHost(text, "bind address");
}

function readHost(text: string, what: string): string {
  if (text === "") throw new SyntaxError(`the ${what} is missing`);
  // What no name, address or zone has; the far side has the last word on the rest.
  if (!/^[^\s\p{Cc}[\]"'\\*?,=@#/]+$/u.test(text) || text.length > 255 || text.startsWith("-")) {
    throw new SyntaxError(`${JSON.stringify(text)} is not a ${what}`);
  }
  return text;
}

function readPort(text: string, what: string, least: 0 | 1): number {
  if (text === "") throw new SyntaxError(`the ${what} is missing`);
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  if (port >= least && port <= 65535) return port;
  throw new SyntaxError(
    `${JSON.stringify(text)} is not a ${what}: expected a number from ${least} to 65535`,
  );
}
