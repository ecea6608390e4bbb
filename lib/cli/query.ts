/**
 * `-Q` of ssh(1): which algorithms there are.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { supportedAlgorithms } from "../ssh/algorithms.ts";

/** In ssh's own words, and the keywords that take the same names. */
const ANSWERS: Readonly<Record<string, () => readonly string[]>> = {
  cipher: () => supportedAlgorithms("cipher"),
  "cipher-auth": () => supportedAlgorithms("cipher").filter((name) => /gcm|poly1305/.test(name)),
  compression: () => ["none"],
  kex: () => supportedAlgorithms("kex"),
  key: () => supportedAlgorithms("serverHostKey").filter((name) => !/^rsa-sha2/.test(name)),
  "key-sig": () => supportedAlgorithms("serverHostKey"),
  mac: () => supportedAlgorithms("hmac"),
  "protocol-version": () => ["2"],
  Ciphers: () => supportedAlgorithms("cipher"),
  HostKeyAlgorithms: () => supportedAlgorithms("serverHostKey"),
  KexAlgorithms: () => supportedAlgorithms("kex"),
  MACs: () => supportedAlgorithms("hmac"),
  PubkeyAcceptedAlgorithms: () => supportedAlgorithms("serverHostKey"),
};

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
  const guess = nearest(query, names);
  const hint = guess === undefined ? `there are ${names.join(", ")}` : `did you mean ${guess}?`;
  throw new UsageError(`-Q ${query}: there is nothing of that name`, hint);
}

function lines(names: readonly string[]): string {
  return names.map((name) => `${name}\n`).join("");
}
