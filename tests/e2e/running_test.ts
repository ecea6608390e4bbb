/** Every kind of forward in one run, where they listen, and where the lines about them go. */
import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { SocksClient } from "socks";
import { fairlead, serverOptions, startFairlead } from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, patternReceived, type Peer, refusingPort, transfer } from "../support/tcp.ts";
import { freePort, skipUnless, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");

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

async function echoes(port: number): Promise<void> {
  assert.equal((await transfer(port, { send: 100_000 })).bytes, 100_000);
}

async function echoesThroughSocks(port: number): Promise<void> {
  const { socket } = await SocksClient.createConnection({
    proxy: { host: "127.0.0.1", port, type: 5 },
    command: "connect",
    destination: { host: "127.0.0.1", port: echo.port },
  });
  socket.resume().write("ping");
  const [answer] = await Promise.all([
    new Promise((resolve) => socket.once("data", (data) => resolve(String(data)))),
  ]);
  socket.destroy();
  assert.equal(answer, "ping");
}

test("Unix sockets on either side carry data, through a jump host", skip, async () => {
  await using hop = await startSshd();
  const known = join(home.path, "known_hosts_of_both");
  await writeFile(
    known,
    (await readFile(hop.knownHosts, "utf8")) + await readFile(sshd.knownHosts, "utf8"),
  );
  const host = (name: string, { host, port, user, identity }: SshServer, more = "") =>
    `Host ${name}\n  Hostname ${host}\n  Port ${port}\n  User ${user}\n` +
    `  IdentityFile ${identity}\n${more}`;
  const config = join(home.path, "config_of_both");
  await writeFile(
    config,
    `${host("end", sshd, "  ProxyJump hop\n")}${host("hop", hop)}` +
      `Host *\n  UserKnownHostsFile ${known}\n  GlobalKnownHostsFile none\n  IdentityAgent none\n`,
  );
  const [near, far] = [join(home.path, "near.sock"), join(sshd.dir, "far.sock")];
  const to = `127.0.0.1:${echo.port}`;
  const forwards = ["-L", `${near}:${to}`, "-R", `${far}:${to}`, "-L", `0:${far}`];
  await using run = await startFairlead(["-F", config, ...forwards, "end"], { env: home.env });
  assert.ok(hop.sessions().length > 0, "the jump host is logged in at");
  for (const target of [{ path: near }, { port: run.ports[0] ?? 0, host: "127.0.0.1" }]) {
    const { bytes, sha256 } = await transfer(target, { send: 1_000_003, seed: 4 });
    assert.deepEqual({ bytes, sha256 }, patternReceived(1_000_003, 4));
  }
  assert.equal((await run.end("SIGTERM")).status, 143);
});

test("-L, -R and -D in one command line all carry data", skip, async () => {
  const to = `127.0.0.1:${echo.port}`;
  await using run = await startFairlead([
    ...["-R", `0:${to}`, "-D", "0", "-L", `mail=0:${to}`, "-R", "0"],
    ...serverOptions(sshd),
  ], { env: home.env, forwards: 4 });
  const [remote = 0, dynamic = 0, local = 0, reverse = 0] = run.ports;
  await echoes(remote);
  await echoesThroughSocks(dynamic);
  await echoes(local);
  await echoesThroughSocks(reverse);
  const lines = run.stderr().trimEnd().split("\n");
  assert.equal(
    lines[0],
    `fairlead: -R 0: listening on the server at localhost:${remote}, forwarding to ${to}`,
  );
  assert.match(lines[1] ?? "", /^fairlead: listening on 127\.0\.0\.1:\d+.*, for SOCKS clients$/);
  assert.match(lines[2] ?? "", /^fairlead: mail: listening on .*, forwarding to 127\.0\.0\.1:\d+$/);
  assert.match(lines[3] ?? "", /^fairlead: -R 0: listening on the server .*, for SOCKS clients$/);
  assert.deepEqual(await run.end("SIGTERM"), { status: 143, signal: null });
});

test("with --json each forward's event tells its kind and its port", skip, async () => {
  await using run = await startFairlead([
    ...["--json", "-L", "0:web:80", "-R", "0:web:80", "-D", "0", ...serverOptions(sshd)],
  ], { env: home.env, forwards: 0 });
  const lines = () => run.stdout().trimEnd().split("\n").filter((line) => line !== "");
  await waitFor(() => lines().length === 3);
  const events = lines().map((line) => JSON.parse(line));
  assert.deepEqual(events.map(({ event, kind }) => [event, kind]), [
    ["listening", "local"],
    ["listening", "remote"],
    ["listening", "dynamic"],
  ]);
  for (const { port } of events) assert.ok(port > 0);
  assert.equal(run.stderr(), "");
});

test("an exact duplicate is taken once", skip, async () => {
  const port = await freePort();
  const one = ["-L", `${port}:127.0.0.1:${echo.port}`];
  const args = [...one, ...one, "-o", "ExitOnForwardFailure=yes", ...serverOptions(sshd)];
  await using run = await startFairlead(args, { env: home.env });
  await echoes(port);
  assert.equal(run.ports.length, 1);
});

test("-g, and a bind address of *, listen on all interfaces and say so", skip, async () => {
  const to = `127.0.0.1:${echo.port}`;
  for (const forward of [["-g", "-L", `0:${to}`], ["-L", `*:0:${to}`], ["-g", "-D", "0"]]) {
    await using run = await startFairlead([...forward, ...serverOptions(sshd)], { env: home.env });
    await waitFor(() => run.lines().length === 1);
    assert.match(run.lines()[0] ?? "", /^fairlead: anyone who can reach .* can use this forward$/);
    const socket = connect({ host: "127.0.0.2", port: run.ports[0] ?? 0 });
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    socket.destroy();
  }
  await using run = await startFairlead(["-L", `0:${to}`, ...serverOptions(sshd)], {
    env: home.env,
  });
  assert.deepEqual(run.lines(), []);
  await assert.rejects(transfer({ host: "127.0.0.2", port: run.ports[0] ?? 0 }));
});

test("-o ClearAllForwardings leaves nothing to do", skip, async () => {
  const args = ["-L", "0:web:80", "-o", "ClearAllForwardings=yes", ...serverOptions(sshd)];
  const { status, stderr } = await fairlead(args, { env: home.env });
  assert.equal(status, 2);
  assert.match(stderr, /^fairlead: nothing to forward, .* no shell; [^\n]*\n$/);
});

test("-E gets the lines instead of stderr, and nobody else can read them", skip, async () => {
  const file = join(home.path, "log");
  await using run = await startFairlead([
    ...["-v", "-E", file, "-L", `0:127.0.0.1:${echo.port}`, ...serverOptions(sshd)],
  ], { env: home.env, forwards: 0 });
  const log = () => readFile(file, "utf8").catch(() => "");
  await waitFor(async () => /listening on/.test(await log()));
  await echoes(Number(/listening on 127\.0\.0\.1:(\d+)/.exec(await log())?.[1]));
  await waitFor(async () => / #1 from .*: closed; 100000 bytes sent/.test(await log()));
  assert.deepEqual([run.stdout(), run.stderr()], ["", ""]);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  await run.end("SIGTERM");
  const before = await log();

  const nobody = await refusingPort();
  const args = ["-E", file, "-F", "none", "-p", `${nobody.port}`, "-D", "0", "127.0.0.1"];
  const { status, stderr } = await fairlead(args, { env: home.env });
  assert.equal(status, 255);
  assert.match(stderr, /^fairlead: 127\.0\.0\.1:\d+ refused the connection; [^\n]*\n$/);
  assert.equal(await log(), before + stderr, "what ends the run is in both");
});

test("a log file that cannot be opened is told before anything is connected", async () => {
  const args = ["-E", join(home.path, "none", "log"), "-D", "0", "no-such-host.invalid"];
  const { status, stderr } = await fairlead(args, { env: home.env });
  assert.equal(status, 2);
  assert.match(stderr, /^fairlead: -E \S+: its folder does not exist\n$/);
});
