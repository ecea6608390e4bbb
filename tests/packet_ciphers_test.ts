/** The packet ciphers: beside ssh2's own, and against everything that may come from outside. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createCipheriv, getCiphers, randomBytes, randomInt } from "node:crypto";
import process from "node:process";
import { test } from "node:test";
import { chacha20, keyStreamStart, keyWords } from "../lib/ssh/ciphers/chacha20.ts";
import { LARGEST_PACKET } from "../lib/ssh/ciphers/settings.ts";
import { loadPoly1305 } from "../lib/ssh/ciphers/poly1305.ts";
import { systemCrypto } from "../lib/ssh/ciphers/system_crypto.ts";
import { runtime } from "../lib/runtime.ts";
import {
  CIPHER_PATHS,
  type CipherPath,
  type Direction,
  direction,
  loadCiphers,
  type Receiver,
  send,
} from "./support/packet_ciphers.ts";

await loadCiphers();

for (const path of CIPHER_PATHS) {
  test(`${path.name}: what we encrypt ssh2 decrypts, and the other way round`, () => {
    for (const by of [{ receiver: "ssh2" }, { sender: "ssh2", receiver: "ours" }] as const) {
      const { sender, receiver, sent, payloads } = direction(path, { seqno: 3, by });
      const expected = lengths(60).map((length) => randomBytes(length));
      for (const payload of expected) send(sender, payload);
      // ssh2 leaves pieces where they are until it has all of the packet.
      receiveInPieces(receiver, Buffer.concat(sent), { kept: by.receiver === "ssh2" });
      assert.deepEqual(payloads, expected);
      assert.equal(sender.outSeqno, 3 + expected.length);
      assert.equal(receiver.inSeqno, 3 + expected.length);
    }
  });

  test(`${path.name}: packets arrive whole however they are cut`, () => {
    const { sender, receiver, sent, payloads } = direction(path);
    const expected = [0, 1, 7, 40, 300].map((length) => randomBytes(length));
    for (let round = 0; round < 40; round++) {
      payloads.length = sent.length = 0;
      for (const payload of expected) send(sender, payload);
      // One write a packet.
      assert.equal(sent.length, expected.length);
      const stream = Buffer.concat(sent);
      if (round === 0) {
        for (let at = 0; at < stream.length; at++) receive(receiver, stream, at, 1);
      } else receiveInPieces(receiver, stream);
      assert.deepEqual(payloads, expected);
    }
  });

  test(`${path.name}: the packet's number and the counter carry, and begin again at 0`, () => {
    const iv = path.cipher.startsWith("aes") ? Buffer.alloc(12, 0xff) : undefined;
    const start = { seqno: 2 ** 32 - 2, ...(iv === undefined ? {} : { iv }) };
    for (const by of [{}, { receiver: "ssh2" }] as const) {
      const { sender, receiver, sent, payloads } = direction(path, { ...start, by });
      for (const text of ["a", "b", "c", "d"]) send(sender, Buffer.from(text));
      receiveInPieces(receiver, Buffer.concat(sent), { kept: true });
      assert.equal(Buffer.concat(payloads).toString(), "abcd");
      assert.equal(sender.outSeqno, 2);
      assert.equal(receiver.inSeqno, 2);
    }
  });

  test(`${path.name}: a bit flipped anywhere ends the reading, and nothing behind it is read`, () => {
    const { made, expected } = recorded(path);
    const stream = Buffer.concat(made.sent);
    const first = made.sent[0]?.length ?? 0;
    for (let offset = 0; offset < 1_000; offset++) {
      const { receiver, payloads } = made.again();
      const changed = Buffer.from(stream);
      changed[offset]! ^= 1 << randomInt(8);
      assert.throws(
        () => receiveInPieces(receiver, changed, { most: 10_000 }),
        /MAC|packet length/,
      );
      // Where the length is what was changed, the packets behind are taken for a part of this one.
      assert.deepEqual(payloads, expected.slice(0, offset < first ? 0 : 1), `at ${offset}`);
      receive(receiver, stream, 0, stream.length);
      assert.equal(payloads.length, offset < first ? 0 : 1, "nothing is read after a mistake");
    }
  });

  test(`${path.name}: a packet may be larger only once the connection has agreed to it`, () => {
    const large = randomBytes(256 * 1024 + 9);
    const { sender, receiver, sent, payloads, settings } = direction(path);
    send(sender, randomBytes(34_900));
    send(sender, large);
    const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = sent;
    receiveInPieces(receiver, first);
    settings.largestPacket = LARGEST_PACKET;
    receiveInPieces(receiver, second);
    assert.equal(payloads[1]?.equals(large), true);
    for (const [largest, length] of [[35_000, 35_100], [LARGEST_PACKET, LARGEST_PACKET]] as const) {
      const other = direction(path, { by: { sender: "ssh2" } });
      other.settings.largestPacket = largest;
      send(other.sender, Buffer.alloc(length));
      assert.throws(
        () => receive(other.receiver, Buffer.concat(other.sent), 0, 4),
        { message: "Bad packet length" },
      );
    }
  });

  test(`${path.name}: padding that the packet has no room for is refused`, () => {
    for (const padding of [0, 3, 24, 32, 255]) {
      const { sender, receiver, sent, payloads } = direction(path);
      const packet = sender.allocPacket(16);
      packet[4] = padding;
      if (padding === 24) packet.writeUInt32BE(16, 0);
      sender.encrypt(packet);
      assert.throws(() => receiveInPieces(receiver, Buffer.concat(sent)), {
        message: "Bad padding length",
      });
      assert.equal(payloads.length, 0);
    }
  });

  test(`${path.name}: after free() nothing is sent, and nothing read`, () => {
    const { sender, receiver, sent, payloads } = direction(path);
    send(sender, Buffer.from("one"));
    const packet = sender.allocPacket(3);
    for (const end of [sender, receiver, sender, receiver]) end.free();
    sender.encrypt(packet);
    assert.equal(sent.length, 1);
    receiveInPieces(receiver, Buffer.concat(sent));
    assert.equal(payloads.length, 0);
  });

  test(`${path.name}: what ends an exchange of keys leaves the rest to the next cipher`, () => {
    const made = direction(path);
    send(made.sender, Buffer.from("NEWKEYS"));
    const first = made.sent[0]?.length ?? 0;
    made.verdict = false;
    const stream = Buffer.concat([...made.sent, Buffer.from("rest")]);
    assert.equal(made.receiver.decrypt(stream, 0, stream.length), first);
    // The same where the packet came in two pieces.
    send(made.sender, Buffer.from("NEWKEYS"));
    const second = Buffer.concat([made.sent[1] ?? Buffer.alloc(0), Buffer.from("rest")]);
    assert.equal(made.receiver.decrypt(second, 0, 10), undefined);
    assert.equal(made.receiver.decrypt(second, 10, second.length), second.length - 4);
  });

  test(`${path.name}: connections do not mix, whatever the order of their packets`, () => {
    const both = [direction(path), direction(path)] as const;
    const packets = both.flatMap(({ sender }) => [sender.allocPacket(9), sender.allocPacket(900)]);
    packets.forEach((packet, index) => packet.fill(index + 1, 5, 5 + (index % 2 ? 900 : 9)));
    // The second first: nobody says that a packet is sent as soon as it is made.
    for (const index of [3, 1, 0, 2]) both[index >> 1]?.sender.encrypt(packets[index] as Buffer);
    const streams = both.map(({ sent }) => Buffer.concat(sent));
    for (let at = 0; at < 1_200; at += 100) {
      both.forEach(({ receiver }, index) => {
        const stream = streams[index] as Buffer;
        receive(receiver, stream, at, Math.min(100, Math.max(0, stream.length - at)));
      });
    }
    const got = both.map(({ payloads }) => payloads.map((payload) => [payload.length, payload[0]]));
    assert.deepEqual(got, [[[900, 2], [9, 1]], [[900, 4], [9, 3]]]);
  });
}

test("the system's libcrypto is found on Deno, and asked for nowhere else", () => {
  // Not where scripts/test.ts --no-ffi hides it.
  const permitted = runtime.name === "deno" && process.env["FAIRLEAD_TEST_NO_FFI"] === undefined;
  if (permitted && process.platform === "linux") assert.notEqual(systemCrypto(), undefined);
  if (!permitted) assert.equal(systemCrypto(), undefined);
  assert.equal(CIPHER_PATHS.filter((path) => path.systemCrypto).length, systemCrypto() ? 2 : 0);
});

test("ChaCha20 begins its key stream as its authors say", () => {
  // draft-agl-tls-chacha20poly1305-04 section 7: key 0, then the key 0…01, then the nonce 0…01.
  assert.equal(keyStreamStart(keyWords(Buffer.alloc(32)), 0), 0x76b8e0ad);
  const one = Buffer.alloc(32);
  one[31] = 1;
  assert.equal(keyStreamStart(keyWords(one), 0), 0x4540f05a);
  assert.equal(keyStreamStart(keyWords(Buffer.alloc(32)), 1), 0xde9cba7b);
});

// Bun has no ChaCha20 of its own.
if (getCiphers().includes("chacha20")) {
  test("ChaCha20 in JavaScript is the native one", () => {
    for (let round = 0; round < 500; round++) {
      const key = randomBytes(32);
      const seqno = round < 2 ? 2 ** 32 - 1 - round : randomInt(2 ** 32);
      const iv = Buffer.alloc(16);
      iv.writeUInt32BE(seqno, 12);
      const native = createCipheriv("chacha20", key, iv).update(Buffer.alloc(100));
      assert.equal(keyStreamStart(keyWords(key), seqno), native.readUInt32BE(0));
      assert.deepEqual(chacha20(key, seqno, Buffer.alloc(100)), native);
    }
  });
}

test("Poly1305 gives RFC 8439's tag, wherever in its room the message is", async () => {
  const key = Buffer.from(
    "85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b",
    "hex",
  );
  const text = Buffer.from("Cryptographic Forum Research Group");
  const { room, tag } = await loadPoly1305(1_000);
  for (const at of [0, 1, 60, 1_000 - text.length]) {
    room.set(text, at);
    const made = tag(at, at + text.length, key);
    assert.equal(made.toString("hex"), "a8061dc1305136c6c22b8baf0c0127a9");
  }
});

/** Lengths of payloads: many small ones, and some as large as ssh2 takes. */
function lengths(count: number): number[] {
  const random = Array.from({ length: count }, (_, index) => {
    return randomInt(index % 10 === 0 ? 33_000 : index % 2 === 0 ? 600 : 40);
  });
  return [1, 2, ...random, 32_777];
}

function receive(receiver: Receiver, data: Buffer, at: number, count: number, kept = false): void {
  const chunk = Buffer.from(data.subarray(at, at + count));
  assert.equal(receiver.decrypt(chunk, 0, chunk.length), undefined);
  // Who reads next may read into the same memory.
  if (!kept) chunk.fill(0);
}

/** Gives it all, cut at random places. */
function receiveInPieces(
  receiver: Receiver,
  data: Buffer,
  { most = 3_000, kept = false }: { most?: number; kept?: boolean } = {},
): void {
  for (let at = 0; at < data.length;) {
    const count = Math.min(randomInt(1, randomInt(3) === 0 ? 8 : most), data.length - at);
    receive(receiver, data, at, count, kept);
    at += count;
  }
}

/** A stream of two packets in its first 1,000 bytes, and of more behind them. */
function recorded(path: CipherPath): { made: Direction; expected: Buffer[] } {
  const made = direction(path);
  const expected = [470, 500, 20_000, 20_000].map((length) => randomBytes(length));
  for (const payload of expected) send(made.sender, payload);
  return { made, expected };
}
