/** Pairs of packet ciphers, ours and ssh2's own, under the same keys. */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import crypto from "ssh2/lib/protocol/crypto.js";
import { DEFAULT_ALGORITHMS } from "../../lib/ssh/algorithms.ts";
import { ciphersReady, ourCipher, ourDecipher } from "../../lib/ssh/ciphers/engine.ts";
import { type CipherSettings, usualSettings } from "../../lib/ssh/ciphers/settings.ts";
import { systemCrypto } from "../../lib/ssh/ciphers/system_crypto.ts";

/** One way to carry a cipher out. */
export interface CipherPath {
  /** For the names of tests. */
  readonly name: string;
  /** SSH's name of the cipher. */
  readonly cipher: string;
  /** Whether the system's libcrypto does it. */
  readonly systemCrypto: boolean;
}

/** All that this runtime has. */
export const CIPHER_PATHS: readonly CipherPath[] = DEFAULT_ALGORITHMS.cipher.filter((cipher) =>
  /gcm|chacha/.test(cipher)
).flatMap((cipher) =>
  [false, true].filter((system) => !system || (cipher.startsWith("aes") && systemCrypto()))
    .map((system) => ({
      name: cipher.replace("@openssh.com", "") + (system ? " of libcrypto" : ""),
      cipher,
      systemCrypto: system,
    }))
);

/** A sending end: ssh2's interface. */
export interface Sender {
  outSeqno: number;
  allocPacket(payloadLength: number): Buffer;
  encrypt(packet: Buffer): void;
  free(): void;
}

/** A receiving end: the same. */
export interface Receiver {
  inSeqno: number;
  decrypt(data: Buffer, at: number, end: number): number | undefined;
  free(): void;
}

/** One direction, with what came of it. */
export interface Direction {
  readonly sender: Sender;
  readonly receiver: Receiver;
  readonly settings: CipherSettings;
  /** What was sent so far, each write by itself. */
  readonly sent: Buffer[];
  /** What was received so far. */
  readonly payloads: Buffer[];
  /** What the receiver is answered, as ssh2 does at the end of an exchange of keys. */
  verdict: number | false | undefined;
  /** Another receiving end that begins as this one did. */
  again(): Pick<Direction, "receiver" | "payloads">;
}

/** How a direction begins. */
export interface Start {
  readonly seqno?: number;
  /** 12 bytes, for AES-GCM. */
  readonly iv?: Buffer;
  readonly by?: { readonly sender?: "ours" | "ssh2"; readonly receiver?: "ours" | "ssh2" };
}

/**
 * Makes one direction under a random key.
 *
 * @param path Which cipher.
 * @param start How it begins, and who does it; we by default.
 * @returns Its two ends.
 */
export function direction(path: CipherPath, { seqno = 0, iv, by = {} }: Start = {}): Direction {
  const info = crypto.CIPHER_INFO[path.cipher];
  const key = randomBytes(info.keyLen);
  const vector = iv ?? randomBytes(info.ivLen);
  const { sender: sending = "ours", receiver: reading = "ours" } = by;
  const sent: Buffer[] = [];
  const onWrite = (data: Buffer) => void sent.push(Buffer.from(data));
  const receiving = () => {
    const payloads: Buffer[] = [];
    // Not a copy: what is handed on must stay as it is.
    const onPayload = (payload: Buffer) => {
      payloads.push(payload);
      return made.verdict;
    };
    const settings = { ...usualSettings(), systemCrypto: path.systemCrypto };
    const engine = crypto.createDecipher({
      inbound: {
        decipherInfo: info,
        decipherKey: Buffer.from(key),
        decipherIV: Buffer.from(vector),
        seqno,
        onPayload,
      },
    });
    const receiver: Receiver = reading === "ours" ? ourDecipher(engine, settings) : engine;
    return { receiver, payloads, settings };
  };
  const first = receiving();
  const engine = crypto.createCipher({
    outbound: {
      cipherInfo: info,
      cipherKey: Buffer.from(key),
      cipherIV: Buffer.from(vector),
      seqno,
      onWrite,
    },
  });
  const made: Direction = {
    ...first,
    again: receiving,
    sent,
    verdict: undefined,
    sender: sending === "ours" ? ourCipher(engine, first.settings) : engine,
  };
  return made;
}

/**
 * Sends a payload.
 *
 * @param sender The sending end.
 * @param payload What to send.
 */
export function send(sender: Sender, payload: Uint8Array): void {
  const packet = sender.allocPacket(payload.length);
  packet.set(payload, 5);
  sender.encrypt(packet);
}

/** Has both sides loaded what their ciphers need. */
export async function loadCiphers(): Promise<void> {
  await Promise.all([ciphersReady, crypto.init]);
}
