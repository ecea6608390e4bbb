/** When a silent link is asked for a sign of life, and when it counts as dead. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { SessionError } from "../lib/errors.ts";
import { keepAlive, type KeepaliveOptions } from "../lib/session/keepalive.ts";
import { FakeClock } from "./support/fake_clock.ts";

const HOUR = 3_600_000;
const USUAL = { interval: 15_000, countMax: 3 };

/** A link that notes when it is asked, and its watch. */
function watched(options: KeepaliveOptions, answers: (asked: number) => boolean = () => false) {
  const clock = new FakeClock();
  const asked: number[] = [];
  const dead: { at: number; reason: SessionError }[] = [];
  const link = {
    onReceived: undefined as (() => void) | undefined,
    probe() {
      asked.push(clock.now());
      if (answers(asked.length)) clock.after(50, () => link.onReceived?.());
    },
  };
  const watch = keepAlive(link, clock, options, (reason) => dead.push({ at: clock.now(), reason }));
  return { clock, asked, dead, link, watch, receive: () => link.onReceived?.() };
}

test("a server that is silent for 60 s, and asked three times, counts as dead", async () => {
  const { clock, asked, dead, link } = watched(USUAL);
  await clock.advance(59_999);
  assert.deepEqual([asked, dead], [[15_000, 30_000, 45_000], []]);
  await clock.advance(1);
  assert.equal(dead.length, 1);
  const [{ at, reason }] = dead as [typeof dead[0] & object];
  assert.equal(at, 60_000);
  assert.ok(reason instanceof SessionError);
  assert.equal(reason.code, "timeout");
  assert.equal(reason.message, "the server has not answered for 60 s");
  assert.match(reason.hint ?? "", /ServerAliveInterval and ServerAliveCountMax/);
  await clock.advance(HOUR);
  assert.deepEqual([dead.length, asked.length], [1, 3], "once, and nothing after it");
  assert.deepEqual([clock.pending, link.onReceived], [0, undefined]);
});

test("a server that answers lives on, and is asked once in every interval", async () => {
  const { clock, asked, dead } = watched(USUAL, () => true);
  await clock.advance(HOUR);
  assert.equal(dead.length, 0);
  assert.deepEqual(asked.slice(0, 3), [15_000, 30_050, 45_100]);
  assert.equal(asked.length, Math.floor(HOUR / 15_050));
});

test("whoever sends anything is not asked", async () => {
  const { clock, asked, dead, receive } = watched(USUAL);
  for (let second = 0; second < 600; second += 14) {
    await clock.advance(14_000);
    receive();
  }
  assert.deepEqual([asked, dead], [[], []]);
  await clock.advance(15_000);
  assert.equal(asked.length, 1, "an interval after the last byte");
});

test("a byte at the last moment counts, and all begins anew", async () => {
  const { clock, asked, dead, receive } = watched(USUAL);
  await clock.advance(59_999);
  receive();
  await clock.advance(59_999);
  assert.deepEqual([asked.length, dead], [6, []]);
  await clock.advance(1);
  assert.equal(dead[0]?.at, 119_999);
  assert.equal(dead[0]?.reason.message, "the server has not answered for 60 s");
});

test("an answer to the third question alone is enough", async () => {
  const { clock, asked, dead } = watched(USUAL, (asked) => asked === 3);
  await clock.advance(45_050 + 59_999);
  assert.deepEqual([asked.length, dead], [6, []]);
  await clock.advance(1);
  assert.equal(dead.length, 1);
});

test("with a ServerAliveCountMax of 0 the first silence is the end, as for ssh", async () => {
  const { clock, asked, dead } = watched({ interval: 5_000, countMax: 0 });
  await clock.advance(4_999);
  assert.equal(dead.length, 0);
  await clock.advance(1);
  assert.deepEqual([dead.length, asked.length, clock.pending], [1, 0, 0]);
});

test("an interval of 0 says nothing about silence, however long", async () => {
  const { clock, asked, dead, watch } = watched({ interval: 0, countMax: 3 });
  await clock.advance(HOUR);
  assert.deepEqual([asked, dead], [[], []]);
  watch.stop();
  assert.equal(clock.pending, 0);
});

test("an interval that no timer could hold is kept all the same", async () => {
  for (const interval of [2 ** 31, Number.MAX_SAFE_INTEGER, Infinity]) {
    const { clock, asked, dead, watch } = watched({ interval, countMax: 3 });
    await clock.advance(HOUR);
    assert.deepEqual([asked, dead], [[], []]);
    watch.stop();
  }
});

test("after stop() nothing is left and nobody is called, at any moment", async () => {
  for (const moment of [0, 1, 2_000, 15_000, 44_000, 59_999]) {
    const { clock, asked, dead, link, watch } = watched(USUAL);
    await clock.advance(moment);
    const before = asked.length;
    watch.stop();
    assert.deepEqual([clock.pending, link.onReceived], [0, undefined]);
    clock.sleep(HOUR);
    await clock.advance(HOUR);
    assert.deepEqual([asked.length, dead], [before, []]);
    watch.stop();
  }
});

