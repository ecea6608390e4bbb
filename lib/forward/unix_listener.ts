/**
 * Listening on a Unix socket, as OpenSSH does it (StreamLocalBindMask and StreamLocalBindUnlink of
 * ssh_config(5)).
 *
 * @module
 */
import { existsSync, lstatSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import process from "node:process";
import { ForwardError, messageOf, systemCodeOf } from "../errors.ts";

/** What may be said about a Unix socket that is made here. */
export interface UnixListenOptions {
  /** The permissions to take away from it; 0o177 by default: for this user alone. */
  readonly streamLocalBindMask?: number;
  /** Whether a socket file that is in the way is removed, as long as nobody listens on it. */
  readonly streamLocalBindUnlink?: boolean;
}

/**
 * How a forward's connections are accepted: each side ends by itself. So much is read of one that
 * waits for its dial (Node 20 takes 16 KiB by default): what is not read from does not tell that
 * its peer has gone. Bun may go beyond it by one read.
 */
export const ACCEPTING = { allowHalfOpen: true, highWaterMark: 64 * 1024 } as const;

const DEFAULT_MASK = 0o177;
/** Milliseconds for whoever may listen on a socket file to show it. */
const PROBE_TIMEOUT = 2_000;

/**
 * Listens on a Unix socket. The file is there with its final permissions from its first moment on,
 * and goes when the server closes.
 *
 * @param path The socket's path.
 * @param accept Called with each connection.
 * @param options Permissions, what to do about a file that is in the way, and whether connections
 *   are left unread.
 * @returns The server, listening.
 * @throws {ForwardError} `address-in-use` or `address-not-available`.
 */
export async function listenUnix(
  path: string,
  accept: (socket: Socket) => void,
  options: UnixListenOptions & { readonly pauseOnConnect?: boolean } = {},
): Promise<Server> {
  const { streamLocalBindMask: mask = DEFAULT_MASK, pauseOnConnect = false } = options;
  const bound = () => bind(path, { accept, mask, pauseOnConnect });
  try {
    return await bound();
  } catch (error) {
    if (systemCodeOf(error) !== "EADDRINUSE") throw bindFailure(path, error);
    await clearTheWay(path, options.streamLocalBindUnlink ?? false, error);
  }
  try {
    return await bound();
  } catch (error) {
    throw bindFailure(path, error);
  }
}

function bind(
  path: string,
  { accept, mask, pauseOnConnect }: {
    accept: (socket: Socket) => void;
    mask: number;
    pauseOnConnect: boolean;
  },
): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ ...ACCEPTING, pauseOnConnect }, accept);
    server.once("error", reject);
    // listen() makes the file before it returns: no other moment sees this mask, and none sees
    // the file without it.
    const before = process.umask(mask);
    try {
      server.listen(path, () => {
        server.removeAllListeners("error");
        server.on("error", () => {});
        resolve(server);
      });
    } finally {
      process.umask(before);
    }
  });
}

/** Removes a stale socket where that was asked for; says what is in the way otherwise. */
async function clearTheWay(path: string, unlink: boolean, cause: unknown): Promise<void> {
  const inUse = (reason: string, hint: string) =>
    new ForwardError(`cannot listen on ${path}: ${reason}`, {
      code: "address-in-use",
      hint,
      cause,
    });
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false) {
    throw inUse("a file of that name exists", "it is no socket; choose another path");
  }
  if (await somebodyListens(path)) {
    throw inUse("another program listens there", "choose another path");
  }
  // Whoever had it has taken it away meanwhile.
  if (!existsSync(path)) return;
  if (!unlink) {
    throw inUse(
      "a socket that nobody listens on is left there",
      "remove it, or say -o StreamLocalBindUnlink=yes",
    );
  }
  unlinkSync(path);
}

/**
 * Whether a process listens on a Unix socket: one that was killed leaves its file behind.
 *
 * @param path The socket's path.
 * @returns Whether it does; also where that cannot be found out.
 */
export function somebodyListens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const settle = (listens: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(listens);
    };
    // A full backlog does not answer, but it is somebody's.
    const timer = setTimeout(() => settle(true), PROBE_TIMEOUT);
    socket.once("connect", () => settle(true));
    socket.once("error", (error) => {
      settle(!["ECONNREFUSED", "ENOENT"].includes(systemCodeOf(error) ?? ""));
    });
  });
}

function bindFailure(path: string, error: unknown): ForwardError {
  const code = systemCodeOf(error);
  // Node says EACCES for a folder that is missing.
  const reason = !existsSync(dirname(path))
    ? "its folder does not exist"
    : code === "EACCES"
    ? "permission denied"
    : code === "EINVAL" || code === "ENAMETOOLONG"
    ? "the path is not one that a socket can have; about 100 characters are the limit"
    : messageOf(error);
  return new ForwardError(`cannot listen on ${path}: ${reason}`, {
    code: "address-not-available",
    cause: error,
  });
}
