/** Local forwards without SSH: the dialer here dials plain TCP. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ConnectionError } from "../lib/errors.ts";
import type { Forward } from "../lib/forward/forward.ts";
import { forwardLocal } from "../lib/forward/local.ts";
import type { LocalForwardSpec } from "../lib/forward/spec.ts";
import { connected, logged, PendingDialer, TcpDialer } from "./support/dialers.ts";
import {
  echoServer,
  parseReceipt,
  pattern,
  patternReceived,
  pausedReader,
  type Peer,
  questionAnswer,
  refusingPort,
  resetAfter,
  sinkServer,
  transfer,
} from "./support/tcp.ts";
import { waitFor } from "./support/tools.ts";

const MiB = 1024 * 1024;

function specTo({ host, port }: { host: string; port: number }): LocalForwardSpec {
  return { name: "test", listen: { bind: "127.0.0.1", port: 0 }, destination: { host, port } };
}

/** Connected through, as the far side's answer proves. */
async function echoing(port: number): Promise<Socket> {
  const socket = await connected(port);
  socket.write("?");
  await once(socket, "data");
  return socket;
}

/** Connects and is reset, perhaps before it knows that it was connected. */
async function isReset(port: number): Promise<void> {
  const [error] = await once(connect({ port, host: "127.0.0.1" }).resume(), "error");
  assert.equal((error as NodeJS.ErrnoException).code, "ECONNRESET");
}

test("a forward says when nothing of it is left, and not before", async () => {
  await using peer = await echoServer();
  const forward = await forwardLocal(specTo(peer), new TcpDialer());
  let over = false;
  forward.onClosed = () => over = true;
  const socket = await echoing(forward.port);
  const closing = forward.close();
  await sleep(20);
  assert.equal(over, false, "a connection is open still");
  socket.end();
  await closing;
  assert.equal(over, true);
});

test("a connection is dialled with the caller's address, relayed, counted, and logged in one line", async () => {
  await logged(async (lines) => {
    await using peer = await questionAnswer({ answerBytes: 3_000_000, seed: 4 });
    const dialer = new TcpDialer();
    await using forward = await forwardLocal(specTo(peer), dialer);
    const socket = await connected(forward.port);
    const caller = { host: "127.0.0.1", port: socket.localPort };
    socket.end(Buffer.concat([...pattern(2 * MiB, 3)]));
    for await (const _ of socket);
    assert.deepEqual(await peer.received(), patternReceived(2 * MiB, 3));
    await waitFor(() => forward.stats.open === 0);
    assert.deepEqual(forward.stats, {
      open: 0,
      total: 1,
      refused: 0,
      gone: 0,
      failed: 0,
      lost: 0,
      sent: 2 * MiB,
      received: 3_000_000,
    });
    assert.deepEqual(dialer.asked.map(({ destination }) => destination), [
      { host: peer.host, port: peer.port },
    ]);
    assert.deepEqual(dialer.asked[0]?.options.originator, caller);
    assert.deepEqual(lines, [
      `info: -L test #1 from 127.0.0.1:${caller.port}: closed; ` +
      `${2 * MiB} bytes sent, 3000000 received`,
    ]);
  });
});

test("a caller on a listener for all interfaces is named by its plain IPv4 address", async () => {
  await using peer = await echoServer();
  const dialer = new TcpDialer();
  await using forward = await forwardLocal(
    { ...specTo(peer), listen: { bind: "*", port: 0 } },
    dialer,
  );
  (await echoing(forward.port)).end();
  assert.equal(dialer.asked[0]?.options.originator?.host, "127.0.0.1");
});

test("a dial that fails resets its caller alone, is counted, and is logged with the reason", async () => {
  await logged(async (lines) => {
    await using peer = await echoServer();
    const tcp = new TcpDialer();
    let refuse = false;
    const forward = await forwardLocal(specTo(peer), {
      listen: tcp.listen,
      dial: (destination, options) =>
        refuse
          ? Promise.reject(new ConnectionError("the server said no", { code: "channel-failed" }))
          : tcp.dial(destination, options),
    });
    const before = await echoing(forward.port);
    refuse = true;
    await isReset(forward.port);
    refuse = false;
    await waitFor(() => forward.stats.open === 1);
    assert.equal(forward.stats.refused, 1);
    assert.equal(forward.stats.failed, 0);
    assert.equal(lines.length, 1);
    assert.match(
      lines[0] ?? "",
      /^warning: -L test #2 from 127\.0\.0\.1:\d+: the server said no$/,
    );
    before.write("still there");
    await once(before, "data");
    before.end();
    assert.equal((await transfer(forward.port, { send: 1_000 })).bytes, 1_000);
    await forward.close();
    assert.equal(forward.stats.total, 3);
  });
});

