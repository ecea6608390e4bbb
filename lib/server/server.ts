/**
 * An SSH server that only forwards: no shell, no commands, no files.
 *
 * @module
 */
import type { Socket } from "node:net";
import type { TcpAddress } from "../dialer.ts";
import { SessionError } from "../errors.ts";
import type { CloseOptions } from "../forward/connections.ts";
import { Listener } from "../forward/listener.ts";
import { logger } from "../log.ts";
import { ciphersReady } from "../ssh/ciphers/engine.ts";
import { fingerprint } from "../ssh/known_hosts.ts";
import { parseKey, type SshKey } from "../ssh/ssh2.ts";
import type { Authorize, ServerAuthMethod } from "./auth.ts";
import { type ConnectionPolicy, ServerConnection } from "./connection.ts";
import { type Engine, newEngine } from "./engine.ts";
import type { GatewayPorts, StreamLocalUse } from "./policy.ts";

const log = logger("server");

/** Clients that may be on their way in at once: more are hung up on, as sshd's MaxStartups. */
const MAX_UNAUTHENTICATED = 100;
/** Milliseconds for connecting to a destination. */
const DEFAULT_CONNECT_TIMEOUT = 120_000;
/** Milliseconds until a client has authenticated, as sshd's LoginGraceTime. */
const DEFAULT_LOGIN_GRACE_TIME = 120_000;

/** What an SSH server is made of. */
export interface ServeOptions {
  /** Private host keys, in OpenSSH's format or PEM; at most one of a type is used. */
  readonly hostKeys: readonly string[];
  /**
   * Says whether an attempt to authenticate is good enough. A key's signature has been verified
   * before; see {@linkcode OfferedKey.proved} for when it has not been given yet.
   */
  readonly authorize: Authorize;
  /** The methods that clients are told of, and no others are asked about; all by default. */
  readonly authMethods?: readonly ServerAuthMethod[];
  /** The address to listen on; 127.0.0.1 by default, `*` for all interfaces. */
  readonly host?: string;
  /** The port to listen on; a free one by default. */
  readonly port?: number;
  /** Says whether a user may have connections to a destination; every user to all by default. */
  readonly allow?: (destination: TcpAddress, username: string) => boolean;
  /**
   * Says whether a user may have the server listen (`ssh -R`); nobody may by default. The host is
   * where it would listen: `localhost`, an IP address, or `*` for all interfaces, as far as
   * `gatewayPorts` goes. The port is 0 where any will do.
   */
  readonly allowListen?: (address: TcpAddress, username: string) => boolean;
  /**
   * Where remote forwards listen, as GatewayPorts of sshd_config(5); `no` by default: on loopback,
   * whatever clients ask for.
   */
  readonly gatewayPorts?: GatewayPorts;
  /**
   * Says whether a user may connect to a Unix socket, or have the server listen on one. Nobody may
   * by default, unlike with sshd: there users have an account of their own, while here each of
   * them opens files as the server's user, its agent's socket and its containers' included. The
   * path is absolute and without `..`; symbolic links in it are followed.
   */
  readonly allowStreamLocal?: (path: string, username: string, use: StreamLocalUse) => boolean;
  /**
   * Whether a socket file that nobody listens on gives way to a new one, as StreamLocalBindUnlink
   * of sshd_config(5); false by default.
   */
  readonly streamLocalBindUnlink?: boolean;
  /** Milliseconds for connecting to a destination; 120,000 by default. */
  readonly connectTimeout?: number;
  /** Milliseconds until a client must have authenticated; 120,000 by default. */
  readonly loginGraceTime?: number;
}

/**
 * Starts an SSH server that forwards, both ways (`ssh -L`, `-R`, `-D`, `-W`, `-J`), and refuses
 * everything else. Its listeners and its Unix sockets are for whom its options name, and for
 * nobody by default.
 *
 * @param options Its keys, who may come in, and where it listens.
 * @returns The server, listening.
 * @throws {SessionError} `identity-unreadable` when a host key cannot be used.
 * @throws {ForwardError} When the address cannot be listened on.
 */
