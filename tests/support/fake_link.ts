/** A server in the test's hand: connections that are made, lost and refused when a test says so. */
import { Duplex } from "node:stream";
import type {
  Address,
  Destination,
  DialOptions,
  Incoming,
  RemoteListener,
} from "../../lib/dialer.ts";
import { ConnectionError, type ErrorCode, SessionError } from "../../lib/errors.ts";
import type { Attempt, Link } from "../../lib/session/link.ts";
import type { RemoteCommand } from "../../lib/ssh/command.ts";

/** What the system says, where it is the system that says it. */
const SYSTEM_CODES: { readonly [Code in ErrorCode]?: string } = {
  "connect-refused": "ECONNREFUSED",
  unreachable: "EHOSTUNREACH",
};

/** A stream that goes nowhere and ends when it is destroyed. */
class Silence extends Duplex {
  override _read(): void {}
  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done();
  }
}

/** One connection. */
export class FakeLink implements Link {
  onReceived: (() => void) | undefined;
  onStalled: ((reason: SessionError) => void) | undefined;
  readonly closed: Promise<SessionError | undefined>;
  /** Whether it is over, and how often its end was asked for. */
  over = false;
  closes = 0;
  probes = 0;
  /** Where each dial led, in order. */
  readonly dials: Destination[] = [];
  readonly streams = new Set<Duplex>();
  readonly listening = new Map<string, (incoming: Incoming) => void>();
  /** Whether a dial stays unanswered until the connection is lost. */
  silent = false;
  /** What the server answers to a dial, or to a request to listen. */
  refuses: Error | undefined;
  refusesToListen: Error | undefined;
  #finish: (reason: SessionError | undefined) => void = () => {};
  readonly #pending = new Set<(error: Error) => void>();
  #ports = 40_000;
  #answers: Promise<void> = Promise.resolve();

  constructor() {
    this.closed = new Promise((resolve) => this.#finish = resolve);
  }

  get channelCount(): number {
    return this.streams.size + this.#pending.size;
  }

  dial(destination: Destination, { signal }: DialOptions = {}): Promise<Duplex> {
    this.dials.push(destination);
    return new Promise((resolve, reject) => {
      if (this.over) return reject(lost());
      if (this.refuses !== undefined) return reject(this.refuses);
      if (!this.silent) return resolve(this.#stream());
      this.#pending.add(reject);
      signal?.addEventListener("abort", () => {
        this.#pending.delete(reject);
        reject(new ConnectionError("cancelled", { code: "cancelled" }));
      });
    });
  }

  exec(command: string): Promise<RemoteCommand> {
    return this.dial({ path: command }) as Promise<RemoteCommand>;
  }

  listen(address: Address, accept: (incoming: Incoming) => void): Promise<RemoteListener> {
    if (this.over) return Promise.reject(lost());
    if (this.refusesToListen !== undefined) return Promise.reject(this.refusesToListen);
    const bound = "path" in address || address.port !== 0
      ? address
      : { ...address, port: ++this.#ports };
    const key = JSON.stringify(bound);
    return this.#answers.then(() => {
      this.listening.set(key, accept);
      return {
        address: bound,
        close: () => {
          this.listening.delete(key);
          return Promise.resolve();
        },
      };
    });
  }

  /** Requests to listen stay unanswered until the function that it returns is called. */
  holdListens(): () => void {
    let answer = () => {};
    this.#answers = new Promise((resolve) => answer = resolve);
    return answer;
  }

  /** Somebody connects to the only listener on the server. */
  call(): Promise<Duplex> {
    return new Promise((resolve, reject) => {
      const [accept] = this.listening.values();
      if (accept === undefined) return reject(new Error("nobody listens there"));
      accept({ originator: undefined, accept: () => this.#stream(resolve), refuse: () => {} });
    });
  }

  probe(): void {
    this.probes++;
  }

  close(): Promise<void> {
    this.closes++;
    this.#end(undefined);
    return Promise.resolve();
  }

  destroy(reason?: SessionError): void {
    this.#end(reason ?? new SessionError("destroyed", { code: "connection-lost" }));
  }

  /** The server has gone. */
  lose(reason = "the server hung up", code: ErrorCode = "connection-lost"): void {
    this.#end(new SessionError(reason, { code }));
  }

  #end(reason: SessionError | undefined): void {
    if (this.over) return;
    this.over = true;
    for (const reject of this.#pending) reject(lost());
    this.#pending.clear();
    this.#finish(reason);
    for (const stream of this.streams) stream.destroy(lost());
    this.listening.clear();
  }

  #stream(made?: (stream: Duplex) => void): Duplex {
    const stream = new Silence();
    this.streams.add(stream);
    stream.on("error", () => {}).once("close", () => this.streams.delete(stream));
    made?.(stream);
    return stream;
  }
}

/** An attempt that waits for its outcome. */
export interface FakeAttempt extends Attempt {
  /** Lets it succeed. */
  readonly succeed: () => FakeLink;
  /** Lets it fail. */
  readonly fail: (code: ErrorCode, message?: string) => void;
}

/** What a session connects to. */
export class FakeServer {
  /** Attempts that were made and wait, oldest first. */
  readonly waiting: FakeAttempt[] = [];
  /** Connections made so far. */
  readonly links: FakeLink[] = [];
  /** How many attempts there were. */
  attempts = 0;

  readonly connect = (attempt: Attempt): Promise<Link> => {
    this.attempts++;
    return new Promise((resolve, reject) => {
      const settled = () => this.waiting.splice(this.waiting.indexOf(entry), 1);
      const entry: FakeAttempt = {
        ...attempt,
        succeed: () => {
          settled();
          const link = new FakeLink();
          this.links.push(link);
          resolve(link);
          return link;
        },
        fail: (code, message = `it failed: ${code}`) => {
          settled();
          const system = SYSTEM_CODES[code];
          const cause = system === undefined ? undefined : { code: system };
          reject(new SessionError(message, { code, cause }));
        },
      };
      this.waiting.push(entry);
    });
  };

  /** The attempt that waits. */
  get attempt(): FakeAttempt {
    const [attempt] = this.waiting;
    if (attempt === undefined) throw new Error("nobody wants to connect");
    return attempt;
  }

  /** Connections that stand. */
  get live(): FakeLink[] {
    return this.links.filter(({ over }) => !over);
  }
}

function lost(): ConnectionError {
  return new ConnectionError("the SSH connection was lost", { code: "connection-lost" });
}
