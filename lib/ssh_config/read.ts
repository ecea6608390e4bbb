/**
 * The files of ssh_config(5): the user's, then the system's, with what they include.
 *
 * A reader of our own: the package ssh-config keeps no line numbers for messages, and its quoting is
 * not ssh's.
 *
 * @module
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { Buffer } from "node:buffer";
import { messageOf, systemCodeOf, UsageError } from "../errors.ts";
import { logger } from "../log.ts";
import { userName } from "../runtime.ts";
import { succeeds } from "./exec.ts";
import { includedFiles, SYSTEM_FOLDER } from "./include.ts";
import { applyKeyword, laterMistake } from "./keywords.ts";
import { lastHop } from "./jump_spec.ts";
import { type ConfigLine, readLines } from "./lines.ts";
import { match, matchHost, type MatchSubject } from "./match.ts";
import { isOwn, onlyUserWrites } from "./permissions.ts";
import type { Settings } from "./settings.ts";
import {
  expandAll,
  expandCommand,
  expandTokens,
  HOST_NAME_TOKENS,
  type Tokens,
  tokensOf,
} from "./tokens.ts";
import { isNone } from "./values.ts";
import { splitWords } from "./words.ts";

const log = logger("ssh_config");

/** As deep as ssh goes. */
export const MOST_DEPTH = 16;
/** Bytes of one file, and of all together. */
const MOST_BYTES = 4 * 1024 * 1024;
const MOST_BYTES_OF_ALL = 4 * MOST_BYTES;

/** One reading of all files, for one host. */
export interface Pass {
  readonly settings: Settings;
  /** The name that was given. */
  readonly originalHost: string;
  /** The name that `Host` is compared with: in a second pass, the one that is connected to. */
  readonly host: string;
  readonly final: boolean;
  /** Ends a command of Match exec. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads all files, and applies what is meant for the host.
 *
 * @param pass Which reading, and for whom.
 * @returns Whether a second one is asked for, by `Match final`.
 * @throws {UsageError} `config-invalid`, when anything in them is wrong.
 */
export async function readFiles(pass: Pass): Promise<boolean> {
  const reading: Reading = { ...pass, wantsFinal: false, bytes: 0 };
  const { configFile } = pass.settings;
  for (const file of firstFiles(configFile)) {
    const found = await readFile(reading, file, true);
    if (!found && configFile !== undefined) {
      throw new UsageError(`-F ${configFile}: there is no such file`);
    }
  }
  return reading.wantsFinal;
}

/**
 * The files that are read, but for those that they include.
 *
 * @param configFile What -F names; undefined where it was not given.
 * @returns The files, in the order in which they count.
 */
export function firstFiles(configFile: string | undefined): File[] {
  if (configFile !== undefined) {
    if (isNone(configFile)) return [];
    return [{ path: configFile, ofUser: true, checked: false, depth: 0 }];
  }
  const user = join(homedir(), ".ssh", "config");
  const system = join(SYSTEM_FOLDER, "ssh_config");
  return [
    { path: user, ofUser: true, checked: true, depth: 0 },
    { path: system, ofUser: false, checked: false, depth: 0 },
  ];
}

interface Reading extends Pass {
  wantsFinal: boolean;
  bytes: number;
}

/** One file, and how it came to be read. */
export interface File {
  readonly path: string;
  /** Whether it is the user's, so that names in it start at ~/.ssh. */
  readonly ofUser: boolean;
  /** Whether nobody else may be able to write it. */
  readonly checked: boolean;
  /** How many Includes lead to it. */
  readonly depth: number;
}

/** @returns Whether there is such a file. */
async function readFile(reading: Reading, file: File, reachable: boolean): Promise<boolean> {
  const text = readText(file, reading);
  if (text === undefined) return false;
  log.debug(`reading ${file.path}`);
  let active = reachable;
  for (const line of readLines(text)) {
    try {
      active = await readLine(reading, file, line, { active, reachable });
    } catch (error) {
      if (error instanceof UsageError || !(error instanceof SyntaxError)) throw error;
      const words = `${file.path}:${line.number}: ${line.keyword}: ${messageOf(error)}`;
      throw new UsageError(words, undefined, "config-invalid");
    }
  }
  return true;
}

interface Block {
  /** Whether what stands in it is meant for this host. */
  readonly active: boolean;
  /** Whether any block of this file can be: not where its Include is in one that is not. */
  readonly reachable: boolean;
}

/** @returns Whether the next line is meant for this host. */
async function readLine(
  reading: Reading,
  file: File,
  line: ConfigLine,
  { active, reachable }: Block,
): Promise<boolean> {
  switch (line.keyword.toLowerCase()) {
    case "host":
      return matchHost(splitWords(line.rest), reading.host) && reachable;
    case "match": {
      const subject = subjectOf(reading, reachable);
      const { holds, wantsFinal } = await match(splitWords(line.rest), subject);
      if (wantsFinal) reading.wantsFinal = true;
      return holds && reachable;
    }
    case "include":
      await include(reading, file, splitWords(line.rest), active);
      return active;
    default: {
      const place = { path: file.path, line: line.number, active };
      applyKeyword(reading.settings, line.keyword, line.rest, place);
      return active;
    }
  }
}

async function include(
  reading: Reading,
  file: File,
  words: readonly string[],
  active: boolean,
): Promise<void> {
  if (words.join("") === "") throw new SyntaxError("the value is missing");
  const depth = file.depth + 1;
  if (depth > MOST_DEPTH) {
    throw new SyntaxError(`files include each other more than ${MOST_DEPTH} deep`);
  }
  for (const word of words) {
    const found = includedFiles(expandAll(word, tokensSoFar(reading)), file.ofUser);
    if (found.length === 0) log.debug(`${file.path}: Include ${word}: there is no such file`);
    for (const path of found) {
      await readFile(reading, { path, ofUser: file.ofUser, checked: true, depth }, active);
    }
  }
}

/**
 * Reads one file as ssh would: not when others can write it, nor what is larger than a file of
 * this kind can be.
 *
 * @param file The file.
 * @param sum Bytes that were read for all files so far; changed in place.
 * @returns Its text; undefined where there is no such file.
 * @throws {UsageError} `config-invalid`, when it cannot be read, or is not to be trusted.
 */
export function readText(
  { path, checked, depth }: Omit<File, "ofUser">,
  sum: { bytes: number },
): string | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(systemCodeOf(error) ?? "")) return undefined;
    throw unreadable(
      path,
      systemCodeOf(error) === "EACCES" ? "permission denied" : messageOf(error),
    );
  }
  try {
    const status = fstatSync(descriptor);
    // As in ssh, what an Include with a wildcard finds may be a folder.
    if (status.isDirectory() && depth > 0) return "";
    if (status.isDirectory()) throw unreadable(path, "it is a folder");
    if (checked && !onlyUserWrites(status)) {
      throw new UsageError(
        `${path}: bad owner or permissions`,
        isOwn(status)
          ? `nobody else may be able to write it: chmod go-w '${path}'`
          : `it must belong to you or to root: chown ${userName()} '${path}'`,
        "config-invalid",
      );
    }
    const text = readAll(descriptor);
    sum.bytes += text.length;
    if (text.length > MOST_BYTES || sum.bytes > MOST_BYTES_OF_ALL) {
      throw unreadable(path, "it is too large for a configuration");
    }
    return text.toString("utf8");
  } catch (error) {
    throw error instanceof UsageError ? error : unreadable(path, messageOf(error));
  } finally {
    closeSync(descriptor);
  }
}

