/** What the command line says when the link is lost and comes back. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { holdOpen } from "../support/callers.ts";
import { serverOptions, startFairlead } from "../support/fairlead.ts";
import { faultStage } from "../support/fault_stage.ts";
import { startSshd } from "../support/sshd.ts";
import { echoServer, type Peer, transfer } from "../support/tcp.ts";
import { freePort, skipUnless, type Stoppable, tempDir, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
let echo: Peer;
let folder: { path: string } & Stoppable;

before(async () => {
  echo = await echoServer();
  folder = await tempDir();
});
after(async () => {
  await echo.stop();
  await folder.stop();
});

async function called(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1").on("error", () => {});
  socket.write("hello");
  await once(socket, "data");
  return socket;
}

test(
  "a person reads that the link was lost, that it is back, and a banner once",
  skip,
  async () => {
    const banner = join(folder.path, "banner");
    await writeFile(banner, "Authorised use only\n");
    await using server = await startSshd({ config: [`Banner ${banner}`] });
    const forward = ["-L", `0:127.0.0.1:${echo.port}`];
    await using run = await startFairlead([...forward, ...serverOptions(server)]);
    const [port = 0] = run.ports;
    await called(port);
    server.signalSessions("SIGKILL");
    await waitFor(() => run.lines().some((line) => /again after/.test(line)));
    (await called(port)).destroy();
    const lines = run.lines().filter((line) => !line.includes(" #1 from "));
    const place = `127\\.0\\.0\\.1:${server.port}`;
    assert.equal(lines.length, 3, run.stderr());
    assert.equal(lines[0], "Authorised use only");
    assert.match(
      lines[1] ?? "",
      new RegExp(
        `^fairlead: lost the connection \\(.*${place}.*\\); 1 connection was reset; connecting again$`,
      ),
    );
    assert.match(
      lines[2] ?? "",
      new RegExp(`^fairlead: connected to ${place} again after \\d\\.\\d s$`),
    );
  },
);

test("what there is to warn of at each attempt is said once", skip, async () => {
  await using server = await startSshd();
  const options = ["-i", join(folder.path, "no-such-key"), "-L", `0:127.0.0.1:${echo.port}`];
  await using run = await startFairlead([...options, ...serverOptions(server)]);
  const [port = 0] = run.ports;
  await server.down();
  const waiting = called(port);
  await waitFor(() => run.stderr().includes("trying again"));
  await sleep(1_500);
  await server.up();
  (await waiting).destroy();
  await waitFor(() => /again after/.test(run.stderr()));
  assert.equal(run.stderr().match(/no-such-key/g)?.length, 1, run.stderr());
});

test("a script reads the same as events", skip, async () => {
  await using server = await startSshd();
  const forward = ["--json", "-L", `0:127.0.0.1:${echo.port}`];
  await using run = await startFairlead([...forward, ...serverOptions(server)], { forwards: 0 });
  const events = () =>
    run.stdout().split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
  const port = await waitFor(() => events().find(({ event }) => event === "listening")?.port);
  await server.down();
  await waitFor(() => events().some(({ event }) => event === "lost"));
  const waiting = [called(port), called(port)];
  await waitFor(() => run.stderr().includes("refused"));
  await server.up();
  for (const socket of await Promise.all(waiting)) socket.destroy();
  const [, lost, back] = events();
  assert.deepEqual([lost.v, lost.event, lost.lost], [1, "lost", 0]);
  assert.match(lost.reason, new RegExp(`127\\.0\\.0\\.1:${server.port}`));
  assert.deepEqual([back.v, back.event, back.parked], [1, "reconnected", 2]);
  assert.ok(back.seconds > 0);
  // That the server cannot be reached is told once, however often it is tried.
  assert.equal(run.stderr().match(/refused the connection; trying again/g)?.length, 1);
});

test("a changed host key is final: callers are closed, and the status is 255", skip, async () => {
  await using stage = await faultStage();
  await using run = await startFairlead(["-L", `0:${stage.to}`, ...serverOptions(stage.sshd)]);
  await using held = await holdOpen(run.ports[0] ?? 0, 1);
  await stage.changeHostKey();
  await stage.sshd.down();
  await held.allEnded(performance.now());
  const waiting = transfer(run.ports[0] ?? 0, { send: 10, timeout: 20_000 });
  waiting.catch(() => {});
  await stage.sshd.up();
  assert.deepEqual(await run.closed, { status: 255, signal: null });
  await assert.rejects(waiting, { code: "ECONNRESET" });
  const lines = run.lines();
  assert.match(lines.at(-1) ?? "", /^fairlead: .*host key.*changed/i);
  assert.ok(
    lines.some((line) => /-L \d+ #2 from .*: .*host key.*changed/i.test(line)),
    lines.join("\n"),
  );
});

test("a port that the server still holds is asked for until it lets go", skip, async () => {
  await using stage = await faultStage();
  const port = await freePort();
  await using run = await startFairlead([
    ...["-R", `${port}:${stage.to}`, ...serverOptions(stage.reach)],
  ]);
  const [holder = 0] = stage.sshd.sessions();
  const talks = async () => (await transfer(port, { send: 1_000 })).bytes === 1_000;
  assert.ok(await talks());
  // The client loses its connection, and the server does not hear of it.
  stage.path.desert();
  await waitFor(() => run.lines().some((line) => /asking until it lets go/.test(line)));
  await sleep(1_000);
  assert.ok(stage.sshd.sessions().includes(holder));
  assert.ok(run.running());
  process.kill(holder, "SIGKILL");
  await waitFor(() =>
    run.lines().some((line) => line.includes(`listens on localhost:${port} again`))
  );
  assert.ok(await talks());
});
