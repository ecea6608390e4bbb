/** Channels through a real sshd: what SSH2_NOTES warns of, each row with a test. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type AddressInfo, createServer, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Readable, Writable } from "node:stream";
import { finished, pipeline } from "node:stream/promises";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { FairleadError, SessionError } from "../lib/errors.ts";
import { connect, type Tunnel, type TunnelOptions } from "../lib/tunnel/tunnel.ts";
import { type SshServer, startSshd } from "./support/sshd.ts";
import {
  digest,
  echoServer,
  parseReceipt,
  pattern,
  patternReceived,
  pausedReader,
  questionAnswer,
  type Received,
  refusingPort,
  resetAfter,
  serverEndsFirst,
  sinkServer,
  sourceServer,
} from "./support/tcp.ts";
import { atRest, skipUnless, tempDir, waitFor } from "./support/tools.ts";
import { makeKey } from "./support/keys.ts";

const MiB = 1024 * 1024;
const sshd = skipUnless("sshd", "ssh-keygen");

function tunnelTo(server: SshServer, options: Partial<TunnelOptions> = {}): Promise<Tunnel> {
  return connect({
    host: server.host,
    port: server.port,
    username: server.user,
    hostKeys: server.hostKeys.map((key) => key.fingerprint),
    identityFiles: [server.identity],
    agent: "none",
    ...options,
  });
}

/** The code of the error with which a promise rejects. */
async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof FairleadError, String(error));
    return error.code;
  }
  throw new Error("it did not reject");
}

async function send(stream: Duplex, chunks: Iterable<Buffer>): Promise<void> {
  for (const chunk of chunks) {
    if (!stream.write(chunk)) await once(stream, "drain");
  }
}

/** Not by async iteration, which destroys the sending side at the end. */
async function received(stream: Duplex): Promise<Received> {
  return digest(await chunksOf(stream));
}

async function chunksOf(stream: Duplex): Promise<Buffer[]> {
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  const closed = once(stream, "close").then(() => {
    throw new Error("closed before its end");
  });
  closed.catch(() => {});
  await Promise.race([once(stream, "end"), closed]);
  return chunks;
}

/** Reads it, and tells in the end whether it came to an end, or what it failed with. */
async function fateOf(stream: Duplex): Promise<{ ended: boolean; error: unknown }> {
  const fate = { ended: false, error: undefined as unknown };
  stream.once("end", () => fate.ended = true);
  stream.once("error", (error) => fate.error = error);
  stream.resume();
  await new Promise((resolve) => stream.once("close", resolve));
  return fate;
}

test(
  "a channel half-closes either side first, and is gone when both have ended",
  sshd,
  async () => {
    await using server = await startSshd();
    await using tunnel = await tunnelTo(server);
    await using late = await questionAnswer({ answerBytes: 3_000_000, seed: 4 });
    await using early = await serverEndsFirst({ answerBytes: 3_000_000, seed: 4 });
    for (const peer of [late, early]) {
      const stream = await tunnel.dial(peer);
      // It reads before it ends, where the other side ends first.
      const answer = received(stream);
      if (peer === early) assert.deepEqual(await answer, patternReceived(3_000_000, 4));
      await send(stream, pattern(2 * MiB, 3));
      stream.end();
      assert.deepEqual(await answer, patternReceived(3_000_000, 4));
      assert.deepEqual(await peer.received(), patternReceived(2 * MiB, 3));
      await waitFor(() => stream.closed && tunnel.channelCount === 0 && peer.open === 0);
    }
  },
);

test("a channel that ends both its sides at once loses nothing, of any size", sshd, async () => {
  await using server = await startSshd();
  await using tunnel = await tunnelTo(server);
  await using sink = await sinkServer();
  for (const bytes of [0, 1, 32_767, 32_768, 32_769, 2 * MiB - 1, 2 * MiB, 2 * MiB + 1]) {
    const stream = await tunnel.dial(sink);
    await send(stream, pattern(bytes, bytes));
    stream.end();
    const receipt = Buffer.concat(await chunksOf(stream));
    assert.deepEqual(parseReceipt(receipt), patternReceived(bytes, bytes));
  }
});

