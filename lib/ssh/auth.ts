/**
 * The order in which a user's credentials are tried (RFC 4252), as ssh has it.
 *
 * @module
 */
import { logger } from "../log.ts";
import { messageOf, SessionError } from "../errors.ts";
import { OneKeyAgent } from "./agent.ts";
import type { Identity } from "./keys.ts";
import type { Prompter, Question } from "./prompter.ts";
import type { EngineProtocol } from "./ssh2.ts";

const log = logger("ssh");

/** An authentication method by its name in RFC 4252 and RFC 4256. */
export type AuthMethod = "publickey" | "keyboard-interactive" | "password";

/** What a user can prove who they are with. */
export interface Credentials {
  /** Keys, offered in this order. */
  readonly identities?: readonly Identity[] | undefined;
  /** A password that needs no asking. */
  readonly password?: string | undefined;
  /** Asks for whatever else is needed; without one nobody is asked. */
  readonly prompter?: Prompter | undefined;
  /** Methods in the order to try them; what is not named is not tried. */
  readonly methods?: readonly AuthMethod[] | undefined;
  /** How often a password is asked for; 3 by default. */
  readonly passwordPrompts?: number | undefined;
}

const DEFAULT_METHODS: readonly AuthMethod[] = ["publickey", "keyboard-interactive", "password"];
const DEFAULT_PASSWORD_PROMPTS = 3;

type Attempt =
  | { type: "none"; username: string }
  | { type: "password"; username: string; password: string }
  | { type: "agent"; username: string; agent: OneKeyAgent }
  | { type: "keyboard-interactive"; username: string; prompt: KeyboardInteractive };

type KeyboardInteractive = (
  name: string,
  instruction: string,
  language: string,
  prompts: { prompt: string; echo?: boolean }[],
  finish: (answers: string[]) => void,
) => void;

/** Decides, attempt by attempt, how to authenticate one connection. */
export class Authenticator {
  readonly #username: string;
  readonly #target: string;
  readonly #credentials: Credentials;
  readonly #attempts: AsyncGenerator<Attempt, void>;
  readonly #offered: string[] = [];
  #allowed: readonly string[] = [];
  #partial = false;
  /** Called when a person's answer failed for good; set by whoever runs the connection. */
  onAbort: (error: unknown) => void = () => {};
  /** Called with true before a person is asked, and with false after: deadlines should wait. */
  onAsking: (asking: boolean) => void = () => {};

  /**
   * @param username The user's name on the server.
   * @param host The server, for prompts.
   * @param credentials What there is to try.
   */
  constructor(username: string, host: string, credentials: Credentials) {
    this.#username = username;
    this.#target = `${username}@${host}`;
    this.#credentials = credentials;
    this.#attempts = this.#sequence();
  }

  /**
   * Listens to the server's refusals. ssh2 keeps the list of methods that can go on, and whether
   * the attempt was a partial success, to itself while it goes through an agent's keys.
   *
   * @param protocol The protocol object of the connection.
   */
  watch(protocol: EngineProtocol): void {
    const handle = protocol._handlers.USERAUTH_FAILURE;
    protocol._handlers.USERAUTH_FAILURE = (self, methods, partial) => {
      this.#allowed = methods;
      this.#partial = partial;
      handle(self, methods, partial);
    };
  }

  /** The next attempt in ssh2's form; false when there is nothing left to try. */
  async next(): Promise<Attempt | false> {
    const { value, done } = await this.#attempts.next();
    return done || value === undefined ? false : value;
  }

  /** The error for a server that accepted none of it. */
  refusal(): SessionError {
    const offered = this.#offered.length === 0
      ? "nothing was offered"
      : `offered: ${this.#offered.join(", ")}`;
    const hint = this.#allowed.includes("publickey")
      ? "name the right private key with -i, or add its public half to authorized_keys on the server"
      : "check the user name and the password";
    return new SessionError(
      `${this.#target}: permission denied (${this.#allowed.join(",")}); ${offered}`,
      { code: "auth-failed", hint },
    );
  }

