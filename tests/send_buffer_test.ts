import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SendBuffer } from "../lib/ssh/send_buffer.ts";

const BLOCK = 512 * 1024;

test("memory that was released is given out again", () => {
  const buffer = new SendBuffer();
  const first = buffer.take(1_000);
  buffer.release(first);
  const second = buffer.take(32_000);
  assert.equal(second.buffer, first.buffer);
  assert.equal(second.byteOffset, first.byteOffset);
});

test("as much as two blocks is kept for later, and no more", () => {
  const buffer = new SendBuffer();
  const pieces = Array.from({ length: 6 }, () => buffer.take(BLOCK));
  pieces.forEach((piece) => buffer.release(piece));
  const memory = new Set(pieces.map((piece) => piece.buffer));
  const again = Array.from({ length: 6 }, () => buffer.take(BLOCK));
  // The last one was still the current block.
  assert.equal(again.filter((piece) => memory.has(piece.buffer)).length, 3);
});

test("what is larger than a block has memory of its own", () => {
  const buffer = new SendBuffer();
  const large = buffer.take(BLOCK + 1);
  assert.equal(large.length, BLOCK + 1);
  buffer.release(large);
  assert.notEqual(buffer.take(BLOCK + 1).buffer, large.buffer);
});

test("memory from elsewhere is left alone", () => {
  const buffer = new SendBuffer();
  const mine = buffer.take(100);
  buffer.release(new Uint8Array(100));
  const next = buffer.take(100);
  assert.notEqual(next.byteOffset, mine.byteOffset);
});

test("no two pieces that are out share a byte, whatever is taken and released when", () => {
  const step = fc.oneof(
    fc.record({ take: fc.integer({ min: 1, max: BLOCK + 10 }) }),
    fc.record({ take: fc.integer({ min: 1, max: 40_000 }) }),
    fc.record({ release: fc.nat() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const buffer = new SendBuffer();
      const out: Uint8Array[] = [];
      for (const step of steps) {
        if ("take" in step) {
          const piece = buffer.take(step.take);
          assert.equal(piece.length, step.take);
          for (const other of out) {
            const apart = other.buffer !== piece.buffer ||
              other.byteOffset + other.length <= piece.byteOffset ||
              piece.byteOffset + piece.length <= other.byteOffset;
            assert.ok(apart);
          }
          out.push(piece);
        } else if (out.length > 0) {
          const [piece] = out.splice(step.release % out.length, 1);
          if (piece !== undefined) buffer.release(piece);
        }
      }
    }),
    { numRuns: 300 },
  );
});
