/**
 * Faults that take their time, against the real sshd. Most of it is waiting, so the cases run side
 * by side; each test waits for its own.
 */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { holdOpen, steadyCallers } from "../support/callers.ts";
import { serverOptions, startFairlead } from "../support/fairlead.ts";
import { type FaultStage, faultStage } from "../support/fault_stage.ts";
import type { Reach, SshServer } from "../support/ssh_server.ts";
import { transfer } from "../support/tcp.ts";
import { skipUnless, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
/** Milliseconds that users are promised between the server's return and the first new byte. */
const PROMISE = 2_000;
const AT_ONCE = 1_000;
const SECOND = 1_000;

interface Outage {
  readonly stage: FaultStage;
  /** How the server is reached. */
  readonly reach: Reach;
  /** Begins the fault; resolves when what was open must have ended, or is about to. */
  begin(stage: FaultStage): void | Promise<void>;
  /** How long it lasts. */
  readonly lasts: number;
  /** Milliseconds in which it is noticed. */
  readonly noticed: number;
  end(stage: FaultStage): void | Promise<void>;
}

/** Callers come every quarter of a second, the whole time; they may wait for 30 seconds. */
async function outage({ stage, reach, begin, lasts, noticed, end }: Outage) {
  await using run = await startFairlead(["-L", `0:${stage.to}`, ...serverOptions(reach)]);
  const port = run.ports[0] ?? 0;
  await using held = await holdOpen(port, 5);
  await using callers = steadyCallers(port, { every: 250 });
  await sleep(500);
  callers.fault();
  const began = performance.now();
  await begin(stage);
  await held.allEnded(began, noticed);
  await sleep(Math.max(0, lasts - (performance.now() - began)));
  await end(stage);
  // From the moment on at which it listens: how long sshd takes to start is not ours.
  const back = performance.now();
  const firstByte = await callers.firstByteAfter(back);
  const tally = await callers.finish();
  assert.deepEqual(held.ends.map(({ how }) => how), Array(5).fill("reset"));
  assert.equal(tally.refused, 0);
  assert.equal(tally.hung, 0);
  // One or two may have been in the middle of their word.
  assert.ok(tally.lost <= 2, `${tally.lost} callers were lost`);
  assert.ok(firstByte < PROMISE, `${firstByte} ms`);
  return tally;
}

async function killed(lasts: number) {
  await using stage = await faultStage();
  return await outage({
    stage,
    reach: stage.sshd,
    lasts,
    noticed: AT_ONCE,
    begin: ({ sshd }) => sshd.down("SIGKILL"),
    end: ({ sshd }) => sshd.up(),
  });
}

/** How often it was connected to, over all its restarts. */
function connectionsOf(sshd: SshServer): number {
  return [...sshd.log().matchAll(/^Connection from /gm)].length;
}

/** With the usual keepalive: 15 s, three times. */
const KEEPALIVE = 62 * SECOND;

const cases: Readonly<Record<string, () => Promise<void>>> = {
  "a server that is away for 5 s costs nobody who comes meanwhile": async () => {
    const { expired } = await killed(5 * SECOND);
    assert.equal(expired, 0);
  },

  "of a server that is away for 60 s the callers of the last 30 s are served": async () => {
    const { expired } = await killed(60 * SECOND);
    assert.ok(expired >= 80 && expired <= 125, `${expired} expired`);
  },

  "a path that swallows all is noticed by the usual keepalive": async () => {
    await using stage = await faultStage();
    await outage({
      stage,
      reach: stage.reach,
      lasts: 75 * SECOND,
      noticed: KEEPALIVE,
      begin: ({ path }) => path.stall(),
      end: ({ path }) => path.resume(),
    });
  },

  "a server that is frozen for 90 s is served by again when it thaws": async () => {
    await using stage = await faultStage();
    await outage({
      stage,
      reach: stage.reach,
      lasts: 90 * SECOND,
      noticed: KEEPALIVE,
      begin: () => stage.freeze(),
      end: () => stage.thaw(),
    });
  },

  "a login that is refused after a restart is tried three more times, then final": async () => {
    await using stage = await faultStage();
    await using run = await startFairlead(["-L", `0:${stage.to}`, ...serverOptions(stage.sshd)]);
    const port = run.ports[0] ?? 0;
    await stage.forgetKeys();
    await stage.sshd.restart();
    const first = performance.now();
    await waitFor(() => connectionsOf(stage.sshd) === 4, { timeout: 130 * SECOND });
    // The last try is 30 to 36 s away: this caller is still waiting then.
    await sleep(10 * SECOND);
    const waiting = transfer(port, { send: 10 });
    await assert.rejects(waiting, { code: "ECONNRESET" });
    assert.deepEqual(await run.closed, { status: 255, signal: null });
    assert.ok(performance.now() - first >= 60 * SECOND);
    assert.equal(connectionsOf(stage.sshd), 1 + 4);
    const [, reason = "?"] = /^fairlead: ([^;]+)/.exec(run.lines().at(-1) ?? "") ?? [];
    const closed = run.lines().filter((line) => /-L \d+ #\d+ from /.test(line));
    assert.ok(closed.some((line) => line.includes(reason)), run.lines().join("\n"));
  },

  "a login that is refused for a while after a restart comes back": async () => {
    await using stage = await faultStage();
    await using run = await startFairlead(["-L", `0:${stage.to}`, ...serverOptions(stage.sshd)]);
    const port = run.ports[0] ?? 0;
    const remember = await stage.forgetKeys();
    await stage.sshd.restart();
    await waitFor(() => connectionsOf(stage.sshd) === 2);
    await sleep(10 * SECOND);
    await remember();
    // Not before its time: the next try is at least 30 s after the first.
    const { bytes, milliseconds } = await transfer(port, { send: 1_000 });
    assert.equal(bytes, 1_000);
    assert.ok(milliseconds > 15 * SECOND, `${milliseconds} ms`);
    assert.equal(connectionsOf(stage.sshd), 3);
  },
};

const running = new Map<string, Promise<void>>();
before(() => {
  if (skip.skip !== undefined) return;
  for (const [name, run] of Object.entries(cases)) {
    const promise = run();
    // Whoever waits for it may come much later.
    promise.catch(() => {});
    running.set(name, promise);
  }
});
for (const name of Object.keys(cases)) {
  test(name, { ...skip, timeout: 200 * SECOND }, () => running.get(name));
}
