import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { lendingSocket, lendPieces } from "../lib/lending.ts";
import { digest, patternReceived, sourceServer } from "./support/tcp.ts";
import { waitFor } from "./support/tools.ts";

const MB = 1024 * 1024;

function lending(port: number): Socket {
  return lendingSocket((options) =>
    connect({ port, host: "127.0.0.1", allowHalfOpen: true, ...options })
  );
}

/** A server with one caller, and that caller's socket at both ends. */
async function pair() {
  const server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const accepted = once(server, "connection");
  const near = lending((server.address() as AddressInfo).port);
  const [far] = await accepted as [Socket];
  server.close();
  return {
    near,
    far,
    [Symbol.dispose]: () => {
      near.destroy();
      far.destroy();
    },
  };
}

test("until a listener agrees, each piece is its own to keep", async () => {
  await using source = await sourceServer(8 * MB);
  const socket = lending(source.port);
  const kept: Buffer[] = [];
  socket.on("data", (piece) => kept.push(piece));
  await once(socket, "end");
  socket.destroy();
  assert.deepEqual(digest(kept), patternReceived(8 * MB));
});

test("once they agree, pieces are lent from one buffer, and read right at their time", async () => {
  await using source = await sourceServer(8 * MB);
  const socket = lending(source.port);
  const copies: Buffer[] = [];
  const memory = new Set<ArrayBufferLike>();
  lendPieces(socket, () => true);
  socket.on("data", (piece) => {
    copies.push(Buffer.from(piece));
    memory.add(piece.buffer);
  });
  await once(socket, "end");
  socket.destroy();
  assert.deepEqual(digest(copies), patternReceived(8 * MB));
  assert.equal(memory.size, 1);
});

test("the agreement is asked for at each piece", async () => {
  await using source = await sourceServer(8 * MB);
  const socket = lending(source.port);
  const kept: Buffer[] = [];
  let agreed = false;
  lendPieces(socket, () => agreed);
  socket.on("data", (piece) => {
    kept.push(agreed ? Buffer.from(piece) : piece);
    agreed = !agreed;
  });
  await once(socket, "end");
  socket.destroy();
  assert.deepEqual(digest(kept), patternReceived(8 * MB));
});

test("what comes before anybody listens, or while it is paused, is kept in its order", async () => {
  using ends = await pair();
  const { near, far } = ends;
  lendPieces(near, () => true);
  far.write("early ");
  await waitFor(() => near.readableLength === 6);
  let heard = "";
  near.on("data", (piece) => heard += String(piece));
  await waitFor(() => heard === "early ");
  near.pause();
  near.unshift(Buffer.from("put back "));
  far.write("meanwhile ");
  await sleep(50);
  assert.equal(heard, "early ");
  near.resume();
  await waitFor(() => heard === "early put back meanwhile ");
  far.write("later");
  await waitFor(() => heard.endsWith("later"));
});

test("a paused socket stops its sender", async () => {
  using ends = await pair();
  const { near, far } = ends;
  lendPieces(near, () => true);
  near.on("data", () => {});
  near.pause();
  const piece = Buffer.alloc(MB);
  let taken = 0;
  const send = () => {
    far.write(piece, () => {
      taken += piece.length;
      if (taken < 64 * MB) send();
    });
  };
  send();
  await sleep(500);
  const stopped = taken;
  await sleep(100);
  assert.ok(stopped < 64 * MB);
  assert.equal(taken, stopped);
  near.resume();
  await waitFor(() => taken === 64 * MB, { timeout: 10_000 });
});

test("an end is an end, and writing goes on after it", async () => {
  using ends = await pair();
  const { near, far } = ends;
  lendPieces(near, () => true);
  let heard = "";
  near.on("data", (piece) => heard += String(piece));
  far.write("before");
  far.end("last");
  await once(near, "end");
  assert.equal(heard, "beforelast");
  let answer = "";
  far.on("data", (piece) => answer += String(piece));
  near.end("after");
  await once(far, "end");
  assert.equal(answer, "after");
});
