/**
 * Whether a server's host key may be used: by the known_hosts files and StrictHostKeyChecking, as
 * {@link https://man.openbsd.org/ssh_config.5#StrictHostKeyChecking | ssh_config(5)} has it, or by
 * a list of pinned keys.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createReadStream } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { messageOf, SessionError, systemCodeOf } from "../errors.ts";
import { logger } from "../log.ts";
import {
  algorithmsFor,
  fingerprint,
  formatEntry,
  keyTypeLabel,
  keyTypeOf,
  type KnownHostsEntry,
  type KnownHostsProblem,
  lookup,
  parseKnownHosts,
  parsePublicKey,
  signatureAlgorithms,
  type Verdict,
} from "./known_hosts.ts";
import type { Prompter } from "./prompter.ts";

/** What to do with a host key that no file holds: ssh_config(5), StrictHostKeyChecking. */
export type StrictHostKeyChecking = "yes" | "ask" | "accept-new" | "no";

/** Decides whether a server's host key may be used. */
export interface HostKeyVerifier {
  /**
   * The host key algorithms to put first, because a key of that kind is known.
   *
   * @param name The server, as `hostName` of known_hosts.ts names it.
   * @returns The algorithms, best first; none where nothing is known of the server.
   */
  preferredAlgorithms(name: string): Promise<string[]>;
  /**
   * Resolves when the key may be used. What was accepted or declined once stays so for as long as
   * the verifier lives, so that a rekey asks nobody again.
   *
   * @param name The server, as `hostName` of known_hosts.ts names it.
   * @param key The public key that the server showed.
   * @throws {SessionError} `host-key-unknown`, `host-key-changed` or `host-key-revoked` when the
   * key is refused; `protocol-error` when it is no key at all.
   */
  verify(name: string, key: Buffer): Promise<void>;
}

/** What {@linkcode knownHostsVerifier} goes by. */
export interface KnownHostsOptions {
  /** The user's known_hosts files; new keys go to the first. None at all remembers nothing. */
  readonly userFiles: readonly string[];
  /** The machine's known_hosts files, only read. */
  readonly globalFiles: readonly string[];
  /** What to do with a key that no file holds. */
  readonly strict: StrictHostKeyChecking;
  /** Whom to ask when `strict` is `ask`; without anybody, an unknown key is refused. */
  readonly prompter?: Prompter;
}

const log = logger("ssh");

/** The longest known_hosts file that is read: some 600 000 hosts. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;

const NEWLINE = 0x0a;

/**
 * A verifier that goes by known_hosts files, as ssh does. The files are read anew for every key, so
 * that a line added or mended meanwhile counts. A file that does not exist is empty; one that
 * cannot be read, and a line that cannot be understood, is reported once and skipped.
 *
 * @param options The files, and what to do with an unknown key.
 * @returns The verifier. Both its methods reject with a SessionError `config-invalid` for a file
 * above 64 MiB.
 */
export function knownHostsVerifier(options: KnownHostsOptions): HostKeyVerifier {
  const files = [...options.userFiles, ...options.globalFiles];
  const reported = new Set<string>();
  const answers = new Map<string, Promise<boolean>>();

  async function decide(name: string, key: Buffer): Promise<boolean> {
    const verdict = lookupWithFallback(await readFiles(files, reported), name, key);
    if (verdict.kind === "known") return true;
    if (verdict.kind === "revoked") throw revoked(name, verdict.entry);
    // With "no", ssh goes on here without forwarding and without passwords. Forwarding is all that
    // there is here, so a changed key is refused whatever was asked for.
    if (verdict.kind === "changed") throw changed(name, key, verdict.entries);
    // So does ssh. Somebody in between could else choose a type that is not known yet, and be taken
    // for a new host.
    if (verdict.otherTypes.length > 0) throw changed(name, key, verdict.otherTypes);
    return await decideUnknown(name, key, options);
  }

  return {
    async preferredAlgorithms(name: string): Promise<string[]> {
      const entries = await readFiles(files, reported);
      const algorithms = algorithmsFor(entries, name);
      return algorithms.length > 0 ? algorithms : algorithmsFor(entries, withoutPort(name));
    },

    async verify(name: string, key: Buffer): Promise<void> {
      checkKey(name, key);
      checkName(name, key);
      const question = `${name} ${key.toString("base64")}`;
      let answer = answers.get(question);
      if (answer === undefined) {
        answer = decide(name, key);
        answers.set(question, answer);
        // A refusal is no answer: the next connection finds the file mended, or a person there.
        answer.catch(() => answers.delete(question));
      }
      if (!await answer) throw declined(name, key);
    },
  };
}

