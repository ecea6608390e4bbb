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
}

/** Bytes of a private key; real ones have a few thousand. */
const MAX_KEY = 1024 * 1024;

/**
 * Takes the secrets out of the environment, so that no program that is started from now on finds
 * them in its own.
 *
 * @param settings Where they are.
 * @param stdinKey The key that came from standard input.
 * @returns The secrets.
 */
export function takeSecrets(settings: Settings, stdinKey: string | undefined): Secrets {
  const { passwordVariable, passphraseVariable, keyVariables = [] } = settings;
  const read = (name: string) => process.env[name] ?? "";
  const privateKeys = keyVariables.map((name) => ({ name: `env:${name}`, text: read(name) }));
  if (stdinKey !== undefined) privateKeys.push({ name: "standard input", text: stdinKey });
  const secrets = {
    ...(passwordVariable === undefined ? {} : { password: read(passwordVariable) }),
    ...(passphraseVariable === undefined ? {} : { passphrase: read(passphraseVariable) }),
    privateKeys,
  };
  for (const name of [passwordVariable, passphraseVariable, ...keyVariables]) {
    if (name !== undefined) delete process.env[name];
  }
  return secrets;
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