test("a destination that refuses is a dial that fails", async () => {
  const refusing = await refusingPort();
  await using forward = await forwardLocal(specTo(refusing), new TcpDialer());
  await assert.rejects(transfer(forward.port, { send: 10 }), { code: "ECONNRESET" });
  await waitFor(() => forward.stats.refused === 1);
});

test("a caller that leaves while the dial is pending gives the dial up", async () => {
  await logged(async (lines) => {
    const dialer = new PendingDialer();
    const forward = await forwardLocal(specTo({ host: "far", port: 1 }), dialer);
    const socket = await connected(forward.port);
    const from = `127.0.0.1:${socket.localPort}`;
    const dial = await dialer.first();
    assert.equal(dial.signal.aborted, false);
    socket.resetAndDestroy();
    await once(dial.signal, "abort");
    dial.reject(dial.signal.reason);
    await forward.close();
    assert.deepEqual([forward.stats.refused, forward.stats.gone], [0, 1]);
    assert.deepEqual(lines, [`info: -L test #1 from ${from}: left before it was connected`]);
  });
});

test("a stream that comes after its caller has left is destroyed", async () => {
  const dialer = new PendingDialer();
  const forward = await forwardLocal(specTo({ host: "far", port: 1 }), dialer);
  const socket = await connected(forward.port);
  const dial = await dialer.first();
  socket.resetAndDestroy();
  await once(dial.signal, "abort");
  const late = new Duplex({ read() {}, write() {} });
  dial.resolve(late);
  await forward.close();
  assert.ok(late.destroyed);
  assert.equal(forward.stats.open, 0);
});

test("what a caller sends and ends before the dial is answered is not lost", async () => {
  await using peer = await sinkServer();
  const dialer = new PendingDialer();
  await using forward = await forwardLocal(specTo(peer), dialer);
  const transferring = transfer(forward.port, { send: MiB, seed: 5 });
  const dial = await dialer.first();
  await sleep(50);
  dial.resolve(await new TcpDialer().dial(peer));
  assert.deepEqual(parseReceipt((await transferring).head), patternReceived(MiB, 5));
});

test("200 connections at once are all served, each with its own bytes", async () => {
  await using peer = await echoServer();
  await using forward = await forwardLocal(specTo(peer), new TcpDialer());
  await Promise.all(Array.from({ length: 200 }, async (_, index) => {
    const got = await transfer(forward.port, { send: 10_000 + index, seed: index });
    assert.equal(got.sha256, patternReceived(10_000 + index, index).sha256);
  }));
  await waitFor(() => forward.stats.open === 0 && peer.open === 0);
  const { total, refused, failed, sent, received } = forward.stats;
  assert.deepEqual([total, refused, failed], [200, 0, 0]);
  const bytes = 200 * 10_000 + (199 * 200) / 2;
  assert.deepEqual([sent, received], [bytes, bytes]);
});

test("a destination that resets in mid-stream resets its caller, and nobody else", async () => {
  await logged(async (lines) => {
    await using peer = await resetAfter(1_000);
    await using forward = await forwardLocal(specTo(peer), new TcpDialer());
    await isReset(forward.port);
    await assert.rejects(transfer(forward.port, { send: 10 }), { code: "ECONNRESET" });
    await waitFor(() => forward.stats.failed === 2);
    assert.equal(lines.length, 2);
    assert.match(
      lines[0] ?? "",
      /^warning: -L test #1 from 127\.0\.0\.1:\d+: ended by the far side: .*ECONNRESET.*; 0 bytes sent, 1000 received$/,
    );
  });
});

test("a caller that resets ends its own connection, on the far side too", async () => {
  await logged(async (lines) => {
    await using peer = await echoServer();
    await using forward = await forwardLocal(specTo(peer), new TcpDialer());
    const stays = await echoing(forward.port);
    const leaves = await echoing(forward.port);
    leaves.resetAndDestroy();
    await waitFor(() => peer.open === 1 && forward.stats.open === 1);
    assert.equal(forward.stats.failed, 1);
    assert.equal(peer.errors.length, 1);
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? "", /^warning: .*#2 .*: ended by the client: .*ECONNRESET.*; 1 bytes/);
    stays.write("!");
    await once(stays, "data");
    stays.end();
  });
});

