/**
 * Private keys in files: OpenSSH's own format, and PEM (PKCS#1, SEC1, PKCS#8).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, sign } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import process from "node:process";
import { messageOf, SessionError, systemCodeOf } from "../errors.ts";
import { ecHashOf, normalizeEcPem } from "./ec_key.ts";
import type { Prompter } from "./prompter.ts";
import { generateKeyPairSync, parseKey, type SshKey } from "./ssh2.ts";

/** A key that can prove who the user is, wherever its private half lives. */
export interface Identity {
  /** What people call it: a file's path, or the comment that the agent has for it. */
  readonly name: string;
  /** The public half as SSH encodes it, where it is known without asking anybody. */
  readonly publicBlob: Buffer | undefined;
  /**
   * The public half, to be offered.
   *
   * @returns undefined where it cannot be had, for instance because nobody gave the passphrase.
   */
  publicKey(): Promise<SshKey | undefined>;
  /**
   * Signs; this is when a passphrase is asked for.
   *
   * @param data What is to be signed.
   * @param hash The digest's name where the key type leaves a choice.
   * @returns The signature as node:crypto makes it.
   * @throws {SessionError} `identity-unreadable` where it cannot be made.
   */
  sign(data: Buffer, hash: string | undefined): Promise<Buffer>;
}

/** Bytes of a key file; real ones have a few thousand. */
const MAX_KEY_FILE = 1024 * 1024;
const PASSPHRASE_TRIES = 3;

/**
 * The identity in a file.
 *
 * @param path The private key's path.
 * @param prompter Asks for the passphrase of an encrypted key; without one such a key is offered
 *   but cannot sign.
 * @returns The identity; an encrypted one stays so until it has to sign.
 * @throws {SessionError} `identity-unreadable` when the file is missing, is no private key, or can
 *   be read by others.
 */
export async function fileIdentity(path: string, prompter?: Prompter): Promise<Identity> {
  const text = await readKeyFile(path);
  const parsed = parsePrivateKey(text);
  if (parsed instanceof Error) {
    if (!isEncrypted(text)) {
      throw unreadable(path, `is not a private key that fairlead can read: ${parsed.message}`);
    }
    const publicKey = await publicHalf(path, text);
    return new EncryptedIdentity(path, text, publicKey, prompter);
  }
  return keyIdentity(path, parsed);
}

/**
 * The identity of a key that is already in memory.
 *
 * @param name What to call it.
 * @param key The private key.
 * @returns The identity.
 */
export function keyIdentity(name: string, key: SshKey): Identity {
  return {
    name,
    publicBlob: key.getPublicSSH(),
    publicKey: () => Promise.resolve(key),
    sign: (data, hash) => Promise.resolve(signWith(name, key, data, hash)),
  };
}

/**
 * The identity in a private key's text.
 *
 * @param name What to call it.
 * @param text The key, in OpenSSH's format or PEM.
 * @param passphrase Decrypts it, where it is encrypted.
 * @returns The identity.
 * @throws {SessionError} `identity-unreadable` when it is no private key, or the passphrase is
 *   wrong or missing.
 */
