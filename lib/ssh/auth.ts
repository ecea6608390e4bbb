/**
 * The order in which a user's credentials are tried (RFC 4252), as ssh has it.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { adviceOf, SessionError } from "../errors.ts";
import { logger } from "../log.ts";
import { readCertificate } from "./certificate.ts";
import { acceptedAlgorithms, algorithmFor, keyTypeOf, rsaBits } from "./key_algorithms.ts";
import type { Identity } from "./keys.ts";
import type { Prompter, Question } from "./prompter.ts";
import { printable } from "./reasons.ts";
import type { AuthReply, UserAuth } from "./userauth.ts";

const log = logger("ssh");

/** An authentication method by its name in RFC 4252 and RFC 4256. */
export type AuthMethod = "publickey" | "keyboard-interactive" | "password";

/** What a user can prove who they are with. */
export interface Credentials {
  /** Keys, offered in this order. */
  readonly identities?: readonly Identity[] | undefined;
  /** The algorithms that keys may be used with, best first; the defaults where missing. */
  readonly acceptedAlgorithms?: readonly string[] | undefined;
  /** Bits of the smallest RSA key that is used; 1024 by default. */
  readonly requiredRsaSize?: number | undefined;
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
const DEFAULT_RSA_SIZE = 1024;
/** How many of the keys that were left out an error names. */
const MAX_LEFT_OUT = 3;

const KEY_HINT =
  "name the right private key with -i, or add its public half to authorized_keys on the server";
const NO_PASSWORD = "nobody could be asked for a password: --password env:NAME (in the library, " +
  "password) or a program in SSH_ASKPASS can give it";
const NO_ANSWERS = "nobody could be asked what the server asked: use a terminal, or a program in " +
  "SSH_ASKPASS";

/** Makes one attempt at each step; ends where nothing is left to try. */
type Attempts = AsyncGenerator<AuthReply, void>;

/** Decides, attempt by attempt, how to authenticate one connection. */
export class Authenticator {
  readonly #target: string;
  readonly #credentials: Credentials;
  readonly #accepted: readonly string[];
  readonly #offered: string[] = [];
  /** Keys that were not offered, each with the reason. */
  readonly #leftOut = new Set<string>();
  /** Keys that were one of several things that the server wants. */
  readonly #used = new Set<Identity>();
  #allowed: readonly string[] = [];
  #partial = false;
  #succeeded = false;
  /** Whether the server has taken the given password, and now wants something else. */
  #passwordTaken = false;
  /** What the server would have taken, had there been somebody to ask for it. */
  #missed: string | undefined;
  /** Called with true before a person is asked, and with false after: deadlines should wait. */
  onAsking: (asking: boolean) => void = () => {};

  /**
   * @param username The user's name on the server.
   * @param host The server, for prompts.
   * @param credentials What there is to try.
   */
  constructor(username: string, host: string, credentials: Credentials) {
    this.#target = `${username}@${host}`;
    this.#credentials = credentials;
    this.#accepted = credentials.acceptedAlgorithms ?? acceptedAlgorithms();
  }

