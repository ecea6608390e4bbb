/**
 * Frees what ssh2's ChaCha20 leaves behind on Deno. Imported before ssh2, for what it does.
 *
 * ssh2 makes three ciphers a packet, takes one piece of data through each and never ends it. Deno
 * 2.9.6 keeps the native half of a cipher until final() was called, whatever the garbage collector
 * does: 285 bytes each, 110 MB after 16,000 short connections. ssh2 takes the two functions from
 * the CommonJS module while it loads, so they are replaced there for just that long.
 *
 * @module
 */
import type { Cipheriv } from "node:crypto";
import process from "node:process";
import { runtime } from "../runtime.ts";

const crypto = process.getBuiltinModule("node:crypto");
const { createCipheriv, createDecipheriv } = crypto;

type Create = (name: string, ...rest: unknown[]) => Cipheriv;

if (runtime.name === "deno") {
  Object.assign(crypto, {
    createCipheriv: ending(createCipheriv as unknown as Create),
    createDecipheriv: ending(createDecipheriv as unknown as Create),
  });
}

/** Gives the module its own functions back; to be called once ssh2 is loaded. */
export function restoreCrypto(): void {
  if (runtime.name === "deno") Object.assign(crypto, { createCipheriv, createDecipheriv });
}

function ending(create: Create): Create {
  return (name, ...rest) => {
    const cipher = create(name, ...rest);
    if (name !== "chacha20") return cipher;
    const update = (data: Uint8Array) => {
      const output = cipher.update(data);
      cipher.final();
      return output;
    };
    return { update } as unknown as Cipheriv;
  };
}
