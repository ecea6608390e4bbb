import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import fc from "fast-check";
import { isSign, type KexInit, parseKexInit, replaceKex } from "../lib/ssh/kex_init.ts";

const LISTS: KexInit = {
  kex: ["curve25519-sha256", "kex-strict-s-v00@openssh.com"],
  serverHostKey: ["ssh-ed25519"],
  cipherOut: ["aes128-ctr", "aes256-ctr"],
  cipherIn: ["aes256-ctr"],
  macOut: ["hmac-sha2-256"],
  macIn: [],
};

/** A message as RFC 4253 section 7.1 has it. */
function message(lists: KexInit): Buffer {
  const { kex, serverHostKey, cipherOut, cipherIn, macOut, macIn } = lists;
  const all = [kex, serverHostKey, cipherOut, cipherIn, macOut, macIn, ["none"], ["none"], [], []];
  const strings = all.flatMap((names) => {
    const text = Buffer.from(names.join(","));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.length);
    return [length, text];
  });
  return Buffer.concat([Buffer.of(20), Buffer.alloc(16, 7), ...strings, Buffer.alloc(5)]);
}

test("the lists of a KEXINIT are read, the empty ones as empty", () => {
  assert.deepEqual(parseKexInit(message(LISTS)), LISTS);
});

test("another list of methods changes nothing else", () => {
  const kex = ["a-much-longer-name-than-before@example.com", "b"];
  const changed = replaceKex(message(LISTS), kex);
  assert.deepEqual(changed, message({ ...LISTS, kex }));
  assert.deepEqual(parseKexInit(replaceKex(changed, []))?.kex, []);
});

test("a message that ends too early or lies about a length is undefined, never an error", () => {
  const whole = message(LISTS);
  const end = whole.length - 5 - 4 * 2 - 2 * (4 + "none".length);
  for (let length = 1; length < end; length++) {
    assert.equal(parseKexInit(whole.subarray(0, length)), undefined, `${length} bytes`);
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    parseKexInit(Buffer.from(bytes));
  }));
});

test("signs are told from methods", () => {
  const signs = ["ext-info-c", "ext-info-s", "kex-strict-s-v00@openssh.com"];
  assert.deepEqual([...signs, "curve25519-sha256"].filter(isSign), signs);
});
