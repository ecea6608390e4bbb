/**
 * Connecting from this machine.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { connect, isIP, type NetConnectOpts, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type Address,
  formatAddress,
  isUnix,
  type TcpAddress,
  type UnixAddress,
} from "./dialer.ts";
import { ConnectionError, type ErrorCode, messageOf, systemCodeOf } from "./errors.ts";
import { AllFailed, type Attempt, interleave, race } from "./happy_eyeballs.ts";
import { lendingSocket } from "./lending.ts";
import { logger } from "./log.ts";
import { connectsByNameAlone } from "./runtime.ts";

const log = logger("connect");

/** Milliseconds until an address must have answered, when nothing else is said. */
const DEFAULT_TIMEOUT = 30_000;
/** Milliseconds between two attempts, as ssh_config(5) has it for ConnectionAttempts. */
const ATTEMPT_PAUSE = 1_000;

/** What may be said about one connection. */
export interface ConnectSocketOptions {
  /** IPv4 or IPv6 only. */
  readonly family?: 4 | 6 | undefined;
  /** The local address to connect from. Only addresses of its family are tried. */
  readonly bindAddress?: string | undefined;
  /** Milliseconds for an attempt, whatever the number of addresses; 30,000 by default. */
  readonly timeout?: number | undefined;
  /** How often all of it is tried, with a second in between; once by default. */
  readonly attempts?: number | undefined;
  /** Whether the socket shall be able to lend what it reads; see lib/lending.ts. */
  readonly lends?: boolean | undefined;
  /** Gives the attempt up. */
  readonly signal?: AbortSignal | undefined;
  /** Resolves a name; the system's resolver by default. */
  readonly lookup?: typeof resolveName | undefined;
}

/**
 * Connects to a TCP address or a Unix socket. Of a name's several addresses none is waited for
 * longer than a moment before the next one is tried as well (RFC 8305).
 *
 * @param address Where to.
 * @param options Family, local address, deadline, signal.
 * @returns A connected socket that half-closes, without Nagle's algorithm.
 * @throws {ConnectionError} `name-not-found`, `connect-refused`, `unreachable`, `timeout`,
 *   `connect-failed`, `address-not-available` or `cancelled`.
 */
export async function connectSocket(
  address: Address,
  options: ConnectSocketOptions = {},
): Promise<Socket> {
  const { attempts = 1, signal } = options;
  try {
    const targets = await resolve(address, options);
    for (let left = attempts;; left--) {
      if (signal?.aborted) throw signal.reason;
      try {
        return await connectToAny(targets, options);
      } catch (error) {
        if (left <= 1 || signal?.aborted) throw error;
        log.info("{reason}; trying again", {
          reason: messageOf(connectFailure(error, address, options)),
        });
        await sleep(ATTEMPT_PAUSE, undefined, signal === undefined ? {} : { signal });
      }
    }
  } catch (error) {
    if (signal?.aborted) throw cancelled(address);
    throw error instanceof ConnectionError ? error : connectFailure(error, address, options);
  }
}

function connectToAny(
  targets: readonly Address[],
  options: ConnectSocketOptions,
): Promise<Socket> {
  const { timeout = DEFAULT_TIMEOUT, signal } = options;
  const deadline = performance.now() + timeout;
  return race(
    targets,
    (target) => {
      log.debug("connecting to {address}", { address: formatAddress(target) });
      const left = Math.max(0, deadline - performance.now());
      return attempt(target, options, left);
    },
    (late) => late.destroy(),
    signal,
  );
}

async function resolve(address: Address, options: ConnectSocketOptions): Promise<Address[]> {
  if (isUnix(address) || (connectsByNameAlone() && options.lookup === undefined)) return [address];
  const { bindAddress = "" } = options;
  const bindFamily = isIP(bindAddress);
  const { family = 0 } = options;
  const notFound = (cause?: unknown) =>
    new ConnectionError(
      `could not resolve the host name ${address.host}${
        family === 0 ? "" : ` as an IPv${family} address`
      }`,
      { code: "name-not-found", cause },
    );
  const found = await bounded((options.lookup ?? resolveName)(address.host, family), {
    ...options,
    what: `the host name ${address.host} was not resolved`,
  }).catch((error) => {
    throw error instanceof ConnectionError ? error : notFound(error);
  });
  // An address in place of a name is found whatever its family.
  const wanted = found.filter((one) => family === 0 || one.family === family);
  if (wanted.length === 0) throw notFound();
  const usable = wanted.filter((one) => bindFamily === 0 || one.family === bindFamily);
  if (usable.length === 0) {
    throw new ConnectionError(
      `${address.host} has no IPv${bindFamily} address to connect to from ${bindAddress}`,
      { code: "address-not-available" },
    );
  }
  return interleave(usable).map(({ address: host }) => ({ host, port: address.port }));
}

function resolveName(
  host: string,
  family: 0 | 4 | 6,
): Promise<readonly { readonly address: string; readonly family: number }[]> {
  // The system has sorted them (RFC 6724); its order says which family is the better one.
  return lookup(host, { all: true, family, verbatim: true });
}