test("what a server sends together with its confirmation is not lost", sshd, async () => {
  await using server = await startSshd();
  await using tunnel = await tunnelTo(server);
  await using peer = await sourceServer(20, 3);
  for (let count = 0; count < 50; count++) {
    const stream = await tunnel.dial(peer);
    assert.deepEqual(await received(stream), patternReceived(20, 3));
    stream.end();
  }
});

test("writes to a channel that the server closes all call back (row 1)", sshd, async () => {
  await using server = await startSshd();
  await using tunnel = await tunnelTo(server);
  await using peer = await resetAfter(1_000);
  const stream = await tunnel.dial(peer);
  const fate = fateOf(stream);
  let asked = 0;
  let answered = 0;
  while (!stream.destroyed && asked < 5_000) {
    asked++;
    stream.write(Buffer.alloc(16 * 1024), () => answered++);
    await sleep(0);
  }
  await waitFor(() => stream.closed && answered === asked);
  assert.ok(asked > 1);
  assert.equal((await fate).error, undefined);
  assert.equal(tunnel.channelCount, 0);
});

test(
  "a channel closes when the server has closed it in the midst of a write (row 1)",
  sshd,
  async () => {
    await using server = await startSshd();
    await using tunnel = await tunnelTo(server);
    await using peer = await pausedReader();
    const stream = await tunnel.dial(peer);
    const fate = fateOf(stream);
    let answered = false;
    // More than its window, so that it waits; and then its peer goes away.
    stream.write(Buffer.alloc(64 * MiB), () => answered = true);
    stream.end();
    await waitFor(() => peer.connections === 1);
    await sleep(100);
    assert.equal(answered, false);
    await peer.stop();
    assert.deepEqual(await fate, { ended: true, error: undefined });
    await waitFor(() => answered && tunnel.channelCount === 0);
  },
);

test("destroy() closes the channel, with its error and its close event (row 2)", sshd, async () => {
  await using server = await startSshd();
  await using tunnel = await tunnelTo(server);
  await using peer = await echoServer();
  const stream = await tunnel.dial(peer);
  stream.write("hello");
  await once(stream, "data");
  const boom = new Error("boom");
  const fate = fateOf(stream);
  const over = finished(stream);
  stream.destroy(boom);
  await assert.rejects(over, boom);
  assert.deepEqual(await fate, { ended: false, error: boom });
  await waitFor(() => tunnel.channelCount === 0 && peer.open === 0);
  await assert.rejects(new Promise((_, reject) => stream.write("late", reject)));
});

test("destroy() in mid-transfer closes the channel on the server", sshd, async () => {
  await using server = await startSshd();
  await using tunnel = await tunnelTo(server);
  await using sink = await sinkServer();
  await using source = await sourceServer(256 * MiB);
  for (const peer of [sink, source]) {
    const stream = await tunnel.dial(peer);
    if (peer === sink) stream.write(Buffer.alloc(16 * MiB));
    else stream.resume();
    await waitFor(() => peer === sink ? sink.bytes > 0 : stream.readableFlowing);
    stream.destroy();
    await once(stream, "close");
    await waitFor(() => tunnel.channelCount === 0 && peer.open === 0);
  }
  // The session is none the worse for it.
  await using echo = await echoServer();
  const stream = await tunnel.dial(echo);
  stream.end("still here");
  assert.deepEqual(await received(stream), digest(Buffer.from("still here")));
});

test("a paused channel closes when it is destroyed, read or not (row 3)", sshd, async () => {
  await using server = await startSshd();
  await using tunnel = await tunnelTo(server);
  await using peer = await sourceServer(10_000);
  const unread = await tunnel.dial(peer);
  await waitFor(() => peer.connections === 1 && unread.readableLength > 0);
  unread.destroy();
  await once(unread, "close");
  await waitFor(() => tunnel.channelCount === 0);

  // One that its peer has closed meanwhile still gives what came.
  const late = await tunnel.dial(peer);
  late.end("x"); // Deno 2.9 drops what a server sends at once to a client that ends without a byte.
  await waitFor(() => tunnel.channelCount === 0, { what: "the peer's CLOSE" });
  assert.deepEqual(await received(late), patternReceived(10_000));
  await waitFor(() => late.closed);
});

