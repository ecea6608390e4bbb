/**
 * Where the command line says that secrets are: -i env:NAME and -i -, --password, --passphrase.
 *
 * @module
 */
import process from "node:process";
import { UsageError } from "../errors.ts";
import { applyKeyword } from "../ssh_config/keywords.ts";
import type { Settings } from "../ssh_config/settings.ts";

/**
 * -i: a private key's file as in ssh; or, for CI, a key that is in no file.
 *
 * @param settings What was said so far; changed in place.
 * @param value The file; `env:NAME` for a variable's key, `-` for one from standard input.
 * @throws {UsageError} When there is no such variable, or `-` was said before.
 */
export function applyIdentity(settings: Settings, value: string): void {
  if (value !== "-" && !value.startsWith("env:")) {
    return applyKeyword(settings, "IdentityFile", [value], "-i");
  }
  // As with a file, the default identities are not meant.
  settings.identityFiles ??= [];
  if (value !== "-") {
    (settings.keyVariables ??= []).push(secretVariable("-i", value));
    return;
  }
  if (settings.keyFromStdin) throw new UsageError("-i -: there is one stdin, so one -i -");
  settings.keyFromStdin = true;
}

/**
 * --password: the variable that holds the password.
 *
 * @param settings What was said so far; changed in place.
 * @param value `env:NAME`.
 * @throws {UsageError} When it has another form, or there is no such variable.
 */
export function applyPassword(settings: Settings, value: string): void {
  settings.passwordVariable ??= secretVariable("--password", value);
}

/**
 * --passphrase: the variable that holds the passphrase of encrypted keys.
 *
 * @param settings What was said so far; changed in place.
 * @param value `env:NAME`.
 * @throws {UsageError} When it has another form, or there is no such variable.
 */
export function applyPassphrase(settings: Settings, value: string): void {
  settings.passphraseVariable ??= secretVariable("--passphrase", value);
}

/**
 * What a key from standard input says of everything else that could read it.
 *
 * @param settings What was said; changed in place.
 * @throws {UsageError} When -W wants standard input as well.
 */
export function concludeSecrets(settings: Settings): void {
  if (!settings.keyFromStdin) return;
  if (settings.stdioForward !== undefined) {
    throw new UsageError("-i - and -W contradict each other: there is one stdin");
  }
  settings.stdinNull = true;
}

/** @returns The variable's name. What has another form may be the secret itself: not repeated. */
function secretVariable(option: string, value: string): string {
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