/** The resolver takes no signal and answers when it likes. */
function bounded<T>(
  promise: Promise<T>,
  options: ConnectSocketOptions & { readonly what: string },
): Promise<T> {
  const { timeout = DEFAULT_TIMEOUT, signal, what } = options;
  return new Promise((resolve, reject) => {
    const cancel = () => finish(() => reject(signal?.reason));
    const timer = setTimeout(() => {
      const error = new ConnectionError(`${what} within ${timeout / 1000} s`, { code: "timeout" });
      finish(() => reject(error));
    }, timeout);
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
      settle();
    };
    if (signal?.aborted) cancel();
    else signal?.addEventListener("abort", cancel, { once: true });
    promise.then(
      (value) => finish(() => resolve(value)),
      (error) => finish(() => reject(error)),
    );
  });
}

function attempt(
  address: Address,
  options: ConnectSocketOptions,
  timeout: number,
): Attempt<Socket> {
  const { lends = false } = options;
  const how = { ...target(address, options), allowHalfOpen: true, noDelay: true };
  const socket = lends ? lendingSocket((onread) => connect({ ...how, ...onread })) : connect(how);
  const result = new Promise<Socket>((resolve, reject) => {
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      socket.off("error", fail);
      settle();
    };
    const fail = (error: unknown) => {
      finish(() => reject(error));
      // A destroyed socket may still report; nobody is left to care.
      socket.on("error", () => {});
      socket.destroy();
    };
    const timer = setTimeout(
      () => fail(Object.assign(new Error("no answer"), { code: "ETIMEDOUT" })),
      timeout,
    );
    socket.once("error", fail);
    socket.once("connect", () => {
      if (!meetsItself(socket)) return finish(() => resolve(socket));
      // Closed in any other way, it would keep the port from whoever is to listen there.
      socket.resetAndDestroy();
      fail(Object.assign(new Error("nobody listens there"), { code: "ECONNREFUSED" }));
    });
  });
  return { result, cancel: () => socket.destroy(new Error("given up")) };
}

/**
 * Whether a socket was given the very port as its own that it connects to. The system then has both
 * of its ends be the same (RFC 9293 section 3.5, simultaneous open): it reads what it writes.
 */
function meetsItself({ localAddress, localPort, remoteAddress, remotePort }: Socket): boolean {
  return localPort !== undefined && localPort === remotePort && localAddress === remoteAddress;
}

function target(
  address: TcpAddress | UnixAddress,
  { bindAddress, family }: ConnectSocketOptions,
): NetConnectOpts {
  if (isUnix(address)) return { path: address.path };
  return {
    ...address,
    ...(family === undefined || isIP(address.host) !== 0 ? {} : { family }),
    ...(bindAddress === undefined ? {} : { localAddress: bindAddress }),
  };
}

function cancelled(address: Address): ConnectionError {
  const where = formatAddress(address);
  return new ConnectionError(`connecting to ${where} was cancelled`, { code: "cancelled" });
}

/** Which of several addresses' answers says most about what to do. */
const TELLING: readonly ErrorCode[] = [
  "address-not-available",
  "connect-refused",
  "timeout",
  "unreachable",
  "connect-failed",
];

function connectFailure(
  error: unknown,
  address: Address,
  options: ConnectSocketOptions,
): ConnectionError {
  const where = formatAddress(address);
  const failures = error instanceof AllFailed
    ? error.failures as AllFailed<Address>["failures"]
    : [{ candidate: address, error }];
  const answers = failures.map(({ candidate, error }) => {
    const [code, words] = reasonOf(error, options);
    return { code, words, cause: error, from: isUnix(candidate) ? where : candidate.host };
  });
  const { code, cause, words } = answers.reduce((most, answer) =>
    TELLING.indexOf(answer.code) < TELLING.indexOf(most.code) ? answer : most
  );
  if (code === "address-not-available") {
    const message = `this machine has no address ${options.bindAddress} to connect from`;
    return new ConnectionError(message, { code, cause });
  }
  if (answers.every((answer) => answer.words === words)) {
    return new ConnectionError(`${where} ${words}`, { code, cause });
  }
  const all = answers.map(({ from, words }) => `${from} ${words}`).join(", ");
  return new ConnectionError(`${where} could not be connected to: ${all}`, { code, cause });
}

function reasonOf(error: unknown, options: ConnectSocketOptions): [ErrorCode, string] {
  const code = systemCodeOf(error) ?? "";
  // EINVAL is what Deno 2.9 says for an address that no interface has.
  if (options.bindAddress !== undefined && ["EADDRNOTAVAIL", "EINVAL"].includes(code)) {
    return ["address-not-available", "cannot be connected to from there"];
  }
  switch (code) {
    case "ECONNREFUSED":
      return ["connect-refused", "refused the connection"];
    case "ENOENT":
      return ["connect-refused", "does not exist"];
    case "ETIMEDOUT": {
      const seconds = (options.timeout ?? DEFAULT_TIMEOUT) / 1000;
      return ["timeout", `did not answer within ${seconds} s`];
    }
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return ["unreachable", "is unreachable from here"];
    case "EPERM":
      if (!connectsByNameAlone()) break;
      return ["connect-failed", "could not be connected to: Deno's --allow-net does not name it"];
  }
  return ["connect-failed", `could not be connected to: ${messageOf(error)}`];
}