/** The sockets that SSH connections are made over, from now on. */
function transportSockets(): { sockets: Socket[]; [Symbol.dispose](): void } {
  const sockets: Socket[] = [];
  const { setNoDelay } = Socket.prototype;
  Socket.prototype.setNoDelay = function (this: Socket, ...options) {
    sockets.push(this);
    return setNoDelay.apply(this, options);
  };
  return {
    sockets,
    [Symbol.dispose]: () => {
      Socket.prototype.setNoDelay = setNoDelay;
    },
  };
}

test(
  "a server that stops reading does not fill our memory, and loses nothing (row 5)",
  sshd,
  async () => {
    await using server = await startSshd();
    using transport = transportSockets();
    await using tunnel = await tunnelTo(server);
    const [socket] = transport.sockets;
    assert.ok(socket);
    await using sink = await sinkServer();
    const count = 20;
    const streams = await Promise.all(Array.from({ length: count }, () => tunnel.dial(sink)));
    server.signalSessions("SIGSTOP");
    const sending = streams.map(async (stream, index) => {
      await send(stream, pattern(2 * MiB, index));
      stream.end();
      const receipt = Buffer.concat(await chunksOf(stream));
      assert.deepEqual(parseReceipt(receipt), patternReceived(2 * MiB, index));
    });
    let most = 0;
    await atRest(() => {
      most = Math.max(most, socket.writableLength);
      return most === 0 ? 0 : socket.bytesWritten;
    });
    assert.ok(most < MiB, `${most} bytes wait in the socket`);
    assert.ok(sink.bytes < count * MiB, "the server did not stop: the test proves nothing");
    server.signalSessions("SIGCONT");
    await Promise.all(sending);
  },
);

test("a reader that does not read holds the far end back, and nobody else", sshd, async () => {
  await using server = await startSshd();
  await using tunnel = await tunnelTo(server);
  await using source = await sourceServer(64 * MiB);
  await using paused = await pausedReader();
  await using echo = await echoServer();
  const [unread, untaken] = await Promise.all([tunnel.dial(source), tunnel.dial(paused)]);
  let taken = 0;
  const offering = (async () => {
    for (const chunk of pattern(64 * MiB)) {
      await new Promise<void>((resolve) => untaken.write(chunk, () => resolve()));
      taken += chunk.length;
    }
    untaken.end();
  })();
  // The window, and two kernels' buffers.
  assert.ok(await atRest(() => taken) < 16 * MiB, `${taken} bytes were taken`);
  // The window is 2 MiB, and no more may come than that.
  assert.ok(unread.readableLength <= 2 * MiB, `${unread.readableLength} bytes wait`);
  const stream = await tunnel.dial(echo);
  stream.end("and the others go on");
  assert.equal((await received(stream)).bytes, 20);
  paused.resume();
  await offering;
  assert.deepEqual(await paused.received(), patternReceived(64 * MiB));
  assert.deepEqual(await received(unread), patternReceived(64 * MiB));
  for (const stream of [untaken, unread]) stream.resume().end();
});

test("a key exchange in mid-transfer loses nothing (row 10)", sshd, async () => {
  await using server = await startSshd({ config: ["RekeyLimit 1M"] });
  await using tunnel = await tunnelTo(server);
  await using echo = await echoServer();
  const stream = await tunnel.dial(echo);
  const answer = received(stream);
  await send(stream, pattern(8 * MiB, 2));
  stream.end();
  assert.deepEqual(await answer, patternReceived(8 * MiB, 2));
  const rekeys = server.log().match(/rekey|set_newkeys: rekeying/g)?.length ?? 0;
  assert.ok(rekeys > 4, `${rekeys} key exchanges`);
});

