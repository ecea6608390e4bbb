/** What one connection tells the session that it belongs to. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import ssh2 from "ssh2";
import type { RemoteListener } from "../lib/dialer.ts";
import { SessionError } from "../lib/errors.ts";
import { serve } from "../lib/server/server.ts";
import type { SshClient } from "../lib/ssh/client.ts";
import type { ConnectOptions } from "../lib/ssh/connect_options.ts";
import { connectHost } from "../lib/ssh/host.ts";
import { generateIdentity } from "../lib/ssh/keys.ts";
import { type EngineProtocol, sendPayload } from "../lib/ssh/ssh2.ts";
import { connectOptions } from "./support/fairlead.ts";
import { skipUnlessDropbear, startDropbear } from "./support/dropbear.ts";
import { type SshServer, startSshd } from "./support/sshd.ts";
import { skipUnless, waitFor } from "./support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const HOST_KEY = generateIdentity();

function reach(server: SshServer, options: object = {}): ConnectOptions {
  return {
    ...connectOptions(server),
    ...options,
  };
}

function toOurs(port: number): ConnectOptions {
  const { publicKey: hostKeys } = HOST_KEY;
  return { host: "127.0.0.1", port, hostKeys, identityFiles: [], password: "x", agent: "none" };
}

/** Waits until nothing comes in, asks, and waits for an answer. */
async function answers(client: SshClient, times = 1): Promise<void> {
  let received = 0;
  client.onReceived = () => received++;
  for (let before = -1; before !== received;) {
    before = received;
    await sleep(100);
  }
  for (let time = 0; time < times; time++) {
    const before = received;
    client.probe();
    await waitFor(() => received > before, { timeout: 5_000, what: "an answer" });
  }
}

/** Asks for listeners and for signs of life in turns, without waiting for either. */
async function interleaved(client: SshClient): Promise<void> {
  const accepted: string[] = [];
  const asked: Promise<RemoteListener>[] = [];
  for (const name of ["a", "b", "c"]) {
    client.probe();
    asked.push(
      client.listen({ host: "127.0.0.1", port: 0 }, (incoming) => {
        accepted.push(name);
        incoming.refuse();
      }),
    );
    client.probe();
  }
  const listeners = await Promise.all(asked);
  for (const { address } of listeners) {
    const socket = connect((address as { port: number }).port);
    socket.on("error", () => {}).resume();
    await new Promise((resolve) => socket.once("close", resolve));
  }
  assert.deepEqual(accepted, ["a", "b", "c"], "each answer went to who had asked");
}

test(
  "sshd answers when it is asked for a sign of life, also between other questions",
  skip,
  async () => {
    await using sshd = await startSshd();
    const client = await connectHost(reach(sshd));
    await answers(client, 3);
    await interleaved(client);
    await client.close();
  },
);

test("dropbear answers likewise", skipUnlessDropbear(), async () => {
  await using dropbear = await startDropbear();
  const client = await connectHost(reach(dropbear));
  await answers(client, 3);
  await interleaved(client);
  await client.close();
});

test("our own server answers likewise", async () => {
  await using server = await serve({
    hostKeys: [HOST_KEY.privateKey],
    authorize: () => true,
    allowListen: () => true,
  });
  const client = await connectHost(toOurs(server.port));
  await answers(client, 3);
  await interleaved(client);
  await client.close();
});

test("a question during an exchange of keys is answered after it, in its turn", skip, async () => {
  await using sshd = await startSshd();
  const client = await connectHost(reach(sshd, { rekeyLimit: { seconds: 1 } }));
  sshd.signalSessions("SIGSTOP");
  await sleep(1_300);
  const both = interleaved(client);
  sshd.signalSessions("SIGCONT");
  await both;
  await answers(client);
  await client.close();
});

test("asking a server that is gone does nothing, at whatever moment", skip, async () => {
  await using sshd = await startSshd();
  const lost = await connectHost(reach(sshd));
  await sshd.down();
  for (let settled = false; !settled;) {
    lost.probe();
    settled = await Promise.race([lost.closed.then(() => true), sleep(1, false)]);
  }
  lost.probe();
  await sshd.up();
  const destroyed = await connectHost(reach(sshd));
  const reason = new SessionError("the test says so", { code: "timeout" });
  destroyed.destroy(reason);
  destroyed.probe();
  assert.equal(await destroyed.closed, reason);
  destroyed.probe();
  const closed = await connectHost(reach(sshd));
  const closing = closed.close();
  closed.probe();
  await closing;
  closed.probe();
  assert.equal(await closed.closed, undefined);
});

test("an exchange of keys that takes too long is reported once, and goes on", skip, async () => {
  await using sshd = await startSshd();
  const client = await connectHost(
    reach(sshd, { rekeyLimit: { seconds: 1 }, rekeyStallTimeout: 300 }),
  );
  const stalled: SessionError[] = [];
  client.onStalled = (reason) => stalled.push(reason);
  sshd.signalSessions("SIGSTOP");
  await waitFor(() => stalled.length > 0, { timeout: 5_000, what: "the report" });
  await sleep(700);
  assert.equal(stalled.length, 1);
  assert.ok(stalled[0] instanceof SessionError);
  assert.equal(stalled[0].code, "timeout");
  assert.equal(stalled[0].message, "new keys were not agreed on within 0.3 s");
  sshd.signalSessions("SIGCONT");
  await answers(client);
  await client.close();
});

test("exchanges of keys that end in time are not reported", skip, async () => {
  await using sshd = await startSshd();
  const client = await connectHost(
    reach(sshd, { rekeyLimit: { bytes: 1 }, rekeyStallTimeout: 1_000 }),
  );
  client.onStalled = (reason) => assert.fail(reason);
  await answers(client, 5);
  await sleep(1_200);
  await client.close();
});

test("a server that breaks the protocol and does not hang up is left within 2 s", async () => {
  let connection: ssh2.Connection | undefined;
  const server = new ssh2.Server({ hostKeys: [HOST_KEY.privateKey] }, (client) => {
    connection = client;
    client.on("authentication", (context) => context.accept());
    client.on("error", () => {});
    client.on("tcpip", (accept) => void accept());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = await connectHost(toOurs((server.address() as { port: number }).port));
  const stream = await client.dial({ host: "anywhere", port: 80 });
  const failed = once(stream, "error");
  const { _sock: socket, _protocol: protocol } = connection as unknown as {
    _sock: Socket;
    _protocol: EngineProtocol;
  };
  const reset = socket.resetAndDestroy.bind(socket);
  socket.end = socket.destroy = () => socket;
  // CHANNEL_DATA without the channel's number; and then not a word.
  sendPayload(protocol, Buffer.from([94, 0]));
  const begun = performance.now();
  await sleep(200);
  client.probe();
  stream.write("into nothing");
  await assert.rejects(client.dial({ host: "anywhere", port: 80 }), { code: "connection-lost" });
  const reason = await client.closed;
  assert.equal(reason?.code, "protocol-error");
  assert.ok(performance.now() - begun < 10_000);
  assert.equal((await failed)[0].code, "connection-lost");
  reset();
  server.close();
});
