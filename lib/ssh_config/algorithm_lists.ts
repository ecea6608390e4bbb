/**
 * Algorithm lists as they stand in files that are written for ssh: what ssh can do and fairlead
 * cannot is left out of them, so that the rest is used; a name that neither knows is a mistake.
 *
 * @module
 */
import { chooseAlgorithms, supportedAlgorithms } from "../ssh/algorithms.ts";
import { matchesPattern } from "./patterns.ts";

/** The four lists. */
export type AlgorithmKind = Parameters<typeof supportedAlgorithms>[0];

/** What OpenSSH 9.2 to 10 has besides: `ssh -Q`. */
const OPENSSH: Readonly<Record<AlgorithmKind, string>> = {
  kex: `sntrup761x25519-sha512 sntrup761x25519-sha512@openssh.com mlkem768x25519-sha256
    mlkem768nistp256-sha256 mlkem1024nistp384-sha384 ecdh-sha2-1.3.132.0.10`,
  cipher: `3des-cbc aes128-cbc aes192-cbc aes256-cbc rijndael-cbc@lysator.liu.se
    chacha20-poly1305@openssh.com`,
  hmac: `hmac-sha1 hmac-sha1-96 hmac-md5 hmac-md5-96 umac-64@openssh.com umac-128@openssh.com
    hmac-sha1-etm@openssh.com hmac-sha1-96-etm@openssh.com hmac-md5-etm@openssh.com
    hmac-md5-96-etm@openssh.com umac-64-etm@openssh.com umac-128-etm@openssh.com`,
  serverHostKey: `ssh-ed25519-cert-v01@openssh.com ecdsa-sha2-nistp256-cert-v01@openssh.com
    ecdsa-sha2-nistp384-cert-v01@openssh.com ecdsa-sha2-nistp521-cert-v01@openssh.com
    sk-ssh-ed25519-cert-v01@openssh.com sk-ecdsa-sha2-nistp256-cert-v01@openssh.com
    rsa-sha2-512-cert-v01@openssh.com rsa-sha2-256-cert-v01@openssh.com ssh-rsa-cert-v01@openssh.com
    ssh-dss ssh-dss-cert-v01@openssh.com sk-ssh-ed25519@openssh.com
    sk-ecdsa-sha2-nistp256@openssh.com webauthn-sk-ecdsa-sha2-nistp256@openssh.com
    ssh-mldsa44-ed25519@openssh.com`,
};

/**
 * Reads a list.
 *
 * @param kind Which.
 * @returns A reader, which gives the list back as it was written.
 * @throws {SyntaxError} When nothing of it can be used.
 * @throws {SessionError} `algorithm-mismatch` for a name that nobody knows.
 */
export function algorithmList(kind: AlgorithmKind): (text: string) => string {
  return (text) => {
    chooseAlgorithms(choice(kind, usableAlgorithms(kind, text)));
    return text;
  };
}

/**
 * What of a list can be used.
 *
 * @param kind Which.
 * @param text The list, with `+`, `-` or `^` in front or without.
 * @returns The list for chooseAlgorithms(); undefined where the defaults stay as they are.
 * @throws {SyntaxError} When nothing of a list without an operator is left.
 */
export function usableAlgorithms(kind: AlgorithmKind, text: string): string | undefined {
  if (text.startsWith("-")) return text;
  const operator = /^[+^]/.exec(text)?.[0] ?? "";
  const supported = supportedAlgorithms(kind);
  const others = OPENSSH[kind].split(/\s+/);
  const usable = text.slice(operator.length).split(",").flatMap((name) => {
    if (/[*?]/.test(name)) return supported.filter((one) => matchesPattern(one, name));
    // A name that nobody knows stays, to be complained of.
    return others.includes(name) && !supported.includes(name) ? [] : [name];
  });
  if (usable.length > 0) return operator + [...new Set(usable)].join(",");
  if (operator !== "") return undefined;
  throw new SyntaxError(`fairlead has none of them; it has ${supported.join(", ")}`);
}

/**
 * What `-G` prints: the whole list that is offered.
 *
 * @param kind Which.
 * @param text The user's list, where there is one.
 * @returns Names with commas.
 */
export function assembled(kind: AlgorithmKind, text: string | undefined): string {
  const usable = text === undefined ? undefined : usableAlgorithms(kind, text);
  return chooseAlgorithms(choice(kind, usable))[kind].join(",");
}

function choice(
  kind: AlgorithmKind,
  list: string | undefined,
): Parameters<typeof chooseAlgorithms>[0] {
  return list === undefined ? {} : { [kind]: list };
}
