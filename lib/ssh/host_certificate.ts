/**
 * Host certificates: a host key, signed by an authority that `@cert-authority` lines name. The
 * format is that of OpenSSH's PROTOCOL.certkeys. Pure.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { readString } from "./known_hosts.ts";
import { parseKey } from "./ssh2.ts";

/** A host key and what an authority says of it. */
export interface HostCertificate {
  /** The host key alone, as known_hosts has it. */
  readonly key: Buffer;
  /** The key of the authority. */
  readonly authority: Buffer;
  /** Whose key it is: 1 for a user's, 2 for a host's. */
  readonly kind: number;
  /** The names that it is for, without wildcards, as in OpenSSH 9; none for any. */
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

/** What the name of every certificate's type and algorithm ends with. */
const SUFFIX = "-cert-v01@openssh.com";
const HOST = 2;

/** How many fields the key itself has, by the type of the key. */
const KEY_FIELDS: ReadonlyMap<string, number> = new Map([
  ["ssh-ed25519", 1],
  ["ecdsa-sha2-nistp256", 2],
  ["ecdsa-sha2-nistp384", 2],
  ["ecdsa-sha2-nistp521", 2],
  ["ssh-rsa", 2],
]);

/** The digest of each algorithm that an authority may sign with: CASignatureAlgorithms of ssh. */
const SIGNATURE_DIGESTS: ReadonlyMap<string, string | undefined> = new Map([
  ["ssh-ed25519", undefined],
  ["ecdsa-sha2-nistp256", "sha256"],
  ["ecdsa-sha2-nistp384", "sha384"],
  ["ecdsa-sha2-nistp521", "sha512"],
  ["rsa-sha2-512", "sha512"],
  ["rsa-sha2-256", "sha256"],
]);

/** The host key algorithms with which a server shows a certificate, best first. */
export const CERTIFICATE_ALGORITHMS: readonly string[] = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "rsa-sha2-512",
  "rsa-sha2-256",
].map((name) => name + SUFFIX);

/**
 * The algorithm with which the key in a certificate signs.
 *
 * @param algorithm A host key algorithm.
 * @returns The algorithm without the certificate; undefined where it is for plain keys.
 */
export function plainAlgorithm(algorithm: string): string | undefined {
  return algorithm.endsWith(SUFFIX) ? algorithm.slice(0, -SUFFIX.length) : undefined;
}

/**
 * Whether what a server showed is a certificate, and not a plain key.
 *
 * @param blob What it showed.
 * @returns Whether its type says so.
 */
export function isCertificate(blob: Buffer): boolean {
  return plainAlgorithm(readString(blob, 0)?.toString("latin1") ?? "") !== undefined;
}

/**
 * Parses a host certificate; whether it may be trusted is another question.
 *
 * @param blob What the server showed.
 * @returns What it says.
 * @throws {TypeError} When it is malformed, or its key is of a type that is not known.
 */
export function parseCertificate(blob: Buffer): HostCertificate {
  let at = 0;
  const take = (length: number): Buffer => {
    if (at + length > blob.length) throw new TypeError("the certificate is cut short");
    at += length;
    return blob.subarray(at - length, at);
  };
  const string = (): Buffer => take(take(4).readUInt32BE());

  const keyType = plainAlgorithm(string().toString("latin1")) ?? "";
  const fields = KEY_FIELDS.get(keyType);
  if (fields === undefined) throw new TypeError("the certificate is for a key of an unknown type");
  string(); // A nonce.
  const from = at;
  for (let field = 0; field < fields; field++) string();
  const key = Buffer.concat([encodeString(Buffer.from(keyType)), blob.subarray(from, at)]);
  take(8); // A serial number.
  const kind = take(4).readUInt32BE();
  string(); // What the authority calls it.
  const principals = strings(string()).map((name) => name.toString());
  const validAfter = take(8).readBigUInt64BE();
  const validBefore = take(8).readBigUInt64BE();
  const options = strings(string());
  string(); // Extensions: whoever does not know one may pass over it.
  string(); // Reserved.
  const authority = string();
  const signed = blob.subarray(0, at);
  const signature = string();
  if (at !== blob.length) throw new TypeError("something follows the certificate");
  return {
    key,
    authority,
    kind,
    principals,
    validAfter,
    validBefore,
    // A name and a value by turns.
    criticalOptions: options.filter((_, index) => index % 2 === 0).map((name) => name.toString()),
    signed,
    signature,
  };
}

