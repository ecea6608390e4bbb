/** Tunnels of a fairlead.yaml, kept by a background process, from their first `up` to `down`. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { SocksClient } from "socks";
import { namedTunnelsStage, portOf, type Stage } from "../support/named_tunnels_stage.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import {
  digest,
  echoServer,
  pattern,
  patternReceived,
  pausedReader,
  type Peer,
  transfer,
} from "../support/tcp.ts";
import { freePort, signalProcess, skipUnless, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const BYTES = 300_000;
const NAMES = ["base", "inner", "mail", "web", "socks"];

let sshd: SshServer;
let echo: Peer;
let stage: Stage;

before(async () => {
  if (skip.skip !== undefined) return;
  [sshd, echo] = await Promise.all([startSshd(), echoServer()]);
  stage = await namedTunnelsStage(sshd);
});
after(async () => {
  await stage?.stop();
  await Promise.all([sshd?.stop(), echo?.stop()]);
});

/** Five tunnels with 20 forwards; `inner` goes through `base`. */
function project(): string {
  const kinds: Record<string, string[]> = {
    base: ["local", "remote", "dynamic", "local"],
    inner: ["local", "remote", "dynamic", "local"],
    mail: ["local", "local", "local", "local"],
    web: ["remote", "remote", "remote", "remote"],
    socks: ["dynamic", "dynamic", "local", "remote"],
  };
  return "tunnels:\n" +
    Object.entries(kinds).map(([name, forwards]) =>
      `  ${name}:\n    host: 127.0.0.1\n${name === "inner" ? "    jump: base\n" : ""}` +
      `    forwards:\n${
        forwards.map((kind, index) => {
          const to = kind === "dynamic" ? "" : `, to: "127.0.0.1:${echo.port}"`;
          return `      - { name: f${index}, ${kind}: 0${to} }\n`;
        }).join("")
      }`
    ).join("");
}

async function carriesAll(): Promise<void> {
  const { tunnels } = await stage.status();
  assert.deepEqual(tunnels.map(({ name, state }) => [name, state]).sort(), [
    ...NAMES.map((name) => [name, "open"]).sort(),
  ]);
  const forwards = tunnels.flatMap((tunnel) =>
    tunnel.forwards.map((forward, index) => ({
      ...forward,
      port: portOf(tunnels, tunnel.name, index),
    }))
  );
  assert.equal(forwards.length, 20);
  const wanted = patternReceived(BYTES);
  for (const { kind, port, forward } of forwards) {
    const { bytes, sha256 } = kind === "dynamic"
      ? await throughSocks(port)
      : await transfer(port, { send: BYTES });
    assert.deepEqual({ bytes, sha256 }, wanted, forward);
  }
}

/** A transfer through a SOCKS client that nobody here wrote, on a socket of its own. */
async function throughSocks(port: number): Promise<{ bytes: number; sha256: string }> {
  const { socket } = await SocksClient.createConnection({
    proxy: { host: "127.0.0.1", port, type: 5 },
    command: "connect",
    destination: { host: "127.0.0.1", port: echo.port },
  });
  const sent = Buffer.concat([...pattern(BYTES)]);
  const chunks: Buffer[] = [];
  let count = 0;
  const all = new Promise<void>((resolve, reject) => {
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      count += chunk.length;
      if (count >= BYTES) resolve();
    });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("the connection ended early")));
  });
  socket.write(sent);
  socket.resume();
  await all;
  socket.destroy();
  return digest(Buffer.concat(chunks));
}

test(
  "5 tunnels with 20 forwards come up, carry, survive a SIGKILL by up, and go",
  skip,
  async () => {
    stage.write(project());
    assert.deepEqual((await stage.status()).tunnels, []);
    // Two at the same moment: one background process, and both see everything up.
    const both = await Promise.all([stage.run("up"), stage.run("up")]);
    for (const { status, stderr } of both) {
      assert.equal(status, 0, stderr);
      for (const name of NAMES) assert.match(stderr, new RegExp(`${name}: up, 4 forwards`));
    }
    const { pid } = await stage.status();
    assert.ok(pid !== undefined);
    await carriesAll();

    signalProcess(pid, "SIGKILL");
    await waitFor(async () => (await stage.status()).tunnels.length === 0);
    const again = await stage.run("up", "--metrics", "0");
    assert.equal(again.status, 0, again.stderr);
    const [, url = ""] = /^fairlead: metrics at (\S+)$/m.exec(again.stderr) ?? [];
    assert.match(await (await fetch(url)).text(), /^fairlead_/m, "the port is said");
    assert.notEqual((await stage.status()).pid, pid);
    await carriesAll();

    const down = await stage.run("down");
    assert.equal(down.status, 0, down.stderr);
    for (const name of NAMES) assert.ok(down.stderr.includes(name), down.stderr);
    assert.deepEqual((await stage.status()).tunnels, []);
    const nothing = await stage.run("down");
    assert.deepEqual([nothing.status, nothing.stdout], [0, ""], nothing.stderr);
    assert.match(nothing.stderr, /no tunnel is up/);
  },
);

