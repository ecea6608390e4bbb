/** A reader that is slower than its writer holds it up, and not in memory. */
import assert from "node:assert/strict";
import { connect as connectTcp } from "node:net";
import { test } from "node:test";
import { serverOptions, startFairlead } from "../support/fairlead.ts";
import { startSshd } from "../support/sshd.ts";
import { sinkServer, slowReader, transfer } from "../support/tcp.ts";
import { skipUnless } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const MIB = 1024 * 1024;

test("a slow reader before a writer of 1 GiB costs less than 64 MiB of memory", skip, async () => {
  await using sshd = await startSshd();
  await using reader = await slowReader({ bytesPerSecond: 1_000_000 });
  await using sink = await sinkServer();
  await using run = await startFairlead([
    ...["-L", `0:${reader.host}:${reader.port}`, "-L", `0:${sink.host}:${sink.port}`],
    ...serverOptions(sshd),
  ], { forwards: 2 });
  const [slow, fast] = run.ports as [number, number];
  // What the runtime takes for any traffic at all is not what this is about.
  await transfer(fast, { send: 64 * MIB });
  const before = run.memory();
  const socket = connectTcp({ port: slow, host: "127.0.0.1" });
  socket.on("error", () => {});
  let offered = 0;
  const offer = () => {
    while (offered < 1024 * MIB) {
      offered += MIB;
      if (!socket.write(new Uint8Array(MIB))) return;
    }
  };
  socket.on("drain", offer);
  socket.once("connect", offer);
  let most = 0;
  for (let sample = 0; sample < 60; sample++) {
    await new Promise((done) => setTimeout(done, 100));
    most = Math.max(most, run.memory() - before);
  }
  socket.destroy();
  run.kill("SIGKILL");
  assert.ok(offered > 8 * MIB, `the forward took only ${offered} bytes`);
  assert.ok(offered < 64 * MIB, `the forward took ${offered} bytes that nobody read`);
  assert.ok(most < 64 * MIB, `grew by ${most / MIB} MiB`);
});
