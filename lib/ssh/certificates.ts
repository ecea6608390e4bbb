/**
 * A user's certificates, and who signs for each of them.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { messageOf, systemCodeOf } from "../errors.ts";
import { logger } from "../log.ts";
import { type Certificate, readCertificate, validityFault } from "./certificate.ts";
import type { Identity } from "./keys.ts";
import { readPublicKeyFile } from "./public_key.ts";

const log = logger("ssh");

/** A certificate that is not offered. */
type Useless = Identity & { readonly fault: string };

/**
 * The certificates of files that a user named (CertificateFile of ssh_config(5)).
 *
 * @param paths The files.
 * @param keys Every key there is, those of the agent first: they need no passphrase.
 * @returns One identity a certificate with a key; a warning is logged for each that is of no use.
 */
export async function namedCertificates(
  paths: readonly string[],
  keys: readonly Identity[],
): Promise<Identity[]> {
  const found: Identity[] = [];
  for (const path of paths) {
    const certificate = await load(path);
    if (certificate === undefined) continue;
    if ("fault" in certificate) {
      found.push(certificate);
      continue;
    }
    const signer = signerOf(certificate, keys);
    if (signer === undefined) {
      warn(path, "has no private key here; name its key with -i, or add it to the agent");
    } else found.push(certified(path, certificate.blob, signer));
  }
  return found;
}

/**
 * The certificate beside a key file, `KEY-cert.pub`.
 *
 * @param keyPath The key's path.
 * @param key The key.
 * @param held The agent's keys, which sign where the file has only the public half.
 * @returns undefined where there is none for the key.
 */
export async function ownCertificate(
  keyPath: string,
  key: Identity,
  held: readonly Identity[],
): Promise<Identity | undefined> {
  const path = `${keyPath.replace(/\.pub$/, "")}-cert.pub`;
  const certificate = await load(path, true);
  if (certificate === undefined || "fault" in certificate) return certificate;
  // The public half of an encrypted key in PEM is not known before it is opened.
  if (key.publicBlob !== undefined && !key.publicBlob.equals(certificate.key)) {
    warn(path, `is not for the key beside it, ${key.name}`);
    return undefined;
  }
  const signer = signerOf(certificate, held) ?? (key.needsAgent === undefined ? key : undefined);
  return signer === undefined ? undefined : certified(path, certificate.blob, signer);
}

/**
 * Looks whether an identity that may be a certificate can let somebody in.
 *
 * @param identity The identity; a warning is logged where it is of no use.
 * @returns The same; one with its fault where it is of no use.
 */
export function checkedIdentity(identity: Identity): Identity {
  const { name, publicBlob } = identity;
  const checked = publicBlob === undefined ? undefined : check(name, publicBlob);
  return checked !== undefined && "fault" in checked ? checked : identity;
}

async function load(
  path: string,
  mayBeMissing = false,
): Promise<Certificate | Useless | undefined> {
  try {
    const blob = await readPublicKeyFile(path);
    const certificate = blob === undefined ? undefined : check(path, blob);
    if (certificate === undefined) warn(path, "is no certificate");
    return certificate;
  } catch (error) {
    const missing = systemCodeOf(error) === "ENOENT";
    if (missing && mayBeMissing) return undefined;
    warn(path, missing ? "does not exist" : `cannot be read: ${messageOf(error)}`);
    return undefined;
  }
}

/** @returns undefined for a plain key; a certificate of no use is warned of. */
function check(name: string, blob: Buffer): Certificate | Useless | undefined {
  try {
    const certificate = readCertificate(blob);
    const fault = certificate && userFault(certificate);
    return fault === undefined ? certificate : useless(name, fault);
  } catch (error) {
    return useless(name, `cannot be read: ${messageOf(error)}`);
  }
}

function useless(name: string, fault: string): Useless {
  warn(name, fault);
  return {
    name: `certificate ${name}`,
    publicBlob: undefined,
    fault,
    publicKey: () => Promise.resolve(undefined),
    sign: () => Promise.reject(new Error(fault)),
  };
}

function userFault(certificate: Certificate): string | undefined {
  if (certificate.kind !== "user") return "is a host's certificate, not a user's";
  return validityFault(certificate, Date.now());
}

function signerOf(certificate: Certificate, keys: readonly Identity[]): Identity | undefined {
  const has = (blob: Buffer) => ({ publicBlob, needsAgent }: Identity) =>
    needsAgent === undefined && publicBlob?.equals(blob);
  // An agent may hold a key only together with its certificate.
  return keys.find(has(certificate.key)) ?? keys.find(has(certificate.blob));
}

function certified(name: string, blob: Buffer, signer: Identity): Identity {
  return {
    name,
    publicBlob: blob,
    publicKey: () => Promise.resolve(blob),
    sign: (data, algorithm, binding) => signer.sign(data, algorithm, binding),
  };
}

function warn(name: string, reason: string): void {
  log.warn("{reason}", { reason: `certificate ${name} ${reason}` });
}
