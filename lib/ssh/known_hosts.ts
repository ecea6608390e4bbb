/**
 * The known_hosts file as text: what its lines say, and what they say of one host and one key.
 * Pure. The format is that of {@link https://man.openbsd.org/sshd.8 | sshd(8)}, "SSH_KNOWN_HOSTS
 * FILE FORMAT". Reading, asking and remembering are in host_keys.ts.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, createHmac, randomBytes } from "node:crypto";
import { messageOf } from "../errors.ts";
import { matchesPatterns } from "./patterns.ts";

/** One line of a known_hosts file that holds a key. */
export interface KnownHostsEntry {
  /** The file the line is in, as it was named. */
  readonly file: string;
  /** The line's number, from 1. */
  readonly line: number;
  /** What the line says of its key, other than that its hosts hold it. */
  readonly marker?: "cert-authority" | "revoked";
  /** The hosts: names, wildcards and negations, or one hashed name. */
  readonly patterns: readonly string[];
  /** The key's type, such as `ssh-ed25519`. */
  readonly keyType: string;
  /** The public key (RFC 4253 section 6.6). */
  readonly key: Buffer;
}

/** One line of a known_hosts file that cannot be understood, and therefore says nothing. */
export interface KnownHostsProblem {
  /** The file the line is in, as it was named. */
  readonly file: string;
  /** The line's number, from 1. */
  readonly line: number;
  /** What is wrong with the line. */
  readonly message: string;
  /** Whether the line begins with a marker: a broken `@revoked` line revokes nothing. */
  readonly marked: boolean;
}

/** What a known_hosts file says. */
export interface KnownHosts {
  /** The lines that hold a key, in the file's order. */
  readonly entries: KnownHostsEntry[];
  /** The lines that cannot be understood, in the file's order. */
  readonly problems: KnownHostsProblem[];
}

/** What known_hosts says of one host and one key. */
export type Verdict =
  /** The host is known to hold this key. */
  | { readonly kind: "known"; readonly entry: KnownHostsEntry }
  /** The host is known to hold other keys of this type. */
  | { readonly kind: "changed"; readonly entries: KnownHostsEntry[] }
  /** The key is not to be used for this host, whatever other lines say. */
  | { readonly kind: "revoked"; readonly entry: KnownHostsEntry }
  /**
   * No key of this type is known for the host. Where keys of other types are known, ssh treats the
   * host as changed all the same.
   */
  | { readonly kind: "unknown"; readonly otherTypes: KnownHostsEntry[] };

/** A public key, as one line of text holds it. */
export interface PublicKey {
  /** The key's type, such as `ssh-ed25519`. */
  readonly keyType: string;
  /** The public key (RFC 4253 section 6.6). */
  readonly key: Buffer;
}

/**
 * Parses the text of a known_hosts file. It never throws: a line that cannot be understood becomes
 * a problem, as ssh skips it.
 *
 * @param text The file's content.
 * @param file The file's name, for the entries and the problems.
 * @returns The entries and the problems, each in the file's order.
 */
export function parseKnownHosts(text: string, file: string): KnownHosts {
  const entries: KnownHostsEntry[] = [];
  const problems: KnownHostsProblem[] = [];
  // Not split("\n"): a file of 64 MiB of newlines would make as many strings at once.
  for (let start = 0, line = 1; start < text.length; line++) {
    const newline = text.indexOf("\n", start);
    const end = newline === -1 ? text.length : newline;
    const content = trim(text.slice(start, end));
    start = end + 1;
    if (content === "" || content.startsWith("#")) continue;
    try {
      entries.push({ file, line, ...parseLine(content) });
    } catch (error) {
      problems.push({ file, line, message: messageOf(error), marked: content.startsWith("@") });
    }
  }
  return { entries, problems };
}

/**
 * The name that known_hosts has for a server.
 *
 * @param host The host as the user named it, or its alias.
 * @param port The server's port.
 * @returns `host` in lower case, as `[host]:port` unless the port is 22.
 */
export function hostName(host: string, port: number): string {
  const name = host.toLowerCase();
  return port === 22 ? name : `[${name}]:${port}`;
}

/**
 * What known_hosts says of a host and the key it showed: check_key_in_hostkeys() of OpenSSH's
 * hostfile.c. A `@cert-authority` line says nothing of a plain key.
 *
 * @param entries The lines, of one file or several.
 * @param name The host, see {@linkcode hostName}.
 * @param keyBlob The public key that the server showed.
 * @returns The verdict, with the lines it rests on.
 * @throws {TypeError} When the blob is not a public key.
 */
