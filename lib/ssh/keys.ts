/**
 * The keys that prove who a user is, from files and from text.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { readFile, stat } from "node:fs/promises";
import process from "node:process";
import { adviceOf, messageOf, SessionError, systemCodeOf } from "../errors.ts";
import { logger } from "../log.ts";
import type { SessionBinding } from "./agent_client.ts";
import { isFidoType, keyTypeOf } from "./key_algorithms.ts";
import { parsePrivateKey, type PrivateKey, readKeyHeader } from "./private_key.ts";
import type { Prompter } from "./prompter.ts";
import { parsePublicKey, readPublicKeyFile } from "./public_key.ts";
import { generateKeyPairSync } from "./ssh2.ts";

const log = logger("ssh");

/** A key that can prove who the user is, wherever its private half lives. */
export interface Identity {
  /** What people call it: a file's path, or the comment that the agent has for it. */
  readonly name: string;
  /** The public key or certificate as SSH encodes it, where known without asking anybody. */
  readonly publicBlob: Buffer | undefined;
  /** Why only an agent can sign for it, to follow its name; missing where it signs itself. */
  readonly needsAgent?: string | undefined;
  /** Why it is of no use, to follow its name; it is kept to be told of when nothing else will do. */
  readonly fault?: string | undefined;
  /**
   * The public key or certificate, to be offered.
   *
   * @returns undefined where it cannot be had, for instance because nobody gave the passphrase.
   */
  publicKey(): Promise<Buffer | undefined>;
  /**
   * Signs; this is when a passphrase is asked for.
   *
   * @param data What is to be signed.
   * @param algorithm The signature algorithm, such as `rsa-sha2-512`.
   * @param binding The session that it is for: an agent may have keys that are for some hosts only.
   * @returns The whole signature as SSH encodes it, with its algorithm's name.
   * @throws {SessionError} `identity-unreadable` or `agent-failed` where it cannot be made.
   */
  sign(data: Buffer, algorithm: string, binding?: SessionBinding): Promise<Buffer>;
}

/** What opens an encrypted key. */
export interface Unlock {
  /** A passphrase that needs no asking; it is tried first. */
  readonly passphrase?: string | undefined;
  /** Asks for one; without either an encrypted key is offered but cannot sign. */
  readonly prompter?: Prompter | undefined;
}

/** Bytes of a key file; real ones have a few thousand. */
const MAX_KEY_FILE = 1024 * 1024;
const PASSPHRASE_TRIES = 3;
const GIVE_PASSPHRASE =
  "--passphrase env:NAME (in the library, passphrase) or a program in SSH_ASKPASS can give it";
const NOT_OPENED = "is not opened by the passphrase that was given";
const ONLY_PUBLIC = "is only a public key";
const ON_AUTHENTICATOR = "is a key on a FIDO authenticator";

/**
 * The identity in a file. As for ssh, a public key alone will do where an agent holds the rest.
 *
 * @param path The private key's path.
 * @param unlock What opens it where it is encrypted.
 * @returns The identity; an encrypted one stays so until it has to sign.
 * @throws {SessionError} `identity-unreadable` when the file is missing, is no key, or can be read
 *   by others.
 */
export async function fileIdentity(path: string, unlock: Unlock = {}): Promise<Identity> {
  const publicHalf = () => readPublicKeyFile(`${path}.pub`).catch(() => undefined);
  let text: string;
  try {
    text = await readKeyFile(path);
  } catch (error) {
    const blob = isMissingFile(error) ? await publicHalf() : undefined;
    if (blob === undefined) throw error;
    return agentOnly(`${path}.pub`, blob, ONLY_PUBLIC);
  }
  const publicBlob = parsePublicKey(text);
  if (publicBlob !== undefined) return agentOnly(path, publicBlob, ONLY_PUBLIC);
  const header = readKeyHeader(text);
  if (header.publicBlob !== undefined && isFidoType(keyTypeOf(header.publicBlob))) {
    return agentOnly(path, header.publicBlob, ON_AUTHENTICATOR);
  }
  const key = parsePrivateKey(text);
  if (!(key instanceof Error)) return keyIdentity(path, key);
  if (!header.encrypted) {
    throw unreadable(path, `is not a private key that fairlead can read: ${key.message}`);
  }
  return new EncryptedIdentity(path, text, header.publicBlob ?? await publicHalf(), unlock);
}

