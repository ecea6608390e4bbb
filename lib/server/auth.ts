/**
 * Who may come in: the server's half of RFC 4252. It proves what can be proved; whether that is
 * enough, its owner says.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { messageOf } from "../errors.ts";
import { logger } from "../log.ts";
import { fingerprint } from "../ssh/known_hosts.ts";
import { parseKey } from "../ssh/ssh2.ts";
import type { AuthContext, EngineConnection } from "./engine.ts";
import { printable } from "./printable.ts";

const log = logger("server");

/** Failed attempts until the server hangs up, as sshd's MaxAuthTries. */
const MAX_FAILURES = 6;

/** Types of user keys; RSA only with SHA-2 signatures. */
const KEY_TYPES: readonly string[] = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "ssh-rsa",
];

/** A method by which a client can prove who it is. */
export type ServerAuthMethod = "publickey" | "password" | "keyboard-interactive";

/** A public key that a client offers. */
export interface OfferedKey {
  /** Its type, such as `ssh-ed25519`. */
  readonly type: string;
  /** The public key as SSH encodes it. */
  readonly blob: Buffer;
  /** `SHA256:…`, as ssh prints it. */
  readonly fingerprint: string;
  /**
   * Whether the client has proved that it holds the private half. Before that it only asks
   * whether the key would do, and true lets nobody in.
   */
  readonly proved: boolean;
}

/** One attempt of a client to come in. */
export interface AuthAttempt {
  /** Who the client says it is. Any text at all. */
  readonly username: string;
  /** How it wants to prove that; `none` is also how clients ask which methods there are. */
  readonly method: "none" | ServerAuthMethod;
  /** The password, or the answer to the one question of keyboard-interactive. */
  readonly password?: string;
  /** The key, with the method `publickey`. */
  readonly key?: OfferedKey;
}

/** Says whether an attempt is good enough. One that throws has said no. */
export type Authorize = (attempt: AuthAttempt) => boolean | Promise<boolean>;

/** What one connection's attempts are judged by. */
export interface AuthPolicy {
  /** Says whether an attempt is good enough. */
  readonly authorize: Authorize;
  /** The methods that clients are told of; others fail without a question. */
  readonly methods: readonly ServerAuthMethod[];
  /** The client's address, for the log. */
  readonly peer: string;
  /** Whether nothing can be answered any more. */
  readonly lost: () => boolean;
  /** Called when the client has been let in. */
  readonly onSuccess: (username: string) => void;
  /** Called when the connection cannot go on. */
  readonly onError: (error: unknown) => void;
  /** Called when too many attempts have failed, instead of an answer to the last. */
  readonly onExhausted: () => void;
}

/**
 * Judges every attempt of one connection to authenticate.
 *
 * @param connection The connection.
 * @param policy What by.
 */
export function guard(connection: EngineConnection, policy: AuthPolicy): void {
  let attempts = 0;
  let failures = 0;
  let username = "";
  const judge = async (context: AuthContext) => {
    attempts++;
    const attempt = await describe(context, policy);
    const allowed = attempt !== undefined && await ask(attempt, policy.authorize);
    // It may have left meanwhile, and ssh2 throws then.
    if (policy.lost() || failures >= MAX_FAILURES) return;
    if (allowed) {
      username = context.username;
      context.accept();
      return;
    }
    // The first "none" is how every client begins.
    if (context.method !== "none" || attempts > 1) {
      failures++;
      logFailure(context, attempt, policy);
    }
    if (failures >= MAX_FAILURES) policy.onExhausted();
    else context.reject([...policy.methods]);
  };
  connection.on("authentication", (context) => void judge(context).catch(policy.onError));
  connection.once("ready", () => policy.onSuccess(username));
}

/** @returns undefined where the attempt fails whatever anybody says of it. */
async function describe(
  context: AuthContext,
  policy: AuthPolicy,
): Promise<AuthAttempt | undefined> {
  const { username, method } = context;
  if (method === "none") return { username, method };
  if (method === "hostbased" || !policy.methods.includes(method)) return undefined;
  switch (context.method) {
    case "publickey": {
      const key = offeredKey(context);
      return key && { username, method, key };
    }
    case "password":
      // A request to change the password (RFC 4252 section 8) has an object here.
      if (typeof context.password !== "string") return undefined;
      return { username, method, password: context.password };
    case "keyboard-interactive": {
      const password = await askPassword(context);
      return password === undefined ? undefined : { username, method, password };
    }
    default:
      return undefined;
  }
}

/** @returns undefined for a key that is malformed or outdated, and for a wrong signature. */
function offeredKey(context: AuthContext & { method: "publickey" }): OfferedKey | undefined {
  const { key: { algo, data: blob }, signature, hashAlgo } = context;
  // ssh2 has taken the hash out of the algorithm's name: without one it was SHA-1.
  if (!KEY_TYPES.includes(algo) || (algo === "ssh-rsa" && hashAlgo === undefined)) return undefined;
  // As text, since parseKey() would try a blob as every format it knows.
  const key = parseKey(`${algo} ${blob.toString("base64")}`);
  if (key instanceof Error || !key.getPublicSSH().equals(blob)) return undefined;
  const proved = signature !== undefined;
  if (proved && key.verify(context.blob ?? "", signature, hashAlgo) !== true) return undefined;
  return { type: algo, blob: Buffer.from(blob), fingerprint: fingerprint(blob), proved };
}

function askPassword(
  context: AuthContext & { method: "keyboard-interactive" },
): Promise<string | undefined> {
  return new Promise((resolve) => {
    context.prompt([{ prompt: "Password: ", echo: false }], (answers: unknown) => {
      // An error where the client gave this attempt up for another.
      const answer: unknown = Array.isArray(answers) ? answers[0] : undefined;
      resolve(typeof answer === "string" ? answer : undefined);
    });
  });
}

async function ask(attempt: AuthAttempt, authorize: Authorize): Promise<boolean> {
  try {
    return await authorize(attempt) === true;
  } catch (error) {
    log.error("cannot judge a client: {reason}", { reason: messageOf(error) });
    return false;
  }
}

function logFailure(
  { username, method }: AuthContext,
  attempt: AuthAttempt | undefined,
  { peer }: AuthPolicy,
): void {
  const key = attempt?.key === undefined ? "" : ` (${attempt.key.type} ${attempt.key.fingerprint})`;
  log.warn(`{peer}: authentication failed for "{user}" by {method}{key}`, {
    peer,
    user: printable(username),
    method,
    key,
  });
}
