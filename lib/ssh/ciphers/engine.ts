/**
 * Puts our packet ciphers in the place of ssh2's, connection by connection.
 *
 * ssh2 makes ciphers at each exchange of keys and assigns them to its protocol machine; there they
 * are met, and what they hold becomes the key of ours. Its functions that make them cannot be
 * replaced: Bun loads ssh2 before any module of ours. CTR and CBC stay ssh2's, and so do ciphers
 * of its addon, which show no key.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { CipherGCMTypes } from "node:crypto";
import { GcmDecryption, GcmEncryption, GcmKey } from "./aes_gcm.ts";
import { ChaCha20Decryption, ChaCha20Encryption, POLY1305_ROOM } from "./chacha20_poly1305.ts";
import { PacketCipher, PacketDecipher } from "./packets.ts";
import { loadPoly1305, type Poly1305 } from "./poly1305.ts";
import { type CipherSettings, usualSettings } from "./settings.ts";
import { type SystemCrypto, systemCrypto } from "./system_crypto.ts";
import { SystemGcmDecryption, SystemGcmEncryption } from "./system_aes_gcm.ts";

/** What ssh2's AES-GCM and ChaCha20 hold for the packets that are sent. */
export interface EngineCipher {
  readonly outSeqno: number;
  readonly _onWrite: (data: Buffer) => void;
  readonly _encSSLName?: CipherGCMTypes;
  readonly _encKey?: Buffer;
  readonly _encIV?: Buffer;
  readonly _encKeyMain?: Buffer;
  readonly _encKeyPktLen?: Buffer;
}

/** The same for the packets that are received. */
export interface EngineDecipher {
  readonly inSeqno: number;
  readonly _onPayload: (payload: Buffer) => number | false | undefined;
  readonly _decipherSSLName?: CipherGCMTypes;
  readonly _decipherKey?: Buffer;
  readonly _decipherIV?: Buffer;
  readonly _decKeyMain?: Buffer;
  readonly _decKeyPktLen?: Buffer;
}

let poly1305: Poly1305 | undefined;

/** Settles when ChaCha20 can be ours. */
export const ciphersReady: Promise<unknown> = loadPoly1305(POLY1305_ROOM)
  .then((module) => poly1305 = module);

const known = new WeakMap<object, CipherSettings>();

/**
 * Has a connection use ciphers of ours.
 *
 * @param protocol ssh2's protocol machine, before its first exchange of keys, or the same again.
 * @returns What the ciphers look at, to be changed.
 */
export function cipherSettings(protocol: object): CipherSettings {
  const before = known.get(protocol);
  if (before !== undefined) return before;
  const settings = usualSettings();
  known.set(protocol, settings);
  meet<EngineCipher>(protocol, "_cipher", (made) => ourCipher(made, settings));
  meet<EngineDecipher>(protocol, "_decipher", (made) => ourDecipher(made, settings));
  return settings;
}

/**
 * What a log line calls a connection's cipher.
 *
 * @param protocol ssh2's protocol machine, after its first exchange of keys.
 * @returns Its SSH name, and whose it is where it is the system's.
 */
export function cipherInUse(
  protocol: {
    readonly _kex: { readonly negotiated: { readonly cs: { readonly cipher: string } } };
  },
): string {
  const { cipher } = protocol._kex.negotiated.cs;
  const settings = known.get(protocol);
  const system = cipher.includes("gcm") && settings !== undefined ? allowed(settings) : undefined;
  return system === undefined ? cipher : `${cipher} of ${system.place}`;
}

/**
 * The cipher of ours for one of ssh2's.
 *
 * @param made What ssh2 has made, and has not used.
 * @param settings The connection's own.
 * @returns Ours; what was given where there is none.
 */
export function ourCipher(
  made: EngineCipher,
  settings: CipherSettings,
): EngineCipher | PacketCipher {
  const { _encSSLName: name, _encKey, _encIV, _encKeyMain, _encKeyPktLen } = made;
  if (name !== undefined && _encKey !== undefined && _encIV !== undefined) {
    const key = new GcmKey(name, _encKey, _encIV);
    const system = allowed(settings);
    const encryption = system === undefined
      ? new GcmEncryption(key)
      : new SystemGcmEncryption(system.library, key);
    return new PacketCipher(encryption, made.outSeqno, made._onWrite, settings);
  }
  if (poly1305 === undefined || _encKeyMain === undefined || _encKeyPktLen === undefined) {
    return made;
  }
  const encryption = new ChaCha20Encryption(Buffer.concat([_encKeyMain, _encKeyPktLen]), poly1305);
  return new PacketCipher(encryption, made.outSeqno, made._onWrite, settings);
}

/**
 * The decipher of ours for one of ssh2's.
 *
 * @param made What ssh2 has made, and has not used.
 * @param settings The connection's own.
 * @returns Ours; what was given where there is none.
 */
export function ourDecipher(
  made: EngineDecipher,
  settings: CipherSettings,
): EngineDecipher | PacketDecipher {
  const { _decipherSSLName: name, _decipherKey, _decipherIV, _decKeyMain, _decKeyPktLen } = made;
  if (name !== undefined && _decipherKey !== undefined && _decipherIV !== undefined) {
    const key = new GcmKey(name, _decipherKey, _decipherIV);
    const system = allowed(settings);
    const decryption = system === undefined
      ? new GcmDecryption(key)
      : new SystemGcmDecryption(system.library, key);
    return new PacketDecipher(decryption, made.inSeqno, made._onPayload, settings);
  }
  if (poly1305 === undefined || _decKeyMain === undefined || _decKeyPktLen === undefined) {
    return made;
  }
  const decryption = new ChaCha20Decryption(Buffer.concat([_decKeyMain, _decKeyPktLen]), poly1305);
  return new PacketDecipher(decryption, made.inSeqno, made._onPayload, settings);
}

function allowed(settings: CipherSettings): SystemCrypto | undefined {
  return settings.systemCrypto ? systemCrypto() : undefined;
}

/** Puts something else in the place of whatever is assigned from now on. */
function meet<Made extends object>(
  protocol: object,
  name: "_cipher" | "_decipher",
  replace: (made: Made) => object,
): void {
  let current: unknown = Reflect.get(protocol, name);
  Object.defineProperty(protocol, name, {
    configurable: true,
    get: () => current,
    set: (next: Made | undefined) => current = next && replace(next),
  });
}
