import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { test } from "node:test";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { relay } from "../lib/forward/relay.ts";
import { digest, pattern, patternReceived, type Received } from "./support/tcp.ts";
import { countTimers } from "./support/timers.ts";
import { atRest, tempDir, waitFor } from "./support/tools.ts";

const MiB = 1024 * 1024;

/** A relay between two pairs: who connected, and where to. */
interface Rig {
  client: Duplex;
  local: Duplex;
  remote: Duplex;
  server: Duplex;
}

const KINDS = { TCP: tcpRig, Unix: unixRig, memory: () => Promise.resolve(memoryRig()) };

async function tcpRig(): Promise<Rig> {
  const [[client, local], [remote, server]] = await Promise.all([tcpPair(), tcpPair()]);
  return { client, local, remote, server };
}

function memoryRig(highWaterMark?: number): Rig {
  const [client, local] = memoryPair(highWaterMark);
  const [remote, server] = memoryPair(highWaterMark);
  return { client, local, remote, server };
}

async function unixRig(): Promise<Rig> {
  await using folder = await tempDir();
  const address = { path: join(folder.path, "socket") };
  const [client, local] = await socketPair(address);
  const [remote, server] = await socketPair(address);
  return { client, local, remote, server };
}

function tcpPair(): Promise<[Socket, Socket]> {
  return socketPair({ port: 0, host: "127.0.0.1" });
}

async function socketPair(
  address: { path: string } | { port: number; host: string },
): Promise<[Socket, Socket]> {
  const listener = createServer({ allowHalfOpen: true });
  listener.listen(address);
  await once(listener, "listening");
  const where = "path" in address
    ? address
    : { ...address, port: (listener.address() as AddressInfo).port };
  const near = connect({ ...where, allowHalfOpen: true });
  const [[far]] = await Promise.all([once(listener, "connection"), once(near, "connect")]);
  await new Promise<void>((resolve) => {
    listener.close();
    setImmediate(resolve);
  });
  return [near, far];
}

/** Like a socket pair, but with no kernel between that takes in megabytes. */
class MemoryEnd extends Duplex {
  peer: MemoryEnd | undefined;
  #taken: (() => void) | undefined;

  override _read(): void {
    if (this.peer === undefined) return;
    const taken = this.peer.#taken;
    this.peer.#taken = undefined;
    taken?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: () => void): void {
    if (this.peer?.push(chunk)) callback();
    else this.#taken = callback;
  }

  override _final(callback: () => void): void {
    this.peer?.push(null);
    callback();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    const whole = this.writableFinished && this.readableEnded;
    if (!whole) this.peer?.destroy(new Error("reset by the other end"));
    callback(error);
  }
}

function memoryPair(highWaterMark = 64 * 1024): [MemoryEnd, MemoryEnd] {
  const ends = [new MemoryEnd({ highWaterMark }), new MemoryEnd({ highWaterMark })] as const;
  ends[0].peer = ends[1];
  ends[1].peer = ends[0];
  return [...ends];
}

/** Reads to the end; rejects where there is none. */
async function received(end: Duplex): Promise<Received> {
  const chunks: Buffer[] = [];
  end.on("data", (chunk: Buffer) => chunks.push(chunk));
  const ended = once(end, "end");
  const closed = once(end, "close").then(() => {
    throw new Error("closed before its end");
  });
  closed.catch(() => {});
  await Promise.race([ended, closed]);
  return digest(chunks);
}

async function send(end: Duplex, chunks: Iterable<Buffer>): Promise<void> {
  for (const chunk of chunks) {
    if (!end.write(chunk)) await once(end, "drain");
  }
}

/** `pattern`, cut into chunks of these sizes, over and over. */
function* chopped(bytes: number, seed: number, sizes: readonly number[]): Generator<Buffer> {
  const whole = Buffer.concat([...pattern(bytes, seed)]);
  for (let position = 0, index = 0; position < bytes; index++) {
    const size = sizes[index % sizes.length] ?? bytes;
    yield whole.subarray(position, position + size);
    position += size;
  }
}

const side = fc.record({
  bytes: fc.oneof(fc.constantFrom(0, 1), fc.nat(200 * 1024)),
  sizes: fc.array(
    fc.oneof(fc.integer({ min: 500, max: 3_000 }), fc.integer({ min: 3_000, max: 70_000 })),
    { minLength: 1, maxLength: 5 },
  ),
  // Ends its own side only after it has read the other's end.
  waits: fc.boolean(),
  // How many turns it is late with each chunk.
  delay: fc.nat(2),
});

interface Plan {
  bytes: number;
  sizes: number[];
  waits: boolean;
  delay: number;
}

