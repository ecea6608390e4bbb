/**
 * known_hosts files on disk: reading them whatever they hold, and adding a line without harm to
 * any other.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import {
  closeSync,
  createReadStream,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { mkdir } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileReason, SessionError, systemCodeOf } from "../errors.ts";
import { logger } from "../log.ts";
import {
  formatEntry,
  type KnownHostsEntry,
  type KnownHostsProblem,
  lookup,
  parseKnownHosts,
} from "./known_hosts.ts";

const log = logger("ssh");

/** The longest file that is read: some 600 000 hosts. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;
/** What a lock's name ends with: no file of anybody else's. */
const LOCK = ".fairlead-lock";
/** Milliseconds after which a lock that nobody renewed was left behind by a process that died. */
const STALE_LOCK = 2_000;
/** Milliseconds that an addition waits for others; it is safe without the lock, too. */
const LONGEST_WAIT = 15_000;

const NEWLINE = 0x0a;

/**
 * Reads known_hosts files. One that does not exist is empty; one that cannot be read, and a line
 * that cannot be understood, is reported once and skipped.
 *
 * @param files The files.
 * @param reported What was reported before; this call adds to it.
 * @returns Every line that holds a key, in the order of the files.
 * @throws {SessionError} `config-invalid` for a file above 64 MiB.
 */
export async function readKnownHosts(
  files: readonly string[],
  reported: Set<string>,
): Promise<KnownHostsEntry[]> {
  const entries = await Promise.all(files.map((file) => readEntries(file, reported)));
  return entries.flat();
}

/**
 * Reads a file by counting, not by its size, which a device or a pipe does not have.
 *
 * @param file The file.
 * @param hint What to do about a file that is too large.
 * @returns Its bytes.
 * @throws {SessionError} `config-invalid` for a file above 64 MiB.
 */
export async function readBounded(file: string, hint: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024 })) {
    length += chunk.length;
    if (length > MAX_FILE_BYTES) {
      throw new SessionError(`${file} is larger than 64 MiB, too large for a list of host keys`, {
        code: "config-invalid",
        hint,
      });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/**
 * Adds a host's key to a known_hosts file, on a line of its own, unless a line of the file holds it
 * already. Every other byte stays, and so do the file's mode, its owner, and the symbolic link that
 * leads to it. A missing file, and the user's `~/.ssh`, are made for their owner alone.
 *
 * Any number of processes may add at once. Each line is appended in one write, so none is lost or
 * mixed with another whatever happens. A lock file, there for a fraction of a millisecond, only
 * keeps two of them from adding the same line.
 *
 * @param file The file.
 * @param name The host, see `hostName` of known_hosts.ts.
 * @param key The public key.
 * @param hashed Whether the host's name is to be hashed.
 * @returns Whether a line was added.
 * @throws {Error} The system's, when the file cannot be written; then it is as it was.
 */
export async function addKnownHost(
  file: string,
  name: string,
  key: Buffer,
  hashed = false,
): Promise<boolean> {
  const folder = dirname(file);
  // As in ssh, the user's own folder alone is made; a mistyped path is none to be made.
  if (folder === join(homedir(), ".ssh")) await mkdir(folder, { recursive: true, mode: 0o700 });
  const lock = lockFor(file);
  let seen: string | undefined;
  let since = 0;
  const started = performance.now();
  while (lock !== undefined && performance.now() - started < LONGEST_WAIT) {
    const state = take(lock);
    if (state === "impossible") break;
    if (state === "taken") {
      // From here to the release nothing else of this process runs, no signal's handler either.
      try {
        return append(file, name, key, hashed);
      } finally {
        rmSync(lock, { force: true });
      }
    }
    const holder = identityOf(lock);
    if (holder !== seen) {
      seen = holder;
      since = performance.now();
    } else if (holder !== undefined && performance.now() - since > STALE_LOCK) {
      rmSync(lock, { force: true });
    }
    await sleep(5 + Math.random() * 45);
  }
  return append(file, name, key, hashed);
}

/** Where the lock of a file is; undefined for what is no file, such as /dev/null. */
function lockFor(file: string): string | undefined {
  try {
    // The file itself: a link to it must not lead to another lock.
    return statSync(file).isFile() ? `${realpathSync(file)}${LOCK}` : undefined;
  } catch {
    return `${file}${LOCK}`;
  }
}

/** Takes the lock; impossible where no file can be made, as in a folder that is read-only. */
function take(lock: string): "taken" | "held" | "impossible" {
  try {
    closeSync(openSync(lock, "wx", 0o600));
    return "taken";
  } catch (error) {
    return systemCodeOf(error) === "EEXIST" ? "held" : "impossible";
  }
}

/** Tells one lock from the next of the same name. */
function identityOf(lock: string): string | undefined {
  try {
    const { ino, mtimeMs } = statSync(lock);
    return `${ino} ${mtimeMs}`;
  } catch {
    return undefined;
  }
}

function append(file: string, name: string, key: Buffer, hashed: boolean): boolean {
  const handle = openSync(file, "a+", 0o600);
  try {
    const before = fstatSync(handle);
    // A device is only written to; what is too large to be read would not be read next time either.
    const content = before.isFile() && before.size <= MAX_FILE_BYTES
      ? readFileSync(handle)
      : Buffer.of(NEWLINE);
    const { entries } = parseKnownHosts(content.toString(), file);
    // Another process was faster.
    if (lookup(entries, name, key).kind === "known") return false;
    const complete = content.length === 0 || content.at(-1) === NEWLINE;
    const line = Buffer.from(`${complete ? "" : "\n"}${formatEntry(name, key, { hashed })}`);
    const written = writeSync(handle, line);
    if (written === line.length) return true;
    if (fstatSync(handle).size === before.size + written) ftruncateSync(handle, before.size);
    throw new Error("the disk is full");
  } finally {
    closeSync(handle);
  }
}

async function readEntries(file: string, reported: Set<string>): Promise<KnownHostsEntry[]> {
  let text: string;
  try {
    const hint = "name another file with -o UserKnownHostsFile or -o GlobalKnownHostsFile";
    text = (await readBounded(file, hint)).toString();
  } catch (error) {
    if (error instanceof SessionError) throw error;
    if (systemCodeOf(error) !== "ENOENT") reportUnreadable(file, error, reported);
    return [];
  }
  const { entries, problems } = parseKnownHosts(text, file);
  for (const problem of problems) reportProblem(problem, reported);
  return entries;
}

function reportUnreadable(file: string, error: unknown, reported: Set<string>): void {
  if (reported.has(file)) return;
  reported.add(file);
  log.warn("cannot read {file}, going on without it: {reason}", {
    file,
    reason: fileReason(error),
  });
}

function reportProblem(problem: KnownHostsProblem, reported: Set<string>): void {
  const { file, line, message } = problem;
  const place = `${file}:${line}: ${message}`;
  if (reported.has(place)) return;
  reported.add(place);
  // ssh says nothing of a broken line unless asked to. But one that was to revoke a key leaves its
  // author believing in a protection that is not there.
  log[problem.marked ? "warn" : "info"]("{place}: {message}, the line is ignored", {
    place: `${file}:${line}`,
    message,
  });
}
