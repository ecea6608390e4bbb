/**
 * The text of `-L` and what it means, both ways. Nothing here touches the network.
 *
 * @module
 */
import { type Destination, formatAddress } from "../dialer.ts";

/** A local forward, as `-L [bind:]port:host:hostport` of ssh(1) describes it. */
export interface LocalForwardSpec {
  /** A name for it, our extension: `db=0:db.internal:5432`. */
  readonly name?: string;
  /** Where to listen: an address or a name, `*` for all interfaces; loopback where it is missing. */
  readonly bind?: string;
  /** The port to listen on, 1 to 65535; 0 for a free one, our extension. */
  readonly port: number;
  /** Where the server connects to. */
  readonly destination: Destination;
}

const FORM = "[bind:]port:host:hostport";
const NAME = /^([A-Za-z][A-Za-z0-9_-]*)=/;

/**
 * Reads the argument of `-L` (ssh(1)).
 *
 * @param text `[name=][bind:]port:host:hostport`; IPv6 addresses in brackets; an empty bind
 *   address or `*` means all interfaces.
 * @returns The forward.
 * @throws {SyntaxError} With a message that says what is wrong with which part.
 *
 * @example
 * ```ts
 * import { parseLocalForward } from "@fairlead/fairlead";
 *
 * const spec = parseLocalForward("1100:mail.example.com:110");
 * console.log(spec.port, spec.destination.host); // 1100 mail.example.com
 * ```
 */
export function parseLocalForward(text: string): LocalForwardSpec {
  const name = NAME.exec(text)?.[1];
  const fields = splitFields(name === undefined ? text : text.slice(name.length + 1));
  if (fields.length < 3) throw new SyntaxError(`expected ${FORM}`);
  if (fields.length > 4) {
    throw new SyntaxError(`expected ${FORM}; an IPv6 address needs brackets, as in [::1]`);
  }
  const [bind, port, host, hostPort] = fields.length === 4 ? fields : [undefined, ...fields];
  return {
    ...(name === undefined ? {} : { name }),
    ...(bind === undefined ? {} : { bind: parseBind(bind) }),
    port: parsePort(port as string, "listen port", 0),
    destination: {
      host: parseHost(host as string, "host"),
      port: parsePort(hostPort as string, "destination port", 1),
    },
  };
}

/**
 * Prints a forward the way `-L` reads it.
 *
 * @param spec The forward.
 * @returns Its text; {@linkcode parseLocalForward} gives the same forward back.
 *
 * @example
 * ```ts
 * import { formatLocalForward } from "@fairlead/fairlead";
 *
 * const text = formatLocalForward({ port: 8080, destination: { host: "::1", port: 80 } });
 * console.log(text); // 8080:[::1]:80
 * ```
 */
export function formatLocalForward(spec: LocalForwardSpec): string {
  const name = spec.name === undefined ? "" : `${spec.name}=`;
  const listen = spec.bind === undefined
    ? String(spec.port)
    : formatAddress({ host: spec.bind, port: spec.port });
  return `${name}${listen}:${formatAddress(spec.destination)}`;
}

/** Splits at the colons outside of brackets; a bracketed field loses its brackets. */
function splitFields(text: string): string[] {
  const fields: string[] = [];
  for (let rest = text;;) {
    const bracketed = /^\[([^\]]*)\](?=:|$)/.exec(rest);
    if (bracketed === null && rest.startsWith("[")) {
      const reason = rest.includes("]") ? `text after "]"` : `"[" without "]"`;
      throw new SyntaxError(`${reason}; expected ${FORM}`);
    }
    const [whole, field] = bracketed ?? /^([^:]*)/.exec(rest) ?? ["", ""];
    if (bracketed !== null && field === "") throw new SyntaxError("empty brackets");
    fields.push(field as string);
    if (whole.length === rest.length) return fields;
    rest = rest.slice(whole.length + 1);
  }
}

function parseBind(text: string): string {
  return text === "" || text === "*" ? "*" : parseHost(text, "bind address");
}

function parseHost(text: string, what: string): string {
  if (text === "") throw new SyntaxError(`the ${what} is missing`);
  if (text.includes("/")) {
    throw new SyntaxError(`"${text}" looks like a Unix socket, which -L cannot use yet`);
  }
  // What no name, address or zone has; the far side has the last word on the rest.
  if (!/^[^\s\p{Cc}[\]"'\\*?,=@#]+$/u.test(text) || text.length > 255 || text.startsWith("-")) {
    throw new SyntaxError(`${JSON.stringify(text)} is not a ${what}`);
  }
  return text;
}

function parsePort(text: string, what: string, least: 0 | 1): number {
  if (text === "") throw new SyntaxError(`the ${what} is missing`);
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  if (port >= least && port <= 65535) return port;
  throw new SyntaxError(
    `${JSON.stringify(text)} is not a ${what}: expected a number from ${least} to 65535`,
  );
}
