/**
 * Secrets that the command line only says the place of: variables, and standard input.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { UsageError } from "../errors.ts";
import type { NamedKey } from "../ssh/identities.ts";
import type { Settings } from "../ssh_config/settings.ts";

/** What was found there. */
export interface Secrets {
  readonly password?: string;
  readonly passphrase?: string;
  readonly privateKeys: readonly NamedKey[];
  /** The variables that they were in, for a second process that looks for them again. */
  readonly environment: Readonly<Record<string, string>>;
}

/** Bytes of a private key; real ones have a few thousand. */
const MAX_KEY = 1024 * 1024;

/**
 * Takes the secrets out of the environment, so that no program that is started from now on finds
 * them in its own.
 *
 * @param settings Where they are.
 * @returns The secrets.
 */
export function takeSecrets(settings: Settings): Secrets {
  const { passwordVariable, passphraseVariable, proxyVariable, keyVariables = [] } = settings;
  const read = (name: string) => process.env[name] ?? "";
  const privateKeys = keyVariables.map((name) => ({ name: `env:${name}`, text: read(name) }));
  const names = [passwordVariable, passphraseVariable, proxyVariable, ...keyVariables]
    .filter((name) => name !== undefined);
  const secrets = {
    ...(passwordVariable === undefined ? {} : { password: read(passwordVariable) }),
    ...(passphraseVariable === undefined ? {} : { passphrase: read(passphraseVariable) }),
    privateKeys,
    environment: Object.fromEntries(names.map((name) => [name, read(name)])),
  };
  for (const name of names) delete process.env[name];
  return secrets;
}

/**
 * The secrets, with a key that came from standard input.
 *
 * @param secrets What there is besides.
 * @param stdinKey The key's text, where there is one.
 * @returns All of them.
 */
export function withStdinKey(secrets: Secrets, stdinKey: string | undefined): Secrets {
  if (stdinKey === undefined) return secrets;
  const key = { name: "standard input", text: stdinKey };
  return { ...secrets, privateKeys: [...secrets.privateKeys, key] };
}

/**
 * Reads a private key from standard input, to its end.
 *
 * @param signal Gives it up.
 * @returns The key's text; undefined where the signal came first.
 * @throws {UsageError} When there is none.
 */
export async function readStdinKey(signal: AbortSignal): Promise<string | undefined> {
  // What is typed or pasted there would be seen, and stay in the window.
  if (process.stdin.isTTY) {
    throw new UsageError("-i -: standard input is a terminal", "pipe the private key into it");
  }
  const stopped = new Promise<undefined>((resolve) => {
    signal.addEventListener("abort", () => resolve(undefined));
  });
  const text = await Promise.race([stopped, readAll()]);
  if (text?.trim() === "") throw new UsageError("-i -: standard input is empty");
  return text;
}

async function readAll(): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_KEY) throw new UsageError("-i -: standard input is too large for a key");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
