/** Windows and their budget: what is granted, to whom, and when it comes back. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { test } from "node:test";
import { RoundTrip } from "../lib/ssh/round_trip.ts";
import { ChannelWindow } from "../lib/ssh/window.ts";
import { WindowBudget } from "../lib/ssh/window_budget.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
/** What each channel may have beyond the budget. */
const FLOOR = 4 * KIB;
/** What one may have that moves data, and whose reader keeps up; or a 64th of the budget. */
const ENTITLED = MIB;
/** The part of a window that a busy channel is refilled by. */
const REFILL = 1 / 8;

/** A path with a clock, where answers come when the test says so. */
function path(milliseconds: number) {
  let time = 0;
  let answer: (() => void) | undefined;
  let asked = 0;
  const roundTrip = new RoundTrip(
    {
      _callbacks: { push: (callback: (refused: boolean) => void) => answer = () => callback(true) },
      _protocol: { ping: () => asked++ },
    } as never,
    { lost: false },
    () => time,
  );
  roundTrip.note(milliseconds);
  return {
    roundTrip,
    now: () => time,
    /** How often the server was asked. */
    get asked() {
      return asked;
    },
    pass: (milliseconds: number) => time += milliseconds,
    answer: () => {
      answer?.();
      answer = undefined;
    },
  };
}

/**
 * Carries data through windows as fast as they let: all of it once in each round trip, in packets
 * that are read at once, one of each window after the other.
 *
 * @returns What came through each in the last round trip.
 */
function carry(
  windows: readonly ChannelWindow[],
  over: ReturnType<typeof path>,
  { trips, most = Infinity }: { trips: number; most?: number },
): number[] {
  let came: number[] = [];
  for (let trip = 0; trip < trips; trip++) {
    over.pass(over.roundTrip.shortest! + 1);
    over.answer();
    const sent = windows.map((window) => Math.min(window.open, most));
    came = windows.map(() => 0);
    for (let moved = true; moved;) {
      moved = false;
      for (const [index, window] of windows.entries()) {
        const piece = Math.min(32 * KIB, sent[index]! - came[index]!);
        if (piece === 0) continue;
        assert.ok(window.receive(piece));
        window.read(piece);
        window.refill(REFILL);
        came[index]! += piece;
        moved = true;
      }
    }
  }
  return came;
}

test("a window grows with what comes in a round trip, as fast as it doubles, up to half the budget", () => {
  const over = path(50);
  const budget = new WindowBudget();
  const window = new ChannelWindow(budget, over.roundTrip, over.now);
  assert.equal(window.open, 2 * MIB);
  const trips: number[] = [];
  for (let trip = 0; trip < 20; trip++) trips.push(...carry([window], over, { trips: 1 }));
  assert.equal(trips[0], 2 * MIB);
  assert.ok(trips[3]! > 6 * MIB, String(trips));
  assert.ok(trips.at(-1)! > 27 * MIB, String(trips));
  assert.ok(budget.granted <= 32 * MIB);
});

test("a window fits what comes: a slow path or a slow source gets no larger one", () => {
  const over = path(50);
  const budget = new WindowBudget();
  const window = new ChannelWindow(budget, over.roundTrip, over.now);
  carry([window], over, { trips: 50, most: 5 * MIB });
  assert.ok(window.open > 5 * MIB && window.open <= 10 * MIB, String(window.open));
  // And what it needed once it does not keep.
  carry([window], over, { trips: 50, most: MIB });
  assert.ok(window.open <= 3 * MIB, String(window.open));
});

test("a short way has the usual window, however much comes", () => {
  const over = path(0.2);
  const window = new ChannelWindow(new WindowBudget(), over.roundTrip, over.now);
  for (let piece = 0; piece < 100_000; piece++) {
    over.pass(0.06); // 32 KiB each: 550 MB/s.
    over.answer();
    window.receive(32 * KIB);
    window.read(32 * KIB);
    window.refill(REFILL);
  }
  assert.ok(window.open <= 2 * MIB, String(window.open));
});

test("a reader that does not read is not refilled, and gets no larger window for it", () => {
  const over = path(50);
  const budget = new WindowBudget();
  const window = new ChannelWindow(budget, over.roundTrip, over.now);
  over.roundTrip.ask();
  over.answer();
  while (window.open > 0) {
    assert.ok(window.receive(Math.min(32 * KIB, window.open)));
    assert.equal(window.refill(0), 0);
  }
  assert.equal(budget.granted, 2 * MIB);
  window.read(1_000);
  assert.equal(window.refill(REFILL), 0, "not worth a message");
  assert.equal(window.refill(0), 1_000);
  window.read(2 * MIB - 1_000);
  window.refill(0);
  assert.ok(window.open <= 4 * MIB, String(window.open));
});

test("the server is asked once in a second of a transfer, and never where little comes", () => {
  const over = path(10);
  const window = new ChannelWindow(new WindowBudget(), over.roundTrip, over.now);
  for (let trip = 0; trip < 1_000; trip++) carry([window], over, { trips: 1, most: 20_000 });
  assert.equal(over.asked, 0);
  for (let trip = 0; trip < 1_000; trip++) carry([window], over, { trips: 1 });
  assert.ok(over.asked >= 10 && over.asked <= 12, String(over.asked));
});

