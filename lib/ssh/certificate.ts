/**
 * OpenSSH certificates, of users and of hosts (PROTOCOL.certkeys of OpenSSH): what one says. Whether
 * a user's is good is the server's to say; for a host's see host_certificate.ts.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { isCertificateType, keyTypeOf, plainType } from "./key_algorithms.ts";
import { sshString, WireReader } from "./wire.ts";

/** A public key and what an authority says of it. */
export interface Certificate {
  /** The certificate as SSH encodes it. */
  readonly blob: Buffer;
  /** The public key alone, as SSH encodes it. */
  readonly key: Buffer;
  /** The key of the authority. */
  readonly authority: Buffer;
  /** Whom it speaks of. */
  readonly kind: "user" | "host";
  /** The names that it is for; none for any. */
  readonly principals: readonly string[];
  /** Seconds since 1970 from which on it is valid. */
  readonly validAfter: bigint;
  /** Seconds since 1970 from which on it is not valid any more. */
  readonly validBefore: bigint;
  /** What whoever accepts it must understand and heed. */
  readonly criticalOptions: readonly string[];
  /** What the authority signed. */
  readonly signed: Buffer;
  /** The authority's signature. */
  readonly signature: Buffer;
}

/** Strings that make up a public key, by its type without what follows an `@`. */
const KEY_PARTS: Readonly<Record<string, number>> = {
  "ssh-rsa": 2,
  "ssh-ed25519": 1,
  "ecdsa-sha2-nistp256": 2,
  "ecdsa-sha2-nistp384": 2,
  "ecdsa-sha2-nistp521": 2,
  "sk-ssh-ed25519": 2,
  "sk-ecdsa-sha2-nistp256": 3,
};
/** Milliseconds since 1970 that a Date can hold. */
const LAST_DATE = 8.64e15;
const USER = 1;
const HOST = 2;

/**
 * Reads a certificate.
 *
 * @param blob The certificate as SSH encodes it.
 * @returns What it says; undefined where it is a key and no certificate.
 * @throws {SyntaxError} When it is malformed, or of a type that is not known.
 */
export function readCertificate(blob: Buffer): Certificate | undefined {
  const type = keyTypeOf(blob);
  if (!isCertificateType(type)) return undefined;
  const keyType = plainType(type);
  const parts = KEY_PARTS[keyType.replace(/@.*/, "")];
  if (parts === undefined) throw new SyntaxError(`its type ${type} is not known`);
  const reader = new WireReader(blob);
  reader.string(); // type
  reader.string(); // nonce
  const key = Array.from({ length: parts }, () => sshString(reader.string()));
  reader.uint64(); // serial number
  const number = reader.uint32();
  if (number !== USER && number !== HOST) throw new SyntaxError(`its kind ${number} is not known`);
  reader.string(); // what the authority calls it
  const principals = strings(reader.string());
  const validAfter = reader.uint64();
  const validBefore = reader.uint64();
  const options = strings(reader.string());
  reader.string(); // extensions: whoever does not know one may pass over it
  reader.string(); // reserved
  const authority = reader.string();
  const signed = blob.subarray(0, blob.length - reader.left);
  const signature = reader.string();
  if (reader.left > 0) throw new SyntaxError("something follows its end");
  return {
    blob,
    key: Buffer.concat([sshString(keyType), ...key]),
    authority,
    kind: number === USER ? "user" : "host",
    principals,
    validAfter,
    validBefore,
    // A name and a value by turns.
    criticalOptions: options.filter((_, index) => index % 2 === 0),
    signed,
    signature,
  };
}

/**
 * Why a certificate cannot be used now.
 *
 * @param certificate The certificate.
 * @param now Milliseconds since 1970.
 * @returns The reason, to follow its name; undefined where it is valid.
 */
export function validityFault(certificate: Certificate, now: number): string | undefined {
  const seconds = BigInt(Math.floor(now / 1000));
  if (seconds >= certificate.validBefore) return `expired on ${date(certificate.validBefore)}`;
  if (seconds >= certificate.validAfter) return undefined;
  return `is not valid before ${date(certificate.validAfter)}; is this machine's clock right?`;
}

function strings(list: Buffer): string[] {
  const reader = new WireReader(list);
  const found: string[] = [];
  while (reader.left > 0) found.push(reader.text());
  return found;
}

function date(seconds: bigint): string {
  const milliseconds = Math.min(Number(seconds) * 1000, LAST_DATE);
  return new Date(milliseconds).toISOString().replace(/\.\d+Z$/, "Z");
}
