/**
 * The control socket, from the side of a command.
 *
 * @module
 */
import { lstatSync } from "node:fs";
import { connect, type Socket } from "node:net";
import process from "node:process";
import { FairleadError, messageOf, systemCodeOf } from "../errors.ts";
import type { Prompter } from "../ssh/prompter.ts";
import { errorFrom } from "./failure.ts";
import { isMapping, jsonLines, type Lines, protocolError } from "./lines.ts";
import {
  type ClientLine,
  type ControlEvent,
  type Greeting,
  PROTOCOL,
  type TunnelMethods,
} from "./protocol.ts";

/** Bytes of an answer: the status of a thousand forwards is smaller. */
const MOST_BYTES = 8 * 1024 * 1024;
/** Milliseconds until the other side must have said who it is. */
const GREETING_TIMEOUT = 5_000;

/** What a person can be asked. */
const QUESTIONS: readonly string[] = ["secret", "questions", "confirmHostKey"];

/** What may be said about one request. */
export interface CallOptions {
  /** Called with what happens meanwhile. */
  readonly onEvent?: (event: ControlEvent) => void;
  /** Whom to ask; nobody where it is missing. */
  readonly prompter?: Prompter | undefined;
}

/**
 * Connects to a control socket.
 *
 * @param path Where it is.
 * @returns The client; undefined where nobody serves it.
 * @throws {FairleadError} Where it is another user's, where what answers is no fairlead, or speaks
 *   another version.
 */
export async function connectControl(path: string): Promise<ControlClient | undefined> {
  checkOwner(path);
  const socket = await connected(path);
  if (socket === undefined) return undefined;
  return await ControlClient.greet(socket, path);
}

/** Who can write to a socket is asked for passwords by whoever serves it: that must be us. */
function checkOwner(path: string): void {
  const uid = process.getuid?.();
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (status === undefined || uid === undefined || status.uid === uid) return;
  throw new FairleadError(`${path} belongs to another user`, {
    code: "not-permitted",
    hint: "nothing was said to it; remove it, or have its owner do so",
  });
}

function connected(path: string): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true });
    socket.once("connect", () => resolve(socket));
    socket.once("error", (error) => {
      if (["ENOENT", "ECONNREFUSED"].includes(systemCodeOf(error) ?? "")) return resolve(undefined);
      reject(
        new FairleadError(`${path}: ${messageOf(error)}`, { code: "connect-failed", cause: error }),
      );
    });
  });
}

interface Pending extends CallOptions {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: FairleadError) => void;
}

