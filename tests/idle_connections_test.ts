/** What a connection costs while nothing moves in it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { test } from "node:test";
import { connect } from "../mod.ts";
import { startSshd } from "./support/sshd.ts";
import { echoServer } from "./support/tcp.ts";
import { countTimers } from "./support/timers.ts";
import { skipUnless, stoppable } from "./support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");

test("idle connections keep no timer, whichever forward they came through", skip, async () => {
  await using sshd = await startSshd();
  await using echo = await echoServer();
  using timers = countTimers();
  const tunnel = await connect({
    host: sshd.host,
    port: sshd.port,
    username: sshd.user,
    identityFiles: [sshd.identity],
    agent: "none",
    userKnownHosts: [sshd.knownHosts],
    globalKnownHosts: [],
  });
  // Not with patience: a test that fails leaves connections open.
  await using _forced = stoppable({}, () => tunnel.close({ force: true }));
  const local = await tunnel.forwardLocal(`0:${echo.host}:${echo.port}`);
  const remote = await tunnel.forwardRemote(`0:${echo.host}:${echo.port}`);
  const dynamic = await tunnel.forwardDynamic("0");
  const ways = [
    () => called(local.port),
    () => called(remote.port as number),
    () => calledBySocks(dynamic.port as number, echo),
  ];
  const idle: Socket[] = [];
  const open = async (count: number) => {
    for (const way of ways) {
      const sockets = await Promise.all(Array.from({ length: count }, way));
      await Promise.all(sockets.map(saysHello));
      idle.push(...sockets);
    }
  };
  await open(1);
  const before = timers.pending;
  await open(30);
  assert.equal(tunnel.channelCount, 3 * 31);
  assert.equal(timers.pending, before);
  for (const socket of idle) socket.destroy();
});

async function called(port: number): Promise<Socket> {
  const socket = connectTcp(port, "127.0.0.1");
  await once(socket, "connect");
  return socket;
}

/** Through SOCKS4. The client of npm keeps a timer of its own for each connection. */
async function calledBySocks(port: number, to: { port: number }): Promise<Socket> {
  const socket = await called(port);
  socket.write(Uint8Array.of(4, 1, to.port >> 8, to.port & 255, 127, 0, 0, 1, 0));
  const [answer] = await once(socket, "data");
  assert.deepEqual([...answer.subarray(0, 2)], [0, 90]);
  return socket;
}

async function saysHello(socket: Socket): Promise<void> {
  socket.write("hello");
  const [answer] = await once(socket, "data");
  assert.equal(String(answer), "hello");
}
