/**
 * OpenSSH user certificates (PROTOCOL.certkeys of OpenSSH): read as far as the client has to
 * understand them. Whether a signature on one is good is the server's to say.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { isCertificateType, keyTypeOf, plainType } from "./key_algorithms.ts";
import { sshString, WireReader } from "./wire.ts";

/** What a certificate says. */
export interface Certificate {
  /** The certificate as SSH encodes it. */
  readonly blob: Buffer;
  /** The public key that it is about, as SSH encodes it. */
  readonly publicBlob: Buffer;
  /** Whom it speaks of. */
  readonly kind: "user" | "host";
  /** The name that its authority gave it, for logs. */
  readonly keyId: string;
  /** Seconds since 1970; the first in which it is valid. */
  readonly validAfter: bigint;
  /** Seconds since 1970; the first in which it is no longer. */
  readonly validBefore: bigint;
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
  reader.uint64(); // serial
  const number = reader.uint32();
  if (number !== USER && number !== HOST) throw new SyntaxError(`its kind ${number} is not known`);
  const keyId = reader.text();
  reader.string(); // principals
  return {
    blob,
    publicBlob: Buffer.concat([sshString(keyType), ...key]),
    kind: number === USER ? "user" : "host",
    keyId,
    validAfter: reader.uint64(),
    validBefore: reader.uint64(),
  };
}

/**
 * Why a certificate lets nobody in.
 *
 * @param certificate The certificate.
 * @param now Milliseconds since 1970.
 * @returns The reason, to follow its name; undefined where nothing is wrong.
 */
export function certificateFault(certificate: Certificate, now: number): string | undefined {
  const seconds = BigInt(Math.floor(now / 1000));
  if (certificate.kind !== "user") return "is a host's certificate, not a user's";
  if (seconds >= certificate.validBefore) {
    return `expired on ${date(certificate.validBefore)}; ask for a new one`;
  }
  if (seconds < certificate.validAfter) {
    return `is not valid before ${date(certificate.validAfter)}; is this machine's clock right?`;
  }
  return undefined;
}

function date(seconds: bigint): string {
  const milliseconds = Math.min(Number(seconds) * 1000, LAST_DATE);
  return new Date(milliseconds).toISOString().replace(/\.\d+Z$/, "Z");
}
