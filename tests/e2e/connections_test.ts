/** Forwards that are spread over several SSH connections, against the real sshd. */
import assert from "node:assert/strict";
import { connect as connectTcp } from "node:net";
import { after, before, test } from "node:test";
import type { ConnectionsChange, StateChange } from "../../lib/session/options.ts";
import { connect, type Tunnel, type TunnelOptions } from "../../lib/tunnel/tunnel.ts";
import { holdOpen, steadyCallers } from "../support/callers.ts";
import { connectOptions } from "../support/fairlead.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, patternReceived, type Peer, transfer } from "../support/tcp.ts";
import { killSession, skipUnless, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
let echo: Peer;

before(async () => {
  echo = await echoServer();
});
after(() => echo.stop());

/** A tunnel with all its connections. */
async function tunnelTo(
  server: SshServer,
  options: Partial<TunnelOptions> = {},
): Promise<Tunnel> {
  const { connections = 3 } = options;
  const tunnel = await connect({
    ...connectOptions(server),
    ...{ ...options, connections },
  });
  if (connections !== "auto") await waitFor(() => tunnel.connections === connections);
  return tunnel;
}

test("three connections are three sessions of sshd, and all of them carry", skip, async () => {
  await using server = await startSshd();
  await using tunnel = await tunnelTo(server);
  const { port, stats } = await tunnel.forwardLocal(`0:127.0.0.1:${echo.port}`);
  assert.equal(server.sessions().length, 3);
  const bytes = 1_000_000;
  const received = await Promise.all(Array.from({ length: 6 }, (_, seed) => {
    return transfer(port, { send: bytes, seed });
  }));
  for (const [seed, { bytes: got, sha256 }] of received.entries()) {
    assert.deepEqual({ bytes: got, sha256 }, patternReceived(bytes, seed));
  }
  assert.equal(stats.failed, 0);
  await tunnel.close();
  await waitFor(() => server.sessions().length === 0);
});

test(
  "one that is killed resets its own, and whoever comes is neither refused nor waits",
  skip,
  async () => {
    await using server = await startSshd();
    const states: StateChange[] = [];
    const news: ConnectionsChange[] = [];
    await using tunnel = await tunnelTo(server, {
      onState: (change) => states.push(change),
      onConnections: (change) => news.push(change),
    });
    const { port } = await tunnel.forwardLocal(`0:127.0.0.1:${echo.port}`);
    await using held = await holdOpen(port, 9);
    await using callers = steadyCallers(port, { every: 20 });
    let parked = 0;
    const watch = setInterval(() => parked = Math.max(parked, tunnel.parked), 5);
    for (const index of [2, 0]) {
      const had = held.open;
      callers.fault();
      news.splice(0);
      killSession(server.sessions()[index]);
      await waitFor(() => news.some(({ gone }) => gone === 1));
      const [loss] = news;
      assert.equal(loss?.open, 2);
      assert.ok((loss?.lost ?? 0) >= 3, `${loss?.lost} were lost`);
      assert.equal(had - held.open, 3);
      await waitFor(() => tunnel.connections === 3);
    }
    clearInterval(watch);
    const { served, lost, ...others } = await callers.finish();
    assert.ok(served > 0);
    assert.ok(lost <= 2, `${lost} callers were in the middle of their word`);
    assert.deepEqual(others, { refused: 0, expired: 0, hung: 0 });
    assert.equal(parked, 0);
    assert.equal(held.open, 3);
    assert.ok(held.ends.every(({ how }) => how === "reset"));
    assert.deepEqual(states.map(({ to }) => to), ["connecting", "open"]);
  },
);

test("when the server dies all wait, and all connections return", skip, async () => {
  await using server = await startSshd();
  const states: StateChange[] = [];
  await using tunnel = await tunnelTo(server, { onState: (change) => states.push(change) });
  const { port } = await tunnel.forwardLocal(`0:127.0.0.1:${echo.port}`);
  await using held = await holdOpen(port, 6);
  await using callers = steadyCallers(port);
  callers.fault();
  await server.down();
  await waitFor(() => tunnel.state === "reconnecting" && tunnel.parked > 2);
  assert.equal(tunnel.connections, 0);
  await server.up();
  await waitFor(() => tunnel.connections === 3);
  const { served, lost, ...others } = await callers.finish();
  assert.ok(served > 0);
  assert.ok(lost <= 2, `${lost} callers were in the middle of their word`);
  assert.deepEqual(others, { refused: 0, expired: 0, hung: 0 });
  assert.equal(held.open, 0);
  assert.deepEqual(states.map(({ to }) => to), [
    ...["connecting", "open", "reconnecting", "open"],
  ]);
  assert.ok((states[2]?.lost ?? 0) >= 6, "those of all connections are counted");
});

test("a listener on the server survives the loss of its connection", skip, async () => {
  await using server = await startSshd();
  await using tunnel = await tunnelTo(server);
  const remote = await tunnel.forwardRemote(`0:127.0.0.1:${echo.port}`);
  const { port } = remote;
  const answered = () =>
    new Promise<boolean>((resolve) => {
      const socket = connectTcp(port, "127.0.0.1", () => socket.write("hello"));
      socket.once("error", () => {}).once("close", () => resolve(false));
      socket.once("data", () => {
        resolve(true);
        socket.destroy();
      });
    });
  assert.ok(await answered());
  for (let times = 0; times < 2; times++) {
    const [first] = server.sessions();
    killSession(first);
    await waitFor(() => tunnel.connections === 2);
    await waitFor(answered);
    assert.equal(remote.port, port);
    assert.equal(tunnel.state, "open");
    await waitFor(() => tunnel.connections === 3);
  }
});
