/**
 * How the refusal of a host key is told to a person: what was shown, what was expected, and what to
 * do next.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { SessionError } from "../errors.ts";
import {
  fingerprint,
  formatEntry,
  keyTypeLabel,
  keyTypeOf,
  type KnownHostsEntry,
} from "./known_hosts.ts";

/** A server as people and files call it. */
export interface HostNames {
  /** What a message calls it. */
  readonly label: string;
  /** What known_hosts calls it: the same, or its HostKeyAlias. */
  readonly name: string;
}

/** The key is another one than those that are known. */
export function changed(
  { label, name }: HostNames,
  key: Buffer,
  entries: readonly KnownHostsEntry[],
): SessionError {
  const held = entries.map((entry) => `${placeOf(entry)} holds ${describeKey(entry.key)}`);
  const removals = [...new Set(entries.map((entry) => entry.file))].map((file) =>
    `\`ssh-keygen -R ${shellWord(name)} -f ${shellWord(file)}\``
  );
  return new SessionError(
    `the host key of ${label} has changed: it is now ${describeKey(key)}, ` +
      `but ${held.join(", and ")}`,
    {
      code: "host-key-changed",
      hint: "someone may be intercepting the connection; if the change is expected, " +
        `remove the old key with: ${removals.join(" and ")}`,
    },
  );
}

/** A `@revoked` line names the key. */
export function markedRevoked({ label }: HostNames, entry: KnownHostsEntry): SessionError {
  return revoked(label, `${placeOf(entry)} marks ${describeKey(entry.key)} as @revoked`);
}

/** The file of RevokedHostKeys lists the key. */
export function listedRevoked(label: string, key: Buffer, file: string, line: number) {
  return revoked(label, `${file} line ${line} lists ${describeKey(key)} (RevokedHostKeys)`);
}

function revoked(label: string, reason: string): SessionError {
  return new SessionError(`the host key of ${label} is revoked: ${reason}`, {
    code: "host-key-revoked",
    hint: "a stolen key may be in use to impersonate the server; ask the server's administrator",
  });
}

/** Nothing is known of the host, and nobody may be asked. */
export function unknown(
  { label, name }: HostNames,
  key: Buffer,
  file: string | undefined,
  asked: boolean,
): SessionError {
  const line = `\`${formatEntry(name, key).trimEnd()}\``;
  const ways = [
    `add this line to ${file ?? "a known_hosts file"}: ${line}`,
    "use `-o StrictHostKeyChecking=accept-new`",
  ];
  // With "yes", a terminal would not help: nobody is asked.
  if (asked) ways.unshift("connect once from a terminal");
  return new SessionError(`the host key of ${label} is not known: it is ${describeKey(key)}`, {
    code: "host-key-unknown",
    hint: `check ${fingerprint(key)} with the server's administrator; to accept the key, ` +
      ways.join(", or "),
  });
}

/** A person said no. */
export function declined({ label }: HostNames, key: Buffer): SessionError {
  return new SessionError(
    `host key verification was declined for ${label}, which showed ${describeKey(key)}`,
    { code: "host-key-unknown" },
  );
}

/** None of the keys that the server showed is one that was named in advance. */
export function notPinned(
  label: string,
  keys: readonly Buffer[],
  fingerprints: readonly string[],
): SessionError {
  return new SessionError(
    `the host key of ${label} is ${keys.map(describeKey).join(" or ")}, ` +
      `but ${fingerprints.join(" or ")} was expected`,
    {
      code: "host-key-changed",
      hint: "someone may be intercepting the connection, or the server has another key than " +
        "expected: check the fingerprint with its administrator",
    },
  );
}

/** The server showed something that is no key, and could not even be described. */
export function malformed(label: string, cause: unknown): SessionError {
  return new SessionError(`the host key of ${label} is malformed`, {
    code: "protocol-error",
    cause,
  });
}

/** A key as a message shows it: `ED25519 SHA256:…`. */
function describeKey(key: Buffer): string {
  return `${keyTypeLabel(keyTypeOf(key))} ${fingerprint(key)}`;
}

function placeOf(entry: KnownHostsEntry): string {
  return `${entry.file} line ${entry.line}`;
}

function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