async function speak(end: Duplex, plan: Plan, seed: number): Promise<Received> {
  const reading = received(end);
  for (const chunk of chopped(plan.bytes, seed, plan.sizes)) {
    for (let turn = 0; turn < plan.delay; turn++) await nextTurn();
    await send(end, [chunk]);
  }
  if (plan.waits) await reading;
  end.end();
  return await reading;
}

for (
  const [kind, makeRig, numRuns] of [
    ["TCP", tcpRig, 100],
    ["memory", () => Promise.resolve(memoryRig(16)), 150],
  ] as const
) {
  test(`random chunks and random ends never lose, add or reorder a byte (${kind})`, async () => {
    await fc.assert(
      fc.asyncProperty(side, side, async (first, second) => {
        const rig = await makeRig();
        const result = relay(rig.local, rig.remote);
        const [answer, question] = await Promise.all([
          speak(rig.client, first, 1),
          // Two that wait for each other would wait for ever.
          speak(rig.server, { ...second, waits: second.waits && !first.waits }, 2),
        ]);
        assert.deepEqual(question, patternReceived(first.bytes, 1));
        assert.deepEqual(answer, patternReceived(second.bytes, 2));
        assert.deepEqual(await result, {
          sent: first.bytes,
          received: second.bytes,
          failure: undefined,
        });
        assert.ok(rig.local.closed && rig.remote.closed);
      }),
      { numRuns },
    );
  });
}

for (const [kind, makeRig] of Object.entries(KINDS)) {
  test(`a client that ends its side first gets the whole answer (${kind})`, async () => {
    const { client, local, remote, server } = await makeRig();
    const result = relay(local, remote);
    const answer = received(client);
    client.end(Buffer.concat([...pattern(2 * MiB, 3)]));
    assert.deepEqual(await received(server), patternReceived(2 * MiB, 3));
    assert.equal(client.readableEnded, false);
    await send(server, pattern(3_000_000, 4));
    server.end();
    assert.deepEqual(await answer, patternReceived(3_000_000, 4));
    assert.deepEqual(await result, { sent: 2 * MiB, received: 3_000_000, failure: undefined });
  });

  test(`a server that ends its side first gets the whole rest (${kind})`, async () => {
    const { client, local, remote, server } = await makeRig();
    const result = relay(local, remote);
    const question = received(server);
    server.end(Buffer.concat([...pattern(3_000_000, 4)]));
    assert.deepEqual(await received(client), patternReceived(3_000_000, 4));
    assert.equal(server.readableEnded, false);
    await send(client, pattern(2 * MiB, 3));
    client.end();
    assert.deepEqual(await question, patternReceived(2 * MiB, 3));
    assert.deepEqual(await result, { sent: 2 * MiB, received: 3_000_000, failure: undefined });
  });

  if (kind === "Unix") continue; // It knows no reset.
  test(`an end that is reset resets the other, and is named with its error (${kind})`, async () => {
    for (const culprit of ["local", "remote"] as const) {
      const { client, local, remote, server } = await makeRig();
      const [breaks, suffers] = culprit === "local" ? [client, server] : [server, client];
      const result = relay(local, remote);
      breaks.on("error", () => {});
      const suffered = once(suffers, "error");
      suffers.resume();
      breaks.write("begun");
      await once(suffers, "data");
      if ("resetAndDestroy" in breaks) (breaks as Socket).resetAndDestroy();
      else breaks.destroy();
      const { sent, received, failure } = await result;
      assert.deepEqual([sent, received], culprit === "local" ? [5, 0] : [0, 5]);
      assert.equal(failure?.side, culprit);
      assert.match(
        String(failure?.error),
        kind === "TCP" ? /ECONNRESET/ : /reset by the other end/,
      );
      assert.match(String(await suffered), kind === "TCP" ? /ECONNRESET/ : /reset by/);
    }
  });
}

test("an end that fails closes a Unix socket at the other end, which knows no reset", async () => {
  const boom = new Error("boom");
  for (const culprit of ["local", "remote"] as const) {
    const { client, local, remote, server } = await unixRig();
    const rig = { local, remote };
    const result = relay(local, remote);
    client.resume();
    server.resume();
    rig[culprit].destroy(boom);
    await once(culprit === "local" ? server : client, "end");
    assert.deepEqual((await result).failure, { side: culprit, error: boom });
    for (const end of [client, server]) end.destroy();
  }
});

