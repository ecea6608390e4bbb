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
 * The name of a variable that holds a secret.
 *
 * @param option What it was given to, such as `--password`.
 * @param value `env:NAME`. Anything else may be the secret itself, and is not repeated.
 * @returns The name.
 * @throws {UsageError} When it has another form, or there is no such variable.
 */
export function secretVariable(option: string, value: string): string {
  const name = /^env:([A-Za-z_][A-Za-z0-9_]*)$/.exec(value)?.[1];
  if (name === undefined) {
    throw new UsageError(
      `${option}: expected env:NAME, where the variable NAME holds it`,
      "what stands on the command line itself can be read by every user of this machine",
    );
  }
  if ((process.env[name] ?? "") === "") {
    const what = process.env[name] === undefined ? "not set" : "empty";
    throw new UsageError(`${option} env:${name}: the variable ${name} is ${what}`);
  }
  return name;
}

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
