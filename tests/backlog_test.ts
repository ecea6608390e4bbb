/** Callers for whom there is no room yet. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { createServer, Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Backlog } from "../lib/forward/backlog.ts";
import { forwardLocal } from "../lib/forward/local.ts";
import type { ListenAddress, LocalForwardSpec } from "../lib/forward/spec.ts";
import { connected, logged, PendingDialer, TcpDialer } from "./support/dialers.ts";
import { echoServer, patternReceived, transfer } from "./support/tcp.ts";
import { countTimers } from "./support/timers.ts";
import { tempDir, waitFor } from "./support/tools.ts";

/** Leaves dials pending, and has room for so many of them. */
class Ward extends PendingDialer {
  capacity: number;
  #freed = Promise.withResolvers<void>();
  parked = 0;

  constructor(capacity: number) {
    super();
    this.capacity = capacity;
  }

  override dial(...args: Parameters<PendingDialer["dial"]>): ReturnType<PendingDialer["dial"]> {
    this.parked++;
    return super.dial(...args).finally(() => this.free());
  }

  room(): Promise<void> | undefined {
    return this.parked < this.capacity ? undefined : this.#freed.promise;
  }

  free(places = 1): void {
    this.parked -= places;
    this.#freed.resolve();
    this.#freed = Promise.withResolvers();
  }
}

function spec(listen: ListenAddress = { bind: "127.0.0.1", port: 0 }): LocalForwardSpec {
  return { name: "test", listen, destination: { host: "far", port: 1 } };
}

for (const kind of ["TCP", "Unix"]) {
  test(`of 300 ${kind} callers at once those beyond the room wait, and come in one by one, in order`, async () => {
    await logged(async (lines) => {
      await using peer = await echoServer();
      await using folder = await tempDir();
      const path = join(folder.path, "socket");
      const dialer = new Ward(256);
      await using forward = await forwardLocal(
        spec(kind === "TCP" ? undefined : { path }),
        dialer,
      );
      const sockets: Socket[] = [];
      const ports: (number | undefined)[] = [];
      for (let index = 0; index < 300; index++) {
        const socket = await connected(kind === "TCP" ? forward.port : path);
        socket.write(`I am ${index}`);
        sockets.push(socket);
        ports.push(socket.localPort);
      }
      await waitFor(() => dialer.pending.length === 256);
      await sleep(50);
      assert.deepEqual([dialer.pending.length, forward.stats.total], [256, 256]);
      // Each place that is free is one caller's; then everybody's.
      for (let index = 0; index < 300; index++) {
        const dial = dialer.pending[index];
        assert.ok(dial, `the dial of caller ${index}`);
        dial.resolve(await new TcpDialer().dial(peer));
        const [answer] = await once(sockets[index] as Socket, "data");
        assert.equal(String(answer), `I am ${index}`);
        await waitFor(() => forward.stats.total === Math.min(300, 257 + index));
        assert.equal(dialer.pending.length, forward.stats.total);
        sockets[index]?.end().resume();
      }
      if (kind === "TCP") {
        assert.deepEqual(dialer.pending.map(({ from }) => from), ports);
      }
      await waitFor(() => forward.stats.open === 0 && peer.open === 0);
      const { total, refused, gone, failed } = forward.stats;
      assert.deepEqual({ total, refused, gone, failed }, {
        total: 300,
        refused: 0,
        gone: 0,
        failed: 0,
      });
      assert.equal(lines.length, 300);
    });
  });
}