test("after a sleep the server is asked within 2 s, and has 10 s to answer", async () => {
  const { clock, asked, dead } = watched(USUAL);
  await clock.advance(5_000);
  clock.sleep(HOUR);
  await clock.advance(1_000);
  assert.deepEqual(asked, [6_000]);
  await clock.advance(9_999);
  assert.equal(dead.length, 0);
  await clock.advance(1);
  assert.equal(dead[0]?.at, 16_000);
  assert.equal(
    dead[0]?.reason.message,
    "the server has not answered since this machine was asleep for 3600 s",
  );
  assert.equal(dead[0]?.reason.code, "timeout");
  assert.equal(clock.pending, 0);
});

test("a server that answers after a sleep lives on, with the usual patience", async () => {
  const { clock, asked, dead } = watched(USUAL, (asked) => asked === 1);
  clock.sleep(HOUR);
  await clock.advance(2_050);
  assert.deepEqual(asked, [2_000]);
  await clock.advance(59_999);
  assert.deepEqual([asked.length, dead], [4, []]);
  await clock.advance(1);
  assert.equal(dead.length, 1);
});

test("questions from before a sleep do not count: their answers may lie unread", async () => {
  const { clock, asked, dead } = watched({ interval: 5_000, countMax: 3 });
  await clock.advance(19_000);
  assert.equal(asked.length, 3);
  clock.sleep(HOUR);
  await clock.advance(10_999);
  assert.deepEqual([asked.slice(3), dead], [[20_000, 25_000], []]);
  await clock.advance(1);
  assert.equal(dead[0]?.at, 30_000);
});

test("a second sleep asks again and begins the 10 s anew", async () => {
  const { clock, asked, dead } = watched(USUAL);
  clock.sleep(HOUR);
  await clock.advance(2_000);
  clock.sleep(2 * HOUR);
  await clock.advance(11_999);
  assert.deepEqual([asked, dead], [[2_000, 4_000], []]);
  await clock.advance(1);
  assert.equal(dead[0]?.at, 14_000);
  assert.match(dead[0]?.reason.message ?? "", /asleep for 7200 s$/);
});

test("a patience of less than 10 s is not stretched by a sleep", async () => {
  const { clock, asked, dead } = watched({ interval: 1_000, countMax: 3 });
  clock.sleep(HOUR);
  await clock.advance(3_999);
  assert.deepEqual([asked, dead], [[1_000, 2_000, 3_000], []]);
  await clock.advance(1);
  assert.equal(dead[0]?.at, 4_000);
});

test("a timer that runs out late is a sleep as well: this process was stopped", async () => {
  const { clock, asked, dead } = watched(USUAL);
  const { now } = clock;
  clock.now = () => now.call(clock) + 90_000;
  await clock.advance(2_000);
  assert.deepEqual([asked, dead], [[92_000], []]);
  await clock.advance(10_000);
  assert.equal(dead.length, 1);
});

test("with an interval of 0 a sleep is followed by a question, and by nothing else", async () => {
  const { clock, asked, dead, watch } = watched({ interval: 0, countMax: 3 });
  clock.sleep(HOUR);
  await clock.advance(HOUR);
  assert.deepEqual([asked, dead], [[2_000], []]);
  watch.stop();
  assert.equal(clock.pending, 0);
});

test("a calendar that is set back, or a little forth, is no sleep", async () => {
  const { clock, asked, dead } = watched(USUAL);
  clock.sleep(-HOUR);
  await clock.advance(10_000);
  clock.sleep(4_900);
  await clock.advance(4_000);
  assert.deepEqual([asked, dead], [[], []]);
});

test("in whatever order bytes, silence and sleep come, nobody dies early or twice", async () => {
  const event = fc.oneof(
    fc.record({ kind: fc.constant("advance" as const), ms: fc.nat(40_000) }),
    fc.record({ kind: fc.constant("sleep" as const), ms: fc.nat(100_000) }),
    fc.record({ kind: fc.constant("receive" as const), ms: fc.constant(0) }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(event, { maxLength: 30 }),
      fc.integer({ min: 1_000, max: 30_000 }),
      fc.nat(4),
      async (events, interval, countMax) => {
        const { clock, dead, receive, watch } = watched({ interval, countMax });
        let heard = 0;
        for (const { kind, ms } of events) {
          if (kind === "advance") await clock.advance(ms);
          else if (kind === "sleep") clock.sleep(ms);
          else if (dead.length === 0) {
            receive();
            heard = clock.now();
          }
        }
        const patience = interval * (countMax + 1);
        if (dead[0] !== undefined) {
          assert.ok(dead[0].at - heard >= Math.min(interval, patience, 10_000), "not early");
          assert.equal(dead.length, 1);
        } else {
          // A sleep may have come last: its question starts the patience once more.
          await clock.advance(2 * patience + 2_000);
          assert.equal(dead.length, 1, "in the end it dies");
        }
        watch.stop();
        assert.equal(clock.pending, 0);
      },
    ),
    { numRuns: 200 },
  );
});
