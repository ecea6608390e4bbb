/** What connects to the server's listener reaches this machine's side, unchanged. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import process from "node:process";
import { after, before, test } from "node:test";
import { configureSync, resetSync } from "@logtape/logtape";
import type { SessionOptions } from "../../lib/session/options.ts";
import { connect, ForwardError, type Tunnel } from "../../mod.ts";
import { descriptorsOf } from "../support/fairlead.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import {
  echoServer,
  parseReceipt,
  patternReceived,
  type Peer,
  questionAnswer,
  refusingPort,
  serverEndsFirst,
  sinkServer,
  sourceServer,
  transfer,
} from "../support/tcp.ts";
import { countTimers } from "../support/timers.ts";
import { freePort, skipUnless, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const MIB = 1024 * 1024;
const BYTES = 20_000;
const hasIPv6 = Object.values(networkInterfaces()).flat()
  .some((address) => address?.address === "::1");

let sshd: SshServer;
let echo: Peer;

before(async () => {
  if (skip.skip !== undefined) return;
  sshd = await startSshd({ config: ["AddressFamily any", "GatewayPorts clientspecified"] });
  echo = await echoServer();
});
after(async () => {
  await sshd?.stop();
  await echo?.stop();
});

function open(server = sshd, options: SessionOptions = {}): Promise<Tunnel> {
  return connect({
    ...options,
    host: server.host,
    port: server.port,
    username: server.user,
    identityFiles: [server.identity],
    identitiesOnly: true,
    agent: "none",
    userKnownHosts: [server.knownHosts],
    globalKnownHosts: [],
  });
}

async function comesBack(port: number, host: string): Promise<void> {
  const { bytes, sha256 } = await transfer({ port, host }, { send: BYTES, timeout: 10_000 });
  assert.deepEqual({ bytes, sha256 }, patternReceived(BYTES), host);
}

async function isRefused(port: number, host: string): Promise<void> {
  await assert.rejects(transfer({ port, host }), { code: "ECONNREFUSED" }, host);
}

/** Another program may listen there, where the server chose the port: it is not our echo then. */
async function leadsNowhere(port: number, host: string): Promise<void> {
  const before = echo.connections;
  await transfer({ port, host }, { send: 10, timeout: 2_000 }).catch(() => {});
  assert.equal(echo.connections, before, `${host} does not lead to the echo`);
}

async function isFree(port: number, host = "127.0.0.1"): Promise<void> {
  await waitFor(() => isRefused(port, host).then(() => true, () => false), {
    what: `the end of the listener on ${port}`,
  });
}

/** What was logged meanwhile, as at normal verbosity with -v. */
async function logged(during: () => Promise<void>): Promise<string[]> {
  const lines: string[] = [];
  configureSync({
    reset: true,
    sinks: { lines: (record) => lines.push(record.message.map(String).join("")) },
    loggers: [
      { category: ["fairlead", "forward"], sinks: ["lines"], lowestLevel: "info" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "error" },
    ],
  });
  try {
    await during();
  } finally {
    resetSync();
  }
  return lines;
}

const V4 = ["127.0.0.1", "127.0.0.2"];
const V6 = hasIPv6 ? ["::1"] : [];

/** Every form of a bind address, where it can be reached, and what the forward says of it. */
const FORMS = [
  { bind: "", reached: ["127.0.0.1", ...V6], host: "localhost" },
  { bind: ":", reached: [...V4, ...V6], host: "*" },
  { bind: "*:", reached: [...V4, ...V6], host: "*" },
  { bind: "localhost:", reached: ["127.0.0.1", ...V6], host: "localhost" },
  { bind: "127.0.0.1:", reached: ["127.0.0.1"], host: "127.0.0.1" },
  { bind: "0.0.0.0:", reached: V4, host: "0.0.0.0" },
  { bind: "[::1]:", reached: ["::1"], host: "::1" },
  // Whether IPv4 is part of it is up to the server's system; sshd asks for IPv6 alone.
  { bind: "[::]:", reached: ["::1"], host: "::" },
];

for (const { bind, reached, host } of FORMS) {
  const needsIPv6 = host.includes(":") && !hasIPv6;
  const options = needsIPv6 ? { skip: "this machine has no IPv6" } : skip;
  test(`-R ${bind}port listens there and nowhere else, chosen or fixed`, options, async () => {
    await using tunnel = await open();
    for (const wanted of [0, await freePort()]) {
      const forward = await tunnel.forwardRemote(`${bind}${wanted}:${echo.host}:${echo.port}`);
      const { port } = forward;
      if (wanted === 0) assert.ok(port > 0);
      else assert.equal(port, wanted);
      assert.deepEqual(forward.addresses, [{ host, port }]);
      for (const where of [...V4, ...V6]) {
        if (reached.includes(where)) await comesBack(port, where);
        else await leadsNowhere(port, where);
      }
      await forward.close();
      for (const where of reached) await isFree(port, where);
    }
  });
}

