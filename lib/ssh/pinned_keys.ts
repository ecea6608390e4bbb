/**
 * Host keys that were named in advance, in place of a known_hosts file.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { messageOf } from "../errors.ts";
import { DEFAULT_ALGORITHMS } from "./algorithms.ts";
import { malformed, notPinned } from "./host_key_errors.ts";
import type { HostKeyVerifier } from "./host_keys.ts";
import { fingerprint, keyTypeOf, parsePublicKey, signatureAlgorithms } from "./known_hosts.ts";

/**
 * A verifier that accepts exactly the keys named, from whatever server shows them.
 *
 * @param keys Each the fingerprint (`SHA256:…`) or the public key (`ssh-ed25519 AAAA…`) of a host
 * key. A public key is better: the server is then asked for a key of that type first. A fingerprint
 * does not tell its key's type, so a server that has several may have to be asked several times.
 * @returns The verifier; it rejects every other key as `host-key-changed`, as ssh would if its
 * known_hosts held only these.
 * @throws {TypeError} When a key is malformed, or none is given.
 */
export function pinnedVerifier(keys: string | readonly string[]): HostKeyVerifier {
  const pins = (typeof keys === "string" ? [keys] : keys).map((text, index) => {
    try {
      return parsePin(text);
    } catch (cause) {
      throw new TypeError(`host key ${index + 1} is ${messageOf(cause)}`, { cause });
    }
  });
  if (pins.length === 0) throw new TypeError("no host key is given: nothing could be accepted");
  const fingerprints = pins.map((pin) => pin.fingerprint);
  const algorithms = [...new Set(pins.flatMap((pin) => pin.algorithms))];
  const someTypeUnknown = pins.some((pin) => pin.algorithms.length === 0);
  const refused = new Map<string, Buffer>();
  let another = false;

  return {
    preferredAlgorithms: () => {
      if (!another) return Promise.resolve([...algorithms]);
      const tried = [...refused.keys()].flatMap(signatureAlgorithms);
      const others = DEFAULT_ALGORITHMS.serverHostKey.filter((name) => !tried.includes(name));
      return Promise.resolve([...new Set([...algorithms, ...others])]);
    },

    // deno-lint-ignore require-await -- so that what is thrown rejects
    async verify(name: string, key: Buffer): Promise<void> {
      try {
        keyTypeOf(key);
      } catch (cause) {
        throw malformed(name, cause);
      }
      if (fingerprints.includes(fingerprint(key))) return;
      another = someTypeUnknown && !refused.has(keyTypeOf(key));
      refused.set(keyTypeOf(key), key);
      throw notPinned(name, [...refused.values()], fingerprints);
    },

    hasAnother: () => another,
  };
}

/** A host key that was named in advance. */
export interface Pin {
  readonly fingerprint: string;
  /** The algorithms it signs with; none for a fingerprint, which does not tell its key's type. */
  readonly algorithms: readonly string[];
}

/**
 * Reads a host key that somebody names.
 *
 * @param text The fingerprint (`SHA256:…`) or the public key (`ssh-ed25519 AAAA…`).
 * @returns What is known of the key.
 * @throws {TypeError} When it is neither. The message says why, and nothing of the text itself: it
 * might be a private key, given by mistake.
 */
export function parsePin(text: string): Pin {
  const pin = text.trim();
  if (/^SHA256:[A-Za-z0-9+/]{43}$/.test(pin)) return { fingerprint: pin, algorithms: [] };
  try {
    const { keyType, key } = parsePublicKey(pin);
    return { fingerprint: fingerprint(key), algorithms: signatureAlgorithms(keyType) };
  } catch (cause) {
    throw new TypeError(
      "neither a fingerprint (SHA256:…) nor a public key (ssh-ed25519 AAAA…): " +
        mistakeIn(pin, cause),
      { cause },
    );
  }
}

/** The likely mistake, so that nobody has to guess. */
function mistakeIn(pin: string, cause: unknown): string {
  if (pin === "") return "it is empty";
  if (/^[~./]/.test(pin)) return "it is a path, where the key itself belongs";
  if (pin.includes("PRIVATE KEY")) {
    return "it is a private key, where the host's public one belongs";
  }
  if (/^(?:MD5:)?[0-9a-f]{2}(?::[0-9a-f]{2}){15}$/i.test(pin)) {
    return "it is an MD5 fingerprint, which `ssh-keygen -l -E sha256` would not print";
  }
  if (pin.startsWith("SHA256:")) return "43 characters of base64 belong after SHA256:";
  try {
    parsePublicKey(pin.replace(/^\S+[ \t]+/, ""));
    return "a host name stands before the key, as in known_hosts; leave it out";
  } catch {
    return messageOf(cause);
  }
}
