/** 20,000 wrong greetings over real connections, and one right one after them. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { connect } from "node:net";
import process from "node:process";
import { test } from "node:test";
import { SocksClient } from "socks";
import { connectSocket } from "../../lib/connect.ts";
import { ConnectionError } from "../../lib/errors.ts";
import { forwardDynamic } from "../../lib/forward/dynamic.ts";
import { descriptorsOf } from "../support/fairlead.ts";
import { echoServer } from "../support/tcp.ts";
import { waitFor } from "../support/tools.ts";

const AT_ONCE = 50;
const COUNT = 10_000;
const VALID = [
  Buffer.from([4, 1, 0, 80, 127, 0, 0, 1, 0x6d, 0x65, 0]),
  Buffer.from([4, 1, 0, 80, 0, 0, 0, 1, 0, ...Buffer.from("host.example\0")]),
  Buffer.from([5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 80]),
  Buffer.from([5, 2, 2, 0, 5, 1, 0, 3, 4, ...Buffer.from("host"), 0, 80]),
  Buffer.from([5, 1, 0, 5, 1, 0, 4, ...Buffer.alloc(15), 1, 0, 80]),
];

/** Numbers that are the same in every run (xorshift32). */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function mutated(next: (below: number) => number): Buffer {
  const bytes = [...VALID[next(VALID.length)] as Buffer];
  for (let changes = 1 + next(3); changes > 0; changes--) {
    const at = next(bytes.length + 1);
    const change = next(3);
    if (change === 0) bytes[at] = next(256);
    else if (change === 1) bytes.splice(at, 0, next(256));
    else bytes.splice(at, 1 + next(4));
  }
  return Buffer.from(bytes);
}

test("20,000 wrong greetings leave no socket, and a proper client is served after them", async () => {
  await using echo = await echoServer();
  let refuse = true;
  const forward = await forwardDynamic({ listen: { bind: "127.0.0.1", port: 0 } }, {
    dial: async (destination) => {
      if (refuse) throw new ConnectionError("not now", { code: "forwarding-prohibited" });
      return await connectSocket(destination);
    },
    listen: () => Promise.reject(new Error("not in this test")),
  });
  const before = descriptorsOf(process.pid);
  const greet = async (bytes: Buffer) => {
    const socket = connect({ port: forward.port, host: "127.0.0.1" });
    socket.on("error", () => {});
    socket.resume();
    socket.end(bytes);
    await once(socket, "close").catch(() => {});
  };
  const next = numbers(20_261_122);
  const random = () => Buffer.from(Array.from({ length: next(40) }, () => next(256)));
  for (const make of [random, () => mutated(next)]) {
    for (let done = 0; done < COUNT; done += AT_ONCE) {
      await Promise.all(Array.from({ length: AT_ONCE }, () => greet(make())));
    }
  }
  await waitFor(() => forward.stats.open === 0, { what: "the end of the last connection" });
  await waitFor(() => descriptorsOf(process.pid) <= before, { what: "the last socket's end" });
  // One that was reset before it was accepted is never seen.
  assert.ok(forward.stats.total > 1.9 * COUNT, `${forward.stats.total} came`);
  const { refused, gone, total } = forward.stats;
  assert.equal(refused + gone, total);
  refuse = false;
  const { socket } = await SocksClient.createConnection({
    proxy: { host: "127.0.0.1", port: forward.port, type: 5 },
    command: "connect",
    destination: { host: echo.host, port: echo.port },
  });
  socket.write("served");
  const [answer] = await once(socket, "data");
  assert.equal(String(answer), "served");
  socket.destroy();
  await forward.close({ force: true });
});
