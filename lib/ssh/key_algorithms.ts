/**
 * Public key algorithms for users: which there are, which are used, and how a key signs.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { SessionError } from "../errors.ts";
import { matchesPattern } from "./patterns.ts";
import { WireReader } from "./wire.ts";

const CERTIFICATE = "-cert-v01@openssh.com";

/** What signs with RSA keys, best first; SHA-1 is the last, and off. */
const RSA_SHA2 = ["rsa-sha2-512", "rsa-sha2-256"];
const RSA_SHA1 = "ssh-rsa";

/** Types of key, without those that only RSA keys have a choice of. */
const ED25519 = "ssh-ed25519";
const ECDSA = ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];
const FIDO_ED25519 = "sk-ssh-ed25519";
const FIDO_ECDSA = "sk-ecdsa-sha2-nistp256";
const FIDO = [FIDO_ED25519, FIDO_ECDSA];

/** What is accepted when nobody says otherwise: PubkeyAcceptedAlgorithms of ssh_config(5). */
const DEFAULT_ALGORITHMS: readonly string[] = [
  ...[ED25519, ...ECDSA, ...FIDO, ...RSA_SHA2].map((name) => `${name}${CERTIFICATE}`),
  ...[ED25519, ...ECDSA],
  ...FIDO.map((name) => `${name}@openssh.com`),
  ...RSA_SHA2,
];

/** In ssh's order, which is that of the names that a pattern matches. */
const KNOWN_ALGORITHMS: readonly string[] = [
  ED25519,
  FIDO_ED25519,
  ...ECDSA,
  FIDO_ECDSA,
  RSA_SHA1,
  ...RSA_SHA2.toReversed(),
].flatMap((name) => [
  isFidoType(name) ? `${name}@openssh.com` : name,
  `${name}${CERTIFICATE}`,
]);

/** Types of key that every list of algorithms has an entry of its own for. */
const RSA_TYPES: readonly string[] = [RSA_SHA1, `${RSA_SHA1}${CERTIFICATE}`];

/** What ssh knows besides, or did once: no mistake of whoever writes it, and of no use here. */
const OTHER_ALGORITHMS: readonly string[] = [
  "ssh-dss",
  `ssh-dss${CERTIFICATE}`,
  "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
  `webauthn-sk-ecdsa-sha2-nistp256${CERTIFICATE}`,
];

/** How one key is offered. */
export interface KeyAlgorithm {
  /** The public key algorithm's name, as the request carries it. */
  readonly name: string;
  /** The algorithm of the signature; a certificate has that of its key. */
  readonly signature: string;
}

/**
 * Reads a list as PubkeyAcceptedAlgorithms has it.
 *
 * @param text `a,b`, `+a,b`, `-a,b` or `^a,b`; the names may have `*` and `?` in them. The
 *   defaults where it is missing.
 * @returns The algorithms that may be used, best first.
 * @throws {SessionError} `algorithm-mismatch` for a name that matches nothing, or an empty list.
 */
export function acceptedAlgorithms(text?: string): readonly string[] {
  if (text === undefined) return DEFAULT_ALGORITHMS;
  const operator = /^[+^-]/.exec(text)?.[0];
  const patterns = (operator === undefined ? text : text.slice(1)).split(",")
    .map((pattern) => pattern.trim());
  const named = patterns.flatMap((pattern) => {
    const found = KNOWN_ALGORITHMS.filter((name) => matchesPattern(name, pattern));
    // As in ssh, what is taken away need not be there.
    const known = operator === "-" ||
      OTHER_ALGORITHMS.some((name) => matchesPattern(name, pattern));
    if (found.length === 0 && !known) throw unknown(pattern);
    return found;
  });
  const chosen = operator === "-"
    ? DEFAULT_ALGORITHMS.filter((name) => !named.includes(name))
    : operator === "+"
    ? [...DEFAULT_ALGORITHMS, ...named]
    : operator === "^"
    ? [...named, ...DEFAULT_ALGORITHMS]
    : named;
  if (chosen.length === 0) {
    throw new SessionError(`"${text}" leaves no public key algorithm`, {
      code: "algorithm-mismatch",
    });
  }
  return [...new Set(chosen)];
}

/**
 * How a key is offered to a server (RFC 8332 section 3, RFC 8308 section 3.1).
 *
 * @param blob The public key or the certificate.
 * @param accepted What may be used, best first.
 * @param serverSigAlgs The server's `server-sig-algs`; undefined where it sent none.
 * @returns undefined where none of it fits the key.
 */
export function algorithmFor(
  blob: Buffer,
  accepted: readonly string[],
  serverSigAlgs: readonly string[] | undefined,
): KeyAlgorithm | undefined {
  const type = keyTypeOf(blob);
  if (!RSA_TYPES.includes(type)) {
    return accepted.includes(type) ? { name: type, signature: plainType(type) } : undefined;
  }
  const suffix = type.endsWith(CERTIFICATE) ? CERTIFICATE : "";
  const choices = accepted.filter((name) =>
    [...RSA_SHA2, RSA_SHA1].some((plain) => name === `${plain}${suffix}`)
  ).map((name) => ({ name, signature: plainType(name) }));
  if (serverSigAlgs !== undefined) {
    return choices.find(({ signature }) => serverSigAlgs.includes(signature));
  }
  // Who sends no list may know no SHA-2: SHA-1 where the user allows it, else it has to be tried.
  return choices.find(({ signature }) => signature === RSA_SHA1) ?? choices[0];
}

/**
 * The type of a public key or certificate.
 *
 * @param blob It, as SSH encodes it.
 * @returns Its name, such as `ssh-ed25519`; empty where it is none.
 */
export function keyTypeOf(blob: Buffer): string {
  try {
    return new WireReader(blob).text();
  } catch {
    return "";
  }
}

/**
 * Whether a key's private half never leaves an authenticator (PROTOCOL.u2f of OpenSSH).
 *
 * @param type A key type.
 * @returns Whether it begins with `sk-`.
 */
export function isFidoType(type: string): boolean {
  return type.startsWith("sk-");
}

/**
 * The type of the key within a certificate.
 *
 * @param type A key type.
 * @returns The same without what makes it a certificate's.
 */
export function plainType(type: string): string {
  if (!type.endsWith(CERTIFICATE)) return type;
  const plain = type.slice(0, -CERTIFICATE.length);
  return isFidoType(plain) ? `${plain}@openssh.com` : plain;
}

/**
 * Whether a type is that of an OpenSSH certificate.
 *
 * @param type A key type.
 * @returns Whether it is.
 */
export function isCertificateType(type: string): boolean {
  return type.endsWith(CERTIFICATE);
}

/**
 * The size of an RSA key.
 *
 * @param blob A public key of any type, no certificate.
 * @returns Its modulus' bits; undefined for keys of other types.
 * @throws {SyntaxError} When it is malformed.
 */
export function rsaBits(blob: Buffer): number | undefined {
  if (keyTypeOf(blob) !== RSA_SHA1) return undefined;
  const reader = new WireReader(blob);
  reader.string(); // type
  reader.string(); // the public exponent
  const modulus = reader.string();
  const start = modulus.findIndex((byte) => byte !== 0);
  if (start < 0) return 0;
  return (modulus.length - start) * 8 - Math.clz32(modulus[start] as number) + 24;
}

function unknown(pattern: string): SessionError {
  return new SessionError(`unknown public key algorithm "${pattern}"`, {
    code: "algorithm-mismatch",
    hint: `choose among ${KNOWN_ALGORITHMS.join(", ")}`,
  });
}
