/** A tunnel through a tunnel, and what is counted while bytes pass. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { after, before, test } from "node:test";
import { connect } from "../lib/tunnel/tunnel.ts";
import { connectOptions } from "./support/fairlead.ts";
import { startSshd } from "./support/sshd.ts";
import { echoServer, type Peer } from "./support/tcp.ts";
import { skipUnless, waitFor } from "./support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
let echo: Peer;

before(async () => {
  echo = await echoServer();
});
after(() => echo.stop());

async function echoes(port: number): Promise<void> {
  const socket = connectTcp(port, "127.0.0.1");
  socket.write("hello");
  assert.equal(String((await once(socket, "data"))[0]), "hello");
  socket.destroy();
}

test("a tunnel leads through another, and comes back when that one has", skip, async () => {
  await using outer = await startSshd();
  await using inner = await startSshd();
  await using vpn = await connect(connectOptions(outer));
  await using tunnel = await connect({ ...connectOptions(inner), via: vpn });
  assert.equal(vpn.channelCount, 1);
  const { port } = await tunnel.forwardLocal(`0:127.0.0.1:${echo.port}`);
  await echoes(port);
  outer.signalSessions("SIGKILL");
  await waitFor(() => vpn.state !== "open" && tunnel.state !== "open");
  await echoes(port);
  assert.deepEqual([vpn.state, tunnel.state], ["open", "open"]);
  await tunnel.close();
  await waitFor(() => vpn.channelCount === 0);
  assert.equal(vpn.state, "open");
});

test(
  "a way that leads nowhere is a session error, and contradictions are refused",
  skip,
  async () => {
    await using outer = await startSshd();
    await using vpn = await connect(connectOptions(outer));
    const nowhere = { ...connectOptions(outer), host: "127.0.0.1", port: 1, via: vpn };
    await assert.rejects(connect(nowhere), { name: "SessionError", code: "connect-refused" });
    await assert.rejects(
      connect({ ...nowhere, proxy: "socks5://127.0.0.1:1" }),
      /via and proxy are two ways/,
    );
    await assert.rejects(connect({ ...nowhere, proxyCommand: "true" }), TypeError);
  },
);

test("bytes are counted while a connection is open", skip, async () => {
  await using server = await startSshd();
  await using tunnel = await connect(connectOptions(server));
  const forward = await tunnel.forwardLocal(`0:127.0.0.1:${echo.port}`);
  const socket = connectTcp(forward.port, "127.0.0.1");
  socket.write("hello");
  await once(socket, "data");
  const { open, sent, received } = forward.stats;
  assert.deepEqual({ open, sent, received }, { open: 1, sent: 5, received: 5 });
  socket.destroy();
  await waitFor(() => forward.stats.open === 0);
  assert.equal(forward.stats.sent, 5);
});
