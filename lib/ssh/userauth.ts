/**
 * User authentication on the wire (RFC 4252, RFC 4256): one request, one reply at a time.
 *
 * ssh2's own client knows neither certificates nor FIDO keys (SSH2_NOTES row 14), and keeps from
 * its owner which methods may follow. So its part is taken over here; it still encodes and decodes.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { SessionError } from "../errors.ts";
import type { SessionBinding } from "./agent_client.ts";
import type { KeyAlgorithm } from "./key_algorithms.ts";
import type { Question } from "./prompter.ts";
import { type EngineHandlers, type EngineProtocol, sendPayload } from "./ssh2.ts";
import { sshString } from "./wire.ts";

/** What a server says to a request. */
export type AuthReply =
  | { readonly kind: "success" }
  | {
    readonly kind: "failure";
    /** The methods that can go on. */
    readonly methods: readonly string[];
    /** Whether the method succeeded and another one is wanted besides. */
    readonly partial: boolean;
  };

/** Answers a server's questions; no answers to give it up. */
export type AnswerQuestions = (
  name: string,
  instruction: string,
  questions: readonly Question[],
) => Promise<readonly string[]>;

type Reply =
  | AuthReply
  | { readonly kind: "key-accepted"; readonly algorithm: string; readonly blob: Buffer }
  | {
    readonly kind: "questions";
    readonly name: string;
    readonly instruction: string;
    readonly questions: readonly Question[];
  }
  | { readonly kind: "change-password" };

const USERAUTH_REQUEST = 50;
const SERVICE = "ssh-connection";
/** Rounds of questions in one attempt; a server could go on for ever. */
const MAX_ROUNDS = 100;

/** The requests of one user to one server. Made right after ssh2's connect(). */
export class UserAuth {
  readonly #protocol: EngineProtocol;
  readonly #username: string;
  #resolve: ((reply: Reply) => void) | undefined;
  #serverSigAlgs: readonly string[] | undefined;
  #proof: Omit<SessionBinding, "sessionId"> | undefined;
  /** Settles when the server is ready for requests. */
  readonly ready: Promise<void>;

  /**
   * @param protocol The protocol object of the connection.
   * @param username The user's name on the server.
   * @param certificate Tells the certificate that the server showed in the last exchange, if any.
   */
  constructor(
    protocol: EngineProtocol,
    username: string,
    certificate: () => Buffer | undefined = () => undefined,
  ) {
    this.#protocol = protocol;
    this.#username = username;
    const judge = protocol._hostVerifier;
    protocol._hostVerifier = (hostKey, verdict) => {
      // A later exchange has another signature, but the session keeps the first one's identifier.
      const { _sig: signature = Buffer.alloc(0) } = protocol._kex;
      // An agent that limits a key by @cert-authority lines wants the certificate, as ssh shows it.
      const shown = Buffer.from(certificate() ?? hostKey);
      this.#proof ??= { hostKey: shown, signature: Buffer.from(signature) };
      return judge(hostKey, verdict);
    };
    const handlers = protocol._handlers;
    // RFC 4253 section 10 would let requests follow at once. On loopback that costs 40 ms: sshd's
    // answer waits, by Nagle's algorithm, until our kernel acknowledges this one.
    this.ready = new Promise((resolve) => {
      handlers.SERVICE_ACCEPT = (_protocol, service) => {
        if (service === "ssh-userauth") resolve();
      };
    });
    handlers.EXT_INFO = (_protocol, extensions) => {
      // A server may send a second list once it knows the user.
      for (const { name, algs } of extensions) {
        if (name === "server-sig-algs") this.#serverSigAlgs = algs;
      }
    };
    const succeed = handlers.USERAUTH_SUCCESS;
    const replies: Partial<EngineHandlers> = {
      USERAUTH_SUCCESS: (self) => {
        this.#settle({ kind: "success" });
        succeed(self);
      },
      USERAUTH_FAILURE: (_protocol, methods, partial) => {
        this.#settle({ kind: "failure", methods, partial });
      },
      USERAUTH_PK_OK: (_protocol, algorithm, blob) => {
        this.#settle({ kind: "key-accepted", algorithm, blob });
      },
      USERAUTH_INFO_REQUEST: (_protocol, name, instruction, prompts) => {
        const questions = prompts.map(({ prompt, echo }) => ({ prompt, echo: echo === true }));
        this.#settle({ kind: "questions", name, instruction, questions });
      },
      USERAUTH_PASSWD_CHANGEREQ: () => this.#settle({ kind: "change-password" }),
    };
    Object.assign(handlers, replies);
  }