  async *#sequence(): AsyncGenerator<Attempt, void> {
    // The server answers "none" with the methods that it accepts (RFC 4252 section 5.2).
    yield { type: "none", username: this.#username };
    const sources: Record<AuthMethod, AsyncGenerator<Attempt>> = {
      publickey: this.#publicKeys(),
      "keyboard-interactive": this.#keyboardInteractive(),
      password: this.#passwords(),
    };
    const order = this.#credentials.methods ?? DEFAULT_METHODS;
    for (;;) {
      // After a partial success the server wants another method: look from the start again.
      this.#partial = false;
      for (const method of order) {
        yield* this.#whileAllowed(method, sources[method]);
        if (this.#partial) break;
      }
      if (!this.#partial) return;
    }
  }

  async *#whileAllowed(
    method: AuthMethod,
    source: AsyncGenerator<Attempt>,
  ): AsyncGenerator<Attempt> {
    while (this.#allowed.includes(method) && !this.#partial) {
      const { value, done } = await source.next();
      if (done) return;
      yield value;
    }
  }

  async *#publicKeys(): AsyncGenerator<Attempt> {
    for (const identity of this.#credentials.identities ?? []) {
      const key = await this.#ask(() => identity.publicKey());
      if (key === undefined) continue;
      log.debug("offering {name} ({type})", { name: identity.name, type: key.type });
      this.#offered.push(identity.name);
      const failed = (error: unknown) => log.warn("{reason}", { reason: messageOf(error) });
      const signer: Identity = {
        name: identity.name,
        publicBlob: identity.publicBlob,
        publicKey: () => Promise.resolve(key),
        sign: (data, hash) => this.#ask(() => identity.sign(data, hash)),
      };
      yield {
        type: "agent",
        username: this.#username,
        agent: new OneKeyAgent(signer, key, failed),
      };
    }
  }

  async *#keyboardInteractive(): AsyncGenerator<Attempt> {
    const { prompter, password } = this.#credentials;
    if (prompter === undefined && password === undefined) return;
    let declined = false;
    let usedPassword = false;
    const prompt: KeyboardInteractive = (name, instruction, _language, prompts, finish) => {
      const questions = prompts.map(({ prompt, echo }): Question => ({
        prompt: `(${this.#target}) ${prompt}`,
        echo: echo === true,
      }));
      // The usual server asks for nothing but the password this way.
      if (password !== undefined && !usedPassword && isPasswordQuestion(questions)) {
        usedPassword = true;
        finish([password]);
        return;
      }
      this.#ask(() =>
        prompter?.questions(name, instruction, questions) ?? Promise.resolve(undefined)
      )
        .then((answers) => {
          declined = answers === undefined;
          finish(answers ?? []);
        }, this.onAbort);
    };
    for (let tries = 0; tries < this.#passwordPrompts() && !declined; tries++) {
      if (tries > 0 && prompter === undefined) return;
      this.#offered.push("keyboard-interactive");
      yield { type: "keyboard-interactive", username: this.#username, prompt };
    }
  }

  async *#passwords(): AsyncGenerator<Attempt> {
    const { prompter, password } = this.#credentials;
    const username = this.#username;
    if (password !== undefined) {
      this.#offered.push("password");
      yield { type: "password", username, password };
    }
    for (let tries = 0; tries < this.#passwordPrompts(); tries++) {
      const answer = await this.#ask(() =>
        prompter?.secret(`${this.#target}'s password: `) ?? Promise.resolve(undefined)
      );
      if (answer === undefined) return;
      this.#offered.push("password");
      yield { type: "password", username, password: answer };
    }
  }

  #passwordPrompts(): number {
    return this.#credentials.passwordPrompts ?? DEFAULT_PASSWORD_PROMPTS;
  }

  async #ask<T>(question: () => Promise<T>): Promise<T> {
    this.onAsking(true);
    try {
      return await question();
    } finally {
      this.onAsking(false);
    }
  }
}

function isPasswordQuestion(questions: readonly Question[]): boolean {
  const only = questions.length === 1 ? questions[0] : undefined;
  return only !== undefined && !only.echo && /password/i.test(only.prompt);
}