test("a reader that does not read pauses the writer, and gets everything when it does", async () => {
  const { client, local, remote, server } = memoryRig();
  const result = relay(local, remote);
  let accepted = 0;
  const sending = (async () => {
    for (const chunk of pattern(64 * MiB)) {
      await new Promise<void>((resolve) => client.write(chunk, () => resolve()));
      accepted += chunk.length;
    }
    client.end();
  })();
  assert.ok(await atRest(() => accepted) < 2 * MiB, `${accepted} bytes went in`);
  server.end();
  assert.deepEqual(await received(server), patternReceived(64 * MiB));
  client.resume();
  await sending;
  assert.equal((await result).sent, 64 * MiB);
});

test("what waits in our own sockets for a reader that does not read stays bounded", async () => {
  const { client, local, remote, server } = await tcpRig();
  const result = relay(local, remote);
  // A write that waits fails on Deno 2.9 when its peer has ended without sending a byte.
  for (const end of [client, server]) end.write("x");
  const sending = send(client, pattern(64 * MiB)).then(() => client.end());
  let most = 0;
  // The kernel takes in some megabytes; then it must come to rest.
  await atRest(() => {
    most = Math.max(most, local.readableLength + remote.writableLength);
    return (client as Socket).bytesWritten;
  });
  assert.ok(most > 0 && most < 2 * MiB, `${most} bytes wait`);
  server.end();
  client.resume();
  const whole = digest([Buffer.from("x"), ...pattern(64 * MiB)]);
  assert.deepEqual(await received(server), whole);
  await sending;
  assert.equal((await result).failure, undefined);
});

test("an end that was gone before the relay began ends it at once, and the other end too", async () => {
  const boom = new Error("boom");
  for (const error of [boom, undefined]) {
    for (const settled of [true, false]) {
      for (const culprit of ["local", "remote"] as const) {
        const rig = memoryRig();
        const dead = rig[culprit];
        const other = rig[culprit === "local" ? "remote" : "local"];
        rig.client.on("error", () => {});
        rig.server.on("error", () => {});
        if (settled) {
          dead.once("error", () => {});
          dead.destroy(error);
          await once(dead, "close").catch(() => {});
        } else {
          dead.destroy(error);
        }
        const { failure } = await relay(rig.local, rig.remote);
        assert.equal(failure?.side, culprit);
        if (error === undefined) assert.match(String(failure?.error), /closed before its end/);
        else assert.equal(failure?.error, boom);
        assert.ok(other.destroyed);
      }
    }
  }
  const both = memoryRig();
  for (const end of Object.values(both)) end.on("error", () => {}).destroy();
  assert.equal((await relay(both.local, both.remote)).failure?.side, "local");
});

test("an end that had been read to its end before the relay began still ends the other", async () => {
  const { client, local, remote, server } = memoryRig();
  client.end();
  local.resume();
  await once(local, "end");
  const result = relay(local, remote);
  client.resume();
  server.end();
  await received(server);
  assert.equal((await result).failure, undefined);
});

/** An SSH channel whose server answers and then closes for good: what it is sent is dropped. */
function closingChannel(answer: Iterable<Buffer>, closesAfter = 0): Duplex {
  const chunks = answer[Symbol.iterator]();
  const channel = new Duplex({
    autoDestroy: true,
    read() {
      const { value, done } = chunks.next();
      this.push(done ? null : value);
    },
    write() {}, // Never calls back: the window is closed.
  });
  return channel.once("end", async () => {
    if (closesAfter > 0) await sleep(closesAfter);
    channel.destroy();
  });
}

test("a far side that closes for good while the client still sends loses nothing of its answer", async () => {
  await Promise.all([0, 100].map(async (closesAfter) => {
    const [client, local] = await tcpPair();
    client.on("error", () => {});
    const sender = setInterval(() => client.writable && client.write("more"), 5);
    const begun = performance.now();
    const result = relay(local, closingChannel(pattern(MiB, 8), closesAfter));
    await sleep(300); // It reads late.
    assert.deepEqual(await received(client), patternReceived(MiB, 8));
    assert.equal(local.destroyed, false);
    const { received: count, failure } = await result;
    clearInterval(sender);
    const time = performance.now() - begun;
    assert.ok(time > 900 && time < 2_500, `closed after ${time} ms`);
    assert.equal(count, MiB);
    // It is nobody's failure.
    assert.equal(failure, undefined);
    client.destroy();
  }));
});

test("a client that sends everything before it reads gets the answer of a far side that is gone", async () => {
  const [client, local] = await tcpPair();
  const result = relay(local, closingChannel(pattern(MiB, 8)));
  const begun = performance.now();
  await send(client, pattern(32 * MiB));
  client.end();
  assert.deepEqual(await received(client), patternReceived(MiB, 8));
  assert.equal((await result).failure, undefined);
  assert.ok(performance.now() - begun < 900, "nothing had to wait for the linger's end");
});

