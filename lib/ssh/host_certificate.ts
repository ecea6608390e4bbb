/**
 * Host certificates: a host key, signed by an authority that `@cert-authority` lines name. The
 * format is that of OpenSSH's PROTOCOL.certkeys. Pure.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { SessionError } from "../errors.ts";
import { type Certificate, validityFault } from "./certificate.ts";
import { keyTypeOf } from "./key_algorithms.ts";
import { matchesPattern } from "./patterns.ts";
import { parseKey } from "./ssh2.ts";
import { WireReader } from "./wire.ts";

/** What the name of every certificate's type and algorithm ends with. */
const SUFFIX = "-cert-v01@openssh.com";

/** The digest of each algorithm that an authority may sign with. */
const SIGNATURE_DIGESTS: ReadonlyMap<string, string | undefined> = new Map([
  ["ssh-ed25519", undefined],
  ["ecdsa-sha2-nistp256", "sha256"],
  ["ecdsa-sha2-nistp384", "sha384"],
  ["ecdsa-sha2-nistp521", "sha512"],
  ["rsa-sha2-512", "sha512"],
  ["rsa-sha2-256", "sha256"],
]);

/** What ssh can check besides. */
const OTHERS: readonly string[] = [
  "ssh-rsa",
  "ssh-dss",
  "sk-ssh-ed25519@openssh.com",
  "sk-ecdsa-sha2-nistp256@openssh.com",
  "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
];

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
 * What an authority may sign with: CASignatureAlgorithms of ssh_config(5).
 *
 * @param text `a,b`, `+a,b`, `-a,b` or `^a,b`; the names may have `*` and `?` in them. All of them
 *   where it is missing.
 * @returns The algorithms.
 * @throws {SessionError} `algorithm-mismatch` for a name that matches nothing, or an empty list.
 */
export function authorityAlgorithms(text?: string): readonly string[] {
  const all = [...SIGNATURE_DIGESTS.keys()];
  if (text === undefined) return all;
  const [, operator = "", list = ""] = /^([+^-]?)(.*)$/s.exec(text) ?? [];
  const named = list.split(",").flatMap((word) => {
    const found = all.filter((name) => matchesPattern(name, word));
    // As in ssh, what is taken away need not be there; and it knows more than there is here.
    if (found.length > 0 || operator === "-" || OTHERS.includes(word)) return found;
    throw new SessionError(`unknown signature algorithm "${word}"`, {
      code: "algorithm-mismatch",
      hint: `choose among ${all.join(", ")}`,
    });
  });
  const chosen = operator === "-"
    ? all.filter((name) => !named.includes(name))
    : operator === ""
    ? named
    : all;
  if (chosen.length > 0) return chosen;
  throw new SessionError(`"${text}" leaves no signature algorithm`, { code: "algorithm-mismatch" });
}

/**
 * What keeps a certificate of a trusted authority from being accepted: sshkey_cert_check_host() of
 * OpenSSH's sshkey.c.
 *
 * @param certificate The certificate.
 * @param host The server's name without its port, or its alias, in lower case.
 * @param now Milliseconds since 1970.
 * @param accepted What its authority may have signed with.
 * @returns The reason; undefined where it may be accepted.
 */
export function faultOf(
  certificate: Certificate,
  host: string,
  now: number,
  accepted: readonly string[] = authorityAlgorithms(),
): string | undefined {
  const { kind, principals, criticalOptions } = certificate;
  if (kind !== "host") return "it is not for a host";
  const invalid = validityFault(certificate, now);
  if (invalid !== undefined) return `it ${invalid}`;
  if (principals.length > 0 && !principals.includes(host)) {
    return `it is for ${
      principals.map((name) => JSON.stringify(name)).join(", ")
    }, not for ${host}`;
  }
  const [option] = criticalOptions;
  if (option !== undefined) return `its critical option ${JSON.stringify(option)} is not known`;
  return signatureFault(certificate, accepted);
}

function signatureFault(certificate: Certificate, accepted: readonly string[]): string | undefined {
  const reader = new WireReader(certificate.signature);
  try {
    const algorithm = reader.text();
    if (!accepted.includes(algorithm)) {
      return `its authority signed with ${JSON.stringify(algorithm)}, which is not accepted`;
    }
    return isSigned(certificate, algorithm, reader.string()) ? undefined : "its signature is wrong";
  } catch {
    return "its signature is malformed";
  }
}

function isSigned({ authority, signed }: Certificate, algorithm: string, value: Buffer): boolean {
  const keyType = keyTypeOf(authority);
  const key = parseKey(`${keyType} ${authority.toString("base64")}`);
  if (key instanceof Error || !isOf(algorithm, keyType)) return false;
  const encoded = keyType.startsWith("ecdsa-") ? derSignature(value) : value;
  return encoded !== undefined &&
    key.verify(signed, encoded, SIGNATURE_DIGESTS.get(algorithm)) === true;
}

function isOf(algorithm: string, keyType: string): boolean {
  return keyType === "ssh-rsa" ? algorithm.startsWith("rsa-sha2-") : algorithm === keyType;
}

/** An ECDSA signature as RFC 5656 section 3.1.2 has it, as node:crypto takes it. */
function derSignature(value: Buffer): Buffer | undefined {
  const reader = new WireReader(value);
  const [r, s] = [reader.string(), reader.string()];
  if (r.length > 127 || s.length > 127) return undefined;
  const body = Buffer.concat([Buffer.of(2, r.length), r, Buffer.of(2, s.length), s]);
  const length = body.length < 0x80 ? Buffer.of(body.length) : Buffer.of(0x81, body.length);
  return Buffer.concat([Buffer.of(0x30), length, body]);
}