/**
 * The identity of a key whose file cannot be used, where an agent holds the key all the same.
 *
 * @param path The private key's path; its public half lies beside it.
 * @param held What the agent holds.
 * @returns undefined where there is none.
 */
export async function heldIdentity(
  path: string,
  held: readonly Identity[],
): Promise<Identity | undefined> {
  const blob = await readPublicKeyFile(`${path}.pub`).catch(() => undefined);
  if (blob === undefined) return undefined;
  return held.find(({ publicBlob }) => publicBlob?.equals(blob));
}

/**
 * The identity in a private key's text.
 *
 * @param name What to call it.
 * @param given The key, in OpenSSH's format or PEM; also as CI systems keep it, with `\n` written
 *   out, or the whole of it in base64.
 * @param unlock What opens it where it is encrypted.
 * @returns The identity.
 * @throws {SessionError} `identity-unreadable` when it is no private key, or is encrypted and there
 *   is nothing to open it with.
 */
export function textIdentity(name: string, given: string, unlock: Unlock = {}): Identity {
  const text = plainText(given);
  const { encrypted, publicBlob } = readKeyHeader(text);
  const key = parsePrivateKey(text, encrypted ? unlock.passphrase : undefined);
  if (!(key instanceof Error)) return keyIdentity(name, key);
  if (!encrypted) throw unreadable(name, `cannot be read: ${key.message}`);
  if (unlock.prompter !== undefined) return new EncryptedIdentity(name, text, publicBlob, unlock);
  const reason = unlock.passphrase === undefined
    ? "is encrypted and no passphrase was given"
    : NOT_OPENED;
  throw unreadable(name, reason, unlock.passphrase === undefined ? { hint: GIVE_PASSPHRASE } : {});
}

/**
 * Makes a new key pair.
 *
 * @returns An ed25519 private key in OpenSSH's format, and its public line.
 */
export function generateIdentity(): { privateKey: string; publicKey: string } {
  let pair = generateKeyPairSync("ed25519");
  // ssh2 1.17.0 drops leading zero bytes of the public half: one key in 256 cannot be read.
  while (parsePrivateKey(pair.private) instanceof Error) pair = generateKeyPairSync("ed25519");
  return { privateKey: pair.private, publicKey: pair.public.trim() };
}

/**
 * Tells a key file that does not exist from one that cannot be used.
 *
 * @param error What {@linkcode fileIdentity} threw.
 * @returns Whether the file is simply not there.
 */
export function isMissingFile(error: unknown): boolean {
  return error instanceof SessionError && systemCodeOf(error.cause) === "ENOENT";
}

function keyIdentity(name: string, key: PrivateKey): Identity {
  return {
    name,
    publicBlob: key.publicBlob,
    publicKey: () => Promise.resolve(key.publicBlob),
    sign: (data, algorithm) => Promise.resolve(signWith(name, key, data, algorithm)),
  };
}

function agentOnly(name: string, blob: Buffer, needsAgent: string): Identity {
  return {
    name,
    publicBlob: blob,
    needsAgent,
    publicKey: () => Promise.resolve(blob),
    sign: () => Promise.reject(unreadable(name, `${needsAgent}, and cannot sign`)),
  };
}

class EncryptedIdentity implements Identity {
  readonly name: string;
  readonly #text: string;
  readonly #publicBlob: Buffer | undefined;
  readonly #unlock: Unlock;
  #key: PrivateKey | undefined;
  #triedPassphrase = false;

  constructor(name: string, text: string, publicBlob: Buffer | undefined, unlock: Unlock) {
    this.name = name;
    this.#text = text;
    this.#publicBlob = publicBlob;
    this.#unlock = unlock;
  }

  get publicBlob(): Buffer | undefined {
    return this.#publicBlob ?? this.#key?.publicBlob;
  }