/** Is it settled, after what is under way has had its turn? */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  return await Promise.race([promise.then(() => true), sleep(100).then(() => false)]);
}

test("close() accepts no more, and waits until open connections have ended by themselves", async () => {
  await using peer = await echoServer();
  const forward = await forwardLocal(specTo(peer), new TcpDialer());
  const socket = await echoing(forward.port);
  const { port } = forward;
  const closing = forward.close();
  assert.equal(await settled(closing), false);
  await assert.rejects(transfer(port), { code: "ECONNREFUSED" });
  socket.write("last words");
  const [echo] = await once(socket, "data");
  assert.equal(String(echo), "last words");
  socket.resume().end();
  await once(socket, "close");
  await closing;
  assert.equal(forward.stats.failed, 0);
  await forward.close();
});

/** Connections in every state that does not end by itself. */
async function stubborn(
  peer: Peer,
): Promise<{ forward: Forward; sockets: Socket[]; dialer: PendingDialer }> {
  const dialer = new PendingDialer();
  const tcp = new TcpDialer();
  const stalled = new Duplex({ read() {}, write() {} });
  const answered = new Duplex({ read() {}, write() {} });
  answered.push(null);
  const answers = [() => tcp.dial(peer), () => tcp.dial(peer), () => stalled, () => answered];
  const forward = await forwardLocal(specTo(peer), {
    listen: tcp.listen,
    dial: async (destination, options) =>
      await (answers.shift() ?? (() => dialer.dial(destination, options)))(),
  });
  const sockets: Socket[] = [];
  for (let count = 0; count < 5; count++) {
    const socket = await connected(forward.port);
    sockets.push(socket.on("error", () => {}));
    await waitFor(() => forward.stats.total === count + 1);
  }
  const [, full, halfClosed, closed] = sockets;
  full?.write(Buffer.alloc(16 * MiB));
  // These two have ended their own side, and what they sent is taken by nobody.
  halfClosed?.end("never taken");
  closed?.resume().end("never taken");
  await once(closed as Socket, "close");
  await dialer.first();
  return { forward, sockets, dialer };
}

for (
  const [what, options, least] of [
    ["close({ force }) resets every connection at once", { force: true }, 0],
    ["close({ timeout }) waits that long, and then resets them", { timeout: 250 }, 240],
  ] as const
) {
  test(`${what}, whatever it is waiting for`, async () => {
    await using peer = await pausedReader();
    const { forward, sockets, dialer } = await stubborn(peer);
    assert.equal(forward.stats.open, 5);
    const dial = await dialer.first();
    dial.signal.addEventListener("abort", () => dial.reject(dial.signal.reason));
    const begun = performance.now();
    await forward.close(options);
    const time = performance.now() - begun;
    assert.ok(time >= least && time < least + 500, `${time} ms`);
    assert.equal(forward.stats.open, 0);
    assert.ok(dial.signal.aborted);
    for (const socket of sockets) {
      socket.resume();
      await waitFor(() => socket.closed, { what: "the caller's end" });
    }
  });
}

test("a connection that was reset because of close({ force }) is logged so", async () => {
  await logged(async (lines) => {
    await using peer = await echoServer();
    const forward = await forwardLocal(specTo(peer), new TcpDialer());
    const socket = await echoing(forward.port);
    socket.on("error", () => {});
    await forward.close({ force: true });
    assert.equal(lines.length, 1);
    assert.match(
      lines[0] ?? "",
      /: reset: the forward was closed; 1 bytes sent, 1 received$/,
    );
  });
});

test("whoever closes a forward that somebody else is closing is told of its end as well", async () => {
  await using peer = await echoServer();
  const forward = await forwardLocal(specTo(peer), new TcpDialer());
  const socket = await echoing(forward.port);
  socket.on("error", () => {});
  const draining = forward.close();
  const patient = forward.close({ timeout: 60_000 });
  assert.equal(await settled(draining), false);
  await forward.close({ force: true });
  await Promise.all([draining, patient]);
});

test("300 connections one after another leave nothing open", async () => {
  await using peer = await sinkServer();
  await using forward = await forwardLocal(specTo(peer), new TcpDialer());
  for (let index = 0; index < 300; index++) await transfer(forward.port, { send: index });
  await waitFor(() => forward.stats.open === 0 && peer.open === 0);
  assert.equal(forward.stats.total, 300);
});
