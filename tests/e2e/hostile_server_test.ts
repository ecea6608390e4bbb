/** Servers that drip, flood or do not answer: nothing waits for ever, nothing piles up. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { test } from "node:test";
import ssh2 from "ssh2";
import { generateIdentity } from "../../lib/ssh/keys.ts";
import { connect } from "../../mod.ts";
import { rawServer } from "../support/raw_server.ts";
import { startSshd } from "../support/sshd.ts";
import { skipUnless, waitFor } from "../support/tools.ts";

const MIB = 1024 * 1024;
const skip = skipUnless("sshd", "ssh-keygen");

test("a server that sends more than its window loses the channel, not our memory", async () => {
  using server = await rawServer((client) => {
    client.on("tcpip", (accept) => {
      const channel = accept() as unknown as {
        outgoing: { id: number };
        _client: { _protocol: { channelData(id: number, data: Buffer): void } };
      };
      const chunk = Buffer.alloc(30_000);
      for (let sent = 0; sent < 16 * MIB; sent += chunk.length) {
        channel._client._protocol.channelData(channel.outgoing.id, chunk);
      }
    });
  });
  await using tunnel = await connect({
    host: "127.0.0.1",
    port: server.port,
    hostKeys: server.publicKey,
    identityFiles: [],
    agent: "none",
  });
  const stream = await tunnel.dial({ host: "anywhere", port: 80 });
  let most = 0;
  const watch = setInterval(() => most = Math.max(most, stream.readableLength), 1);
  await waitFor(() => stream.errored, { what: "the channel's end" });
  clearInterval(watch);
  assert.equal((stream.errored as Error & { code?: string }).code, "protocol-error");
  assert.ok(most <= 3 * MIB, `${most} bytes were kept`);
});

test("a server that takes no packets of data loses its channel, and hangs nobody", async () => {
  using server = await rawServer((client) => {
    const { _protocol: protocol } = client as unknown as {
      _protocol: Record<"channelOpenConfirm", (...words: number[]) => void>;
    };
    const confirm = protocol.channelOpenConfirm.bind(protocol);
    protocol.channelOpenConfirm = (recipient = 0, sender = 0, window = 0) =>
      confirm(recipient, sender, window, 0);
    client.on("tcpip", (accept) => void accept().resume());
  });
  await using tunnel = await connect({
    host: "127.0.0.1",
    port: server.port,
    hostKeys: server.publicKey,
    identityFiles: [],
    agent: "none",
  });
  await assert.rejects(tunnel.dial({ host: "anywhere", port: 80 }), { code: "protocol-error" });
  await waitFor(() => tunnel.channelCount === 0);
});

test("a command whose stderr nobody reads is held back", skip, async () => {
  await using sshd = await startSshd();
  await using tunnel = await connect({
    host: sshd.host,
    port: sshd.port,
    username: sshd.user,
    identityFiles: [sshd.identity],
    userKnownHosts: [sshd.knownHosts],
    agent: "none",
  });
  const command = await tunnel.exec("while :; do head -c 500000 /dev/zero >&2; echo x; done");
  command.on("error", () => {}).resume();
  await waitFor(() => command.stderr.readableLength > MIB);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  assert.ok(command.stderr.readableLength < 4 * MIB, `${command.stderr.readableLength} bytes wait`);
  command.destroy();
});

test("forwards can be given up by a signal, and none is made on a closed tunnel", async () => {
  using server = await rawServer((client) => client.on("request", () => {}));
  const tunnel = await connect({
    host: "127.0.0.1",
    port: server.port,
    hostKeys: server.publicKey,
    identityFiles: [],
    agent: "none",
  });
  const signal = AbortSignal.timeout(200);
  const cancelled = { name: "ForwardError", code: "cancelled" };
  await assert.rejects(tunnel.forwardRemote("0:localhost:80", { signal }), cancelled);
  await assert.rejects(tunnel.forwardLocal("0:localhost:80", { signal }), cancelled);
  await assert.rejects(tunnel.forwardDynamic("0", { signal }), cancelled);
  await tunnel.close();
  await assert.rejects(tunnel.forwardLocal("0:localhost:80"), { code: "connection-lost" });
});

test("messages that drip before the login do not hold it open for ever", async () => {
  const { privateKey, publicKey } = generateIdentity();
  let drip: ReturnType<typeof setInterval> | undefined;
  const server = new ssh2.Server({ hostKeys: [privateKey] }, (client) => {
    const { _protocol } = client as unknown as {
      _protocol: { ping(): void };
    };
    // Nobody is let in, and nobody is refused.
    client.on("error", () => {}).on("authentication", () => {
      drip = setInterval(() => _protocol.ping(), 50);
    });
    client.on("close", () => clearInterval(drip));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const began = performance.now();
    await assert.rejects(
      connect({
        host: "127.0.0.1",
        port: (server.address() as { port: number }).port,
        hostKeys: publicKey.split(" ").slice(0, 2).join(" "),
        identityFiles: [],
        agent: "none",
        connectTimeout: 300,
      }),
      { code: "timeout" },
    );
    const took = performance.now() - began;
    assert.ok(took > 1_000 && took < 10_000, `${took} ms`);
  } finally {
    clearInterval(drip);
    server.close();
  }
});
