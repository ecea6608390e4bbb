/**
 * `-Q` of ssh(1): which algorithms there are.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { supportedAlgorithms } from "../ssh/algorithms.ts";
import { authorityAlgorithms } from "../ssh/host_certificate.ts";
import { acceptedAlgorithms } from "../ssh/key_algorithms.ts";

/** In ssh's own words, and the keywords that take the same names. */
const ANSWERS: Readonly<Record<string, () => readonly string[]>> = {
  cipher: () => supportedAlgorithms("cipher"),
  "cipher-auth": () => supportedAlgorithms("cipher").filter((name) => /gcm|poly1305/.test(name)),
  compression: () => ["none"],
  kex: () => supportedAlgorithms("kex"),
  key: () => keyTypes(),
  "key-ca-sign": () => authorityAlgorithms(),
  "key-cert": () => keyTypes().filter(isCertificate),
  "key-plain": () => keyTypes().filter((name) => !isCertificate(name)),
  "key-sig": () => acceptedAlgorithms("*"),
  mac: () => supportedAlgorithms("hmac"),
  "protocol-version": () => ["2"],
  sig: () => acceptedAlgorithms("*").filter((name) => !isCertificate(name)),
  CASignatureAlgorithms: () => authorityAlgorithms(),
  Ciphers: () => supportedAlgorithms("cipher"),
  HostKeyAlgorithms: () => supportedAlgorithms("serverHostKey"),
  KexAlgorithms: () => supportedAlgorithms("kex"),
  MACs: () => supportedAlgorithms("hmac"),
  PubkeyAcceptedAlgorithms: () => acceptedAlgorithms("*"),
};

/** What ssh answers and there is nothing of here, in lower case. */
const NONE: Readonly<Record<string, string>> = {
  hostbasedacceptedalgorithms: "fairlead does not use host-based authentication",
  "kex-gss": "fairlead does not use GSSAPI",
};

function keyTypes(): readonly string[] {
  return acceptedAlgorithms("*").filter((name) => !name.startsWith("rsa-sha2-"));
}

function isCertificate(name: string): boolean {
  return name.includes("-cert-v01@");
}

/**
 * Answers a query.
 *
 * @param query What is asked for, in any case; `help` for what can be.
 * @returns One name a line.
 * @throws {UsageError} When there is no such query.
 */
export function answerQuery(query: string): string {
  const names = Object.keys(ANSWERS);
  if (query === "help") return lines(names);
  const name = names.find((one) => one.toLowerCase() === query.toLowerCase());
  const answer = name === undefined ? undefined : ANSWERS[name];
  if (answer !== undefined) return lines(answer());
  const reason = NONE[query.toLowerCase()];
  if (reason !== undefined) throw new UsageError(`-Q ${query}: ${reason}`);
  const guess = nearest(query, names);
  const hint = guess === undefined ? `there are ${names.join(", ")}` : `did you mean ${guess}?`;
  throw new UsageError(`-Q ${query}: there is nothing of that name`, hint);
}

function lines(names: readonly string[]): string {
  return names.map((name) => `${name}\n`).join("");
}
