/**
 * Puts our packet ciphers in the place of ssh2's. To be imported before ssh2, which takes what makes
 * ciphers from its own module once, while it loads.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import crypto from "ssh2/lib/protocol/crypto.js";
import { GcmDecryption, GcmEncryption, GcmKey } from "./aes_gcm.ts";
import { ChaCha20Decryption, ChaCha20Encryption, POLY1305_ROOM } from "./chacha20_poly1305.ts";
import { type Decryption, type Encryption, PacketCipher, PacketDecipher } from "./packets.ts";
import { loadPoly1305, type Poly1305 } from "./poly1305.ts";
import { type CipherSettings, settingsOf } from "./settings.ts";
import { systemCrypto } from "./system_crypto.ts";
import { SystemGcmDecryption, SystemGcmEncryption } from "./system_aes_gcm.ts";

/** What ssh2 says of the packets that are sent. */
export interface OutboundConfig {
  readonly cipherInfo: CipherInfo;
  readonly cipherKey: Buffer;
  readonly cipherIV: Buffer;
  readonly seqno: number;
  readonly onWrite: (data: Buffer) => void;
}

/** What ssh2 says of the packets that are received. */
export interface InboundConfig {
  readonly decipherInfo: CipherInfo;
  readonly decipherKey: Buffer;
  readonly decipherIV: Buffer;
  readonly seqno: number;
  readonly onPayload: (payload: Buffer) => number | false | undefined;
}

/** A cipher, as ssh2's table has it. */
export interface CipherInfo {
  /** OpenSSL's name. */
  readonly sslName: string;
}

/** ssh2's module. */
interface Engine {
  /** Settles when ciphers can be made. */
  init: Promise<unknown>;
  createCipher(config: { outbound: OutboundConfig }): unknown;
  createDecipher(config: { inbound: InboundConfig }): unknown;
}

const engine = crypto as Engine;

/** What ssh2 made its ciphers with, as it is; CTR and CBC still are. */
export const engineCiphers: Readonly<Engine> = { ...engine };

let poly1305: Poly1305 | undefined;

/** ssh2 connects when this is done. */
const loaded = Promise.all([
  engine.init,
  loadPoly1305(POLY1305_ROOM).then((module) => poly1305 = module),
]);

Object.assign(
  engine,
  {
    init: loaded,
    createCipher: (config) => {
      const { cipherInfo, cipherKey, cipherIV, seqno, onWrite } = config.outbound;
      const settings = settingsOf(onWrite);
      const encryption = encryptionOf(cipherInfo, cipherKey, cipherIV, settings);
      if (encryption === undefined) return engineCiphers.createCipher(config);
      return new PacketCipher(encryption, seqno, onWrite, settings);
    },
    createDecipher: (config) => {
      const { decipherInfo, decipherKey, decipherIV, seqno, onPayload } = config.inbound;
      const settings = settingsOf(onPayload);
      const decryption = decryptionOf(decipherInfo, decipherKey, decipherIV, settings);
      if (decryption === undefined) return engineCiphers.createDecipher(config);
      return new PacketDecipher(decryption, seqno, onPayload, settings);
    },
  } satisfies Engine,
);

function encryptionOf(
  { sslName }: CipherInfo,
  key: Buffer,
  iv: Buffer,
  settings: CipherSettings,
): Encryption | undefined {
  switch (sslName) {
    case "chacha20":
      return poly1305 && new ChaCha20Encryption(key, poly1305);
    case "aes-128-gcm":
    case "aes-256-gcm": {
      const gcmKey = new GcmKey(sslName, key, iv);
      const system = settings.systemCrypto ? systemCrypto() : undefined;
      if (system === undefined) return new GcmEncryption(gcmKey);
      return new SystemGcmEncryption(system.library, gcmKey);
    }
    default:
      return undefined;
  }
}

function decryptionOf(
  { sslName }: CipherInfo,
  key: Buffer,
  iv: Buffer,
  settings: CipherSettings,
): Decryption | undefined {
  switch (sslName) {
    case "chacha20":
      return poly1305 && new ChaCha20Decryption(key, poly1305);
    case "aes-128-gcm":
    case "aes-256-gcm": {
      const gcmKey = new GcmKey(sslName, key, iv);
      const system = settings.systemCrypto ? systemCrypto() : undefined;
      if (system === undefined) return new GcmDecryption(gcmKey);
      return new SystemGcmDecryption(system.library, gcmKey);
    }
    default:
      return undefined;
  }
}
