/** A forward that cannot be had: with ExitOnForwardFailure nothing is left of the others. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fairlead, serverOptions, startFairlead } from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, type Peer, transfer } from "../support/tcp.ts";
import { freePort, skipUnless, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const EXIT = ["-o", "ExitOnForwardFailure=yes"];

let home: Home;
let sshd: SshServer;
let localOnly: SshServer;
let echo: Peer;

before(async () => {
  home = await emptyHome();
  echo = await echoServer();
  if (skip.skip !== undefined) return;
  // Otherwise a port that is taken on 127.0.0.1 is still free on ::1, which is enough for sshd.
  sshd = await startSshd({ config: ["AddressFamily inet"] });
  localOnly = await startSshd({ config: ["AllowTcpForwarding local"] });
});
after(async () => {
  await sshd?.stop();
  await localOnly?.stop();
  await echo?.stop();
  await home?.stop();
});

/** Runs it, and expects one line besides those about what listened until then. */
async function fails(args: string[], message: RegExp, server = sshd): Promise<void> {
  const begun = performance.now();
  const { status, stdout, stderr } = await fairlead([...args, ...serverOptions(server)], {
    env: home.env,
  });
  const taken = performance.now() - begun;
  assert.deepEqual([status, stdout], [255, ""], stderr);
  const lines = complaints(stderr);
  assert.equal(lines.length, 1, stderr);
  assert.match(lines[0] ?? "", message);
  assert.ok(taken < 2_000, `${taken} ms`);
}

/** All lines but those about what listens. */
function complaints(stderr: string): string[] {
  return stderr.trimEnd().split("\n").filter((line) =>
    !/^fairlead: (?:-R \S+: )?listening on/.test(line)
  );
}

const isRefused = (port: number) =>
  transfer(port, { timeout: 1_000 }).then(() => false, () => true);

test("two forwards on one local port", skip, async () => {
  const port = await freePort();
  const forwards = ["-L", `${port}:127.0.0.1:9`, "-L", `${port}:127.0.0.1:10`];
  await fails([...EXIT, ...forwards], /^fairlead: cannot listen on localhost:\d+: .* in use; /);
  assert.ok(await isRefused(port));
});

test("a local port that is taken, after good forwards of every kind", skip, async () => {
  const [local, remote, dynamic] = [await freePort(), await freePort(), await freePort()];
  const good = [
    ...["-L", `${local}:127.0.0.1:${echo.port}`, "-R", `${remote}:127.0.0.1:${echo.port}`],
    ...["-D", `${dynamic}`],
  ];
  const args = [...good, "-L", `${echo.port}:a:1`, ...EXIT];
  await fails(args, /^fairlead: cannot listen on localhost:\d+: the address is in use; /);
  for (const port of [local, remote, dynamic]) assert.ok(await isRefused(port), `${port}`);
});

test("a port of the server that is taken", skip, async () => {
  const port = await freePort();
  await fails(
    [...EXIT, "-L", `${port}:127.0.0.1:9`, "-R", `${echo.port}:127.0.0.1:9`],
    new RegExp(`^fairlead: .*${echo.port}`),
  );
  assert.ok(await isRefused(port));
});

test("a server that forbids remote forwards", skip, async () => {
  await fails(
    [...EXIT, "-L", `0:127.0.0.1:${echo.port}`, "-R", "0:127.0.0.1:9"],
    /^fairlead: .*AllowTcpForwarding/,
    localOnly,
  );
});

test("the command is not run, and nobody goes to the background", skip, async () => {
  const bad = ["-L", `${echo.port}:127.0.0.1:9`, ...EXIT];
  const args = [...bad, ...serverOptions(sshd), "echo", "it ran"];
  for (const options of [[], ["-f"]]) {
    const { status, stdout, stderr } = await fairlead([...options, ...args], { env: home.env });
    assert.deepEqual([status, stdout], [255, ""]);
    assert.match(stderr, /^fairlead: cannot listen on [^\n]*\n$/);
  }
});

test("without ExitOnForwardFailure each failure is told, and the rest goes on", skip, async () => {
  await using run = await startFairlead([
    ...["-L", `${echo.port}:a:1`, "-L", `0:127.0.0.1:${echo.port}`, "-R", "0:127.0.0.1:9"],
    ...["-D", `${echo.port}`, ...serverOptions(localOnly)],
  ], { env: home.env });
  assert.equal((await transfer(run.ports[0] ?? 0, { send: 1000 })).bytes, 1000);
  await waitFor(() => complaints(run.stderr()).length === 3, { what: run.stderr() });
});

test("when all have failed there is nothing to stay for", skip, async () => {
  const forwards = ["-L", `${echo.port}:a:1`, "-D", `${echo.port}`, "-R", "0:a:1"];
  const args = [...forwards, ...serverOptions(localOnly)];
  const { status, stderr } = await fairlead(args, { env: home.env });
  assert.equal(status, 255);
  assert.equal(stderr.trimEnd().split("\n").length, 3, stderr);
});

test("but a command runs all the same", skip, async () => {
  const args = ["-L", `${echo.port}:a:1`, ...serverOptions(sshd), "echo it ran"];
  const { stdout, stderr } = await fairlead(args, { env: home.env });
  assert.equal(stdout, "it ran\n");
  assert.match(stderr, /^fairlead: cannot listen on [^\n]*\n$/);
});
