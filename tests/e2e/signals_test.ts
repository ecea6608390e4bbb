/** How a run ends: by a signal, which lets open connections finish, or because the server went. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  type Fairlead,
  programCommand,
  programRuntime,
  serverOptions,
  startFairlead,
} from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import {
  echoServer,
  patternReceived,
  pausedReader,
  type Peer,
  questionAnswer,
  transfer,
} from "../support/tcp.ts";
import { type Running, skipUnless, start, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const MIB = 1024 * 1024;
const STATUSES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

let home: Home;
let sshd: SshServer;
let echo: Peer;

before(async () => {
  home = await emptyHome();
  echo = await echoServer();
  if (skip.skip === undefined) sshd = await startSshd();
});
after(async () => {
  await sshd?.stop();
  await echo?.stop();
  await home?.stop();
});

function forwarding(peer: Peer, server = sshd, ...options: string[]): Promise<Fairlead> {
  const forward = ["-L", `0:${peer.host}:${peer.port}`];
  return startFairlead([...options, ...forward, ...serverOptions(server)], { env: home.env });
}

/** Connects and waits until the connection reaches the echo server and comes back. */
async function connected(run: Fairlead): Promise<Socket> {
  const socket = connect({ port: run.ports[0] as number, host: "127.0.0.1", allowHalfOpen: true });
  socket.on("error", () => {});
  await once(socket, "connect");
  socket.write("ping");
  await once(socket, "data");
  return socket;
}

/** How a connection ends: `end` for a clean one, else the error's code. */
function endOf(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once("end", () => resolve("end"));
    socket.once("error", (error) => resolve("code" in error ? String(error.code) : error.message));
    socket.resume();
  });
}

async function isRefused(port: number): Promise<boolean> {
  const socket = connect({ port, host: "127.0.0.1" });
  try {
    await once(socket, "connect");
    return false;
  } catch {
    return true;
  } finally {
    socket.destroy();
  }
}

/** What is said to whoever waits for the end. */
const DRAINING =
  /^fairlead: stopped listening; 1 open connection has 5 s to finish, a second signal ends/;

/** Milliseconds until the process has gone, which must be with this status. */
async function endsWith(run: Running, status: number): Promise<number> {
  const begun = performance.now();
  assert.deepEqual(await run.exited, { status, signal: null }, run.stderr());
  return performance.now() - begun;
}

for (const [signal, status] of Object.entries(STATUSES)) {
  test(`${signal} ends an idle run at once, with status ${status}`, skip, async () => {
    await using run = await forwarding(echo);
    run.kill(signal as NodeJS.Signals);
    assert.ok(await endsWith(run, status) < 1_000);
    assert.deepEqual(run.lines(), []);
  });
}

test("a signal that is ignored from the start, as under nohup, stays ignored", skip, async () => {
  const [program, before] = programCommand();
  const ignoring = ["-c", 'trap "" HUP; exec "$0" "$@"', program, ...before];
  await using run = await startFairlead(
    ["-L", `0:${echo.host}:${echo.port}`, ...serverOptions(sshd)],
    { env: home.env, command: ["sh", ignoring] },
  );
  run.kill("SIGHUP");
  // Node undoes it before any program runs.
  if (programRuntime() === "node") return void await endsWith(run, STATUSES.SIGHUP);
  run.kill("SIGHUP");
  (await connected(run)).destroy();
  run.kill("SIGTERM");
  await endsWith(run, STATUSES.SIGTERM);
});

test("after a signal nothing is accepted any more, and what is open finishes", skip, async () => {
  await using peer = await questionAnswer({ answerBytes: 3 * MIB, seed: 3 });
  await using run = await forwarding(peer);
  const port = run.ports[0] as number;
  // It reads for about two seconds.
  const transferred = transfer(port, { send: 1000, bytesPerSecond: 1.5 * MIB, timeout: 10_000 });
  await waitFor(() => peer.bytes === 1000);
  run.kill("SIGINT");
  await waitFor(() => isRefused(port), { timeout: 500, what: "the listener's end" });
  const { bytes, sha256 } = await transferred;
  assert.deepEqual({ bytes, sha256 }, patternReceived(3 * MIB, 3));
  await endsWith(run, STATUSES.SIGINT);
  assert.deepEqual(run.lines().filter((line) => line.includes(" #1 ")), []);
});

