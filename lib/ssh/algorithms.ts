/**
 * Which algorithms are offered, and how a user changes that.
 *
 * Old ones (SHA-1, CBC, groups 1 and 14 with SHA-1) are known but off until somebody names them.
 *
 * @module
 */
import { getCiphers } from "node:crypto";
import { SessionError } from "../errors.ts";
import { runtime } from "../runtime.ts";

/** The algorithm lists of one connection, best first (RFC 4253 section 7.1). */
export interface Algorithms {
  /** Key exchange methods. */
  readonly kex: readonly string[];
  /** Signature algorithms for the server's host key. */
  readonly serverHostKey: readonly string[];
  /** Ciphers, both ways. */
  readonly cipher: readonly string[];
  /** Message authentication codes, both ways; a cipher with a tag of its own needs none. */
  readonly hmac: readonly string[];
}

/** A user's lists, each as ssh_config(5) has them: `a,b`, `+a,b`, `-a*,b` or `^a,b`. */
export type AlgorithmChoice = { readonly [Kind in keyof Algorithms]?: string };

const CHACHA = "chacha20-poly1305@openssh.com";
const GCM = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"];
const CTR = ["aes128-ctr", "aes192-ctr", "aes256-ctr"];
const HAS_CHACHA = getCiphers().includes("chacha20");

// Measured (SSH2_NOTES): Deno's AES is slow and its ChaCha20 fast; on Bun and Node it is AES-GCM
// that is fast, and Bun has no raw ChaCha20 at all.
const CIPHERS = runtime.name === "deno"
  ? [...(HAS_CHACHA ? [CHACHA] : []), ...GCM, ...CTR]
  : [...GCM, ...(HAS_CHACHA ? [CHACHA] : []), ...CTR];

/** What is offered when nobody says otherwise. */
export const DEFAULT_ALGORITHMS: Algorithms = {
  kex: [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
  ],
  serverHostKey: [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
  ],
  cipher: CIPHERS,
  hmac: [
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
  ],
};

/** What ssh2 can do beyond that, for a user who names it. */
const OLD_ALGORITHMS: Algorithms = {
  kex: [
    "diffie-hellman-group15-sha512",
    "diffie-hellman-group17-sha512",
    "diffie-hellman-group-exchange-sha1",
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group1-sha1",
  ],
  serverHostKey: ["ssh-rsa"],
  // Deno lacks one of them.
  cipher: ["256", "192", "128"].filter((bits) => getCiphers().includes(`aes-${bits}-cbc`))
    .map((bits) => `aes${bits}-cbc`),
  hmac: ["hmac-sha1-etm@openssh.com", "hmac-sha1"],
};

/**
 * Everything that can be offered, what is off by default included.
 *
 * @param kind Which list.
 * @returns Its names; the defaults first.
 */
export function supportedAlgorithms(kind: keyof Algorithms): readonly string[] {
  return [...DEFAULT_ALGORITHMS[kind], ...OLD_ALGORITHMS[kind]];
}

const KIND_NAMES: { readonly [Kind in keyof Algorithms]: string } = {
  kex: "key exchange",
  serverHostKey: "host key",
  cipher: "cipher",
  hmac: "MAC",
};

/**
 * The lists to offer.
 *
 * @param choice The user's lists; what is not named stays at its default.
 * @param preferredHostKeys Host key algorithms to put first, because a key of that kind is known;
 *   a list that the user gave stays as it is.
 * @returns All four lists.
 * @throws {SessionError} `algorithm-mismatch` for a name that is not known, or an empty list.
 */
export function chooseAlgorithms(
  choice: AlgorithmChoice = {},
  preferredHostKeys: readonly string[] = [],
): Algorithms {
  const pick = (kind: keyof Algorithms) => applyChoice(kind, choice[kind]);
  const serverHostKey = pick("serverHostKey");
  const known = preferredHostKeys.filter((name) => serverHostKey.includes(name));
  return {
    kex: pick("kex"),
    // As in ssh, a list that the user wrote out stays in its order; + and - only change what is in it.
    serverHostKey: /^(?:$|[+-])/.test(choice.serverHostKey ?? "")
      ? [...new Set([...known, ...serverHostKey])]
      : serverHostKey,
    cipher: pick("cipher"),
    hmac: pick("hmac"),
  };
}

function applyChoice(kind: keyof Algorithms, text: string | undefined): readonly string[] {
  const defaults = DEFAULT_ALGORITHMS[kind];
  if (text === undefined) return defaults;
  const operator = /^[+^-]/.exec(text)?.[0];
  const names = (operator === undefined ? text : text.slice(1)).split(",");
  const supported = supportedAlgorithms(kind);
  if (operator === "-") {
    const left = defaults.filter((name) => !names.some((pattern) => matches(pattern, name)));
    if (left.length > 0) return left;
    throw new SessionError(`"${text}" leaves no ${KIND_NAMES[kind]} algorithm`, {
      code: "algorithm-mismatch",
    });
  }
  for (const name of names) {
    if (!supported.includes(name)) throw unknownAlgorithm(kind, name, supported);
  }
  if (operator === "+") return [...new Set([...defaults, ...names])];
  if (operator === "^") return [...new Set([...names, ...defaults])];
  return names;
}

function matches(pattern: string, name: string): boolean {
  const source = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`).test(name);
}

function unknownAlgorithm(
  kind: keyof Algorithms,
  name: string,
  supported: readonly string[],
): SessionError {
  const reason = name === CHACHA ? " on this runtime" : "";
  return new SessionError(`unknown ${KIND_NAMES[kind]} algorithm "${name}"${reason}`, {
    code: "algorithm-mismatch",
    hint: `choose among ${supported.join(", ")}`,
  });
}
