/**
 * The control socket, from the side of the process that is controlled.
 *
 * @module
 */
import { linkSync, lstatSync, renameSync, unlinkSync } from "node:fs";
import { connect, type Server, type Socket } from "node:net";
import process from "node:process";
import { codeOf, FairleadError, SessionError, systemCodeOf } from "../errors.ts";
import { listenUnix } from "../forward/unix_listener.ts";
import { logger } from "../log.ts";
import type { Prompter } from "../ssh/prompter.ts";
import { controlError } from "./failure.ts";
import { isMapping, jsonLines, type Lines, protocolError } from "./lines.ts";
import { type Call, type Greeting, PROTOCOL, type ServerLine } from "./protocol.ts";

const log = logger("control");

/** Bytes of a request: a large file has some thousand. */
const MOST_BYTES = 1024 * 1024;
/** Clients at a time: people, scripts, and those that watch. */
const MOST_CONNECTIONS = 64;
/** Requests of one client at a time. */
const MOST_REQUESTS = 16;
/** Milliseconds until a client must have asked for something. */
const FIRST_REQUEST = 10_000;
/** Milliseconds that a last word has to be read. */
const LAST_WORD = 1_000;

/** What can be asked for, by its name. */
export type Handlers = Readonly<
  Record<string, (params: Readonly<Record<string, unknown>>, call: Call) => unknown>
>;

/** What a server says of itself. */
export interface ServerOptions extends Pick<Greeting, "serves"> {
  /** fairlead's version. */
  readonly version: string;
}

/** A control socket that is served. */
export interface ControlServer {
  /** Where it is. */
  readonly path: string;
  /**
   * Serves no more. The socket is gone at once; answers that are being made are still sent.
   *
   * @returns When no client is left.
   */
  close(): Promise<void>;
}

/**
 * Serves a control socket, for this user alone: its mode is 0600 from its first moment on. A socket
 * that a process left behind which was killed is replaced.
 *
 * @param path Where.
 * @param handlers What can be asked for.
 * @param options What is said of this process.
 * @returns The server.
 * @throws {ForwardError} `address-in-use` where another process serves it.
 */
export async function serveControl(
  path: string,
  handlers: Handlers,
  options: ServerOptions,
): Promise<ControlServer> {
  const clients = new Set<ServedClient>();
  const server = await bindAlone(path, (socket) => {
    if (clients.size >= MOST_CONNECTIONS) return refuse(socket);
    const client = new ServedClient(socket, handlers, options);
    clients.add(client);
    client.closed.then(() => clients.delete(client));
  });
  const own = lstatSync(path).ino;
  return {
    path,
    close: async () => {
      const closed = closeServer(server);
      unlinkOwn(path, own);
      await Promise.all([...clients].map((client) => client.finish()));
      await closed;
    },
  };
}

/** One of several that start at the same moment binds it; the others find it served. */
async function bindAlone(path: string, accept: (socket: Socket) => void): Promise<Server> {
  for (;;) {
    try {
      return await listenUnix(path, accept);
    } catch (error) {
      if (codeOf(error) !== "address-in-use" || !await removeStale(path)) throw error;
    }
  }
}

/**
 * Removes a socket that nobody serves. Between the look and the removal another process may have
 * put its own there: so it is moved away first, and looked at once more.
 */
async function removeStale(path: string): Promise<boolean> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false) return false;
  if (await isServed(path)) return false;
  const moved = `${path}.${process.pid}`;
  try {
    renameSync(path, moved);
  } catch (error) {
    // Another one was faster.
    if (systemCodeOf(error) === "ENOENT") return true;
    throw error;
  }
  const served = await isServed(moved);
  if (served) linkSync(moved, path);
  unlinkSync(moved);
  return !served;
}

function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const settle = (served: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(served);
    };
    // A full backlog does not answer, but it is somebody's.
    const timer = setTimeout(() => settle(true), LAST_WORD);
    socket.once("connect", () => settle(true));
    socket.once("error", (error) => {
      settle(!["ECONNREFUSED", "ENOENT"].includes(systemCodeOf(error) ?? ""));
    });
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

/** Another process may have taken the place meanwhile. */
function unlinkOwn(path: string, inode: number): void {
  try {
    if (lstatSync(path).ino === inode) unlinkSync(path);
  } catch {
    // It is gone already.
  }
}

function refuse(socket: Socket): void {
  const error = new FairleadError(`${MOST_CONNECTIONS} clients are connected already`, {
    code: "resource-shortage",
    hint: "try again in a moment",
  });
  socket.on("error", () => {});
  socket.resume();
  socket.end(`${JSON.stringify({ error: controlError(error) })}\n`);
  setTimeout(() => socket.destroy(), LAST_WORD).unref?.();
}

/** One client. */
class ServedClient {
  readonly #socket: Socket;
  readonly #handlers: Handlers;
  readonly #version: string;
  readonly #lines: Lines;
  readonly #gone = new AbortController();
  readonly #questions = new Map<number, (answer: Readonly<Record<string, unknown>>) => void>();
  readonly #running = new Set<Promise<void>>();
  readonly #deadline: ReturnType<typeof setTimeout>;
  #question = 0;
  /** Whether the client has begun as clients of this protocol do. */
  #greeted = false;
  /** Settles when it has gone. */
  readonly closed: Promise<void>;

