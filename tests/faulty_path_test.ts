/** The path that fails on demand, and the callers that count, before fairlead is measured by them. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { holdOpen, steadyCallers } from "./support/callers.ts";
import { type Direction, type FaultyPath, faultyPath } from "./support/faulty_path.ts";
import { echoServer, transfer } from "./support/tcp.ts";
import { freePort, waitFor } from "./support/tools.ts";

/** Long enough for a byte to come through that should not. */
const A_MOMENT = 100;

async function called(path: FaultyPath): Promise<Socket & { said: string }> {
  const socket = Object.assign(connect(path.port, path.host), { said: "" });
  socket.on("error", () => {});
  socket.on("data", (data) => socket.said += String(data));
  socket.write("a");
  await waitFor(() => socket.said === "a");
  return socket;
}

for (const directions of [["up"], ["down"], ["up", "down"]] satisfies Direction[][]) {
  test(`stalled ${directions.join(" and ")}, a path loses nothing and ends nothing`, async () => {
    await using echo = await echoServer();
    await using path = await faultyPath(echo);
    const socket = await called(path);
    path.stall(directions);
    socket.write("b");
    const later = connect(path.port, path.host);
    later.end("c");
    await sleep(A_MOMENT);
    assert.equal(socket.said, "a");
    assert.equal(echo.bytes, directions.includes("up") ? 1 : 2);
    assert.equal(echo.connections, 1, "no handshake comes through");
    path.resume();
    await waitFor(() => socket.said === "ab");
    assert.equal(String((await once(later, "data"))[0]), "c");
    assert.equal((await transfer(path.port, { send: 500_000 })).bytes, 500_000);
    assert.equal(path.connections, 3);
    socket.destroy();
    await waitFor(() => path.open === 0 && echo.open === 0);
  });
}

test("an end while the path is stalled is told when it goes on", async () => {
  await using echo = await echoServer();
  await using path = await faultyPath(echo);
  const socket = await called(path);
  path.stall();
  socket.destroy();
  await sleep(A_MOMENT);
  assert.equal(echo.open, 1);
  path.resume();
  await waitFor(() => echo.open === 0);
});

test("what is forgotten stays dead, and new connections pass", async () => {
  await using echo = await echoServer();
  await using path = await faultyPath(echo);
  const socket = await called(path);
  path.forget();
  path.resume();
  socket.write("b");
  assert.equal((await transfer(path.port, { send: 1_000 })).bytes, 1_000);
  assert.equal(socket.said, "a");
  assert.ok(!socket.closed);
  socket.destroy();
});

test("a deserted server keeps its end, a reset one does not", async () => {
  await using echo = await echoServer();
  await using path = await faultyPath(echo);
  const deserter = await called(path);
  path.desert();
  await waitFor(() => deserter.closed);
  await sleep(A_MOMENT);
  assert.equal(echo.open, 1);
  path.reset();
  await waitFor(() => echo.open === 0 && path.open === 0);
});

test("a path refuses, and takes connections again on the same port", async () => {
  await using echo = await echoServer();
  await using path = await faultyPath(echo);
  const socket = await called(path);
  await path.refuse();
  await assert.rejects(transfer(path.port), { code: "ECONNREFUSED" });
  socket.write("b");
  await waitFor(() => socket.said === "ab");
  await path.accept();
  assert.equal((await transfer(path.port, { send: 10 })).bytes, 10);
  socket.destroy();
});

test("callers tell who was served, refused, lost, expired and left hanging", async () => {
  await using echo = await echoServer();
  await using path = await faultyPath(echo);
  await using callers = steadyCallers(path.port, { every: 20, park: 400 });
  await using held = await holdOpen(path.port, 2);
  await waitFor(() => callers.tally.served >= 3);
  const began = performance.now();
  callers.fault();
  path.stall();
  await sleep(200);
  path.reset();
  await held.allEnded(began);
  assert.deepEqual(held.ends.map(({ how }) => how), ["reset", "reset"]);
  await waitFor(() => callers.tally.lost >= 3);
  await sleep(600);
  path.reset();
  await waitFor(() => callers.tally.expired >= 3);
  const back = performance.now();
  path.resume();
  assert.ok(await callers.firstByteAfter(back) >= 0);
  await path.refuse();
  await waitFor(() => callers.tally.refused >= 3);
  await path.accept();
  path.stall();
  await sleep(A_MOMENT);
  assert.ok((await callers.finish(100)).hung >= 3);
});

test("callers find every caller refused where nobody listens", async () => {
  await using callers = steadyCallers(await freePort(), { every: 10 });
  await waitFor(() => callers.tally.refused >= 5);
  const { refused, ...others } = await callers.finish();
  assert.ok(refused >= 5);
  assert.deepEqual(others, { served: 0, lost: 0, expired: 0, hung: 0 });
});
