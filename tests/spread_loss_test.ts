/** A loss at any moment of the making of further connections. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SessionError } from "../lib/errors.ts";
import { Generation } from "../lib/session/generation.ts";
import { Spread } from "../lib/session/spread.ts";
import { FakeClock } from "./support/fake_clock.ts";

test("what is lost while the last one is being made is made good, whenever it happens", async () => {
  for (let turns = 0; turns < 10; turns++) {
    const clock = new FakeClock();
    const made: Generation[] = [];
    let attempts = 0;
    let release: (() => void) | undefined;
    const generation = (number: number) =>
      new Generation(number, { destroy() {} } as never, -1e6, () => {});
    const first = generation(0);
    const spread = new Spread({
      connections: 3,
      name: "server",
      clock,
      random: () => 0.5,
      leave: () => {},
      make: async () => {
        attempts++;
        if (attempts === 2) await new Promise<void>((resolve) => release = resolve);
        const one = generation(attempts);
        made.push(one);
        return one;
      },
    });
    const pass = async (microtasks: number) => {
      for (let turn = 0; turn < microtasks; turn++) await undefined;
    };
    spread.fill();
    await pass(20);
    const [one] = made;
    assert.ok(release !== undefined && one !== undefined);
    release();
    await pass(turns);
    spread.lost(one, first, new SessionError("gone", { code: "connection-lost" }));
    await pass(50);
    for (let minute = 0; minute < 20; minute++) await clock.advance(60_000);
    assert.equal(attempts, 3, `lost ${turns} turns after it was made`);
  }
});