test("reload changes one forward, adds and removes one, while others transfer", skip, async () => {
  const [first, second] = [await freePort(), await freePort()];
  const file = (...lines: string[]) =>
    stage.write(
      `tunnels:\n  a:\n    host: 127.0.0.1\n    forwards:\n${
        lines.map((line) => `      - ${line}\n`).join("")
      }`,
    );
  const to = `127.0.0.1:${echo.port}`;
  file(`{ name: kept, local: 0, to: "${to}" }`, `local: ${first}:${to}`, "dynamic: 0");
  const up = await stage.run("up");
  assert.equal(up.status, 0, up.stderr);
  const { tunnels, pid } = await stage.status();
  const kept = portOf(tunnels, "a");
  const running = steadyTransfer(kept);
  file(`{ name: kept, local: 0, to: "${to}" }`, `local: ${second}:${to}`, `remote: 0:${to}`);
  await waitFor(() => running.bytes() > 0);
  const before = running.bytes();
  const reload = await stage.run("reload");
  assert.ok(running.bytes() > before, "bytes passed while the file was applied");
  assert.equal(reload.status, 0, reload.stderr);
  const after = await stage.status();
  // What follows says something only while the transfer runs.
  assert.equal(after.tunnels[0]?.forwards[0]?.stats.open, 1);
  assert.equal(after.pid, pid);
  assert.deepEqual(after.tunnels[0]?.forwards.map(({ kind }) => kind).sort(), [
    "local",
    "local",
    "remote",
  ]);
  assert.equal(portOf(after.tunnels, "a"), kept);
  await assert.rejects(transfer(first), /ECONNREFUSED/);
  assert.deepEqual(digestOf(await transfer(second, { send: BYTES })), patternReceived(BYTES));
  const { sent, received } = await running.stop();
  assert.deepEqual(received, sent);
  assert.equal((await stage.run("down", "a")).status, 0);
});

test("down in the middle of up ends both, and nothing stays", skip, async () => {
  const silent = await pausedReader();
  try {
    stage.write(`tunnels:\n  slow: { host: 127.0.0.1, port: ${silent.port} }\n`);
    const up = stage.run("up");
    await waitFor(async () => (await stage.status()).tunnels.length === 1);
    const down = await stage.run("down");
    assert.equal(down.status, 0, down.stderr);
    const { status, stderr } = await up;
    assert.equal(status, 255, stderr);
    assert.deepEqual((await stage.status()).tunnels, []);
  } finally {
    await silent.stop();
  }
});

function digestOf({ bytes, sha256 }: { bytes: number; sha256: string }) {
  return { bytes, sha256 };
}

/** Sends and reads back without a pause, until it is told to end. */
function steadyTransfer(port: number) {
  const socket = connect(port, "127.0.0.1");
  const [sent, received] = [createHash("sha256"), createHash("sha256")];
  let [bytesSent, bytesReceived] = [0, 0];
  let ending = false;
  socket.on("data", (chunk: Buffer) => {
    received.update(chunk);
    bytesReceived += chunk.length;
    if (!ending && bytesReceived === bytesSent) next();
    else if (ending && bytesReceived === bytesSent) socket.end();
  });
  const closed = new Promise<void>((resolve, reject) => {
    socket.once("end", resolve);
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("the connection broke")));
  });
  closed.catch(() => {}); // It is awaited by stop().
  const next = () => {
    const [chunk = Buffer.alloc(0)] = pattern(50_000, bytesSent);
    sent.update(chunk);
    bytesSent += chunk.length;
    socket.write(chunk);
  };
  socket.once("connect", next);
  return {
    bytes: () => bytesReceived,
    stop: async () => {
      ending = true;
      await closed;
      return {
        sent: { bytes: bytesSent, sha256: sent.digest("hex") },
        received: { bytes: bytesReceived, sha256: received.digest("hex") },
      };
    },
  };
}
