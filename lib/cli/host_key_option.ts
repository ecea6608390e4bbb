/**
 * --host-key: the server's key on the command line, in place of a known_hosts file.
 *
 * @module
 */
import process from "node:process";
import { messageOf, UsageError } from "../errors.ts";
import { parsePin } from "../ssh/pinned_keys.ts";

const HINT = "the server's administrator finds it with `ssh-keygen -lf` on a file such as " +
  "/etc/ssh/ssh_host_ed25519_key.pub";

/**
 * Reads the value of --host-key.
 *
 * @param value A public key, a fingerprint, or `env:NAME` for a variable that holds them, one a
 *   line; blank lines and lines that begin with `#` are skipped.
 * @returns The keys, each as it was written.
 * @throws {UsageError} When one of them is malformed, or there is none. No part of it is repeated:
 *   it might be a private key, given by mistake.
 */
export function readHostKeys(value: string): string[] {
  const variable = /^env:(.*)$/s.exec(value)?.[1];
  if (variable === undefined) return [check(value.trim(), "--host-key")];
  if (!/^[A-Za-z_]\w*$/.test(variable)) {
    throw new UsageError("--host-key env: the name of an environment variable belongs after it");
  }
  const origin = `--host-key env:${variable}`;
  const text = process.env[variable];
  if (text === undefined) throw new UsageError(`${origin}: the variable is not set`);
  const keys = text.split(/\r?\n/).flatMap((line, index) =>
    /^\s*(?:#|$)/.test(line) ? [] : [check(line.trim(), `${origin}, line ${index + 1}`)]
  );
  if (keys.length === 0) throw new UsageError(`${origin}: the variable holds no key`, HINT);
  return keys;
}

function check(key: string, origin: string): string {
  try {
    parsePin(key);
    return key;
  } catch (error) {
    throw new UsageError(`${origin}: ${messageOf(error)}`, HINT);
  }
}
