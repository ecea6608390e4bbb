/** Many connections, and nothing left of them. */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { connect } from "../../mod.ts";
import { descriptorsOf } from "../support/fairlead.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, transfer } from "../support/tcp.ts";
import { countTimers } from "../support/timers.ts";
import { skipUnless, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");

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
