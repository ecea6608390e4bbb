/**
 * What stands for something else: `%h`, `${VARIABLE}` and `~` (ssh_config(5), TOKENS and
 * ENVIRONMENT VARIABLES).
 *
 * @module
 */
import { createHash } from "node:crypto";
import { homedir, hostname } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { userName } from "../runtime.ts";
import { isSafeHostName, isSafeUserName } from "./names.ts";

/** The tokens of one host, by their letters. */
export type Tokens = Readonly<Record<string, string>>;

/** What the tokens are made of. */
export interface TokenSources {
  /** The name that is connected to. */
  readonly host: string;
  /** The name that was given. */
  readonly originalHost: string;
  readonly port: number;
  /** The user's name on the server. */
  readonly user: string;
  readonly hostKeyAlias?: string | undefined;
  /** ProxyJump's value. */
  readonly jump?: string | undefined;
}

/** The letters that HostName may use. */
export const HOST_NAME_TOKENS = "h";
/** The letters that ProxyCommand and ProxyJump may use. */
export const PROXY_TOKENS = "hknpr";
/** The letters that User may use: neither itself nor what is made of it. */
export const USER_TOKENS = "dhijkLlnpu";

/**
 * The tokens of a host.
 *
 * @param sources What they are made of.
 * @returns All of them.
 */
export function tokensOf(sources: TokenSources): Tokens {
  const { host, originalHost, port, user, hostKeyAlias, jump = "" } = sources;
  const local = hostname();
  return {
    C: createHash("sha1").update(`${local}${host}${port}${user}${jump}`).digest("hex"),
    L: local.replace(/\..*/, ""),
    d: homedir(),
    h: host,
    i: String(process.getuid?.() ?? ""),
    j: jump,
    k: hostKeyAlias ?? originalHost,
    l: local,
    n: originalHost,
    p: String(port),
    r: user,
    u: userName(),
  };
}

/**
 * Puts values in the places of the tokens of a text.
 *
 * @param text The text.
 * @param tokens The tokens of the host.
 * @param allowed The letters that may be used here; all of them when missing.
 * @returns The text.
 * @throws {SyntaxError} When a letter is no token, or none that may be used here.
 */
export function expandTokens(text: string, tokens: Tokens, allowed?: string): string {
  return text.replace(/%([^]?)/gu, (token, letter: string) => {
    if (letter === "%") return "%";
    const value = (allowed ?? letter).includes(letter) ? tokens[letter] : undefined;
    if (letter !== "" && value !== undefined) return value;
    throw new SyntaxError(`${JSON.stringify(token)} is not a token here; a plain % is written %%`);
  });
}

/**
 * The same in a command line for a shell: a name that a shell would act on is refused, as names from
 * elsewhere can get there.
 *
 * @param text The command line.
 * @param tokens The tokens of the host.
 * @param allowed The letters that may be used here; all of them when missing.
 * @returns The command line.
 * @throws {SyntaxError} As expandTokens() does, and for such a name.
 */
export function expandCommand(text: string, tokens: Tokens, allowed?: string): string {
  const expanded = expandTokens(text, tokens, allowed);
  for (const [token, letter = ""] of text.replaceAll("%%", "").matchAll(/%([hjknr])/g)) {
    const name = tokens[letter] ?? "";
    if (letter === "r" ? isSafeUserName(name) : isSafeHostName(name)) continue;
    throw new SyntaxError(`${JSON.stringify(name)} (${token}) cannot stand in a command line`);
  }
  return expanded;
}

/**
 * Puts the values of environment variables in the places of `${NAME}`.
 *
 * @param text The text.
 * @returns The text.
 * @throws {SyntaxError} When a variable is not set, or a brace not closed.
 */
export function expandVariables(text: string): string {
  return text.replace(/\$\{([^}]*)(\}?)/g, (found, name: string, end: string) => {
    if (end === "" || name === "") throw new SyntaxError(`${found}: expected \${NAME}`);
    const value = process.env[name];
    if (value === undefined) {
      throw new SyntaxError(`${found}: the environment variable is not set`);
    }
    return value;
  });
}

/**
 * Does both at once, so that what a variable holds is not searched for tokens.
 *
 * @param text The text.
 * @param tokens The tokens of the host.
 * @returns The text.
 * @throws {SyntaxError} As both do.
 */
export function expandAll(text: string, tokens: Tokens): string {
  return text.split(/(\$\{[^}]*\}?)/)
    .map((part) => part.startsWith("${") ? expandVariables(part) : expandTokens(part, tokens))
    .join("");
}

/**
 * Puts the user's home folder in the place of a `~`.
 *
 * @param path A path as people write it.
 * @returns The path.
 * @throws {SyntaxError} When it is another user's home.
 */
export function expandHome(path: string): string {
  if (/^~[^/]/.test(path)) {
    throw new SyntaxError(`${path}: another user's home folder must be written out`);
  }
  return path.startsWith("~") ? join(homedir(), path.slice(1)) : path;
}
