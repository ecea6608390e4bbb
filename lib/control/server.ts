/**
 * The control socket, from the side of the process that is controlled.
 *
 * @module
 */
import { existsSync, linkSync, lstatSync, mkdirSync, renameSync, unlinkSync } from "node:fs";
import type { Server, Socket } from "node:net";
import { dirname } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { adviceOf, codeOf, FairleadError, SessionError, systemCodeOf } from "../errors.ts";
import { listenUnix, somebodyListens } from "../forward/unix_listener.ts";
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
/** Milliseconds between two looks at a socket that nobody seems to serve. */
const SECOND_LOOK = 100;
/** Milliseconds between two looks at whether the socket is still there. */
const LOOK = 5_000;
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
  /**
   * Milliseconds between two looks at whether the socket is still there. It is made anew where a
   * cleaner of temporary files took it away: nobody could reach this process any more. A master's
   * is not, as ssh's is not.
   */
  readonly look?: number;
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
  const accept = (socket: Socket) => {
    if (clients.size >= MOST_CONNECTIONS) return refuse(socket);
    const client = new ServedClient(socket, handlers, options);
    clients.add(client);
    client.closed.then(() => clients.delete(client));
  };
  let server = await bindAlone(path, accept);
  let own = identityOf(path);
  let over = false;
  let [looking, told] = [false, false];
  const look = async () => {
    if (looking || identityOf(path) === own) return;
    looking = true;
    try {
      mkdirSync(dirname(path), { mode: 0o700, recursive: true });
      const next = await bindAlone(path, accept);
      if (over) return void closeServer(next, path, identityOf(path));
      const [old, before] = [server, own];
      [server, own] = [next, identityOf(path)];
      void closeServer(old, path, before);
      log.warn("control socket: {path} was gone, and is there again", { path });
    } catch (error) {
      // Another process has taken the place, or there is none.
      if (!told) log.warn("control socket: {reason}", { reason: adviceOf(error) });
      told = true;
    } finally {
      looking = false;
    }
  };
  const timer = options.serves === "tunnels"
    ? setInterval(() => void look(), options.look ?? LOOK)
    : undefined;
  timer?.unref?.();
  return {
    path,
    close: async () => {
      over = true;
      clearInterval(timer);
      const closed = closeServer(server, path, own);
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
 * Removes a socket that nobody serves. Another process may have put its own there between the look
 * and the removal: so the two looks are far enough apart for one that is bound to be listened on,
 * what was looked at is told from what is there now, and nothing else happens in between.
 */
async function removeStale(path: string): Promise<boolean> {
  const stale = identityOf(path);
  if (stale === undefined) return true;
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket() || await somebodyListens(path)) {
    return false;
  }
  await sleep(SECOND_LOOK);
  if (await somebodyListens(path)) return false;
  if (identityOf(path) !== stale) return true;
  const moved = `${path}.${process.pid}`;
  try {
    renameSync(path, moved);
  } catch (error) {
    // Another one was faster.
    if (systemCodeOf(error) === "ENOENT") return true;
    throw error;
  }
  try {
    if (identityOf(moved) !== stale) linkSync(moved, path);
  } finally {
    unlinkSync(moved);
  }
  return true;
}

/** What tells a file from any other that has been at its path: a number alone is used again. */
function identityOf(path: string): string | undefined {
  const status = lstatSync(path, { throwIfNoEntry: false });
  return status && `${status.ino} ${status.mtimeMs}`;
}

/**
 * Whoever closes a socket's server removes what is at its path, and another process may have taken
 * the place meanwhile: then that is kept out of the way for so long.
 */
function closeServer(server: Server, path: string, own: string | undefined): Promise<void> {
  const kept = identityOf(path) === own ? undefined : `${path}.${process.pid}`;
  const move = (from: string, to: string) => {
    try {
      renameSync(from, to);
    } catch {
      // There is none.
    }
  };
  if (kept !== undefined) move(path, kept);
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  if (kept !== undefined) move(kept, path);
  else if (existsSync(path)) unlinkSync(path);
  return closed;
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
    const hasRoom = this.#running.size < MOST_REQUESTS;
    const running = Promise.resolve().then(() => this.#carryOut(id, value, hasRoom))
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #carryOut(
    id: number,
    request: Readonly<Record<string, unknown>>,
    hasRoom: boolean,
  ): Promise<void> {
    try {
      const { protocol, method, params = {} } = request;
      const handler = this.#handlerOf(protocol, method);
      if (!isMapping(params)) throw protocolError("the params are no mapping");
      if (!hasRoom) {
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
            new SessionError(typeof message === "string" ? message : "refused", {
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