export function lookup(
  entries: readonly KnownHostsEntry[],
  name: string,
  keyBlob: Buffer,
): Verdict {
  const keyType = keyTypeOf(keyBlob);
  const ofHost = entriesOf(entries, name);
  const revoked = ofHost.find((entry) => entry.marker === "revoked" && entry.key.equals(keyBlob));
  if (revoked) return { kind: "revoked", entry: revoked };

  const held = ofHost.filter((entry) => entry.marker === undefined);
  const known = held.find((entry) => entry.key.equals(keyBlob));
  if (known) return { kind: "known", entry: known };

  const sameType = held.filter((entry) => entry.keyType === keyType);
  if (sameType.length > 0) return { kind: "changed", entries: sameType };
  return { kind: "unknown", otherTypes: held };
}

/**
 * The lines that speak of a host, whatever they say of it.
 *
 * @param entries The lines, of one file or several.
 * @param name The host, see {@linkcode hostName}.
 * @returns Those whose patterns match the name, marked or not.
 */
export function entriesOf(entries: readonly KnownHostsEntry[], name: string): KnownHostsEntry[] {
  const lowerCase = name.toLowerCase();
  return entries.filter((entry) => matchesHost(entry.patterns, lowerCase));
}

/**
 * The host key algorithms to prefer for a host, so that the server shows a key that can be checked.
 *
 * @param entries The lines, of one file or several.
 * @param name The host, see {@linkcode hostName}.
 * @returns The algorithms of the keys held, in the order of the lines, each once.
 */
export function algorithmsFor(entries: readonly KnownHostsEntry[], name: string): string[] {
  const held = entriesOf(entries, name).filter((entry) => entry.marker === undefined);
  return [...new Set(held.flatMap((entry) => signatureAlgorithms(entry.keyType)))];
}

/**
 * The algorithms that a key of a type signs with, best first.
 *
 * @param keyType The key's type, such as `ssh-rsa`.
 * @returns The type itself, or for RSA the SHA-2 signatures (RFC 8332) but never SHA-1.
 */
export function signatureAlgorithms(keyType: string): string[] {
  return keyType === "ssh-rsa" ? ["rsa-sha2-512", "rsa-sha2-256"] : [keyType];
}

/**
 * The fingerprint of a public key, as ssh prints it.
 *
 * @param blob The public key.
 * @returns `SHA256:` and the digest in base64 without padding.
 */
