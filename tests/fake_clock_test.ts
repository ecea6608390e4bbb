/** The clock of the tests itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "./support/fake_clock.ts";

test("the timers of a fake clock run out in order, and only when time passes", async () => {
  const clock = new FakeClock();
  const fired: string[] = [];
  const note = (name: string) => () => void fired.push(`${name} at ${clock.now()}`);
  clock.after(20, note("second"));
  clock.after(10, note("first"));
  clock.after(20, note("third"));
  clock.after(15, note("never")).cancel();
  await clock.advance(0);
  assert.deepEqual([fired, clock.pending], [[], 3]);
  await clock.advance(19);
  assert.deepEqual(fired, ["first at 10"]);
  await clock.advance(1);
  assert.deepEqual(fired, ["first at 10", "second at 20", "third at 20"]);
  assert.deepEqual([clock.pending, clock.now()], [0, 20]);
});

test("promises of a fake clock settle between two timers, and may set further ones", async () => {
  const clock = new FakeClock();
  const fired: string[] = [];
  const wait = (ms: number) => new Promise<void>((resolve) => void clock.after(ms, resolve));
  const walk = async (name: string, ms: number) => {
    for (let step = 1; step <= 3; step++) {
      await wait(ms);
      fired.push(`${name}${step}`);
    }
  };
  const both = Promise.all([walk("a", 10), walk("b", 15)]);
  await clock.advance(45);
  await both;
  // b's second step was set at 15 for 30, a's third at 20 for the same moment.
  assert.deepEqual(fired, ["a1", "b1", "a2", "b2", "a3", "b3"]);
});

test("a fake clock that sleeps moves the calendar alone", async () => {
  const clock = new FakeClock();
  const began = clock.wall();
  let fired = false;
  clock.after(10, () => fired = true);
  clock.sleep(1_000);
  await clock.advance(5);
  assert.deepEqual([fired, clock.now(), clock.wall() - began], [false, 5, 1_005]);
  await clock.advance(5);
  assert.equal(fired, true);
});

test("a timer of a fake clock waits no longer than one of the machine can", async () => {
  const clock = new FakeClock();
  let fired = false;
  clock.after(Infinity, () => fired = true);
  await clock.advance(2 ** 31 - 1);
  assert.equal(fired, true);
});