  /** What the server verifies of RSA keys (RFC 8308 section 3.1); undefined where it did not say. */
  get serverSigAlgs(): readonly string[] | undefined {
    return this.#serverSigAlgs;
  }

  /** What an agent needs to know of this session. */
  get binding(): SessionBinding | undefined {
    if (this.#proof === undefined) return undefined;
    return { ...this.#proof, sessionId: this.#protocol._kex.sessionID };
  }

  /**
   * Asks which methods there are (RFC 4252 section 5.2).
   *
   * @returns The reply.
   */
  none(): Promise<AuthReply> {
    return this.#final(() => this.#protocol.authNone(this.#username));
  }

  /**
   * Sends a password (section 8).
   *
   * @param password The password.
   * @returns The reply.
   * @throws {SessionError} `auth-failed` where the server wants a new one.
   */
  async password(password: string): Promise<AuthReply> {
    const reply = await this.#request(() => {
      this.#protocol.authPassword(this.#username, password);
    });
    if (reply.kind !== "change-password") return final(reply);
    throw new SessionError("the server wants the password to be changed", {
      code: "auth-failed",
      hint: "log in with ssh and change it, then try again",
    });
  }

  /**
   * Offers a key, and proves that its private half is here once the server would take it
   * (section 7).
   *
   * @param blob The public key or certificate.
   * @param algorithm How it is offered.
   * @param sign Makes the whole signature; undefined where it cannot.
   * @returns The reply; undefined where the key would do and there is no signature.
   */
  async publicKey(
    blob: Buffer,
    algorithm: KeyAlgorithm,
    sign: (data: Buffer) => Promise<Buffer | undefined>,
  ): Promise<AuthReply | undefined> {
    const asked = await this.#request(() =>
      this.#sendKey(this.#keyRequest(blob, algorithm, false))
    );
    if (asked.kind !== "key-accepted") return final(asked);
    if (asked.algorithm !== algorithm.name || !asked.blob.equals(blob)) throw unexpected();
    const request = this.#keyRequest(blob, algorithm, true);
    const sessionId = sshString(this.#protocol._kex.sessionID);
    const signature = await sign(Buffer.concat([sessionId, request]));
    if (signature === undefined) return undefined;
    return await this.#final(() => {
      this.#sendKey(Buffer.concat([request, sshString(signature)]));
    });
  }

  /**
   * Lets the server ask (RFC 4256).
   *
   * @param answer Answers one round of questions.
   * @returns The reply.
   */
  async keyboardInteractive(answer: AnswerQuestions): Promise<AuthReply> {
    let reply = await this.#request(() => this.#protocol.authKeyboard(this.#username));
    for (let round = 0; reply.kind === "questions" && round < MAX_ROUNDS; round++) {
      const { name, instruction, questions } = reply;
      // PAM likes to end with a round without questions (section 3.4 wants it answered).
      const answers = questions.length === 0 ? [] : await answer(name, instruction, questions);
      reply = await this.#request(() => this.#protocol.authInfoRes([...answers]));
    }
    return final(reply);
  }

  #keyRequest(blob: Buffer, algorithm: KeyAlgorithm, signed: boolean): Buffer {
    return Buffer.concat([
      Buffer.from([USERAUTH_REQUEST]),
      ...[this.#username, SERVICE, "publickey"].map(sshString),
      Buffer.from([signed ? 1 : 0]),
      ...[algorithm.name, blob].map(sshString),
    ]);
  }

  #sendKey(request: Buffer): void {
    // By this ssh2 tells what a message 60 means.
    this.#protocol._authsQueue.push("publickey");
    sendPayload(this.#protocol, request);
  }

  async #final(send: () => void): Promise<AuthReply> {
    return final(await this.#request(send));
  }

  #request(send: () => void): Promise<Reply> {
    return new Promise((resolve) => {
      this.#resolve = resolve;
      send();
    });
  }

  #settle(reply: Reply): void {
    const resolve = this.#resolve;
    this.#resolve = undefined;
    resolve?.(reply);
  }
}

function final(reply: Reply): AuthReply {
  if (reply.kind === "success" || reply.kind === "failure") return reply;
  throw unexpected();
}

function unexpected(): SessionError {
  return new SessionError("the server does not follow the SSH protocol in authentication", {
    code: "protocol-error",
  });
}