test("a connection that does not finish is reset after five seconds", skip, async () => {
  await using run = await forwarding(echo);
  const end = endOf(await connected(run));
  const begun = performance.now();
  run.kill("SIGTERM");
  assert.equal(await end, "ECONNRESET");
  const taken = performance.now() - begun;
  assert.ok(taken > 4_500 && taken < 7_000, `${taken} ms`);
  await endsWith(run, STATUSES.SIGTERM);
  const [draining = "", reset = "", ...rest] = run.lines();
  assert.match(draining, DRAINING);
  assert.match(reset, /^fairlead: -L \d+ #1 from \S+: reset: .*; 4 bytes sent, 4 received$/);
  assert.deepEqual(rest, []);
});

test("a second signal ends at once, with the first one's status", skip, async () => {
  await using run = await forwarding(echo);
  const end = endOf(await connected(run));
  run.kill("SIGINT");
  await waitFor(() => isRefused(run.ports[0] as number));
  run.kill("SIGTERM");
  assert.ok(await endsWith(run, STATUSES.SIGINT) < 1_000);
  assert.equal(await end, "ECONNRESET");
});

test("a signal ends a run whose destination takes nothing", skip, async () => {
  await using peer = await pausedReader();
  await using run = await forwarding(peer);
  const socket = connect({ port: run.ports[0] as number, host: "127.0.0.1" });
  socket.on("error", () => {});
  socket.write(new Uint8Array(8 * MIB));
  await waitFor(() => peer.connections === 1);
  run.kill("SIGINT");
  await waitFor(() => isRefused(run.ports[0] as number));
  run.kill("SIGINT");
  assert.ok(await endsWith(run, STATUSES.SIGINT) < 1_000);
  socket.destroy();
});

test("a signal while it connects ends at once", async () => {
  // It accepts, reads and says nothing.
  await using silent = await pausedReader();
  const [command, first] = programCommand();
  const address = ["-p", String(silent.port), silent.host];
  await using run = start(command, [...first, "-F", "none", "-L", "0:a:1", ...address], {
    env: home.env,
  });
  await waitFor(() => silent.connections === 1);
  run.kill("SIGINT");
  assert.ok(await endsWith(run, STATUSES.SIGINT) < 1_000);
  assert.deepEqual([run.stdout(), run.stderr()], ["", ""]);
});

test("a signal while the agent does not answer ends at once", async () => {
  const path = join(home.path, "agent");
  let asked = false;
  const agent = createServer((socket) => {
    asked = true;
    socket.on("error", () => {}).resume();
  });
  await new Promise<void>((resolve) => agent.listen(path, resolve));
  try {
    const [command, first] = programCommand();
    const args = ["-F", "none", "-o", `IdentityAgent=${path}`, "-L", "0:a:1", "127.0.0.1"];
    await using run = start(command, [...first, ...args], { env: home.env });
    await waitFor(() => asked);
    run.kill("SIGTERM");
    assert.ok(await endsWith(run, STATUSES.SIGTERM) < 1_000);
    assert.deepEqual([run.stdout(), run.stderr()], ["", ""]);
  } finally {
    agent.close();
  }
});

test("without retries a server that goes away ends the run", skip, async () => {
  await using server = await startSshd();
  await using run = await forwarding(echo, server, "--retry", "0");
  const end = endOf(await connected(run));
  await server.down();
  assert.equal(await end, "ECONNRESET", "a cut connection must not look like a finished one");
  await endsWith(run, 255);
  const lines = run.lines().filter((line) => !/ #1 from /.test(line));
  assert.equal(lines.length, 1, run.stderr());
  assert.match(lines[0] ?? "", /^fairlead: .*127\.0\.0\.1:\d+.* (closed|lost)/);
  assert.equal(run.lines().length, 2, "and one line of the connection");
});

test("so does a session whose process at the server is killed", skip, async () => {
  await using run = await forwarding(echo, sshd, "--retry", "0");
  const end = endOf(await connected(run));
  sshd.signalSessions("SIGKILL");
  assert.equal(await end, "ECONNRESET");
  await endsWith(run, 255);
  assert.equal(run.lines().length, 2, run.stderr());
});

test("a server that stopped answering does not hold up the end", skip, async () => {
  await using run = await forwarding(echo);
  sshd.signalSessions("SIGSTOP");
  run.kill("SIGINT");
  assert.ok(await endsWith(run, STATUSES.SIGINT) < 3_000);
  sshd.signalSessions("SIGCONT");
});