test("a server with another key than the pinned one is told nothing (row 11)", sshd, async () => {
  await using folder = await tempDir();
  const other = await makeKey(folder.path);
  await using server = await startSshd();
  for (const hostKeys of [other.fingerprint, other.publicLine]) {
    assert.equal(await codeOf(tunnelTo(server, { hostKeys })), "host-key-changed");
  }
  await waitFor(() => server.sessions().length === 0);
  assert.match(server.log(), /SSH2_MSG_KEXINIT received/);
  assert.doesNotMatch(server.log(), /userauth-request|Accepted|SSH2_MSG_NEWKEYS received/);
});

test(
  "a server's sudden death fails what is open, and never looks like an end (row 18)",
  sshd,
  async () => {
    await using server = await startSshd();
    const tunnel = await tunnelTo(server, { retries: 0 });
    await using echo = await echoServer();
    await using source = await sourceServer(64 * MiB);
    const idle = await tunnel.dial(echo);
    const reading = await tunnel.dial(source);
    const paused = await tunnel.dial(source);
    const half = await tunnel.dial(echo);
    half.resume().end();
    const writing = await tunnel.dial(echo);
    await waitFor(() => half.closed);
    const fates = Promise.all([idle, reading, writing].map(fateOf));
    await once(reading, "data");
    const pausedError = new Promise<FairleadError>((resolve) => paused.once("error", resolve));
    server.signalSessions("SIGSTOP");
    writing.write(Buffer.alloc(32 * MiB));
    const pending = [1, 2, 3].map((port) => tunnel.dial({ host: "127.0.0.1", port }));
    const codes = Promise.all(pending.map(codeOf));
    await sleep(50);
    server.signalSessions("SIGKILL");

    assert.deepEqual(await codes, ["connection-lost", "connection-lost", "connection-lost"]);
    const reason = await tunnel.closed;
    assert.ok(reason instanceof SessionError);
    assert.equal(reason.code, "connection-lost");
    for (const { ended, error } of await fates) {
      assert.equal(ended, false);
      assert.ok(error instanceof FairleadError, String(error));
      assert.equal(error.code, "connection-lost");
    }
    assert.equal((await pausedError).code, "connection-lost");
    assert.equal(half.errored, null);
    // And whoever dials now is told the same.
    assert.equal(await codeOf(tunnel.dial(echo)), "connection-lost");
    assert.equal(tunnel.channelCount, 0);
    await tunnel.close();
  },
);

test("close() fails what is open, and whoever dials after it", sshd, async () => {
  await using server = await startSshd();
  await using echo = await echoServer();
  const tunnel = await tunnelTo(server);
  const stream = await tunnel.dial(echo);
  const fate = fateOf(stream);
  await tunnel.close();
  assert.equal(await tunnel.closed, undefined);
  assert.equal(await codeOf(tunnel.dial(echo)), "connection-lost");
  const { ended, error } = await fate;
  assert.equal(ended, false);
  assert.equal((error as FairleadError).code, "connection-lost");
  await waitFor(() => server.sessions().length === 0 && echo.open === 0);
});

test("close() ends also when the server does not answer any more (row 4)", sshd, async () => {
  await using server = await startSshd();
  const tunnel = await tunnelTo(server);
  server.signalSessions("SIGSTOP");
  const begun = performance.now();
  await tunnel.close();
  assert.ok(performance.now() - begun < 3_000);
});

test(
  "what was written last still arrives where the server ended first, and is slow",
  sshd,
  async () => {
    await using server = await startSshd();
    const bytes = MiB;
    let received = 0;
    const slow = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      socket.end("that is all");
      setTimeout(() => socket.resume(), 500);
      socket.on("data", (chunk: Buffer) => received += chunk.length).on("error", () => {});
    });
    slow.listen(0, "127.0.0.1");
    await once(slow, "listening");
    try {
      const tunnel = await tunnelTo(server);
      const { port } = slow.address() as AddressInfo;
      const channel = await tunnel.dial({ host: "127.0.0.1", port });
      channel.resume();
      await once(channel, "end");
      const closed = once(channel, "close");
      await send(channel, pattern(bytes));
      channel.end();
      await closed;
      await tunnel.close();
      await waitFor(() => received === bytes, { what: "all of it arriving" });
    } finally {
      slow.close();
    }
  },
);