test("the linger begins only when the last byte has left", async () => {
  const [client, local] = memoryPair(16 * 1024);
  // So much that the last bytes wait in the local end, and so little that all was read before.
  const result = relay(local, closingChannel(pattern(25 * 1024, 9, 10 * 1024)));
  await sleep(1_200);
  assert.ok(local.writableLength > 0, "nothing waits: the test proves nothing");
  assert.deepEqual(await received(client), patternReceived(25 * 1024, 9));
  client.end();
  assert.equal((await result).failure, undefined);
});

test("a client that leaves when the far side has closed for good is not kept waiting", async () => {
  const [client, local] = await tcpPair();
  const begun = performance.now();
  const result = relay(local, closingChannel(pattern(1_000)));
  await received(client);
  client.end();
  assert.equal((await result).failure, undefined);
  assert.ok(performance.now() - begun < 800);
});

test("a signal cuts off a connection whose far side takes nothing more", async () => {
  for (const clientEnds of [true, false]) {
    const [client, local] = await tcpPair();
    client.on("error", () => {});
    const remote = new Duplex({ read() {}, write() {} });
    const cut = new AbortController();
    const result = relay(local, remote, cut.signal);
    client.resume().write("on the way for ever");
    await waitFor(() => remote.writableLength > 0);
    if (clientEnds) {
      // Both of the client's directions end well, and its socket is closed.
      client.end();
      remote.push(null);
      await once(local, "close");
    }
    const reason = new Error("enough");
    cut.abort(reason);
    assert.deepEqual((await result).failure, { side: "local", error: reason });
    assert.ok(local.closed && remote.closed);
    client.destroy();
  }
});

test("a signal cuts off a client that does not take the answer of a far side that is gone", async () => {
  const [client, local] = memoryPair(16 * 1024);
  client.on("error", () => {});
  const remote = closingChannel(pattern(25 * 1024, 9, 10 * 1024));
  const cut = new AbortController();
  const result = relay(local, remote, cut.signal);
  await once(remote, "close");
  const reason = new Error("enough");
  cut.abort(reason);
  assert.deepEqual((await result).failure, { side: "local", error: reason });
  assert.ok(client.destroyed);
});

test("a signal that was given before the relay began cuts it off as well", async () => {
  const { client, local, remote, server } = memoryRig();
  for (const end of [client, server]) end.on("error", () => {});
  const reason = new Error("too late");
  const { failure } = await relay(local, remote, AbortSignal.abort(reason));
  assert.deepEqual(failure, { side: "local", error: reason });
});

test("no way of ending leaves a timer", async () => {
  using timers = countTimers();
  const endings: ((rig: Rig) => void)[] = [
    ({ client, server }) => (client.end(), server.end()),
    ({ client }) => client.destroy(),
    ({ server }) => server.destroy(),
    ({ local }) => local.destroy(),
    ({ remote }) => remote.destroy(new Error("boom")),
  ];
  for (const makeRig of Object.values(KINDS)) {
    for (const finish of endings) {
      const rig = await makeRig();
      for (const end of [rig.client, rig.server]) end.on("error", () => {}).resume();
      const result = relay(rig.local, rig.remote);
      rig.client.write("some");
      finish(rig);
      // A client that only ends its side is answered with the server's end.
      rig.server.once("end", () => rig.server.end());
      rig.client.once("end", () => rig.client.end());
      await result;
    }
  }
  const [client, local] = await tcpPair();
  const result = relay(local, closingChannel(pattern(1_000)));
  client.resume();
  await waitFor(() => timers.pending > 0, { what: "the linger" });
  client.end();
  await result;
  await waitFor(() => timers.pending === 0, { timeout: 500, what: "the last timer's end" });
});

test("an end that is cut while its FIN is on its way is closed all the same", async () => {
  const [client, local] = await tcpPair();
  const [remote, server] = memoryPair();
  client.resume();
  server.on("error", () => {});
  let closed = 0;
  for (const end of [client, local]) end.on("error", () => {}).once("close", () => closed++);
  const stop = new AbortController();
  const relayed = relay(local, remote, stop.signal);
  // The relay has called local.end() by then, and the loop has not turned.
  remote.once("end", () => queueMicrotask(() => stop.abort(new Error("cut"))));
  server.end();
  await waitFor(() => closed > 0, { what: "the end" });
  const { failure } = await relayed;
  assert.equal((failure?.error as Error).message, "cut");
  client.end();
  await waitFor(() => closed === 2, { what: "the end of both" });
});
