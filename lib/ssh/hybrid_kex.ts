/**
 * Key exchange that a quantum computer does not undo: a key encapsulation beside X25519
 * (draft-ietf-sshm-mlkem-hybrid-kex, draft-ietf-sshm-ntruprime-ssh). Whoever wants the keys must
 * break both.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import {
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto";
import { ml_kem768 } from "@noble/post-quantum/ml-kem.js";
import * as sntrup761 from "./sntrup761.ts";

/** What begins an exchange, and ends it with the answer. */
export interface Initiator {
  /** What goes to the server. */
  readonly message: Buffer;
  /**
   * The shared secret.
   *
   * @param reply The server's answer.
   * @returns The secret, as it is hashed.
   * @throws {RangeError} When the answer is malformed.
   */
  finish(reply: Buffer): Buffer;
}

/** One method. */
export interface HybridMethod {
  /** The hash of the whole exchange. */
  readonly hash: "sha256" | "sha512";
  /** Begins an exchange, as the client does. */
  initiate(): Initiator;
  /**
   * Answers a client.
   *
   * @param message What it sent.
   * @returns What to send, and the shared secret.
   * @throws {RangeError} When the message is malformed.
   */
  respond(message: Buffer): { readonly reply: Buffer; readonly secret: Buffer };
}

/** A key encapsulation, with bytes on every side. */
interface Encapsulation {
  readonly publicKeyBytes: number;
  readonly ciphertextBytes: number;
  generate(): {
    readonly publicKey: Uint8Array;
    decapsulate(ciphertext: Buffer): Uint8Array;
  };
  encapsulate(publicKey: Buffer): { ciphertext: Uint8Array; secret: Uint8Array };
}

const MLKEM: Encapsulation = {
  publicKeyBytes: 1184,
  ciphertextBytes: 1088,
  generate: () => {
    const { publicKey, secretKey } = ml_kem768.keygen();
    return {
      publicKey,
      decapsulate: (ciphertext) => ml_kem768.decapsulate(ciphertext, secretKey),
    };
  },
  encapsulate: (publicKey) => {
    const { cipherText, sharedSecret } = ml_kem768.encapsulate(publicKey);
    return { ciphertext: cipherText, secret: sharedSecret };
  },
};

const SNTRUP: Encapsulation = {
  publicKeyBytes: sntrup761.PUBLIC_KEY_BYTES,
  ciphertextBytes: sntrup761.CIPHERTEXT_BYTES,
  generate: () => {
    const pair = sntrup761.generateKeyPair();
    return {
      publicKey: pair.publicKey,
      decapsulate: (ciphertext) => sntrup761.decapsulate(ciphertext, pair),
    };
  },
  encapsulate: sntrup761.encapsulate,
};

/** The methods, under their names in SSH. */
export const HYBRID_METHODS: ReadonlyMap<string, HybridMethod> = new Map([
  ["mlkem768x25519-sha256", hybrid(MLKEM, "sha256")],
  ["sntrup761x25519-sha512", hybrid(SNTRUP, "sha512")],
  ["sntrup761x25519-sha512@openssh.com", hybrid(SNTRUP, "sha512")],
]);

const X25519_BYTES = 32;
/** What stands before the 32 bytes of an X25519 key in DER (RFC 8410). */
const X25519_DER = Buffer.from("302a300506032b656e032100", "hex");

function hybrid(kem: Encapsulation, hash: "sha256" | "sha512"): HybridMethod {
  const combine = (...secrets: Uint8Array[]) => {
    const combined = createHash(hash);
    for (const secret of secrets) combined.update(secret);
    return combined.digest();
  };
  return {
    hash,
    initiate: () => {
      const { publicKey, decapsulate } = kem.generate();
      const curve = generateX25519();
      return {
        message: Buffer.concat([publicKey, curve.publicKey]),
        finish: (reply) => {
          const [ciphertext, theirs] = split(reply, kem.ciphertextBytes);
          return combine(decapsulate(ciphertext), agree(curve.privateKey, theirs));
        },
      };
    },
    respond: (message) => {
      const [publicKey, theirs] = split(message, kem.publicKeyBytes);
      const { ciphertext, secret } = kem.encapsulate(publicKey);
      const curve = generateX25519();
      return {
        reply: Buffer.concat([ciphertext, curve.publicKey]),
        secret: combine(secret, agree(curve.privateKey, theirs)),
      };
    },
  };
}

function split(message: Buffer, first: number): [Buffer, Buffer] {
  if (message.length !== first + X25519_BYTES) {
    throw new RangeError(`expected ${first + X25519_BYTES} bytes, not ${message.length}`);
  }
  return [message.subarray(0, first), message.subarray(first)];
}

function generateX25519(): { publicKey: Buffer; privateKey: KeyObject } {
  const { publicKey, privateKey } = generateKeyPairSync("x25519");
  const der = publicKey.export({ type: "spki", format: "der" });
  return { publicKey: der.subarray(-X25519_BYTES), privateKey };
}

function agree(privateKey: KeyObject, theirs: Buffer): Buffer {
  const key = Buffer.concat([X25519_DER, theirs]);
  const publicKey = createPublicKey({ key, type: "spki", format: "der" });
  const secret = diffieHellman({ privateKey, publicKey });
  // Not every runtime refuses points that leave nothing to chance (RFC 7748 section 6.1).
  if (secret.every((byte) => byte === 0)) throw new RangeError("the X25519 key is a weak point");
  return secret;
}