test("a piece larger than the window can be read as a whole", sshd, async () => {
  await using server = await startSshd();
  await using source = await sourceServer(MiB);
  await using tunnel = await tunnelTo(server, { windowBudget: 64 * 1024 });
  const stream = await tunnel.dial(source);
  const piece = await waitFor(() => stream.read(MiB / 4) as Buffer | null);
  assert.equal(piece.length, MiB / 4);
  stream.destroy();
});

test("a dial that its signal gives up leaves no channel behind", sshd, async () => {
  await using server = await startSshd();
  await using tunnel = await tunnelTo(server);
  await using echo = await echoServer();
  assert.equal(await codeOf(tunnel.dial(echo, { signal: AbortSignal.abort() })), "cancelled");
  assert.equal(tunnel.channelCount, 0);

  server.signalSessions("SIGSTOP");
  const abort = new AbortController();
  const codes = Promise.all(
    Array.from({ length: 10 }, () => codeOf(tunnel.dial(echo, { signal: abort.signal }))),
  );
  await sleep(20);
  abort.abort();
  assert.deepEqual(await codes, Array(10).fill("cancelled"));
  server.signalSessions("SIGCONT");
  await waitFor(() => echo.connections === 10 && echo.open === 0, {
    what: "the late channels' end",
  });
  await waitFor(() => tunnel.channelCount === 0);

  // A signal that comes later concerns nobody.
  const after = new AbortController();
  const stream = await tunnel.dial(echo, { signal: after.signal });
  after.abort();
  stream.end("still here");
  assert.equal((await received(stream)).bytes, 10);
});

test("100 dials at once are 100 channels, each with its own bytes", sshd, async () => {
  await using server = await startSshd();
  await using tunnel = await tunnelTo(server);
  await using echo = await echoServer();
  await Promise.all(Array.from({ length: 100 }, async (_, index) => {
    const stream = await tunnel.dial(echo);
    const answer = received(stream);
    await send(stream, pattern(20_000 + index, index));
    stream.end();
    assert.deepEqual(await answer, patternReceived(20_000 + index, index));
  }));
  await waitFor(() => tunnel.channelCount === 0 && echo.open === 0);
  assert.equal(echo.connections, 100);
});

test("stream.pipeline and async iteration can be trusted with a channel", sshd, async () => {
  await using server = await startSshd();
  await using tunnel = await tunnelTo(server);
  await using echo = await echoServer();
  const chunks: Buffer[] = [];
  const collect = new Writable({
    write(chunk, _encoding, callback) {
      chunks.push(chunk);
      callback();
    },
  });
  await pipeline(Readable.from(pattern(3 * MiB, 6)), await tunnel.dial(echo), collect);
  assert.deepEqual(digest(chunks), patternReceived(3 * MiB, 6));

  // A source that fails takes the channel with it.
  const boom = new Error("boom");
  const failing = Readable.from((function* () {
    yield Buffer.from("begun");
    throw boom;
  })());
  const stream = await tunnel.dial(echo);
  await assert.rejects(pipeline(failing, stream), boom);
  assert.ok(stream.destroyed);

  // Who leaves the iteration early has closed the channel.
  const other = await tunnel.dial(echo);
  other.write("one");
  for await (const chunk of other) {
    assert.equal(String(chunk), "one");
    break;
  }
  await waitFor(() => tunnel.channelCount === 0 && echo.open === 0);
});

test("a dial that the server refuses says why", sshd, async () => {
  await using server = await startSshd({ config: ["PermitOpen 127.0.0.1:*"] });
  await using tunnel = await tunnelTo(server);
  const refusing = await refusingPort();
  await assert.rejects(tunnel.dial(refusing), {
    name: "ConnectionError",
    code: "connect-refused",
    message: `127.0.0.1:${refusing.port} refused the connection, seen from the server ` +
      "(Connection refused)",
  });
  await assert.rejects(tunnel.dial({ host: "127.0.0.2", port: 80 }), {
    name: "ConnectionError",
    code: "forwarding-prohibited",
    hint: /PermitOpen/,
  });
  assert.equal(tunnel.channelCount, 0);
});