  /**
   * Tries one thing after the other.
   *
   * @param userAuth The connection's requests.
   * @returns When the server has let the user in.
   * @throws {SessionError} `auth-failed` when nothing is left to try; and what a person who
   *   interrupts throws.
   */
  async authenticate(userAuth: UserAuth): Promise<void> {
    await userAuth.ready;
    // The server answers "none" with the methods that it accepts (RFC 4252 section 5.2).
    this.#take(await userAuth.none());
    const order = this.#credentials.methods ?? DEFAULT_METHODS;
    const sources: Record<AuthMethod, Attempts> = {
      publickey: this.#publicKeys(userAuth),
      "keyboard-interactive": this.#keyboardInteractive(userAuth),
      password: this.#passwords(userAuth),
    };
    do {
      this.#partial = false;
      for (const method of order) {
        await this.#whileAllowed(method, sources[method]);
        if (this.#partial) break;
      }
      // After a partial success the server wants another method, or another key: look from the
      // start again.
      if (this.#partial) sources.publickey = this.#publicKeys(userAuth);
    } while (this.#partial);
    if (!this.#succeeded) throw this.#refusal();
  }

  /**
   * What a server that hangs up in the middle was offered.
   *
   * @returns To follow the reason; empty where it was nothing.
   */
  offered(): string {
    return this.#offered.length === 0 ? "" : `; offered: ${this.#offered.join(", ")}`;
  }

  #take(reply: AuthReply): void {
    if (reply.kind === "success") {
      this.#succeeded = true;
      this.#allowed = [];
    } else {
      this.#allowed = reply.methods;
      this.#partial = reply.partial;
    }
  }

  async #whileAllowed(method: AuthMethod, attempts: Attempts): Promise<void> {
    while (this.#allowed.includes(method) && !this.#partial) {
      const { value, done } = await attempts.next();
      if (done) return;
      this.#take(value);
    }
  }

  async *#publicKeys(userAuth: UserAuth): Attempts {
    for (const identity of this.#credentials.identities ?? []) {
      if (this.#used.has(identity)) continue;
      if (identity.fault !== undefined) this.#leftOut.add(`${identity.name} ${identity.fault}`);
      const blob = await this.#ask(() => identity.publicKey());
      if (blob === undefined) continue;
      const algorithm = algorithmFor(blob, this.#accepted, userAuth.serverSigAlgs);
      if (algorithm === undefined) this.#sayUnfit(identity.name, blob);
      if (algorithm === undefined || !this.#isLongEnough(identity.name, blob)) continue;
      log.debug("offering {name} ({type})", { name: identity.name, type: algorithm.name });
      this.#offered.push(identity.name);
      const reply = await userAuth.publicKey(blob, algorithm, (data) => {
        return this.#ask(() => identity.sign(data, algorithm.signature, userAuth.binding)).catch(
          (error) => {
            if (!(error instanceof SessionError) || error.code === "cancelled") throw error;
            log.warn("{reason}", { reason: adviceOf(error) });
            return undefined;
          },
        );
      });
      if (reply === undefined) continue;
      if (reply.kind === "failure" && reply.partial) this.#used.add(identity);
      yield reply;
    }
  }

  #sayUnfit(name: string, blob: Buffer): void {
    const type = keyTypeOf(blob);
    // RSA is on, but the server knows it only with SHA-1.
    if (algorithmFor(blob, this.#accepted, undefined) !== undefined) {
      const reason = "the server takes RSA keys only with signatures that are off here; " +
        `-o PubkeyAcceptedAlgorithms=+${type} would allow SHA-1`;
      log.warn("identity {name} is not offered: {reason}", { name, reason });
      this.#leftOut.add(`${name} could sign only with SHA-1`);
      return;
    }
    log.debug("{name} is not offered: {type} is off", { name, type });
    this.#leftOut.add(
      `${name} is of a type that PubkeyAcceptedAlgorithms leaves out (${printable(type)})`,
    );
  }

  /** A key that is too short is no proof (RequiredRSASize of ssh_config(5)). */
  #isLongEnough(name: string, blob: Buffer): boolean {
    const { requiredRsaSize = DEFAULT_RSA_SIZE } = this.#credentials;
    const bits = bitsOf(blob);
    if (bits === undefined || bits >= requiredRsaSize) return true;
    const reason = `an RSA key of ${bits} bits, and RequiredRSASize is ${requiredRsaSize}`;
    log.warn("{reason}", { reason: `identity ${name} is not used: ${reason}` });
    this.#leftOut.add(`${name} is ${reason}`);
    return false;
  }

  async *#keyboardInteractive(userAuth: UserAuth): Attempts {
    const { prompter, password } = this.#credentials;
    if (prompter === undefined && password === undefined) {
      this.#missed = NO_PASSWORD;
      return;
    }
    let declined = false;
    let usedPassword = false;
    const answer = async (name: string, instruction: string, asked: readonly Question[]) => {
      // The usual server asks for nothing but the password this way.
      const fresh = password !== undefined && !usedPassword && !this.#passwordTaken;
      if (fresh && isPasswordQuestion(asked)) {
        usedPassword = true;
        return [password];
      }
      if (prompter === undefined) {
        this.#missed = NO_ANSWERS;
        declined = true;
        return [];
      }
      const questions = asked.map(({ prompt, echo }): Question => ({
        prompt: `(${this.#target}) ${prompt}`,
        echo,
      }));
      const answers = await this.#ask(() => prompter.questions(name, instruction, questions));
      declined = answers === undefined;
      return answers ?? [];
    };
    let denied = false;
    for (let tries = 0; tries < this.#passwordPrompts() && !declined; tries++) {
      if (tries > 0 && prompter === undefined) return;
      if (denied) sayDenied();
      this.#offer("keyboard-interactive");
      const reply = await userAuth.keyboardInteractive(answer);
      denied = isDenial(reply);
      yield reply;
    }
  }

