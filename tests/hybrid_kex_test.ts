/** Post-quantum key exchange: the arithmetic by itself, and with a peer that errs. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { HYBRID_METHODS } from "../lib/ssh/hybrid_kex.ts";
import { decapsulate, encapsulate, generateKeyPair } from "../lib/ssh/sntrup761.ts";

const SIZES: Record<string, { message: number; reply: number; secret: number }> = {
  "mlkem768x25519-sha256": { message: 1184 + 32, reply: 1088 + 32, secret: 32 },
  "sntrup761x25519-sha512": { message: 1158 + 32, reply: 1039 + 32, secret: 64 },
  "sntrup761x25519-sha512@openssh.com": { message: 1158 + 32, reply: 1039 + 32, secret: 64 },
};

test("the three methods of OpenSSH are there", () => {
  assert.deepEqual([...HYBRID_METHODS.keys()], Object.keys(SIZES));
});

for (const [name, method] of HYBRID_METHODS) {
  const sizes = SIZES[name] as { message: number; reply: number; secret: number };

  test(`${name}: both sides get the same secret, and another one each time`, () => {
    const secrets = [1, 2, 3].map(() => {
      const initiator = method.initiate();
      const { reply, secret } = method.respond(initiator.message);
      assert.deepEqual(
        { message: initiator.message.length, reply: reply.length, secret: secret.length },
        sizes,
      );
      assert.deepEqual(initiator.finish(reply), secret);
      return secret.toString("hex");
    });
    assert.equal(new Set(secrets).size, 3);
  });

  test(`${name}: a bit that was changed on the way changes the secret`, () => {
    const initiator = method.initiate();
    const { reply, secret } = method.respond(initiator.message);
    for (const at of [0, 500, sizes.reply - 33, sizes.reply - 5]) {
      const changed = Buffer.from(reply);
      changed[at] = (changed[at] as number) ^ 1;
      assert.notDeepEqual(initiator.finish(changed), secret, `byte ${at}`);
    }
  });

  test(`${name}: messages of a wrong length and a weak X25519 point are refused`, () => {
    const initiator = method.initiate();
    const { reply } = method.respond(initiator.message);
    for (const length of [0, 32, sizes.reply - 1]) {
      assert.throws(() => initiator.finish(reply.subarray(0, length)), RangeError);
    }
    assert.throws(() => initiator.finish(Buffer.concat([reply, Buffer.alloc(1)])), RangeError);
    assert.throws(() => method.respond(initiator.message.subarray(1)), RangeError);
    const weak = Buffer.from(reply).fill(0, sizes.reply - 32);
    // Some runtimes refuse it themselves, each in its words.
    assert.throws(() => initiator.finish(weak));
  });
}

test("sntrup761: a hundred secrets arrive, and no wrong ciphertext is told from a right one", () => {
  const pair = generateKeyPair();
  for (let i = 0; i < 100; i++) {
    const { secret, ciphertext } = encapsulate(pair.publicKey);
    assert.deepEqual(decapsulate(ciphertext, pair), secret);
    const at = (i * 37) % ciphertext.length;
    ciphertext[at] = (ciphertext[at] as number) ^ (1 << (i % 8));
    const other = decapsulate(ciphertext, pair);
    assert.equal(other.length, 32);
    assert.notDeepEqual(other, secret);
    // The same wrong one gives the same secret: nothing to learn from asking twice.
    assert.deepEqual(decapsulate(ciphertext, pair), other);
  }
});