test("what callers send and end while they wait comes through, and is not read before", async () => {
  const accepted: Socket[] = [];
  const entered: Socket[] = [];
  const gate = Promise.withResolvers<void>();
  let open = false;
  const backlog = new Backlog(() => open ? undefined : gate.promise, (socket) => {
    entered.push(socket);
    socket.pipe(socket);
  });
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    accepted.push(socket);
    backlog.add(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const transfers = [0, 1_000, 1_000_000].map((send) => transfer(port, { send, seed: send }));
  await waitFor(() => accepted.length === 3);
  await sleep(100);
  assert.deepEqual(accepted.map(({ bytesRead }) => bytesRead), [0, 0, 0]);
  assert.deepEqual(entered, []);
  open = true;
  gate.resolve();
  for (const [index, send] of [0, 1_000, 1_000_000].entries()) {
    const { bytes, sha256 } = await (transfers[index] as ReturnType<typeof transfer>);
    assert.deepEqual({ bytes, sha256 }, patternReceived(send, send));
  }
  assert.deepEqual(entered, accepted);
  server.close();
});

test("a caller that resets while it waits keeps nobody else from coming in", async () => {
  await logged(async (lines) => {
    const dialer = new Ward(0);
    const forward = await forwardLocal(spec(), dialer);
    const leaver = await connected(forward.port);
    leaver.write("never mind");
    const stayer = await connected(forward.port);
    await sleep(50);
    leaver.resetAndDestroy();
    await sleep(50);
    assert.equal(forward.stats.total, 0);
    dialer.capacity = 2;
    dialer.free(0);
    await waitFor(() => dialer.pending.some(({ from }) => from === stayer.localPort));
    // Bun knows already that one has gone; the others learn it as they read.
    await waitFor(() => dialer.pending.filter(({ signal }) => !signal.aborted).length === 1);
    for (const dial of dialer.pending.filter(({ signal }) => signal.aborted)) {
      dial.reject(dial.signal.reason);
    }
    stayer.resetAndDestroy();
    await waitFor(() => dialer.pending.every(({ signal }) => signal.aborted));
    dialer.pending.at(-1)?.reject(new Error("gone"));
    await forward.close();
    assert.deepEqual([forward.stats.refused, forward.stats.failed], [0, 0]);
    assert.equal(forward.stats.gone, lines.length);
    for (const line of lines) assert.match(line, /from 127\.0\.0\.1:\d+: left before/);
  });
});

test("at most 1,024 wait: others are reset, which is logged once, until all have come in", async () => {
  await logged(async (lines) => {
    let room: PromiseWithResolvers<void> | undefined = Promise.withResolvers();
    const entered: Socket[] = [];
    const backlog = new Backlog(() => room?.promise, (socket) => entered.push(socket));
    backlog.name("127.0.0.1:8080");
    const server = createServer({ pauseOnConnect: true }, (socket) => backlog.add(socket));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    for (const outage of [1, 2]) {
      const waiting = Array.from({ length: 1_024 }, () => new Socket());
      for (const socket of waiting) backlog.add(socket);
      for (let count = 0; count < 3; count++) {
        const socket = new Socket();
        const failed = once(socket, "error");
        socket.connect(port, "127.0.0.1").resume();
        assert.equal((await failed)[0].code, "ECONNRESET");
      }
      assert.deepEqual(
        lines,
        Array(outage).fill(
          "warning: 127.0.0.1:8080: 1024 callers wait already; until there is room, others are reset",
        ),
      );
      const before = room;
      room = undefined;
      before?.resolve();
      await waitFor(() => entered.length === 1_024);
      assert.deepEqual(entered.splice(0).map((s) => waiting.indexOf(s)), [...waiting.keys()]);
      for (const socket of waiting) socket.destroy();
      room = Promise.withResolvers();
    }
    server.close();
  });
});

for (const options of [{ force: true }, { timeout: 100 }]) {
  test(`close(${JSON.stringify(options)}) resets those who wait, and nobody comes in afterwards`, async () => {
    using timers = countTimers();
    const dialer = new Ward(2);
    const forward = await forwardLocal(spec(), dialer);
    const sockets: Socket[] = [];
    for (let count = 0; count < 6; count++) {
      const socket = await connected(forward.port);
      socket.write(Buffer.alloc(1_000));
      sockets.push(socket);
    }
    const errors = sockets.map((socket) => once(socket.resume(), "error"));
    await waitFor(() => dialer.pending.length === 2);
    await sleep(50);
    for (const dial of dialer.pending) {
      dial.signal.addEventListener("abort", () => dial.reject(dial.signal.reason));
    }
    await forward.close(options);
    for (const error of await Promise.all(errors)) assert.equal(error[0].code, "ECONNRESET");
    dialer.free(0);
    await sleep(50);
    assert.equal(dialer.pending.length, 2);
    assert.deepEqual([forward.stats.total, forward.stats.open], [2, 0]);
    await waitFor(() => timers.pending === 0, { what: "the last timer" });
  });
}
