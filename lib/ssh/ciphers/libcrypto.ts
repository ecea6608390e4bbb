/**
 * What of OpenSSL's libcrypto is used (EVP_EncryptInit(3)).
 *
 * @module
 */
import type { NativeSignature } from "../../runtime.ts";

/** A pointer of C; null is the one to nothing. */
export type Pointer = object | null;

/** The functions of libcrypto that are used. What gives a number back gives 1 where it went well. */
export interface LibCrypto {
  EVP_CIPHER_CTX_new(): Pointer;
  EVP_CIPHER_CTX_free(context: Pointer): void;
  EVP_aes_128_gcm(): Pointer;
  EVP_aes_256_gcm(): Pointer;
  EVP_CipherInit_ex(
    context: Pointer,
    cipher: Pointer,
    engine: null,
    key: Uint8Array | null,
    iv: Uint8Array | null,
    encrypting: 0 | 1,
  ): number;
  EVP_CipherUpdate(
    context: Pointer,
    output: Uint8Array | null,
    outputLength: Uint8Array,
    input: Uint8Array,
    inputLength: number,
  ): number;
  EVP_CipherFinal_ex(context: Pointer, output: Uint8Array, outputLength: Uint8Array): number;
  EVP_CIPHER_CTX_ctrl(context: Pointer, type: number, value: number, data: Uint8Array): number;
}

/** The same, as the runtime must know them. */
export const SIGNATURES: { readonly [Name in keyof LibCrypto]: NativeSignature } = {
  EVP_CIPHER_CTX_new: { parameters: [], result: "pointer" },
  EVP_CIPHER_CTX_free: { parameters: ["pointer"], result: "void" },
  EVP_aes_128_gcm: { parameters: [], result: "pointer" },
  EVP_aes_256_gcm: { parameters: [], result: "pointer" },
  EVP_CipherInit_ex: {
    parameters: ["pointer", "pointer", "pointer", "buffer", "buffer", "i32"],
    result: "i32",
  },
  EVP_CipherUpdate: {
    parameters: ["pointer", "buffer", "buffer", "buffer", "i32"],
    result: "i32",
  },
  EVP_CipherFinal_ex: { parameters: ["pointer", "buffer", "buffer"], result: "i32" },
  EVP_CIPHER_CTX_ctrl: { parameters: ["pointer", "i32", "i32", "buffer"], result: "i32" },
};
