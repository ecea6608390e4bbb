/** Many connections, and nothing left of them. */
import assert from "node:assert/strict";
import { connect as connectTcp } from "node:net";
import process from "node:process";
import { test } from "node:test";
import { connect } from "../../mod.ts";
import { descriptorsOf, serverOptions, startFairlead } from "../support/fairlead.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, sinkServer, slowReader, transfer } from "../support/tcp.ts";
import { countTimers } from "../support/timers.ts";
import { skipUnless, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const MIB = 1024 * 1024;

function optionsFor(sshd: SshServer): Parameters<typeof connect>[0] {
  return {
    host: sshd.host,
    port: sshd.port,
    username: sshd.user,
    identityFiles: [sshd.identity],
    agent: "none",
    userKnownHosts: [sshd.knownHosts],
    globalKnownHosts: [],
  };
}

test("200 connections at once all get their own bytes back, and leave nothing", skip, async () => {
  await using sshd = await startSshd();
  await using echo = await echoServer();
  using timers = countTimers();
  const tunnel = await connect(optionsFor(sshd));
  const forward = await tunnel.forwardLocal(`0:${echo.host}:${echo.port}`);
  const before = descriptorsOf(process.pid);
  const sent = Array.from({ length: 200 }, (_, index) => 50_000 + index);
  const got = await Promise.all(
    sent.map((size) => transfer(forward.port, { send: size, seed: size })),
  );
  assert.deepEqual(got.map(({ bytes }) => bytes), sent);
  assert.equal(new Set(got.map(({ sha256 }) => sha256)).size, 200);
  await nothingLeft();
  await tunnel.close();
  assert.equal(timers.pending, 0);

  async function nothingLeft() {
    await waitFor(() => tunnel.channelCount === 0, { what: "the last channel's end" });
    await waitFor(() => descriptorsOf(process.pid) <= before, { what: "the last socket's end" });
    assert.equal(forward.stats.open, 0);
    assert.equal(forward.stats.total, 200);
    assert.equal(forward.stats.refused + forward.stats.failed, 0);
    const bytes = sent.reduce((sum, size) => sum + size);
    assert.equal(forward.stats.sent, bytes);
    assert.equal(forward.stats.received, bytes);
  }
});

test("2,000 connections one after another leave no channel, socket or timer", skip, async () => {
  await using sshd = await startSshd();
  await using echo = await echoServer();
  using timers = countTimers();
  const tunnel = await connect(optionsFor(sshd));
  const forward = await tunnel.forwardLocal(`0:${echo.host}:${echo.port}`);
  await transfer(forward.port, { send: 1 });
  const before = descriptorsOf(process.pid);
  for (let count = 0; count < 2_000; count++) {
    const { bytes } = await transfer(forward.port, { send: 100 + count % 50 });
    assert.equal(bytes, 100 + count % 50);
  }
  await waitFor(() => tunnel.channelCount === 0, { what: "the last channel's end" });
  await waitFor(() => descriptorsOf(process.pid) <= before, { what: "the last socket's end" });
  assert.equal(forward.stats.open, 0);
  assert.equal(forward.stats.total, 2_001);
  await tunnel.close();
  assert.equal(timers.pending, 0);
});

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