test("listeners of one port with different addresses do not get mixed up", skip, async () => {
  await using source = await sourceServer(BYTES, 7);
  await using tunnel = await open();
  const port = await freePort();
  const first = await tunnel.forwardRemote(`127.0.0.1:${port}:${echo.host}:${echo.port}`);
  await using _second = await tunnel.forwardRemote(
    `127.0.0.2:${port}:${source.host}:${source.port}`,
  );
  const theirs = async () => {
    const { bytes, sha256 } = await transfer({ port, host: "127.0.0.2" }, { end: "last" });
    assert.deepEqual({ bytes, sha256 }, patternReceived(BYTES, 7));
  };
  await Promise.all([comesBack(port, "127.0.0.1"), theirs()]);
  await first.close();
  await isFree(port);
  await theirs();
});

test("the same listener twice is refused, and the first goes on", skip, async () => {
  await using tunnel = await open();
  const { port } = await tunnel.forwardRemote(`127.0.0.1:0:${echo.host}:${echo.port}`);
  const again = tunnel.forwardRemote(`127.0.0.1:${port}:${echo.host}:${echo.port}`);
  await assert.rejects(
    again,
    (error) => error instanceof ForwardError && error.code === "address-in-use",
  );
  await comesBack(port, "127.0.0.1");
});

test(
  "a destination that refuses closes its caller at once, and leaves one line",
  skip,
  async () => {
    const nobody = await refusingPort();
    await using tunnel = await open();
    const lines = await logged(async () => {
      await using bad = await tunnel.forwardRemote(`bad=0:${nobody.host}:${nobody.port}`);
      await using good = await tunnel.forwardRemote(`good=0:${echo.host}:${echo.port}`);
      const began = performance.now();
      // A connection that sshd accepted and then closes: an end or a reset, but no answer.
      const { bytes } = await transfer(bad.port, { send: 10 }).catch(() => ({ bytes: 0 }));
      assert.equal(bytes, 0);
      assert.ok(performance.now() - began < 1_000);
      await waitFor(() => bad.stats.open === 0);
      assert.deepEqual([bad.stats.total, bad.stats.refused], [1, 1]);
      await comesBack(good.port, "127.0.0.1");
    });
    const said = lines.filter((line) => line.startsWith("-R bad"));
    assert.equal(said.length, 1, said.join("\n"));
    assert.match(
      said[0] ?? "",
      /^-R bad #1 from 127\.0\.0\.1:\d+: 127\.0\.0\.1:\d+ refused the connection$/,
    );
    await waitFor(() => tunnel.channelCount === 0);
  },
);

test("a far caller that resets ends its connection alone", skip, async () => {
  await using tunnel = await open();
  await using forward = await tunnel.forwardRemote(`0:${echo.host}:${echo.port}`);
  const [caller, other] = await Promise.all([talk(forward.port), talk(forward.port)]);
  caller.resetAndDestroy();
  await waitFor(() => forward.stats.open === 1, { what: "the end of the connection" });
  await waitFor(() => echo.open === 1, { what: "the destination's end of it" });
  other.write("still here");
  assert.equal(String((await once(other, "data"))[0]), "still here");
  other.end();
  await waitFor(() => tunnel.channelCount === 0 && echo.open === 0);
});

test("a far caller that leaves at once leaves nothing", skip, async () => {
  await using tunnel = await open();
  await using forward = await tunnel.forwardRemote(`0:${echo.host}:${echo.port}`);
  for (let count = 0; count < 20; count++) {
    const caller = connectTcp({ port: forward.port, host: "127.0.0.1" });
    await once(caller, "connect");
    if (count % 2 === 0) caller.resetAndDestroy();
    else caller.destroy();
  }
  // The server takes callers in their order, and need not announce one that has reset already: when
  // the last one was answered, all the others were announced that ever will be.
  const { bytes } = await transfer(forward.port as number, { send: 1000 });
  assert.equal(bytes, 1000);
  const taken = new RegExp(`Connection to port ${forward.port} forwarding to`, "g");
  await waitFor(() => forward.stats.total === sshd.log().match(taken)?.length, {
    what: "every caller that the server has taken being counted",
  });
  assert.ok(forward.stats.total > 10, `${forward.stats.total} were announced`);
  await waitFor(() => forward.stats.open === 0 && tunnel.channelCount === 0 && echo.open === 0);
});

test("200 far callers at once all get their own bytes back, and are counted", skip, async () => {
  await using tunnel = await open();
  await using forward = await tunnel.forwardRemote(`0:${echo.host}:${echo.port}`);
  const before = descriptorsOf(process.pid);
  const sent = Array.from({ length: 200 }, (_, index) => 20_000 + index);
  const got = await Promise.all(
    sent.map((size) => transfer(forward.port, { send: size, seed: size })),
  );
  for (const [index, size] of sent.entries()) {
    const { bytes, sha256 } = got[index] ?? {};
    assert.deepEqual({ bytes, sha256 }, patternReceived(size, size));
  }
  await waitFor(() => forward.stats.open === 0 && tunnel.channelCount === 0);
  await waitFor(() => descriptorsOf(process.pid) <= before, { what: "the last socket's end" });
  const bytes = sent.reduce((sum, size) => sum + size);
  assert.deepEqual(forward.stats, {
    open: 0,
    total: 200,
    refused: 0,
    gone: 0,
    failed: 0,
    lost: 0,
    sent: bytes,
    received: bytes,
  });
});