/**
 * A verifier that accepts exactly the keys named, from whatever server shows them.
 *
 * @param keys Each the fingerprint (`SHA256:…`) or the public key (`ssh-ed25519 AAAA…`) of a host
 * key. A public key is better: the server is then asked for a key of that type first.
 * @returns The verifier; it rejects every other key as `host-key-changed`, as ssh would if its
 * known_hosts held only these.
 * @throws {TypeError} When a key is malformed, or none is given.
 */
export function pinnedVerifier(keys: string | readonly string[]): HostKeyVerifier {
  const pins = (typeof keys === "string" ? [keys] : keys).map(parsePin);
  if (pins.length === 0) throw new TypeError("no host key is given: nothing could be accepted");
  const algorithms = [...new Set(pins.flatMap((pin) => pin.algorithms))];

  return {
    preferredAlgorithms: () => Promise.resolve([...algorithms]),

    // deno-lint-ignore require-await -- so that what is thrown rejects
    async verify(name: string, key: Buffer): Promise<void> {
      checkKey(name, key);
      const shown = fingerprint(key);
      if (!pins.some((pin) => pin.fingerprint === shown)) throw notPinned(name, key, pins);
    },
  };
}

/** A host key that was named in advance. */
interface Pin {
  readonly fingerprint: string;
  /** Empty for a fingerprint, which does not tell its key's type. */
  readonly algorithms: readonly string[];
}

function parsePin(text: string, index: number): Pin {
  const pin = text.trim();
  if (/^SHA256:[A-Za-z0-9+/]{43}$/.test(pin)) return { fingerprint: pin, algorithms: [] };
  try {
    const { keyType, key } = parsePublicKey(pin);
    return { fingerprint: fingerprint(key), algorithms: signatureAlgorithms(keyType) };
  } catch (cause) {
    throw new TypeError(
      // Not the text itself: it might be a private key, given by mistake.
      `host key ${index + 1} is neither a fingerprint (SHA256: and 43 characters of base64) ` +
        `nor a public key (ssh-ed25519 AAAA…): ${messageOf(cause)}`,
      { cause },
    );
  }
}

/** Decides about a key of a host that nothing is known of: true to go on, false if declined. */
async function decideUnknown(
  name: string,
  key: Buffer,
  options: KnownHostsOptions,
): Promise<boolean> {
  if (options.strict === "yes") throw unknown(name, key, options);
  if (options.strict === "ask") {
    if (options.prompter === undefined) throw unknown(name, key, options);
    const accepted = await options.prompter.confirmHostKey({
      host: name,
      keyType: keyTypeLabel(keyTypeOf(key)),
      fingerprint: fingerprint(key),
    });
    if (!accepted) return false;
  }
  const [file] = options.userFiles;
  if (file !== undefined) await remember(file, name, key);
  return true;
}

/** Adds the key to the file; where that fails, says so and goes on, as ssh does. */
async function remember(file: string, name: string, key: Buffer): Promise<void> {
  try {
    await appendLine(file, formatEntry(name, key));
    log.warn("permanently added {name} ({keyType}) to the list of known hosts, {file}", {
      name,
      keyType: keyTypeLabel(keyTypeOf(key)),
      file,
    });
  } catch (error) {
    log.warn("cannot add {name} to the list of known hosts, {file}: {reason}", {
      name,
      file,
      reason: messageOf(error),
    });
  }
}

/** Appends a line in one write, so that lines of several processes never mix. */
async function appendLine(file: string, line: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const handle = await open(file, "a+", 0o600);
  try {
    const { size } = await handle.stat();
    const last = Buffer.of(NEWLINE);
    if (size > 0) await handle.read(last, 0, 1, size - 1);
    const data = Buffer.from(last[0] === NEWLINE ? line : `\n${line}`);
    const { bytesWritten } = await handle.write(data);
    if (bytesWritten < data.length) throw new Error("the line was cut short while it was written");
  } finally {
    await handle.close();
  }
}

async function readFiles(
  files: readonly string[],
  reported: Set<string>,
): Promise<KnownHostsEntry[]> {
  const entries = await Promise.all(files.map((file) => readEntries(file, reported)));
  return entries.flat();
}

async function readEntries(file: string, reported: Set<string>): Promise<KnownHostsEntry[]> {
  let text: string;
  try {
    text = await readBounded(file);
  } catch (error) {
    if (error instanceof SessionError) throw error;
    if (systemCodeOf(error) !== "ENOENT") reportUnreadable(file, error, reported);
    return [];
  }
  const { entries, problems } = parseKnownHosts(text, file);
  for (const problem of problems) reportProblem(problem, reported);
  return entries;
}

