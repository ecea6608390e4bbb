/**
 * Private keys: OpenSSH's own format, and PEM (PKCS#1, SEC1, PKCS#8); and how they sign.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import { ecHashOf, normalizeEcPem } from "./ec_key.ts";
import { parseKey, type SshKey } from "./ssh2.ts";
import { mpint, sshString, WireReader } from "./wire.ts";

/** A private key that is open. */
export interface PrivateKey {
  /** The public half as SSH encodes it. */
  readonly publicBlob: Buffer;
  /**
   * Signs.
   *
   * @param data What is to be signed.
   * @param algorithm The signature algorithm, such as `rsa-sha2-512`.
   * @returns The whole signature as SSH encodes it, with its algorithm's name.
   * @throws {Error} When the runtime cannot do it.
   */
  sign(data: Buffer, algorithm: string): Buffer;
}

/** What a key file says without being decrypted. */
export interface KeyHeader {
  readonly encrypted: boolean;
  /** The public half, where the format shows it. */
  readonly publicBlob: Buffer | undefined;
}

const RSA_HASHES: Readonly<Record<string, string>> = {
  "rsa-sha2-512": "sha512",
  "rsa-sha2-256": "sha256",
  "ssh-rsa": "sha1",
};
const ED25519 = "ssh-ed25519";

/**
 * Reads a private key.
 *
 * @param text The key, in OpenSSH's format or PEM.
 * @param passphrase Decrypts it, where it is encrypted.
 * @returns The key, or the error that says why there is none.
 */
export function parsePrivateKey(text: string, passphrase?: string): PrivateKey | Error {
  try {
    const isPem = /BEGIN ((RSA|EC|ENCRYPTED) )?PRIVATE KEY/.test(text);
    return isPem ? fromPem(text, passphrase) : fromSsh2(parseKey(text, passphrase));
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/**
 * Looks at a key without opening it (PROTOCOL.key of OpenSSH).
 *
 * @param text The key, in OpenSSH's format or PEM.
 * @returns What it shows.
 */
export function readKeyHeader(text: string): KeyHeader {
  const body = /BEGIN OPENSSH PRIVATE KEY-----([\s\S]+?)-----END/.exec(text)?.[1];
  if (body === undefined) return { encrypted: /ENCRYPTED/.test(text), publicBlob: undefined };
  try {
    const data = Buffer.from(body, "base64");
    const reader = new WireReader(data.subarray("openssh-key-v1\0".length));
    const cipher = reader.text();
    reader.string(); // kdf name
    reader.string(); // kdf options
    reader.uint32(); // number of keys
    return { encrypted: cipher !== "none", publicBlob: reader.string() };
  } catch {
    return { encrypted: false, publicBlob: undefined }; // cut short; parsing it has better words
  }
}

/**
 * Gives ssh2 the plain, older form of a key in PEM: it knows no PKCS#8, and leaves the padding of
 * an encrypted key behind its end, where Deno refuses it.
 */
function fromPem(text: string, passphrase: string | undefined): PrivateKey {
  const key = createPrivateKey({ key: text, ...(passphrase === undefined ? {} : { passphrase }) });
  switch (key.asymmetricKeyType) {
    case "rsa":
      return fromSsh2(parseKey(key.export({ type: "pkcs1", format: "pem" }) as string));
    case "ec":
      return fromSsh2(parseKey(key.export({ type: "sec1", format: "pem" }) as string));
    case "ed25519":
      return ed25519Key(key);
    default:
      throw new Error(`SSH has no ${key.asymmetricKeyType} keys`);
  }
}

function ed25519Key(key: KeyObject): PrivateKey {
  const { x = "" } = createPublicKey(key as never).export({ format: "jwk" });
  return {
    publicBlob: Buffer.concat([sshString(ED25519), sshString(Buffer.from(x, "base64url"))]),
    sign: (data) => Buffer.concat([sshString(ED25519), sshString(sign(null, data, key))]),
  };
}

function fromSsh2(key: SshKey | Error): PrivateKey {
  if (key instanceof Error) throw key;
  if (!key.isPrivateKey()) throw new Error("it is a public key");
  return {
    publicBlob: key.getPublicSSH(),
    sign: (data, algorithm) =>
      Buffer.concat([sshString(algorithm), sshString(rawSignature(key, data, algorithm))]),
  };
}

function rawSignature(key: SshKey, data: Buffer, algorithm: string): Buffer {
  const ecHash = ecHashOf(key.type);
  if (ecHash !== undefined) {
    return ecSignature(sign(ecHash, data, normalizeEcPem(key.getPrivatePEM())));
  }
  const signature = key.sign(data, RSA_HASHES[algorithm]) as Buffer | Error;
  if (signature instanceof Error) throw signature;
  return signature;
}

/** From DER's sequence of two integers to two mpints (RFC 5656 section 3.1.2). */
function ecSignature(der: Buffer): Buffer {
  const [, first = 0] = der;
  let position = first < 0x80 ? 2 : 2 + (first & 0x7f);
  const integer = () => {
    const length = der[position + 1] ?? 0;
    position += 2 + length;
    return mpint(der.subarray(position - length, position));
  };
  return Buffer.concat([integer(), integer()]);
}
