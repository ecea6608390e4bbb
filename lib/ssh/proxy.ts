/**
 * Proxies that lead to the server: which one, and the way through it.
 *
 * @module
 */
import { isIP } from "node:net";
import process from "node:process";
import { connectSocket } from "../connect.ts";
import { formatAddress, type TcpAddress } from "../dialer.ts";
import { FairleadError, messageOf, SessionError } from "../errors.ts";
import { connectThroughHttp } from "./http_connect.ts";
import type { ProxyStep } from "./proxy_answer.ts";
import { reachTimeout, type Route, type RouteOptions } from "./route.ts";
import { connectThroughSocks } from "./socks_client.ts";

/** A proxy. */
export interface Proxy extends TcpAddress {
  /** Which protocol it speaks: SOCKS5 (RFC 1928) or HTTP CONNECT (RFC 9110 section 9.3.6). */
  readonly kind: "socks5" | "http";
  /** The user's name there. */
  readonly username: string;
  /** The user's password there; it is shown nowhere. */
  readonly password: string;
}

const KINDS: Readonly<Record<string, Proxy["kind"]>> = {
  "socks5:": "socks5",
  "socks5h:": "socks5",
  "http:": "http",
};
const DEFAULT_PORTS = { socks5: 1080, http: 80 };

/**
 * Reads a proxy's URL.
 *
 * `socks5://` and `socks5h://` mean the same: the proxy resolves the server's name, since often
 * nobody else can.
 *
 * @param text `socks5://[user:password@]host[:port]`, or the same with `socks5h` or `http`.
 * @returns The proxy.
 * @throws {SyntaxError} When it is none; the message holds no password.
 */
export function parseProxy(text: string): Proxy {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const kind = url && KINDS[url.protocol];
  if (url?.protocol === "https:") {
    throw new SyntaxError("TLS to the proxy (https://) is not supported");
  }
  if (url === undefined || kind === undefined || url.hostname === "") {
    throw new SyntaxError("expected socks5://host:port or http://host:port");
  }
  if (!["", "/"].includes(url.pathname) || url.search !== "" || url.hash !== "") {
    throw new SyntaxError("expected nothing after the proxy's port");
  }
  const port = url.port === "" ? DEFAULT_PORTS[kind] : Number(url.port);
  if (port === 0) throw new SyntaxError("the proxy's port must be a number from 1 to 65535");
  return {
    kind,
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port,
    username: decode(url.username),
    password: decode(url.password),
  };
}

/**
 * The proxy that the environment names for a server: `ALL_PROXY`, unless `NO_PROXY` excepts it.
 *
 * @param host The server.
 * @param environment The variables, in either case.
 * @returns The proxy's URL; undefined where there is none.
 */
export function proxyFromEnvironment(
  host: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string | undefined {
  const variable = (name: string) => environment[name] || environment[name.toUpperCase()] || "";
  const url = variable("all_proxy");
  return url === "" || isExcepted(host, variable("no_proxy")) ? undefined : url;
}

/**
 * Connects to the server through a proxy.
 *
 * @param given The proxy's URL, or `env` for what the environment says.
 * @param options The server, and how this machine connects to the proxy.
 * @returns The way there; undefined where the environment names no proxy for this server.
 * @throws {SessionError} When the proxy cannot be connected to, or does not lead to the server.
 */
export async function proxyRoute(
  given: string,
  options: RouteOptions,
): Promise<Route | undefined> {
  const url = given === "env" ? proxyFromEnvironment(options.host) : given;
  if (url === undefined) return undefined;
  const proxy = readProxy(url, given);
  const name = `proxy ${proxy.kind}://${formatAddress(proxy)}`;
  const { family, bindAddress, connectionAttempts, tcpKeepAlive = true, signal } = options;
  const timeout = reachTimeout(options);
  const socket = await connectSocket(proxy, {
    family,
    bindAddress,
    attempts: connectionAttempts,
    timeout,
    lends: true,
    signal,
  }).catch((error: FairleadError) => {
    throw proxyFailure("the proxy: ", error);
  });
  socket.setKeepAlive(tcpKeepAlive);
  try {
    const step: ProxyStep = { socket, proxy, destination: options, timeout, signal };
    if (proxy.kind === "socks5") await connectThroughSocks(step);
    else await connectThroughHttp(step);
  } catch (error) {
    socket.destroy();
    throw proxyFailure(`the ${name} `, error);
  }
  return {
    stream: socket,
    explain: (error) => Promise.resolve(explain(error, name)),
    close: () => Promise.resolve(),
    destroy: () => socket.destroy(),
  };
}

function readProxy(url: string, given: string): Proxy {
  try {
    return parseProxy(url);
  } catch (error) {
    const where = given === "env" ? "ALL_PROXY" : "proxy";
    throw new SessionError(`${where}: ${messageOf(error)}`, { code: "config-invalid" });
  }
}

function proxyFailure(prefix: string, error: unknown): SessionError {
  if (!(error instanceof FairleadError)) throw error;
  const { code, message, hint } = error;
  const words = code === "cancelled" ? message : `${prefix}${message}`;
  return new SessionError(words, {
    code,
    hint: hint ?? "check the proxy's URL, and that the proxy is running",
    cause: error.cause,
  });
}

/** Some proxies say yes first and try then. */
function explain(error: SessionError, name: string): SessionError {
  if (error.code !== "connection-lost" && error.code !== "timeout") return error;
  return new SessionError(`${error.message} (through the ${name})`, {
    code: error.code,
    hint: `the ${name} may not reach it${error.hint === undefined ? "" : `; ${error.hint}`}`,
    cause: error,
  });
}

/** As curl reads it: names with what is below them, addresses, or `*` for all. */
function isExcepted(host: string, list: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, "");
  return list.toLowerCase().split(/[\s,]+/).filter((word) => word !== "").some((word) => {
    if (word === "*") return true;
    const except = word.replace(/^\[(.*)\]$/, "$1").replace(/^\./, "").replace(/\.$/, "");
    return name === except || (isIP(name) === 0 && name.endsWith(`.${except}`));
  });
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new SyntaxError("a % in the proxy's user name or password must be written %25");
  }
}