export function textIdentity(name: string, text: string, passphrase?: string): Identity {
  const key = parsePrivateKey(text, passphrase);
  if (key instanceof Error) {
    const reason = isEncrypted(text)
      ? passphrase === undefined ? "is encrypted and no passphrase was given" : "does not open"
      : `cannot be read: ${key.message}`;
    throw unreadable(name, reason);
  }
  return keyIdentity(name, key);
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

class EncryptedIdentity implements Identity {
  readonly name: string;
  readonly #text: string;
  readonly #public: SshKey | undefined;
  readonly #prompter: Prompter | undefined;
  #key: SshKey | undefined;

  constructor(
    path: string,
    text: string,
    publicKey: SshKey | undefined,
    prompter: Prompter | undefined,
  ) {
    this.name = path;
    this.#text = text;
    this.#public = publicKey;
    this.#prompter = prompter;
  }

  get publicBlob(): Buffer | undefined {
    return (this.#public ?? this.#key)?.getPublicSSH();
  }

  async publicKey(): Promise<SshKey | undefined> {
    return this.#public ?? await this.#decrypt();
  }

  async sign(data: Buffer, hash: string | undefined): Promise<Buffer> {
    const key = await this.#decrypt();
    if (key === undefined) throw unreadable(this.name, "was not decrypted");
    return signWith(this.name, key, data, hash);
  }

  async #decrypt(): Promise<SshKey | undefined> {
    for (let tries = 0; this.#key === undefined && tries < PASSPHRASE_TRIES; tries++) {
      // ssh's own words, with which scripts answer; it says nothing else after a wrong one.
      const prompt = `Enter passphrase for key '${this.name}': `;
      const passphrase = await this.#prompter?.secret(prompt);
      if (passphrase === undefined || passphrase === "") return undefined;
      const key = parsePrivateKey(this.#text, passphrase);
      if (!(key instanceof Error)) this.#key = key;
    }
    return this.#key;
  }
}

async function readKeyFile(path: string): Promise<string> {
  try {
    const info = await stat(path);
    if (!info.isFile()) throw unreadable(path, "is not a file");
    if (info.size > MAX_KEY_FILE) throw unreadable(path, "is too large for a key");
    // Only our own files are judged, as ssh does: a key that root put there is root's decision.
    if (process.platform !== "win32" && info.uid === process.getuid?.() && (info.mode & 0o077)) {
      const mode = (info.mode & 0o777).toString(8).padStart(4, "0");
      throw unreadable(path, `is readable by others (mode ${mode}) and is therefore not used`, {
        hint: `run: chmod 600 '${path}'`,
      });
    }
    return await readFile(path, "utf8");
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

/** @returns The key, or ssh2's error. */
function parsePrivateKey(text: string, passphrase?: string): SshKey | Error {
  const isPem = /BEGIN ((RSA|EC|ENCRYPTED) )?PRIVATE KEY/.test(text);
  const plain = isPem ? fromPem(text, passphrase) : text;
  if (plain instanceof Error) return plain;
  try {
    const key = parseKey(plain, passphrase);
    if (key instanceof Error) return key;
    return key.isPrivateKey() ? key : new Error("it is a public key");
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/**
 * Gives ssh2 the plain, older form of a key in PEM: it knows no PKCS#8, and leaves the padding of
 * an encrypted key behind its end, where Deno refuses it.
 */
function fromPem(text: string, passphrase: string | undefined): string | Error {
  try {
    const key = createPrivateKey({
      key: text,
      ...(passphrase === undefined ? {} : { passphrase }),
    });
    if (key.asymmetricKeyType === "rsa") {
      return key.export({ type: "pkcs1", format: "pem" }) as string;
    }
    if (key.asymmetricKeyType === "ec") {
      return key.export({ type: "sec1", format: "pem" }) as string;
    }
    return new Error(`a ${key.asymmetricKeyType} key in PKCS#8; convert it with ssh-keygen -p`);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

function isEncrypted(text: string): boolean {
  if (/ENCRYPTED/.test(text)) return true;
  const header = openSshHeader(text);
  return header !== undefined && header.cipher !== "none";
}

async function publicHalf(path: string, text: string): Promise<SshKey | undefined> {
  const blob = openSshHeader(text)?.publicKey;
  const source = blob ?? await readFile(`${path}.pub`, "utf8").catch(() => undefined);
  if (source === undefined) return undefined;
  const key = parseKey(source);
  return key instanceof Error ? undefined : key;
}

/** The part of OpenSSH's key format that is never encrypted (PROTOCOL.key in OpenSSH's source). */
function openSshHeader(text: string): { cipher: string; publicKey: Buffer } | undefined {
  const body = /BEGIN OPENSSH PRIVATE KEY-----([\s\S]+?)-----END/.exec(text)?.[1];
  if (body === undefined) return undefined;
  const data = Buffer.from(body, "base64");
  let position = "openssh-key-v1\0".length;
  const next = () => {
    const length = data.readUInt32BE(position);
    position += 4 + length;
    return data.subarray(position - length, position);
  };
  try {
    const cipher = next().toString("latin1");
    next(); // kdf name
    next(); // kdf options
    position += 4; // number of keys
    return { cipher, publicKey: next() };
  } catch {
    return undefined; // cut short: parseKey has the better words for it
  }
}

function signWith(name: string, key: SshKey, data: Buffer, hash: string | undefined): Buffer {
  try {
    const ecHash = ecHashOf(key.type);
    if (ecHash !== undefined) return sign(ecHash, data, normalizeEcPem(key.getPrivatePEM()));
    const signature = key.sign(data, hash) as Buffer | Error;
    if (signature instanceof Error) throw signature;
    return signature;
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