  async *#passwords(userAuth: UserAuth): Attempts {
    const { prompter, password } = this.#credentials;
    let denied = false;
    if (password !== undefined) {
      this.#offer("password");
      const reply = await userAuth.password(password);
      this.#passwordTaken = reply.kind === "failure" && reply.partial;
      denied = isDenial(reply);
      yield reply;
    }
    if (prompter === undefined) {
      if (password === undefined) this.#missed = NO_PASSWORD;
      return;
    }
    for (let tries = 0; tries < this.#passwordPrompts(); tries++) {
      if (denied) sayDenied();
      const answer = await this.#ask(() => prompter.secret(`${this.#target}'s password: `));
      if (answer === undefined) return;
      this.#offer("password");
      const reply = await userAuth.password(answer);
      denied = isDenial(reply);
      yield reply;
    }
  }

  /** Keys may share a name and are still several; a method is the same each time. */
  #offer(method: AuthMethod): void {
    if (!this.#offered.includes(method)) this.#offered.push(method);
  }

  #passwordPrompts(): number {
    return this.#credentials.passwordPrompts ?? DEFAULT_PASSWORD_PROMPTS;
  }

  /** The error for a server that accepted none of it. */
  #refusal(): SessionError {
    const key = this.#allowed.includes("publickey") ? [KEY_HINT] : [];
    const missed = this.#missed === undefined ? [] : [this.#missed];
    const hint = [...key, ...missed].join("; ") || "check the user name and the password";
    return new SessionError(
      `${this.#target}: permission denied (${printable(this.#allowed.join(","))})` +
        (this.offered() || "; nothing was offered") + this.#leftOutKeys(),
      { code: "auth-failed", hint },
    );
  }

  #leftOutKeys(): string {
    const all = [...this.#leftOut];
    if (all.length === 0) return "";
    const more = all.length > MAX_LEFT_OUT ? `; and ${all.length - MAX_LEFT_OUT} more` : "";
    return `; left out: ${all.slice(0, MAX_LEFT_OUT).join("; ")}${more}`;
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

function isDenial(reply: AuthReply): boolean {
  return reply.kind === "failure" && !reply.partial;
}

/** Whoever is asked again without a word thinks that the first answer was lost. */
function sayDenied(): void {
  log.warn("permission denied, please try again");
}

function isPasswordQuestion(questions: readonly Question[]): boolean {
  const only = questions.length === 1 ? questions[0] : undefined;
  if (only === undefined || only.echo) return false;
  return /password/i.test(only.prompt) && !/one[- ]?time|otp|token|code/i.test(only.prompt);
}

function bitsOf(blob: Buffer): number | undefined {
  try {
    return rsaBits(readCertificate(blob)?.key ?? blob);
  } catch {
    return undefined; // an agent may hold anything; the server will say what it thinks of it
  }
}