/** Reads by counting, not by the file's size, which a device or a pipe does not have. */
async function readBounded(file: string): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024 })) {
    length += chunk.length;
    if (length > MAX_FILE_BYTES) {
      throw new SessionError(`${file} is larger than 64 MiB, too large for a known_hosts file`, {
        code: "config-invalid",
        hint: "name another file with -o UserKnownHostsFile or -o GlobalKnownHostsFile",
      });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function reportUnreadable(file: string, error: unknown, reported: Set<string>): void {
  if (reported.has(file)) return;
  reported.add(file);
  log.warn("cannot read {file}, going on without it: {reason}", {
    file,
    reason: messageOf(error),
  });
}

function reportProblem(problem: KnownHostsProblem, reported: Set<string>): void {
  const { file, line, message } = problem;
  const place = `${file}:${line}: ${message}`;
  if (reported.has(place)) return;
  reported.add(place);
  // ssh says nothing of a broken line unless asked to. But one that was to revoke a key leaves its
  // author believing in a protection that is not there.
  log[problem.marked ? "warn" : "debug"]("{place}: {message}, the line is ignored", {
    place: `${file}:${line}`,
    message,
  });
}

/**
 * Looks the host up, and where nothing is known of `[host]:port`, the host without its port, as
 * check_host_key() of OpenSSH's sshconnect.c does: that may vouch for the key, and here it may also
 * revoke it.
 */
function lookupWithFallback(
  entries: readonly KnownHostsEntry[],
  name: string,
  key: Buffer,
): Verdict {
  const verdict = lookup(entries, name, key);
  if (verdict.kind !== "unknown" || verdict.otherTypes.length > 0) return verdict;
  const fallback = lookup(entries, withoutPort(name), key);
  return fallback.kind === "known" || fallback.kind === "revoked" ? fallback : verdict;
}

function withoutPort(name: string): string {
  return /^\[(.+)\]:\d+$/.exec(name)?.[1] ?? name;
}

/** Refuses a key that could not even be described to a person. */
function checkKey(name: string, key: Buffer): void {
  try {
    keyTypeOf(key);
  } catch (cause) {
    throw new SessionError(`the host key of ${name} is malformed`, {
      code: "protocol-error",
      cause,
    });
  }
}

/** Refuses a name, such as a careless alias, that would match or become other lines of a file. */
function checkName(name: string, key: Buffer): void {
  try {
    formatEntry(name, key);
  } catch (cause) {
    throw new SessionError(messageOf(cause), { code: "config-invalid", cause });
  }
}

function changed(name: string, key: Buffer, entries: readonly KnownHostsEntry[]): SessionError {
  const held = entries.map((entry) => `${placeOf(entry)} holds ${describe(entry.key)}`);
  const removals = [...new Set(entries.map((entry) => entry.file))].map((file) =>
    `\`ssh-keygen -R ${shellWord(name)} -f ${shellWord(file)}\``
  );
  return new SessionError(
    `the host key of ${name} has changed: it is now ${describe(key)}, but ${held.join(", and ")}`,
    {
      code: "host-key-changed",
      hint: "someone may be intercepting the connection; if the change is expected, " +
        `remove the old key with: ${removals.join(" and ")}`,
    },
  );
}

function revoked(name: string, entry: KnownHostsEntry): SessionError {
  return new SessionError(
    `the host key of ${name} is revoked: ${placeOf(entry)} marks ${
      describe(entry.key)
    } as @revoked`,
    {
      code: "host-key-revoked",
      hint: "a stolen key may be in use to impersonate the server; ask the server's administrator",
    },
  );
}

function unknown(name: string, key: Buffer, options: KnownHostsOptions): SessionError {
  const file = options.userFiles[0] ?? options.globalFiles[0];
  const line = `\`${formatEntry(name, key).trimEnd()}\``;
  const ways = [
    `add this line to ${file ?? "a known_hosts file"}: ${line}`,
    "use `-o StrictHostKeyChecking=accept-new`",
  ];
  // With "yes", a terminal would not help: nobody is asked.
  if (options.strict === "ask") ways.unshift("connect once from a terminal");
  return new SessionError(`the host key of ${name} is not known: it is ${describe(key)}`, {
    code: "host-key-unknown",
    hint: `check ${fingerprint(key)} with the server's administrator; to accept the key, ` +
      ways.join(", or "),
  });
}

function declined(name: string, key: Buffer): SessionError {
  return new SessionError(
    `host key verification was declined for ${name}, which showed ${describe(key)}`,
    { code: "host-key-unknown" },
  );
}

function notPinned(name: string, key: Buffer, pins: readonly Pin[]): SessionError {
  const expected = pins.map((pin) => pin.fingerprint).join(" or ");
  return new SessionError(
    `the host key of ${name} is ${describe(key)}, but ${expected} was expected`,
    {
      code: "host-key-changed",
      hint: "someone may be intercepting the connection; or the server showed another one of its " +
        "keys: check the fingerprint with its administrator, or pin the public key, which tells " +
        "its type",
    },
  );
}

function describe(key: Buffer): string {
  return `${keyTypeLabel(keyTypeOf(key))} ${fingerprint(key)}`;
}

function placeOf(entry: KnownHostsEntry): string {
  return `${entry.file} line ${entry.line}`;
}

function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