export function fingerprint(blob: Buffer): string {
  return `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
}

/**
 * The type that a public key says it has.
 *
 * @param blob The public key.
 * @returns Its first string, such as `ssh-ed25519`.
 * @throws {TypeError} When the blob does not begin with a type: printable ASCII without a comma
 * (RFC 4251 section 6), so that it can be shown to a person as it is.
 */
export function keyTypeOf(blob: Buffer): string {
  const keyType = readString(blob, 0)?.toString("latin1");
  if (keyType === undefined || !/^[!-+\--~]{1,64}$/.test(keyType)) {
    throw new TypeError("the public key does not begin with a key type");
  }
  return keyType;
}

/**
 * What people call a key of a type.
 *
 * @param type The key's type, such as `ssh-ed25519`.
 * @returns `ED25519`, `ECDSA`, `RSA`, `DSA`, `ED25519-SK`, `ECDSA-SK`, or the type itself.
 */
export function keyTypeLabel(type: string): string {
  return LABELS.get(type) ?? type;
}

/**
 * The line that says that a host holds a key.
 *
 * @param name The host, see {@linkcode hostName}.
 * @param blob The public key.
 * @param options Whether the name is to be hashed, so that the file does not tell which hosts its
 * owner uses (ssh_config(5), HashKnownHosts).
 * @returns The line, with its newline.
 * @throws {TypeError} When the blob is not a public key, or when the name would mean something else
 * in a known_hosts file than itself: a wildcard, several hosts, another line.
 */
export function formatEntry(
  name: string,
  blob: Buffer,
  options: { hashed?: boolean } = {},
): string {
  if (name === "" || /^[!#@|]|[\s\p{Cc},*?]/u.test(name)) {
    throw new TypeError(`a known_hosts file cannot hold the host name ${JSON.stringify(name)}`);
  }
  const host = options.hashed ? hashOf(name.toLowerCase()) : name.toLowerCase();
  return `${host} ${keyTypeOf(blob)} ${blob.toString("base64")}\n`;
}

/**
 * Parses a public key as a `.pub` file and a known_hosts line hold it: `ssh-ed25519 AAAA… comment`.
 *
 * @param text The text, from the key's type on.
 * @returns The key and its type.
 * @throws {TypeError} When the text is not a public key; the message says why.
 */
export function parsePublicKey(text: string): PublicKey {
  const [keyType, rest] = cutWord(trim(text));
  const [base64] = cutWord(rest);
  if (keyType === "" || keyType.startsWith("#")) throw new TypeError("the key is missing");
  if (/^\d+$/.test(keyType)) throw new TypeError("it holds a key of SSH protocol 1");
  if (base64 === "" || base64.startsWith("#")) {
    throw new TypeError("nothing follows the key type");
  }

  const key = decodeBase64(base64);
  if (key === undefined) throw new TypeError("the key is not base64");
  if (!isPublicKey(key)) throw new TypeError("the key is damaged or cut short");
  if (keyTypeOf(key) !== keyType) {
    throw new TypeError(`the key is of type ${keyTypeOf(key)}, but the line says ${keyType}`);
  }
  return { keyType, key };
}

const LABELS: ReadonlyMap<string, string> = new Map([
  ["ssh-ed25519", "ED25519"],
  ["ecdsa-sha2-nistp256", "ECDSA"],
  ["ecdsa-sha2-nistp384", "ECDSA"],
  ["ecdsa-sha2-nistp521", "ECDSA"],
  ["ssh-rsa", "RSA"],
  ["ssh-dss", "DSA"],
  ["sk-ssh-ed25519@openssh.com", "ED25519-SK"],
  ["sk-ecdsa-sha2-nistp256@openssh.com", "ECDSA-SK"],
]);

/** The bytes of a SHA-1 digest, and of the salt that ssh makes for one. */
const SHA1_LENGTH = 20;

/** Parses a line that is neither blank nor a comment; throws what is wrong with it. */
function parseLine(line: string): Omit<KnownHostsEntry, "file" | "line"> {
  const [first, afterFirst] = cutWord(line);
  if (!first.startsWith("@")) return { patterns: parseHosts(first), ...parsePublicKey(afterFirst) };

  const marker = first.slice(1);
  if (marker !== "cert-authority" && marker !== "revoked") {
    throw new TypeError(`the marker ${first} is not one of @cert-authority and @revoked`);
  }
  const [hosts, rest] = cutWord(afterFirst);
  if (hosts.startsWith("@")) throw new TypeError("only one marker is allowed");
  return { marker, patterns: parseHosts(hosts), ...parsePublicKey(rest) };
}

function parseHosts(hosts: string): string[] {
  if (hosts.startsWith("|")) {
    if (!parseHash(hosts)) {
      throw new TypeError("the hashed host name is not |1|salt|hash, alone on its line");
    }
    return [hosts];
  }
  const patterns = hosts.split(",").filter((pattern) => pattern !== "");
  if (patterns.length === 0) throw new TypeError("no host is named");
  return patterns;
}

/** match_hostname() of OpenSSH's match.c: one negated match outweighs every other. */
function matchesHost(patterns: readonly string[], name: string): boolean {
  const hash = parseHash(patterns[0] ?? "");
  if (hash) return digestOf(name, hash.salt).equals(hash.digest);

  return matchesPatterns(name, patterns.map((pattern) => pattern.toLowerCase()));
}

/** A name as HashKnownHosts hides it: `|1|salt|digest`. */
function hashOf(name: string): string {
  const salt = randomBytes(SHA1_LENGTH);
  return `|1|${salt.toString("base64")}|${digestOf(name, salt).toString("base64")}`;
}

function digestOf(name: string, salt: Buffer): Buffer {
  return createHmac("sha1", salt).update(name).digest();
}

function parseHash(pattern: string): { salt: Buffer; digest: Buffer } | undefined {
  const [, salt, digest] = /^\|1\|([^|]+)\|([^|]+)$/.exec(pattern)?.map(decodeBase64) ?? [];
  if (salt?.length !== SHA1_LENGTH || digest?.length !== SHA1_LENGTH) return undefined;
  return { salt, digest };
}

/** Decodes canonical base64 only; Buffer itself skips over what it does not understand. */
function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64");
  return bytes.toString("base64") === text ? bytes : undefined;
}

/** Whether the bytes are what every public key is: its type, then one string or more, no rest. */
function isPublicKey(blob: Buffer): boolean {
  let strings = 0;
  let offset = 0;
  while (offset < blob.length) {
    const string = readString(blob, offset);
    if (!string) return false;
    offset += 4 + string.length;
    strings++;
  }
  return strings >= 2;
}

/**
 * Reads a `string` of RFC 4251 section 5.
 *
 * @param bytes Where it is.
 * @param offset Where it begins, with its length.
 * @returns Its bytes, not copied; undefined where the bytes end before it does.
 */
export function readString(bytes: Buffer, offset: number): Buffer | undefined {
  if (bytes.length < offset + 4) return undefined;
  const end = offset + 4 + bytes.readUInt32BE(offset);
  return end <= bytes.length ? bytes.subarray(offset + 4, end) : undefined;
}

/** Cuts the first word off, and the blanks that follow it. */
function cutWord(text: string): [word: string, rest: string] {
  const end = text.search(/[ \t]/);
  return end === -1 ? [text, ""] : [text.slice(0, end), text.slice(end).replace(/^[ \t]+/, "")];
}

/** Strips what ssh takes for blanks around a line, and the carriage return of a CRLF. */
function trim(line: string): string {
  return line.replace(/^[ \t]+/, "").replace(/\r?\n?$/, "");
}
