/**
 * Which algorithms are offered, and how a user changes that.
 *
 * Old ones (SHA-1, CBC, groups 1 and 14 with SHA-1) are known but off until somebody names them.
 *
 * @module
 */
import { getCiphers } from "node:crypto";
import { SessionError } from "../errors.ts";
import { logger } from "../log.ts";
import { nearest } from "../nearest.ts";
import { runtime } from "../runtime.ts";
import { matchesPattern, matchesPatterns } from "./patterns.ts";

const log = logger("ssh");

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

/**
 * A user's lists, each as ssh_config(5) has them: `a,b` in place of the defaults, `+a,b` behind
 * them, `^a,b` before them, and `-a*,b` takes away. As in ssh, wildcards stand in `-` lists, and in
 * all lists of host key algorithms.
 */
export type AlgorithmChoice = { readonly [Kind in keyof Algorithms]?: string };

const CHACHA = "chacha20-poly1305@openssh.com";
const GCM = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"];
const CTR = ["aes128-ctr", "aes192-ctr", "aes256-ctr"];
const HAS_CHACHA = getCiphers().includes("chacha20");

// Deno lacks one of them.
const CBC = ["256", "192", "128"].filter((bits) => getCiphers().includes(`aes-${bits}-cbc`))
  .map((bits) => `aes${bits}-cbc`);

const CHACHA_FIRST = [...(HAS_CHACHA ? [CHACHA] : []), ...GCM, ...CTR];
const GCM_FIRST = [...GCM, ...(HAS_CHACHA ? [CHACHA] : []), ...CTR];

// Measured (docs/algorithms.md): Deno's AES is slow and its ChaCha20 fast; on Bun and Node it is
// AES-GCM that is fast, and Bun has no raw ChaCha20 at all.
const CIPHERS = runtime.name === "deno" ? CHACHA_FIRST : GCM_FIRST;

/** What is offered when nobody says otherwise, with the ciphers of the runtime itself. */
export const DEFAULT_ALGORITHMS: Algorithms = {
  kex: [
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
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
  cipher: CBC,
  hmac: ["hmac-sha1-etm@openssh.com", "hmac-sha1"],
};

/**
 * What OpenSSH knows and fairlead cannot do. In a list that ssh takes it is passed over, as long as
 * something is left.
 */
const ELSEWHERE: Algorithms = {
  kex: ["mlkem768nistp256-sha256", "mlkem1024nistp384-sha384"],
  serverHostKey: [
    "ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
    "ssh-rsa-cert-v01@openssh.com",
    "ssh-dss-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-dss",
    "ssh-mldsa44-ed25519@openssh.com",
  ],
  cipher: [
    CHACHA,
    ...["128", "192", "256"].map((bits) => `aes${bits}-cbc`),
    "3des-cbc",
    "rijndael-cbc@lysator.liu.se",
  ],
  hmac: ["hmac-sha1-96", "hmac-md5", "hmac-md5-96", "umac-64", "umac-128"].flatMap((name) => [
    name.startsWith("umac") ? `${name}@openssh.com` : name,
    `${name}-etm@openssh.com`,
  ]),
};

/** What people call each kind of algorithm. */
export const KIND_NAMES: { readonly [Kind in keyof Algorithms]: string } = {
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
 * @param fastAes Whether AES-GCM is faster here than the runtime's own, so that it goes first.
 * @returns All four lists.
 * @throws {SessionError} `algorithm-mismatch` for a name that is not known, or an empty list.
 */
export function chooseAlgorithms(
  choice: AlgorithmChoice = {},
  preferredHostKeys: readonly string[] = [],
  fastAes = false,
): Algorithms {
  const defaults = fastAes ? { ...DEFAULT_ALGORITHMS, cipher: GCM_FIRST } : DEFAULT_ALGORITHMS;
  const pick = (kind: keyof Algorithms) => applyChoice(kind, choice[kind], defaults[kind]);
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

/**
 * Everything that fairlead can do on this runtime.
 *
 * @param kind The kind of algorithm.
 * @returns Their names, best first, with those that are off until somebody names them at the end.
 */
export function supportedAlgorithms(kind: keyof Algorithms): readonly string[] {
  return [...DEFAULT_ALGORITHMS[kind], ...OLD_ALGORITHMS[kind]];
}

function applyChoice(
  kind: keyof Algorithms,
  text: string | undefined,
  defaults: readonly string[],
): readonly string[] {
  if (text === undefined) return defaults;
  const operator = /^[+^-]/.exec(text)?.[0];
  const words = text.slice(operator?.length ?? 0).split(",").filter((word) => word !== "");
  if (operator === "-") {
    const left = defaults.filter((name) => !matchesPatterns(name, words));
    if (left.length > 0) return left;
    throw new SessionError(`"${text}" leaves no ${KIND_NAMES[kind]} algorithm`, {
      code: "algorithm-mismatch",
    });
  }
  if (words.length === 0) throw unknownAlgorithm(kind, "");
  const named = words.flatMap((word) => expand(kind, word));
  const supported = supportedAlgorithms(kind);
  const names = named.filter((name) => supported.includes(name));
  const missing = named.filter((name) => !supported.includes(name));
  if (missing.length > 0) {
    log.debug("passed over, for fairlead cannot do it: {names}", { names: missing.join(", ") });
  }
  if (operator === "+") return [...new Set([...defaults, ...names])];
  if (operator === "^") return [...new Set([...names, ...defaults])];
  if (names.length === 0) throw impossible(kind, missing);
  return [...new Set(names)];
}

/** The names that a word of a list stands for. */
function expand(kind: keyof Algorithms, word: string): readonly string[] {
  const known = [...new Set([...supportedAlgorithms(kind), ...ELSEWHERE[kind]])];
  const found = kind === "serverHostKey"
    ? known.filter((name) => matchesPattern(name, word))
    : known.filter((name) => name === word);
  if (found.length === 0) throw unknownAlgorithm(kind, word);
  return found;
}

function unknownAlgorithm(kind: keyof Algorithms, name: string): SessionError {
  const supported = supportedAlgorithms(kind);
  const guess = nearest(name, supported);
  return new SessionError(`unknown ${KIND_NAMES[kind]} algorithm "${name}"`, {
    code: "algorithm-mismatch",
    hint: guess === undefined ? `choose among ${supported.join(", ")}` : `did you mean ${guess}?`,
  });
}

function impossible(kind: keyof Algorithms, names: readonly string[]): SessionError {
  const here = kind === "cipher" && names.some((name) => name !== "3des-cbc");
  return new SessionError(
    `fairlead cannot do the ${KIND_NAMES[kind]} algorithm ${names.join(", ")}` +
      (here ? " on this runtime" : ""),
    {
      code: "algorithm-mismatch",
      hint: `choose among ${supportedAlgorithms(kind).join(", ")}`,
    },
  );
}