  constructor(socket: Socket, handlers: Handlers, { version, serves }: ServerOptions) {
    this.#socket = socket;
    this.#handlers = handlers;
    this.#version = version;
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()));
    this.#deadline = setTimeout(() => socket.destroy(), FIRST_REQUEST);
    this.#lines = jsonLines(socket, {
      most: MOST_BYTES,
      onBegin: () => {
        this.#greeted = true;
        const own = { fairlead: version, protocol: PROTOCOL, pid: process.pid };
        this.#lines.send({ ...own, serves } satisfies Greeting);
      },
      onValue: (value) => this.#take(value),
      onEnd: (error) => this.#end(error),
    });
  }

  /** Waits for the answers that are being made, and lets the client go. */
  async finish(): Promise<void> {
    await Promise.all(this.#running);
    this.#leave();
    await this.closed;
  }

  #end(error: FairleadError | undefined): void {
    clearTimeout(this.#deadline);
    this.#gone.abort();
    for (const answer of this.#questions.values()) answer({});
    this.#questions.clear();
    if (error !== undefined) {
      log.warn("control socket: {reason}", { reason: error.message });
      // Any word would end an OpenSSH client; one that is hung up on connects by itself.
      if (this.#greeted) this.#send({ error: controlError(error) });
    }
    this.#leave();
  }

  #leave(): void {
    if (this.#socket.destroyed) return;
    this.#socket.resume();
    this.#socket.end();
    const timer = setTimeout(() => this.#socket.destroy(), LAST_WORD);
    this.#socket.once("close", () => clearTimeout(timer));
  }

  #take(value: unknown): void {
    if (!isMapping(value) || typeof value["id"] !== "number") {
      return this.#end(protocolError("what came is no request"));
    }
    const { id, question } = value;
    if (typeof question === "number") {
      this.#questions.get(question)?.(value);
      this.#questions.delete(question);
      return;
    }
    clearTimeout(this.#deadline);
    // It counts before it begins: what it does may be to end all of this.
    const running = Promise.resolve().then(() => this.#carryOut(id, value))
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #carryOut(id: number, request: Readonly<Record<string, unknown>>): Promise<void> {
    try {
      const { protocol, method, params = {} } = request;
      const handler = this.#handlerOf(protocol, method);
      if (!isMapping(params)) throw protocolError("the params are no mapping");
      if (this.#running.size > MOST_REQUESTS) {
        throw new FairleadError(`${MOST_REQUESTS} requests are being carried out already`, {
          code: "resource-shortage",
        });
      }
      const result = await handler(params, {
        signal: this.#gone.signal,
        event: (event) => this.#send({ id, event }),
        prompter: this.#prompter(id),
      });
      this.#send({ id, result: result ?? null });
    } catch (error) {
      this.#send({ id, error: controlError(error) });
    }
  }

  #handlerOf(protocol: unknown, method: unknown): Handlers[string] {
    const [oldest, newest] = PROTOCOL;
    if (typeof protocol !== "number" || protocol < oldest || protocol > newest) {
      throw protocolError(
        `fairlead ${this.#version} speaks the control protocol ${
          oldest === newest ? newest : `${oldest} to ${newest}`
        }, and was asked in ${String(protocol).slice(0, 20)}`,
      );
    }
    const name = String(method).slice(0, 40);
    const handler = Object.hasOwn(this.#handlers, name) ? this.#handlers[name] : undefined;
    if (handler !== undefined) return handler;
    throw new FairleadError(
      `fairlead ${this.#version} cannot be asked for ${JSON.stringify(name)}`,
      {
        code: "not-supported",
      },
    );
  }

  #prompter(id: number): Prompter {
    const ask = (method: keyof Prompter, ...words: unknown[]): Promise<unknown> =>
      new Promise((resolve, reject) => {
        if (this.#gone.signal.aborted) return resolve(undefined);
        const question = ++this.#question;
        this.#questions.set(question, ({ value, refusal }) => {
          if (!isMapping(refusal)) return resolve(value);
          const { message, hint } = refusal;
          reject(
            new SessionError(String(message), {
              code: "auth-failed",
              ...(typeof hint === "string" ? { hint } : {}),
            }),
          );
        });
        this.#send({ id, question, ask: method, words });
      });
    return {
      secret: async (...words) => {
        const answer = await ask("secret", ...words);
        return typeof answer === "string" ? answer : undefined;
      },
      questions: async (...words) => {
        const answers = await ask("questions", ...words);
        const right = Array.isArray(answers) && answers.every((one) => typeof one === "string");
        return right ? answers as string[] : undefined;
      },
      confirmHostKey: async (key) => await ask("confirmHostKey", key) === true,
    };
  }

  #send(line: ServerLine): void {
    this.#lines.send(line);
  }
}