/**
 * What keeps a certificate of a trusted authority from being accepted: sshkey_cert_check_host() of
 * OpenSSH's sshkey.c.
 *
 * @param certificate The certificate.
 * @param host The server's name without its port, or its alias, in lower case.
 * @param now Milliseconds since 1970.
 * @returns The reason; undefined where it may be accepted.
 */
export function faultOf(
  certificate: HostCertificate,
  host: string,
  now: number,
): string | undefined {
  const { kind, principals, validAfter, validBefore, criticalOptions } = certificate;
  const seconds = BigInt(Math.floor(now / 1000));
  if (kind !== HOST) return "it is not for a host";
  if (seconds < validAfter) return `it is not valid before ${dateOf(validAfter)}`;
  if (seconds >= validBefore) return `it expired on ${dateOf(validBefore)}`;
  if (principals.length > 0 && !principals.includes(host)) {
    return `it is for ${
      principals.map((name) => JSON.stringify(name)).join(", ")
    }, not for ${host}`;
  }
  const [option] = criticalOptions;
  if (option !== undefined) return `its critical option ${JSON.stringify(option)} is not known`;
  return signatureFault(certificate);
}

function signatureFault({ authority, signed, signature }: HostCertificate): string | undefined {
  const algorithm = readString(signature, 0)?.toString("latin1") ?? "";
  const value = readString(signature, 4 + algorithm.length);
  if (!SIGNATURE_DIGESTS.has(algorithm) || value === undefined) {
    return `its authority signed with ${JSON.stringify(algorithm)}, which is not accepted`;
  }
  const keyType = readString(authority, 0)?.toString("latin1") ?? "";
  const key = parseKey(`${keyType} ${authority.toString("base64")}`);
  if (key instanceof Error || !isOf(algorithm, keyType)) return "its authority's key is malformed";
  const encoded = keyType.startsWith("ecdsa-") ? derSignature(value) : value;
  const verified = encoded !== undefined &&
    key.verify(signed, encoded, SIGNATURE_DIGESTS.get(algorithm)) === true;
  return verified ? undefined : "its signature is wrong";
}

function isOf(algorithm: string, keyType: string): boolean {
  return keyType === "ssh-rsa" ? algorithm.startsWith("rsa-sha2-") : algorithm === keyType;
}

/** An ECDSA signature as RFC 5656 section 3.1.2 has it, as node:crypto takes it. */
function derSignature(value: Buffer): Buffer | undefined {
  const r = readString(value, 0);
  const s = r === undefined ? undefined : readString(value, 4 + r.length);
  if (r === undefined || s === undefined || r.length > 127 || s.length > 127) return undefined;
  const body = Buffer.concat([Buffer.of(2, r.length), r, Buffer.of(2, s.length), s]);
  const length = body.length < 0x80 ? Buffer.of(body.length) : Buffer.of(0x81, body.length);
  return Buffer.concat([Buffer.of(0x30), length, body]);
}

function strings(list: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < list.length;) {
    const string = readString(list, at);
    if (string === undefined) throw new TypeError("a list in the certificate is cut short");
    found.push(string);
    at += 4 + string.length;
  }
  return found;
}

function encodeString(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function dateOf(seconds: bigint): string {
  // Beyond what a Date holds there is no need to be exact.
  return seconds > 8_640_000_000_000n
    ? "a day beyond every calendar"
    : new Date(Number(seconds) * 1000).toISOString();
}
