/**
 * The client's half of the agent protocol (draft-miller-ssh-agent): one connection a request, keys
 * and signatures as they are, so that certificates and FIDO keys go through unharmed.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { connect, type Socket } from "node:net";
import { sshString, uint32, WireReader } from "./wire.ts";

/** A key that an agent holds. */
export interface AgentKey {
  /** The public key, or the certificate, as SSH encodes it. */
  readonly blob: Buffer;
  /** What people call it; may be empty. */
  readonly comment: string;
}

/** The session that a signature is for (PROTOCOL.agent of OpenSSH, session-bind). */
export interface SessionBinding {
  /** The server's host key, or the certificate that it showed. */
  readonly hostKey: Buffer;
  /** The session's identifier. */
  readonly sessionId: Buffer;
  /** What the server signed that identifier with. */
  readonly signature: Buffer;
}

/** How to make a request. */
export interface AgentRequest {
  /** Milliseconds for the whole answer. */
  readonly timeout?: number;
  /** Gives the request up. */
  readonly signal?: AbortSignal | undefined;
  /** The session that a signature is for; without it a key that is for some hosts is refused. */
  readonly binding?: SessionBinding | undefined;
}

/** Milliseconds for an agent to list its keys. */
const LIST_TIMEOUT = 10_000;
/** Milliseconds for an agent to sign: it may be asking a person for a touch or a confirmation. */
const SIGN_TIMEOUT = 120_000;
/** Bytes of one answer, and keys in it, as OpenSSH bounds them. */
const MAX_ANSWER = 256 * 1024;
const MAX_KEYS = 2048;
/** Bytes that say how long an answer is. */
const LENGTH_SIZE = 4;

const REQUEST_IDENTITIES = 11;
const IDENTITIES_ANSWER = 12;
const SIGN_REQUEST = 13;
const SIGN_RESPONSE = 14;
const EXTENSION = 27;
/** SSH_AGENT_FAILURE, and what older agents and those of other makers say instead. */
const FAILURES: readonly number[] = [5, 30, 102];
/** What asks for SHA-2 with an RSA key (section 4.5.1); its own default is SHA-1. */
const RSA_FLAGS: Readonly<Record<string, number>> = { "rsa-sha2-256": 2, "rsa-sha2-512": 4 };

/**
 * Asks an agent for its keys.
 *
 * @param socketPath The agent's Unix socket, or its named pipe on Windows.
 * @param request A deadline other than 10 seconds, a signal.
 * @returns The keys, in the agent's order; none where it is locked.
 * @throws {Error} When there is no agent, or it gives no sensible answer in time.
 */
export async function listAgentKeys(
  socketPath: string,
  request: AgentRequest = {},
): Promise<AgentKey[]> {
  const asked = Buffer.from([REQUEST_IDENTITIES]);
  const answer = await exchange(socketPath, [asked], { timeout: LIST_TIMEOUT, ...request });
  return readAnswer(answer, IDENTITIES_ANSWER, "it does not list its keys", (reader) => {
    const count = reader.uint32();
    if (count > MAX_KEYS) throw new SyntaxError(`it says that it holds ${count} keys`);
    return Array.from({ length: count }, () => ({ blob: reader.string(), comment: reader.text() }));
  });
}

/**
 * Has an agent sign.
 *
 * @param socketPath The agent's Unix socket, or its named pipe on Windows.
 * @param blob The key, as the agent listed it.
 * @param data What is to be signed.
 * @param algorithm The signature algorithm, such as `rsa-sha2-512`.
 * @param request A deadline other than 120 seconds, a signal.
 * @returns The whole signature as SSH encodes it, with its algorithm's name.
 * @throws {Error} When the agent refuses, or gives no sensible answer in time.
 */
export async function signWithAgent(
  socketPath: string,
  blob: Buffer,
  data: Buffer,
  algorithm: string,
  request: AgentRequest = {},
): Promise<Buffer> {
  const asked = Buffer.concat([
    Buffer.from([SIGN_REQUEST]),
    sshString(blob),
    sshString(data),
    uint32(RSA_FLAGS[algorithm] ?? 0),
  ]);
  // Most agents know nothing of sessions; whether this one does makes no difference here.
  const bind = request.binding === undefined ? [] : [bindRequest(request.binding)];
  const messages = [...bind, asked];
  const answer = await exchange(socketPath, messages, { timeout: SIGN_TIMEOUT, ...request });
  const signature = readAnswer(answer, SIGN_RESPONSE, "it refused", (reader) => reader.string());
  const made = new WireReader(signature).text();
  if (made !== algorithm) throw new Error(`it made a signature of another kind (${made})`);
  return signature;
}

function bindRequest({ hostKey, sessionId, signature }: SessionBinding): Buffer {
  return Buffer.concat([
    Buffer.from([EXTENSION]),
    ...["session-bind@openssh.com", hostKey, sessionId, signature].map(sshString),
    Buffer.from([0]), // the agent itself is not forwarded
  ]);
}

function readAnswer<T>(
  answer: Buffer,
  expected: number,
  refused: string,
  read: (reader: WireReader) => T,
): T {
  const reader = new WireReader(answer);
  const type = reader.byte();
  if (FAILURES.includes(type)) throw new Error(refused);
  if (type !== expected) throw new Error(`it gave an answer of another kind (${type})`);
  return read(reader);
}

/** Sends one message after the other, each when the one before is answered. */
function exchange(
  socketPath: string,
  messages: readonly Buffer[],
  { timeout = 0, signal }: AgentRequest,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(new Error("it was cancelled"));
    const socket = connect({ path: socketPath });
    const settle = (finish: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
      socket.destroy();
      finish();
    };
    const fail = (error: Error) => settle(() => reject(error));
    const cancel = () => fail(new Error("it was cancelled"));
    const timer = setTimeout(() => fail(new Error(`no answer in ${timeout / 1000} s`)), timeout);
    signal?.addEventListener("abort", cancel, { once: true });
    socket.on("error", fail);
    socket.on("close", () => fail(new Error("it hung up without an answer")));
    const left = [...messages];
    const next = (answer: Buffer) => {
      const message = left.shift();
      if (message === undefined) settle(() => resolve(answer));
      else socket.write(sshString(message));
    };
    readMessages(socket, next, fail);
    next(Buffer.alloc(0));
  });
}

/** Reads answers; there is never more than one at a time. */
function readMessages(
  socket: Socket,
  done: (message: Buffer) => void,
  fail: (error: Error) => void,
): void {
  let chunks: Buffer[] = [];
  let size = 0;
  let wanted = LENGTH_SIZE;
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    // An answer may come in many pieces: they are put together once the length is there, and once
    // the rest is.
    if (size < wanted) return;
    const received = Buffer.concat(chunks);
    const length = received.readUInt32BE();
    if (length === 0 || length > MAX_ANSWER) {
      return fail(new Error(`its answer is said to have ${length} bytes`));
    }
    wanted = LENGTH_SIZE + length;
    chunks = [received];
    if (size < wanted) return;
    const message = received.subarray(LENGTH_SIZE, wanted);
    chunks = [received.subarray(wanted)];
    size -= wanted;
    wanted = LENGTH_SIZE;
    done(message);
  });
}