test("close() ends the server's listener, and open connections go on", skip, async () => {
  await using tunnel = await open();
  const forward = await tunnel.forwardRemote(`127.0.0.1:0:${echo.host}:${echo.port}`);
  const { port } = forward;
  const caller = await talk(port);
  let closed = false;
  const closing = forward.close().then(() => closed = true);
  await isFree(port);
  caller.write("still here");
  assert.equal(String((await once(caller, "data"))[0]), "still here");
  assert.equal(closed, false, "it waits for the open connection");
  caller.end();
  await closing;
  await using again = await tunnel.forwardRemote(`127.0.0.1:${port}:${echo.host}:${echo.port}`);
  await comesBack(again.port, "127.0.0.1");
});

test("a forced close resets what is open, and the tunnel goes on", skip, async () => {
  await using tunnel = await open();
  const forward = await tunnel.forwardRemote(`0:${echo.host}:${echo.port}`);
  const caller = await talk(forward.port);
  const end = once(caller, "close");
  caller.on("error", () => {});
  await forward.close({ force: true });
  await end;
  await waitFor(() => tunnel.channelCount === 0 && echo.open === 0);
  await using again = await tunnel.forwardRemote(`0:${echo.host}:${echo.port}`);
  await comesBack(again.port, "127.0.0.1");
});

test("a far caller that ends its side first gets the whole answer", skip, async () => {
  await using peer = await questionAnswer({ answerBytes: 3_000_000, seed: 7 });
  await using tunnel = await open();
  await using forward = await tunnel.forwardRemote(`0:${peer.host}:${peer.port}`);
  const { bytes, sha256 } = await transfer(forward.port, { send: 2 * MIB });
  assert.deepEqual({ bytes, sha256 }, patternReceived(3_000_000, 7));
});

test("a destination that ends its side first gets everything", skip, async () => {
  await using peer = await serverEndsFirst({ answerBytes: 3_000_000, seed: 8 });
  await using tunnel = await open();
  await using forward = await tunnel.forwardRemote(`0:${peer.host}:${peer.port}`);
  const { bytes, sha256 } = await transfer(forward.port, { send: 2 * MIB, end: "last" });
  assert.deepEqual({ bytes, sha256 }, patternReceived(3_000_000, 8));
  assert.deepEqual(await peer.received(), patternReceived(2 * MIB));
});

test("64 MiB arrive unchanged, and as many the other way", skip, async () => {
  await using sink = await sinkServer();
  await using source = await sourceServer(64 * MIB, 6);
  await using tunnel = await open();
  await using up = await tunnel.forwardRemote(`0:${sink.host}:${sink.port}`);
  await using down = await tunnel.forwardRemote(`0:${source.host}:${source.port}`);
  const { head } = await transfer(up.port, { send: 64 * MIB, seed: 5 });
  assert.deepEqual(parseReceipt(head), patternReceived(64 * MIB, 5));
  const { bytes, sha256 } = await transfer(down.port, { end: "last" });
  assert.deepEqual({ bytes, sha256 }, patternReceived(64 * MIB, 6));
});

test("a connection that is lost leaves nothing in the process", skip, async () => {
  await using server = await startSshd();
  await using peer = await echoServer();
  using timers = countTimers();
  const tunnel = await open(server, { retries: 0 });
  const forward = await tunnel.forwardRemote(`0:${peer.host}:${peer.port}`);
  const proxy = await tunnel.forwardRemote("0");
  const silent = connectTcp({ port: proxy.port, host: "127.0.0.1" });
  const callers = [silent, ...await Promise.all([talk(forward.port), talk(forward.port)])];
  for (const caller of callers) caller.on("error", () => {});
  await waitFor(() => proxy.stats.open === 1, { what: "the SOCKS client that says nothing" });
  let code: string | undefined;
  tunnel.closed.then((reason) => code = reason?.code);
  await server.down();
  await waitFor(() => code === "connection-lost", { what: "the end of the tunnel" });
  assert.equal(proxy.stats.open, 0);
  await waitFor(() => peer.open === 0, { what: "the ends at the destination" });
  assert.deepEqual([forward.stats.open, tunnel.channelCount], [0, 0]);
  await tunnel.close();
  await waitFor(() => timers.pending === 0, { what: "the last timer's end" });
});

/** A connection through a forward to an echo server, seen to work. */
async function talk(port: number): Promise<Socket> {
  const socket = connectTcp({ port, host: "127.0.0.1" });
  await once(socket, "connect");
  socket.write("hello");
  assert.equal(String((await once(socket, "data"))[0]), "hello");
  return socket;
}
