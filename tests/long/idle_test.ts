/** Many connections in which nothing moves. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { test } from "node:test";
import { serverOptions, startFairlead } from "../support/fairlead.ts";
import { startSshd } from "../support/sshd.ts";
import { echoServer } from "../support/tcp.ts";
import { skipUnless } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
/** The test process holds two descriptors for each; many systems stop at 4,096. */
const CONNECTIONS = 1_500;
const KIB = 1024;

test("an idle connection costs less than 40 KiB of memory", skip, async () => {
  await using sshd = await startSshd();
  await using echo = await echoServer();
  await using run = await startFairlead([
    ...["-L", `0:${echo.host}:${echo.port}`],
    ...serverOptions(sshd),
  ]);
  const port = run.ports[0] as number;
  const idle: Socket[] = [await asked(port)];
  const before = run.memory();
  while (idle.length <= CONNECTIONS) {
    idle.push(...await Promise.all(Array.from({ length: 50 }, () => asked(port))));
  }
  assert.equal(echo.open, idle.length);
  const each = (run.memory() - before) / (idle.length - 1) / KIB;
  assert.ok(each < 40, `${each} KiB each`);
  for (const socket of idle) socket.destroy();
});

/** A connection that has exchanged a word. */
async function asked(port: number): Promise<Socket> {
  const socket = connectTcp(port, "127.0.0.1");
  // A test that fails resets them all.
  socket.on("error", () => {});
  socket.write("word");
  const [answer] = await once(socket, "data");
  assert.equal(String(answer), "word");
  return socket;
}
