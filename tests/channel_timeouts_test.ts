/** ChannelTimeout: idle channels are closed, busy ones stay, and so does everything else. */
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { type AddressInfo, connect as connectSocket, createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { FairleadError } from "../lib/errors.ts";
import type { SshChannel } from "../lib/ssh/channel.ts";
import { ChannelTimeouts, type ChannelType } from "../lib/ssh/channel_timeouts.ts";
import { connect, type ConnectOptions } from "../lib/tunnel/tunnel.ts";
import { connectOptions } from "./support/fairlead.ts";
import { type SshServer, startSshd } from "./support/sshd.ts";
import { echoServer } from "./support/tcp.ts";
import { countTimers } from "./support/timers.ts";
import { skipUnless, tempDir, waitFor } from "./support/tools.ts";
import { warned } from "./support/warnings.ts";

const skip = skipUnless("sshd", "ssh-keygen");

/** What of a channel matters here. */
class FakeChannel extends EventEmitter {
  onActivity: (() => void) | undefined;
  error: FairleadError | undefined;
  closedAt = 0;

  destroy(error: FairleadError): void {
    this.error = error;
    this.closedAt = performance.now();
    this.emit("close");
  }
}

function watched(timeouts: Record<string, number> | ChannelTimeouts, type: ChannelType) {
  const channel = new FakeChannel();
  const all = timeouts instanceof ChannelTimeouts ? timeouts : new ChannelTimeouts(timeouts);
  const same: unknown = all.watch(type, channel as unknown as SshChannel);
  assert.equal(same, channel);
  return channel;
}

test("a channel in which nothing moves is closed, with the reason in words", async () => {
  using timers = countTimers();
  const began = performance.now();
  const channel = watched({ "direct-tcpip": 60 }, "direct-tcpip");
  await once(channel, "close");
  assert.ok(performance.now() - began >= 59);
  assert.equal(channel.error?.code, "timeout");
  assert.equal(channel.error?.message, "idle for 0.06 s (ChannelTimeout)");
  assert.equal(timers.pending, 0);
});

test("whatever moves begins the time anew, without a timer of its own", async () => {
  using timers = countTimers();
  const channel = watched({ "*": 500 }, "session");
  let last = 0;
  for (let count = 0; count < 30; count++) {
    await sleep(20);
    last = performance.now();
    channel.onActivity?.();
    assert.equal(timers.pending, 1);
  }
  assert.equal(channel.error, undefined);
  await once(channel, "close");
  assert.ok(channel.closedAt - last >= 499, `${channel.closedAt - last} ms`);
});

test("the first pattern that matches counts, and 0 stands for no limit", () => {
  using timers = countTimers();
  const limited = (timeouts: Record<string, number>, type: ChannelType) => {
    const channel = watched(timeouts, type);
    const pending = timers.pending;
    channel.emit("close");
    return pending === 1;
  };
  const timeouts = { session: 0, "direct-*": 60_000, "forwarded-tcpi?": 0, "f*-streamlocal@*": 1 };
  assert.equal(limited(timeouts, "session"), false);
  assert.equal(limited(timeouts, "direct-tcpip"), true);
  assert.equal(limited(timeouts, "direct-streamlocal@openssh.com"), true);
  assert.equal(limited(timeouts, "forwarded-tcpip"), false);
  assert.equal(limited(timeouts, "forwarded-streamlocal@openssh.com"), true);
  assert.equal(limited({ "*": 0, "direct-tcpip": 60_000 }, "direct-tcpip"), false);
  assert.equal(limited({}, "direct-tcpip"), false);
});

test("a channel that closes takes its timer with it, however long that was", () => {
  using timers = countTimers();
  for (const limit of [1_000, 2 ** 40, Infinity]) {
    const channel = watched({ "*": limit }, "direct-tcpip");
    assert.equal(timers.pending, 1);
    channel.emit("close");
    assert.equal(timers.pending, 0);
  }
});

test("global closes all channels once nothing has moved in any, and no pattern means it", async () => {
  using timers = countTimers();
  const timeouts = new ChannelTimeouts({ global: 500 });
  const [one, other] = [watched(timeouts, "session"), watched(timeouts, "direct-tcpip")];
  assert.equal(timers.pending, 1);
  let last = 0;
  for (let count = 0; count < 30; count++) {
    await sleep(20);
    last = performance.now();
    one.onActivity?.();
  }
  assert.deepEqual([one.error, other.error], [undefined, undefined]);
  await once(other, "close");
  assert.ok(other.closedAt - last >= 499);
  assert.equal(one.error?.message, "idle for 0.5 s (ChannelTimeout)");
  assert.equal(timers.pending, 0);
  const later = watched(timeouts, "direct-tcpip");
  assert.equal(timers.pending, 1, "and begins anew with the next one");
  later.emit("close");
  assert.equal(timers.pending, 0);
  assert.equal(watched({ "*": 0 }, "session").onActivity, undefined);
});

test("the reason is told in the largest unit that fits", () => {
  const { setTimeout: wait } = globalThis;
  const { now } = performance;
  let ahead = 0;
  let runOut = () => {};
  try {
    Object.assign(globalThis, { setTimeout: (callback: () => void) => void (runOut = callback) });
    performance.now = () => now.call(performance) + ahead;
    const told = [30_000, 90_000, 300_000, 7_200_000].map((limit) => {
      const channel = watched({ "*": limit }, "session");
      ahead += limit;
      runOut();
      return channel.error?.message;
    });
    assert.deepEqual(
      told,
      ["30 s", "90 s", "5 m", "2 h"].map((time) => `idle for ${time} (ChannelTimeout)`),
    );
  } finally {
    performance.now = now;
    Object.assign(globalThis, { setTimeout: wait });
  }
});

test("times that are none are refused", async () => {
  for (const timeout of [-1, NaN]) {
    const options = { host: "127.0.0.1", port: 1, channelTimeouts: { "direct-*": timeout } };
    await assert.rejects(connect(options), (error) => {
      assert.ok(error instanceof RangeError);
      assert.match(error.message, /^channelTimeouts\["direct-\*"\] must be a number of milli/);
      return true;
    });
  }
});

function reach(server: SshServer, channelTimeouts: Record<string, number>): ConnectOptions {
  return {
    ...connectOptions(server),
    channelTimeouts,
  };
}

/** Sends one byte and waits until it has come back. */
async function exchange(socket: Duplex): Promise<void> {
  const answer = once(socket, "data");
  socket.write("x");
  await answer;
}

/** Connects, and shows that the connection works. */
async function client(
  address: { port: number } | { path: string },
  sockets: Socket[],
): Promise<Socket> {
  const socket = connectSocket(address as { path: string });
  sockets.push(socket);
  await exchange(socket);
  return socket;
}

/** Resolves when the connection has ended, however that was. */
function gone(socket: Socket): Promise<unknown> {
  socket.on("error", () => {}).resume();
  return new Promise((resolve) => socket.once("close", resolve));
}

/** Sends a little all the time. */
async function workFor(streams: readonly Duplex[], ms: number): Promise<void> {
  for (const end = performance.now() + ms; performance.now() < end; await sleep(50)) {
    for (const stream of streams) stream.write("x");
  }
}

test(
  "of every kind of forward the idle connection goes, and the busy one stays",
  skip,
  async () => {
    await using sshd = await startSshd();
    await using folder = await tempDir();
    await using echo = await echoServer();
    const there = join(folder.path, "there");
    const local = createServer((socket) => socket.pipe(socket));
    local.listen(there);
    await once(local, "listening");
    await using tunnel = await connect(reach(sshd, { "*": 1_000 }));
    const to = `${echo.host}:${echo.port}`;
    const remote = join(folder.path, "remote");
    const [forward, unix, backward] = await Promise.all([
      tunnel.forwardLocal(`0:${to}`),
      tunnel.forwardLocal(`0:${there}`),
      tunnel.forwardRemote(`0:${to}`),
      tunnel.forwardRemote(`${remote}:${to}`),
    ]);
    const addresses = [
      { port: forward.port },
      { port: unix.port },
      { port: backward.port },
      { path: remote },
    ];
    const sockets: Socket[] = [];
    try {
      await warned(async (warnings) => {
        const idle = await Promise.all(addresses.map((address) => client(address, sockets)));
        const busy = await Promise.all(addresses.map((address) => client(address, sockets)));
        await Promise.all([workFor(busy, 2_500), ...idle.map(gone)]);
        for (const socket of busy) await exchange(socket);
        await waitFor(() => warnings.length >= 4, { what: "one line for each" });
        const reason = /: reset: idle for 1 s \(ChannelTimeout\); 1 bytes sent, 1 received$/;
        for (const warning of warnings) assert.match(warning, reason);
        const kinds = warnings.map((warning) => warning.slice(0, 2)).sort();
        assert.deepEqual(kinds, ["-L", "-L", "-R", "-R"]);
      });
    } finally {
      sockets.forEach((socket) => socket.destroy());
      local.close();
    }
  },
);

test("either direction alone keeps a channel open", skip, async () => {
  await using sshd = await startSshd();
  await using tunnel = await connect(reach(sshd, { "direct-*": 1_000 }));
  const sockets: Socket[] = [];
  const peer = createServer((socket) => void sockets.push(socket.on("error", () => {})));
  peer.listen(0, "127.0.0.1");
  await once(peer, "listening");
  const { port } = peer.address() as AddressInfo;
  const dial = () => tunnel.dial({ host: "127.0.0.1", port });
  const [sending, receiving, silent] = [await dial(), await dial(), await dial()];
  try {
    await waitFor(() => sockets.length === 3);
    receiving.resume();
    const ended = once(silent, "error");
    await workFor([sending, sockets[1] as Socket], 2_500);
    const [error] = await ended;
    assert.equal(error.message, "idle for 1 s (ChannelTimeout)");
    assert.deepEqual([sending.destroyed, receiving.destroyed], [false, false]);
  } finally {
    sockets.forEach((socket) => socket.destroy());
    peer.close();
  }
});

test(
  "a command that says nothing is ended, one that writes to stderr alone is not",
  skip,
  async () => {
    await using sshd = await startSshd();
    await using tunnel = await connect(reach(sshd, { session: 2_000 }));
    const talking = await tunnel.exec("while :; do echo x >&2; sleep 0.05; done");
    talking.resume();
    talking.stderr.resume();
    const silent = await tunnel.exec("sleep 60");
    const [error] = await once(silent, "error");
    assert.equal(error.message, "idle for 2 s (ChannelTimeout)");
    await sleep(2_200);
    assert.equal(talking.destroyed, false);
    talking.destroy();
  },
);