test("more than the window is told apart from all of it", () => {
  const window = new ChannelWindow(new WindowBudget());
  assert.ok(window.receive(2 * MIB));
  assert.ok(!window.receive(1));
});

test("5,000 idle channels leave a third of the budget to those that move something", () => {
  const over = path(50);
  const budget = new WindowBudget();
  const open = () => new ChannelWindow(budget, over.roundTrip, over.now);
  const windows = Array.from({ length: 5_000 }, open);
  assert.ok(budget.granted <= 64 * MIB * 2 / 3, String(budget.granted));
  assert.ok(windows.every((window) => window.open >= FLOOR));
  // One question and its answer each change nothing.
  for (const window of windows) {
    window.receive(3_000);
    window.read(3_000);
    window.refill(0);
  }
  assert.ok(budget.granted <= 64 * MIB * 2 / 3, String(budget.granted));
  const busy = open();
  assert.equal(busy.open, FLOOR);
  assert.ok(carry([busy], over, { trips: 30 })[0]! > 8 * MIB);
});

test("64 busy channels have about the same each, and leave room for the next ones", () => {
  const over = path(50);
  const budget = new WindowBudget();
  const open = () => new ChannelWindow(budget, over.roundTrip, over.now);
  const windows = [open()];
  // The first one has taken all it could before the others came.
  carry(windows, over, { trips: 30 });
  while (windows.length < 64) windows.push(open());
  const came = carry(windows, over, { trips: 40 });
  assert.ok(Math.min(...came) > 0.5 * MIB, String(came));
  assert.ok(Math.max(...came) < 2 * Math.min(...came), String(came));
  assert.ok(budget.granted <= 64 * MIB);
  assert.ok(open().open >= 64 * KIB);
});

test("connections that were busy and are kept leave enough for each that comes after", () => {
  const over = path(50);
  const budget = new WindowBudget();
  for (let count = 1; count <= 100; count++) {
    const window = new ChannelWindow(budget, over.roundTrip, over.now);
    const [came = 0] = carry([window], over, { trips: 20 });
    assert.ok(came >= ENTITLED * 7 / 8, `${came} bytes a round trip through number ${count}`);
  }
  assert.ok(budget.granted <= 64 * MIB + 100 * ENTITLED, String(budget.granted));
});

test("the budget holds, whatever happens, and all of it comes back", () => {
  const step = fc.record({
    what: fc.constantFrom("open", "receive", "receive", "read", "read", "refill", "end", "close"),
    which: fc.nat(1_000),
    bytes: fc.nat(300 * KIB),
    time: fc.nat(30),
  });
  fc.assert(
    fc.property(
      fc.integer({ min: 64 * KIB, max: 8 * MIB }),
      fc.array(step, { maxLength: 400 }),
      (limit, steps) => {
        const over = path(20);
        const budget = new WindowBudget(limit);
        const windows: { window: ChannelWindow; unread: number }[] = [];
        for (const { what, which, bytes, time } of steps) {
          over.pass(time);
          if (time > 20) over.answer();
          const one = windows[which % Math.max(1, windows.length)];
          if (what === "open" || one === undefined) {
            const window = new ChannelWindow(budget, over.roundTrip, over.now);
            windows.push({ window, unread: 0 });
          } else if (what === "receive") {
            const piece = Math.min(bytes, one.window.open);
            assert.ok(one.window.receive(piece));
            one.unread += piece;
          } else if (what === "read") {
            const piece = Math.min(bytes, one.unread);
            one.window.read(piece);
            one.unread -= piece;
          } else if (what === "refill") one.window.refill(which % 2 === 0 ? 0 : REFILL);
          else if (what === "end") one.window.end();
          else {
            one.window.close();
            windows.splice(windows.indexOf(one), 1);
          }
          const held = windows.map(({ window, unread }) => window.open + unread);
          assert.ok(windows.every(({ window }) => window.open >= 0));
          assert.equal(budget.granted, held.reduce((sum, bytes) => sum + bytes, 0));
          // While it moves data, and when it opens.
          const entitled = Math.min(ENTITLED, limit / 64);
          const opening = Math.min(64 * KIB, limit / 32);
          const floor = Math.max(FLOOR, entitled, opening);
          assert.ok(budget.granted <= limit + floor * windows.length);
        }
        for (const { window } of windows) window.close();
        assert.equal(budget.granted, 0);
        assert.equal(budget.open(), Math.max(FLOOR, Math.floor(Math.min(2 * MIB, limit / 32))));
      },
    ),
    { numRuns: 300 },
  );
});

test("a channel that has nothing left gets its 4 KiB again, whoever holds the rest", () => {
  const budget = new WindowBudget(64 * KIB);
  const hoard = Array.from({ length: 100 }, () => new ChannelWindow(budget));
  const window = new ChannelWindow(budget);
  assert.equal(window.open, FLOOR);
  window.receive(FLOOR);
  assert.equal(window.refill(0), 0);
  window.read(FLOOR);
  assert.equal(window.refill(REFILL), FLOOR);
  for (const other of hoard) other.close();
  assert.equal(budget.granted, FLOOR);
});
