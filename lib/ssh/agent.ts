/**
 * The keys of an ssh-agent.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { messageOf, SessionError } from "../errors.ts";
import { logger } from "../log.ts";
import type { Identity } from "./keys.ts";
import { BaseAgent, createAgent, parseKey, type SshKey } from "./ssh2.ts";

const log = logger("ssh");

/** Milliseconds for an agent to list its keys. */
const LIST_TIMEOUT = 10_000;
/** Milliseconds for an agent to sign: it may be asking a person for a touch or a confirmation. */
const SIGN_TIMEOUT = 120_000;

type KnownKeys = (Buffer | string | SshKey | { pubKey: unknown; comment?: string })[];

/**
 * The identities that an agent holds.
 *
 * @param socketPath The agent's Unix socket, or its named pipe on Windows.
 * @returns One identity a key; none, with a logged warning, when the agent does not answer.
 */
export async function agentIdentities(socketPath: string): Promise<Identity[]> {
  try {
    const agent = createAgent(socketPath);
    const keys = await answer<KnownKeys>(LIST_TIMEOUT, (callback) => {
      agent.getIdentities((error, list) => callback(error, list as KnownKeys | undefined));
    });
    return keys.flatMap((key, index) => {
      const parsed = parseKey(key as Buffer);
      return parsed instanceof Error ? [] : [agentIdentity(agent, parsed, index)];
    });
  } catch (error) {
    log.warn("the agent at {socketPath} gives no keys: {reason}", {
      socketPath,
      reason: messageOf(error),
    });
    return [];
  }
}

/**
 * ssh2's kind of agent with just one key: it lets our own order of attempts decide what is offered
 * when, and keeps private halves locked until the server wants a signature.
 */
export class OneKeyAgent extends BaseAgent {
  readonly #identity: Identity;
  readonly #key: SshKey;
  readonly #failed: (error: unknown) => void;

  /**
   * @param identity The key's holder, who signs.
   * @param key Its public half.
   * @param failed Told of a signature that could not be made.
   */
  constructor(identity: Identity, key: SshKey, failed: (error: unknown) => void) {
    super();
    this.#identity = identity;
    this.#key = key;
    this.#failed = failed;
  }

  override getIdentities(callback: (error?: Error, keys?: SshKey[]) => void): void {
    callback(undefined, [this.#key]);
  }

  override sign(
    _key: unknown,
    data: Buffer,
    options: unknown,
    callback?: (error?: Error, signature?: Buffer) => void,
  ): void {
    const hash = (options as { hash?: string } | undefined)?.hash;
    this.#identity.sign(data, hash).then(
      (signature) => callback?.(undefined, signature),
      (error: unknown) => {
        this.#failed(error);
        callback?.(error instanceof Error ? error : new Error(String(error)));
      },
    );
  }
}

function agentIdentity(
  agent: ReturnType<typeof createAgent>,
  key: SshKey,
  index: number,
): Identity {
  const name = `${key.comment === "" ? `agent key ${index + 1}` : key.comment} (agent)`;
  return {
    name,
    publicBlob: key.getPublicSSH(),
    publicKey: () => Promise.resolve(key),
    sign: async (data, hash) => {
      try {
        return await answer<Buffer>(SIGN_TIMEOUT, (callback) => {
          agent.sign(key, data, hash === undefined ? {} : { hash } as never, callback as never);
        });
      } catch (error) {
        throw new SessionError(`the agent did not sign with ${name}: ${messageOf(error)}`, {
          code: "agent-failed",
          cause: error,
        });
      }
    },
  };
}

/** A callback's answer as a promise with a deadline. */
function answer<T>(
  timeout: number,
  ask: (callback: (error: Error | null | undefined, value?: T) => void) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`no answer in ${timeout / 1000} seconds`)),
      timeout,
    );
    ask((error, value) => {
      clearTimeout(timer);
      if (error) reject(error);
      else resolve(value as T);
    });
  });
}