/** A pipe has no size, so it is read up to the limit and not by its size. */
function readAll(descriptor: number): Buffer {
  const chunks: Buffer[] = [];
  for (let length = 0; length <= MOST_BYTES;) {
    const chunk = Buffer.alloc(65_536);
    const count = readSync(descriptor, chunk, 0, chunk.length, null);
    if (count === 0) break;
    chunks.push(chunk.subarray(0, count));
    length += count;
  }
  return Buffer.concat(chunks);
}

function unreadable(path: string, reason: string): UsageError {
  return new UsageError(`${path}: ${reason}`, undefined, "config-invalid");
}

function subjectOf(reading: Reading, reachable: boolean): MatchSubject {
  const { settings, originalHost, final, signal } = reading;
  const { sessionType, command = "" } = settings;
  return {
    host: hostSoFar(reading),
    originalHost,
    user: settings.user ?? userName(),
    localUser: userName(),
    tag: settings.tag ?? "",
    command,
    sessionType: sessionType === "none" ? "none" : command === "" ? "shell" : "exec",
    finalPass: final,
    exec: (line) =>
      // Nothing is run for a file that is meant for another host.
      reachable
        ? succeeds(expandCommand(line, tokensSoFar(reading)), { signal })
        : Promise.resolve(false),
  };
}

function hostSoFar({ settings, host, final }: Reading): string {
  if (final || settings.hostName === undefined) return host;
  try {
    return expandTokens(settings.hostName, { h: host }, HOST_NAME_TOKENS);
  } catch (error) {
    // It is not the line that asks for the name that is wrong.
    throw laterMistake(settings, "HostName", error);
  }
}

/** Files are not read to their end yet: what is not known has its default. */
function tokensSoFar(reading: Reading): Tokens {
  const { settings, originalHost } = reading;
  const host = hostSoFar(reading);
  return tokensOf({
    host,
    originalHost,
    port: settings.port ?? 22,
    user: settings.user ?? userName(),
    hostKeyAlias: settings.hostKeyAlias ?? host,
    jump: lastHop(settings.proxyJump),
  });
}