/** A connection to a process that is controlled. */
export class ControlClient {
  readonly #socket: Socket;
  readonly #lines: Lines;
  readonly #pending = new Map<number, Pending>();
  #count = 0;
  #greeting: Greeting | undefined;
  #greeted: (error?: FairleadError) => void = () => {};
  #protocol = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#lines = jsonLines(socket, {
      most: MOST_BYTES,
      onValue: (value) => this.#take(value),
      onEnd: (error) => this.#end(error),
    });
  }

  /**
   * Waits until the other side has said who it is.
   *
   * @param socket A connection to it.
   * @param path For messages.
   * @returns The client.
   * @throws {FairleadError} Where it is no fairlead, or speaks another version.
   */
  static async greet(socket: Socket, path: string): Promise<ControlClient> {
    const client = new ControlClient(socket);
    socket.write("\n");
    const timer = setTimeout(() => {
      const silence = `whoever listens at ${path} has not answered within ${
        GREETING_TIMEOUT / 1000
      } s`;
      const hint = "it may be stopped, or hang: once that process has ended, fairlead up begins " +
        "another";
      client.#end(new FairleadError(silence, { code: "timeout", hint }));
    }, GREETING_TIMEOUT);
    try {
      await new Promise<void>((resolve, reject) => {
        client.#greeted = (error) => error === undefined ? resolve() : reject(error);
      });
      return client;
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** What the other side has said of itself. */
  get greeting(): Greeting {
    return this.#greeting as Greeting;
  }

  /**
   * Asks for something.
   *
   * @param method What.
   * @param params With what.
   * @param options Who hears of it, and who is asked.
   * @returns The answer.
   * @throws {FairleadError} What the other side threw; `connection-lost` where it has gone.
   */
  call(method: string, params: object = {}, options: CallOptions = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = ++this.#count;
      this.#pending.set(id, { ...options, resolve, reject });
      if (this.#socket.destroyed) return this.#end(undefined);
      this.#send({ id, protocol: this.#protocol, method, params });
    });
  }

  /**
   * The same, of a process that keeps named tunnels.
   *
   * @param method What.
   * @param params With what.
   * @param options Who hears of it, and who is asked.
   * @returns The answer.
   * @throws {FairleadError} As call() does.
   */
  async ask<Method extends keyof TunnelMethods>(
    method: Method,
    params: TunnelMethods[Method]["params"],
    options?: CallOptions,
  ): Promise<TunnelMethods[Method]["result"]> {
    return await this.call(method, params, options) as TunnelMethods[Method]["result"];
  }

  /** Leaves: what is being carried out is given up. */
  close(): void {
    this.#socket.destroy();
  }

  #take(value: unknown): void {
    if (this.#greeting === undefined) return this.#welcome(value);
    if (!isMapping(value)) return this.#end(protocolError("the answer is none"));
    const { id, event, question, error } = value;
    if (typeof id !== "number") {
      if (isMapping(error)) this.#end(received(error));
      return;
    }
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    if (isMapping(event)) pending.onEvent?.(event as unknown as ControlEvent);
    else if (typeof question === "number") void this.#answer(id, question, value, pending);
    else {
      this.#pending.delete(id);
      if (isMapping(error)) pending.reject(received(error));
      else pending.resolve(value["result"]);
    }
  }

  #welcome(value: unknown): void {
    if (isMapping(value) && isMapping(value["error"])) return this.#end(received(value["error"]));
    const { fairlead, protocol, pid, serves } = isMapping(value) ? value : {};
    const [oldest, newest] = Array.isArray(protocol) ? protocol : [];
    if (typeof fairlead !== "string" || typeof oldest !== "number" || typeof newest !== "number") {
      return this.#end(protocolError("what answers at the control socket is no fairlead"));
    }
    const [ownOldest, ownNewest] = PROTOCOL;
    const common = Math.min(newest, ownNewest);
    if (common < Math.max(oldest, ownOldest)) {
      const other = oldest === newest ? newest : `${oldest} to ${newest}`;
      const own = ownOldest === ownNewest ? ownNewest : `${ownOldest} to ${ownNewest}`;
      const age = newest < ownOldest ? "older" : "newer";
      return this.#end(
        new FairleadError(
          `the background process (fairlead ${fairlead}, process ${Number(pid)}) is ${age} than ` +
            `this fairlead: it speaks the control protocol ${other}, and this one ${own}`,
          {
            code: "not-supported",
            hint: `use its version, or end it and its tunnels: kill ${Number(pid)}`,
          },
        ),
      );
    }
    this.#protocol = common;
    this.#greeting = {
      ...{ fairlead, protocol: [oldest, newest], pid: Number(pid) },
      serves: serves === "master" ? "master" : "tunnels",
    };
    this.#greeted();
  }

  async #answer(
    id: number,
    question: number,
    { ask, words }: Readonly<Record<string, unknown>>,
    { prompter }: Pending,
  ): Promise<void> {
    const known = typeof ask === "string" && QUESTIONS.includes(ask);
    if (!known || prompter === undefined || !Array.isArray(words)) {
      return this.#send({ id, question });
    }
    try {
      const method = prompter[ask as keyof Prompter].bind(prompter) as (
        ...words: unknown[]
      ) => Promise<unknown>;
      this.#send({ id, question, value: await method(...words) });
    } catch (error) {
      const hint = error instanceof FairleadError ? error.hint : undefined;
      const refusal = { message: messageOf(error), ...(hint === undefined ? {} : { hint }) };
      this.#send({ id, question, refusal });
    }
  }

  #end(error: FairleadError | undefined): void {
    const reason = error ?? new FairleadError("the background process has gone", {
      code: "connection-lost",
      hint: "`fairlead logs` may say why",
    });
    this.#greeted(reason);
    for (const { reject } of this.#pending.values()) reject(reason);
    this.#pending.clear();
    this.#socket.destroy();
  }

  #send(line: ClientLine): void {
    this.#lines.send(line);
  }
}

function received({ code, message, hint }: Readonly<Record<string, unknown>>): FairleadError {
  return errorFrom({
    code: typeof code === "string" ? code : "internal",
    message: typeof message === "string" ? message : "it failed, and did not say why",
    ...(typeof hint === "string" ? { hint } : {}),
  });
}
