/**
 * The text of ProxyJump and `-J`: servers to go through, with commas.
 *
 * @module
 */
import { isNone, wholeNumber } from "./values.ts";

/** One server of the list. */
export interface JumpSpec {
  readonly host: string;
  readonly user?: string;
  readonly port?: number;
}

/** More than anybody goes through; each is a connection. */
export const MOST_HOPS = 32;

/**
 * Reads the text.
 *
 * @param text What was given: `[user@]host[:port]` or `ssh://[user@]host[:port]`, with commas.
 * @returns The same without a comment at its end; undefined for `none`.
 * @throws {SyntaxError} When it is malformed.
 */
export function readJump(text: string): string | undefined {
  if (isNone(text)) return undefined;
  const list = text.replace(/#[^]*$/, "").trimEnd();
  parseJump(list);
  return list;
}

/**
 * Takes the list apart.
 *
 * @param list The list.
 * @returns The servers, the first to connect to first.
 * @throws {SyntaxError} When it is malformed.
 */
export function parseJump(list: string): JumpSpec[] {
  const hops = list.split(",").map(parseHop);
  if (hops.length <= MOST_HOPS) return hops;
  throw new SyntaxError(`there are more than ${MOST_HOPS} jump hosts`);
}

/**
 * The host of the server that leads to the destination: what `%j` stands for.
 *
 * @param list The list, or `none`.
 * @returns Its name; undefined where there is none.
 */
export function lastHop(list: string | undefined): string | undefined {
  return list === undefined || isNone(list) ? undefined : parseJump(list).at(-1)?.host;
}

/**
 * Prints a list as `ssh -G` does: the last server in its plain form, the others as they are.
 *
 * @param list The list.
 * @returns The text.
 */
export function printJump(list: string): string {
  const [last = "", ...before] = list.split(",").reverse();
  const { host, user, port } = parseHop(last);
  const name = /:|^[\d.]+$/.test(host) ? `[${host}]` : host;
  const text = `${user === undefined ? "" : `${user}@`}${name}${
    port === undefined ? "" : `:${port}`
  }`;
  return [...before.reverse(), text].join(",");
}

function parseHop(text: string): JumpSpec {
  const uri = /^ssh:\/\/(.*?)\/?$/.exec(text)?.[1];
  const plain = uri ?? text;
  const at = plain.lastIndexOf("@");
  const [, bracketed, name, port] =
    /^(?:\[([^\]]+)\]|([^/:[\]]+))(?::(\d+))?$/.exec(plain.slice(at + 1)) ?? [];
  const host = bracketed ?? name;
  if (/\s/.test(plain)) {
    throw new SyntaxError(`${JSON.stringify(text)}: a name must not hold a space`);
  }
  if (host === undefined || at === 0) {
    throw new SyntaxError(`${JSON.stringify(text)} is no jump host: expected [user@]host[:port]`);
  }
  if (host.startsWith("-") || plain.startsWith("-")) {
    throw new SyntaxError(`${JSON.stringify(text)}: a name must not begin with a dash`);
  }
  const user = at < 0 ? undefined : plain.slice(0, at);
  return {
    host,
    ...(user === undefined ? {} : { user: uri === undefined ? user : decodeUser(user) }),
    ...(port === undefined ? {} : { port: wholeNumber(1, 65_535)(port) }),
  };
}

function decodeUser(user: string): string {
  try {
    return decodeURIComponent(user);
  } catch {
    throw new SyntaxError(`${JSON.stringify(user)} is not a URL's user name`);
  }
}
