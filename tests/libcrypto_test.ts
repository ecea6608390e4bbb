/** A libcrypto is used only after it has shown what it can do, and is left with nothing of ours. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { test } from "node:test";
import { GcmKey } from "../lib/ssh/ciphers/aes_gcm.ts";
import type { LibCrypto, Pointer } from "../lib/ssh/ciphers/libcrypto.ts";
import { isSound, speed } from "../lib/ssh/ciphers/libcrypto_trial.ts";
import { SystemGcmDecryption, SystemGcmEncryption } from "../lib/ssh/ciphers/system_aes_gcm.ts";
import { systemCrypto } from "../lib/ssh/ciphers/system_crypto.ts";

/** OpenSSL's numbers for "give the tag" and "take the tag". */
const GET_TAG = 0x10;

/** A context of ours, as one of C's would be. */
interface Context {
  name: "aes-128-gcm" | "aes-256-gcm";
  key: Buffer;
  iv: Buffer;
  encrypting: boolean;
  additional: Buffer;
  input: Buffer;
  output: Uint8Array;
  tag: Buffer;
}

/** libcrypto over node:crypto, so that it can be made to fail on every runtime. */
class Imitation implements LibCrypto {
  readonly open = new Set<Pointer>();

  EVP_CIPHER_CTX_new(): Pointer {
    const context = {};
    this.open.add(context);
    return context;
  }

  EVP_CIPHER_CTX_free(context: Pointer): void {
    assert.ok(this.open.delete(context), "freed twice");
  }

  EVP_aes_128_gcm(): Pointer {
    return { name: "aes-128-gcm" };
  }

  EVP_aes_256_gcm(): Pointer {
    return { name: "aes-256-gcm" };
  }

  EVP_CipherInit_ex(
    context: Pointer,
    cipher: Pointer,
    _engine: null,
    key: Uint8Array | null,
    iv: Uint8Array | null,
    encrypting: 0 | 1,
  ): number {
    assert.ok(this.open.has(context), "used after it was freed");
    Object.assign(context as object, {
      ...cipher,
      ...(key && { key: Buffer.from(key) }),
      ...(iv && { iv: Buffer.from(iv) }),
      encrypting: encrypting === 1,
    });
    return 1;
  }

  EVP_CipherUpdate(
    pointer: Pointer,
    output: Uint8Array | null,
    written: Uint8Array,
    input: Uint8Array,
    length: number,
  ): number {
    const context = pointer as Context;
    const data = Buffer.from(input.subarray(0, length));
    if (output === null) context.additional = data;
    else Object.assign(context, { input: data, output });
    Buffer.from(written.buffer, written.byteOffset).writeInt32LE(length);
    if (output === null) return 1;
    const { name, key, iv } = context;
    if (context.encrypting) {
      const real = createCipheriv(name, key, iv);
      real.setAAD(context.additional);
      output.set(real.update(data));
      real.final();
      context.tag = real.getAuthTag();
    } else {
      output.set(createDecipheriv(name, key, iv).update(data));
    }
    return 1;
  }

  EVP_CipherFinal_ex(pointer: Pointer, _output: Uint8Array, _written: Uint8Array): number {
    const context = pointer as Context;
    if (context.encrypting) return 1;
    const real = createDecipheriv(context.name, context.key, context.iv);
    real.setAAD(context.additional);
    real.setAuthTag(context.tag);
    real.update(context.input);
    try {
      real.final();
      return 1;
    } catch {
      return 0;
    }
  }

  EVP_CIPHER_CTX_ctrl(pointer: Pointer, type: number, value: number, data: Uint8Array): number {
    const context = pointer as Context;
    assert.equal(value, 16);
    if (type === GET_TAG) data.set(context.tag);
    else context.tag = Buffer.from(data);
    return 1;
  }
}

test("a library that does what it should passes, and gets every context back", () => {
  const library = new Imitation();
  assert.equal(isSound(library), true);
  assert.ok(speed(library) > 0);
  assert.equal(library.open.size, 0);
});

test("a library that encrypts another way does not pass", () => {
  class Other extends Imitation {
    override EVP_aes_256_gcm(): Pointer {
      return { name: "aes-128-gcm" };
    }
    override EVP_CipherInit_ex(...args: Parameters<LibCrypto["EVP_CipherInit_ex"]>): number {
      const [context, cipher, engine, key, iv, encrypting] = args;
      const cut = key?.length === 32 ? key.subarray(0, 16) : key;
      return super.EVP_CipherInit_ex(context, cipher, engine, cut, iv, encrypting);
    }
  }
  assert.equal(isSound(new Other()), false);
});

test("a library that makes another tag, or takes any, does not pass", () => {
  class OtherTag extends Imitation {
    override EVP_CIPHER_CTX_ctrl(...args: Parameters<LibCrypto["EVP_CIPHER_CTX_ctrl"]>): number {
      const [, type, , data] = args;
      const result = super.EVP_CIPHER_CTX_ctrl(...args);
      if (type === GET_TAG) data[15]! ^= 1;
      return result;
    }
  }
  class Careless extends Imitation {
    override EVP_CipherFinal_ex(): number {
      return 1;
    }
  }
  assert.equal(isSound(new OtherTag()), false);
  assert.equal(isSound(new Careless()), false);
});

test("a library any of whose functions fails does not pass", () => {
  for (const name of ["EVP_CipherInit_ex", "EVP_CipherUpdate", "EVP_CIPHER_CTX_ctrl"] as const) {
    const library = new Imitation();
    library[name] = () => 0;
    assert.throws(() => isSound(library), { message: "the system's libcrypto failed" }, name);
  }
  const empty = new Imitation();
  empty.EVP_CIPHER_CTX_new = () => null;
  assert.throws(() => isSound(empty), { message: "the system's libcrypto failed" });
});

test("a context is freed once, also where its key was refused, and not used after that", () => {
  const library = new Imitation();
  const key = () => new GcmKey("aes-128-gcm", randomBytes(16), randomBytes(12));
  const sender = new SystemGcmEncryption(library, key());
  const receiver = new SystemGcmDecryption(library, key());
  assert.equal(library.open.size, 2);
  for (const end of [sender, receiver, sender, receiver]) end.free();
  assert.equal(library.open.size, 0);
  const packet = Buffer.alloc(64);
  assert.throws(() => sender.encrypt(packet, 32), { message: "the system's libcrypto failed" });
  assert.throws(() => receiver.decrypt(packet, 0, 32), {
    message: "the system's libcrypto failed",
  });
  library.EVP_CipherInit_ex = () => 0;
  assert.throws(() => new SystemGcmEncryption(library, key()));
  assert.equal(library.open.size, 0);
});

// Elsewhere than on Deno there is none.
const real = systemCrypto();
if (real !== undefined) {
  test("the system's libcrypto passes every time", () => {
    for (let round = 0; round < 50; round++) assert.equal(isSound(real.library), true);
  });
}