export async function serve(options: ServeOptions): Promise<SshServer> {
  const parsed = options.hostKeys.map(parseHostKey);
  const hostKeys = parsed.filter((key, index) =>
    parsed.findIndex(({ type }) => type === key.type) === index
  );
  if (hostKeys.length === 0) throw new TypeError("an SSH server needs a host key");
  const connections = new Map<Socket, ServerConnection>();
  const policy: ConnectionPolicy = {
    authorize: options.authorize,
    authMethods: options.authMethods ?? ["publickey", "password", "keyboard-interactive"],
    allow: options.allow ?? (() => true),
    allowListen: options.allowListen ?? (() => false),
    allowStreamLocal: options.allowStreamLocal ?? (() => false),
    gatewayPorts: options.gatewayPorts ?? "no",
    streamLocalBindUnlink: options.streamLocalBindUnlink ?? false,
    connectTimeout: options.connectTimeout ?? DEFAULT_CONNECT_TIMEOUT,
    loginGraceTime: options.loginGraceTime ?? DEFAULT_LOGIN_GRACE_TIME,
  };
  await ciphersReady;
  const engine = newEngine(hostKeys, (connection) => {
    connections.get(connection._sock)?.adopt(connection);
  });
  const { host = "127.0.0.1", port = 0 } = options;
  const listener = await Listener.bind({ bind: host, port }, (socket) => {
    accept(socket, connections, policy, engine);
  });
  return new SshServer(listener, connections, hostKeys);
}

/** An SSH server that listens. Made by {@linkcode serve}. */
export class SshServer implements AsyncDisposable {
  /** Its host keys' public halves, each a line as known_hosts and authorized_keys have it. */
  readonly publicKeys: readonly string[];
  /** The same keys' fingerprints, `SHA256:…`. */
  readonly fingerprints: readonly string[];
  readonly #listener: Listener;
  readonly #address: TcpAddress;
  readonly #connections: ReadonlyMap<Socket, ServerConnection>;

  /** @ignore Made by {@linkcode serve}. */
  constructor(
    listener: Listener,
    connections: ReadonlyMap<Socket, ServerConnection>,
    hostKeys: readonly SshKey[],
  ) {
    this.#listener = listener;
    this.#address = listener.addresses[0] as TcpAddress;
    this.#connections = connections;
    const blobs = hostKeys.map((key) => key.getPublicSSH());
    this.publicKeys = hostKeys.map((key) => `${key.type} ${key.getPublicSSH().toString("base64")}`);
    this.fingerprints = blobs.map(fingerprint);
  }

  /** The address it listens on. */
  get host(): string {
    return this.#address.host;
  }

  /** The port it listens on; the one that was chosen, where 0 was asked for. */
  get port(): number {
    return this.#address.port;
  }

  /** Clients that are connected, those on their way in or out included. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Channels of all clients that are open, being opened, or waiting for the client's CLOSE. */
  get channelCount(): number {
    const clients = [...this.#connections.values()];
    return clients.reduce((sum, client) => sum + client.channelCount, 0);
  }

  /** Listeners that clients have here. */
  get listenerCount(): number {
    const clients = [...this.#connections.values()];
    return clients.reduce((sum, client) => sum + client.listenerCount, 0);
  }

  /**
   * Stops listening, waits for open channels to end, and hangs up on every client.
   *
   * @param options How long to wait, or not at all.
   * @returns When nothing of it is left.
   */
  async close(options: CloseOptions = {}): Promise<void> {
    const timeout = options.force ? 0 : options.timeout;
    await this.#listener.close();
    const clients = [...this.#connections.values()];
    await Promise.all(clients.map(async (client) => {
      const timer = timeout === undefined ? undefined : setTimeout(() => client.hangUp(), timeout);
      await Promise.race([client.drained(), client.closed]);
      clearTimeout(timer);
      client.hangUp();
      await client.closed;
    }));
  }

  /** Closes it at once: how long its clients stay is not for it to say. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ force: true });
  }
}

function accept(
  socket: Socket,
  connections: Map<Socket, ServerConnection>,
  policy: ConnectionPolicy,
  engine: Engine,
): void {
  const entering = [...connections.values()].filter((client) => !client.authenticated);
  if (entering.length >= MAX_UNAUTHENTICATED) {
    log.warn("hung up on a client: {count} others are logging in", { count: entering.length });
    socket.destroy();
    return;
  }
  // Before ssh2 listens to the socket: the transport must hear of its end first.
  const connection = new ServerConnection(socket, policy);
  connections.set(socket, connection);
  connection.closed.then(() => connections.delete(socket));
  engine.injectSocket(socket);
}

function parseHostKey(text: string, index: number): SshKey {
  const key = parseKey(text);
  const reason = key instanceof Error
    ? key.message
    : key.isPrivateKey()
    ? undefined
    : "it is a public key";
  if (reason === undefined) return key as SshKey;
  throw new SessionError(`host key ${index + 1} cannot be used: ${reason}`, {
    code: "identity-unreadable",
    hint: "it must be a private key without a passphrase, in OpenSSH's format or PEM",
  });
}