  async publicKey(): Promise<Buffer | undefined> {
    const blob = this.#publicBlob ?? (await this.#decrypt())?.publicBlob;
    // Nothing of it can be offered, so this is the only word about it.
    if (blob === undefined && this.#unlock.prompter === undefined) {
      log.warn("{reason}", { reason: adviceOf(this.#locked()) });
    }
    return blob;
  }

  async sign(data: Buffer, algorithm: string): Promise<Buffer> {
    const key = await this.#decrypt();
    if (key === undefined) throw this.#locked();
    return signWith(this.name, key, data, algorithm);
  }

  async #decrypt(): Promise<PrivateKey | undefined> {
    this.#tryPassphrase();
    const { prompter } = this.#unlock;
    for (let tries = 0; this.#key === undefined && tries < PASSPHRASE_TRIES; tries++) {
      // ssh's own words, with which scripts answer; it says nothing else after a wrong one.
      const passphrase = await prompter?.secret(`Enter passphrase for key '${this.name}': `);
      if (passphrase === undefined || passphrase === "") return undefined;
      this.#open(passphrase);
    }
    return this.#key;
  }

  #tryPassphrase(): void {
    const { passphrase } = this.#unlock;
    if (passphrase === undefined || this.#triedPassphrase) return;
    this.#triedPassphrase = true;
    // Where nobody can be asked next, it is the reason for all that follows, and told with that.
    if (this.#open(passphrase) || this.#unlock.prompter === undefined) return;
    log.warn("{reason}", { reason: unreadable(this.name, NOT_OPENED).message });
  }

  /** Why it cannot sign. */
  #locked(): SessionError {
    const { passphrase, prompter } = this.#unlock;
    if (prompter !== undefined) return unreadable(this.name, "was not decrypted");
    if (passphrase !== undefined) return unreadable(this.name, NOT_OPENED);
    return unreadable(this.name, "is encrypted, and nobody could be asked for its passphrase", {
      hint: GIVE_PASSPHRASE,
    });
  }

  #open(passphrase: string): boolean {
    const key = parsePrivateKey(this.#text, passphrase);
    if (key instanceof Error) return false;
    this.#key = key;
    return true;
  }
}

async function readKeyFile(path: string): Promise<string> {
  try {
    const info = await stat(path);
    if (!info.isFile()) throw unreadable(path, "is not a file");
    if (info.size > MAX_KEY_FILE) throw unreadable(path, "is too large for a key");
    const text = await readFile(path, "utf8");
    // Only our own files are judged, as ssh does: a key that root put there is root's decision.
    if (process.platform !== "win32" && info.uid === process.getuid?.() && (info.mode & 0o077)) {
      if (parsePublicKey(text) !== undefined) return text;
      const mode = (info.mode & 0o777).toString(8).padStart(4, "0");
      throw unreadable(path, `is readable by others (mode ${mode}) and is therefore not used`, {
        hint: `run: chmod 600 '${path}'`,
      });
    }
    return text;
  } catch (error) {
    if (error instanceof SessionError) throw error;
    const code = systemCodeOf(error);
    const reason = code === "ENOENT"
      ? "does not exist"
      : code === "EACCES"
      ? "cannot be read: permission denied"
      : `cannot be read: ${messageOf(error)}`;
    throw unreadable(path, reason, { cause: error });
  }
}

/** Undoes what CI systems do to a file that has to fit into one line. */
function plainText(given: string): string {
  const decoded = /-----BEGIN/.test(given) ? given : Buffer.from(given, "base64").toString("utf8");
  const text = /-----BEGIN/.test(decoded) ? decoded : given;
  return `${text.replace(/\\r|\r/g, "").replaceAll("\\n", "\n").trim()}\n`;
}

function signWith(name: string, key: PrivateKey, data: Buffer, algorithm: string): Buffer {
  try {
    return key.sign(data, algorithm);
  } catch (error) {
    throw unreadable(name, `cannot sign: ${messageOf(error)}`, { cause: error });
  }
}

function unreadable(
  name: string,
  reason: string,
  more: { hint?: string; cause?: unknown } = {},
): SessionError {
  return new SessionError(`identity ${name} ${reason}`, { code: "identity-unreadable", ...more });
}
