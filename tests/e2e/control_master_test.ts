/** ssh's control socket: -M, -S, -O and ControlPersist, beside the real ssh. */
import assert from "node:assert/strict";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fairlead, serverOptions, startFairlead } from "../support/fairlead.ts";
import { sshOptions, type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, type Peer, refusingPort, transfer } from "../support/tcp.ts";
import { freePort, run, skipUnless, tempDir, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh", "ssh-keygen");
let sshd: SshServer;
let echo: Peer;
let folder: Awaited<ReturnType<typeof tempDir>>;

before(async () => {
  if (skip.skip !== undefined) return;
  sshd = await startSshd();
  echo = await echoServer();
  folder = await tempDir("fairlead-master-");
});
after(async () => {
  await sshd?.stop();
  await echo?.stop();
  await folder?.stop();
});

interface Said {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What -O answers, ssh's or ours. */
async function asked(
  program: "ssh" | "fairlead",
  path: string,
  command: string,
  ...args: string[]
): Promise<Said> {
  const words = ["-S", path, "-O", command, ...args];
  const { status, stdout, stderr } = program === "ssh"
    ? await run("ssh", [...sshOptions(sshd), ...words, sshd.host])
    : await fairlead([...words, ...serverOptions(sshd)]);
  return { status, stdout, stderr };
}

test("-O answers as ssh does, in words, streams and statuses", skip, async () => {
  const ports = { ssh: await freePort(), fairlead: await freePort() };
  const taken = String(echo.port);
  const answers = async (program: "ssh" | "fairlead", path: string, pid: () => number) => {
    const port = ports[program];
    const forward = ["-L", `${port}:127.0.0.1:${echo.port}`];
    const socket = ["-L", `${path}.fwd:127.0.0.1:${echo.port}`];
    const remote = ["-R", `0:127.0.0.1:${echo.port}`];
    const said: [string, Said][] = [];
    const ask = async (command: string, ...args: string[]) => {
      said.push([[command, ...args].join(" "), await asked(program, path, command, ...args)]);
    };
    await ask("check");
    await ask("forward", ...forward);
    assert.equal((await transfer(port, { send: 1_000 })).bytes, 1_000);
    await ask("forward", ...forward);
    await ask("forward", ...remote);
    const number = Number(said.at(-1)?.[1].stdout);
    assert.equal((await transfer(number, { send: 1_000 })).bytes, 1_000);
    await ask("forward", ...remote);
    await ask("forward", ...socket);
    await ask("cancel", ...socket);
    await ask("cancel", ...forward);
    await assert.rejects(transfer(port, { send: 1 }), { code: "ECONNREFUSED" });
    await ask("cancel", ...forward);
    await ask("cancel", ...remote);
    await ask("exit");
    // ssh lets go of whoever asked first, and removes its socket then.
    if (program === "ssh") await waitFor(() => !existsSync(path));
    assert.equal(existsSync(path), false);
    await ask("check");
    // A process's number may be short, and stand in a port or an address.
    const neutral = (text: string) =>
      text.replaceAll(path, "PATH").replaceAll(String(number), "PORT")
        .replaceAll(`(pid=${pid()})`, "(pid=PID)").replaceAll(String(port), "LISTEN");
    return said.map(([what, { status, stdout, stderr }]) => ({
      what: neutral(what),
      status,
      stdout: neutral(stdout),
      stderr: neutral(stderr),
    }));
  };

  const ours = join(folder.path, "ours");
  await using master = await startFairlead(
    ["-M", "-S", ours, "-N", "-L", `0:127.0.0.1:${taken}`, ...serverOptions(sshd)],
  );
  await waitFor(() => existsSync(ours));
  assert.equal(statSync(ours).mode & 0o777, 0o600);
  const { stderr } = await asked("fairlead", ours, "check");
  const pid = Number(/pid=(\d+)/.exec(stderr)?.[1]);
  const mine = await answers("fairlead", ours, () => pid);
  assert.equal((await master.closed).status, 0);

  const theirs = join(folder.path, "theirs");
  const options = [...sshOptions(sshd), "-M", "-S", theirs, "-N", "-f", sshd.host];
  await run("ssh", options);
  await waitFor(() => existsSync(theirs));
  const { stderr: known } = await asked("ssh", theirs, "check");
  const other = Number(/pid=(\d+)/.exec(known)?.[1]);
  assert.deepEqual(mine, await answers("ssh", theirs, () => other));
});

test("the first run is the master, and those that follow use it", skip, async () => {
  const path = join(folder.path, "auto");
  const options = ["-o", "ControlMaster=auto", "-o", `ControlPath=${path}`, "-N"];
  const first = await freePort();
  await using _master = await startFairlead(
    [...options, "-L", `${first}:127.0.0.1:${echo.port}`, ...serverOptions(sshd)],
  );
  await waitFor(() => existsSync(path));
  const before = sshd.sessions().length;
  const port = await freePort();
  const second = await fairlead(
    [...options, "-L", `${port}:127.0.0.1:${echo.port}`, ...serverOptions(sshd)],
  );
  assert.deepEqual([second.status, second.stderr], [0, ""]);
  assert.equal((await transfer(port, { send: 1_000 })).bytes, 1_000);
  assert.equal(sshd.sessions().length, before);
  const info = await asked("fairlead", path, "conninfo");
  assert.match(
    info.stdout,
    new RegExp(`^ {2}tcp 127\\.0\\.0\\.1:\\d+ -> 127\\.0\\.0\\.1:${sshd.port}\r?$`, "m"),
  );
  assert.match(info.stdout, /^ {2}kexalgorithm \S+\r?$/m);
  // A forward that cannot be had is said, and the others stay.
  const refused = await asked("fairlead", path, "forward", "-L", `${sshd.port}:127.0.0.1:1`);
  assert.equal(refused.status, 255);
  assert.match(refused.stderr, /muxclient: master forward request failed\r\n$/);
  assert.equal((await asked("fairlead", path, "stop")).stderr, "Stop listening request sent.\r\n");
  assert.equal(existsSync(path), false);
  assert.equal((await transfer(port, { send: 1_000 })).bytes, 1_000);
});

test("ssh and fairlead pass over each other's sockets", skip, async () => {
  const path = join(folder.path, "mixed");
  await using _master = await startFairlead(
    ["-M", "-S", path, "-N", "-L", `0:127.0.0.1:${echo.port}`, ...serverOptions(sshd)],
  );
  await waitFor(() => existsSync(path));
  const args = [...sshOptions(sshd), "-S", path, sshd.host, "echo own"];
  const { status, stdout } = await run("ssh", args);
  assert.deepEqual([status, stdout], [0, "own\n"]);
});

test("ControlPersist leaves the master in the background, for so long", skip, async () => {
  const nobody = await refusingPort();
  const path = join(folder.path, "persist");
  const persist = ["-o", "ControlMaster=auto", "-o", "ControlPersist=5", "-S", path, "-N"];
  const started = await fairlead(
    [...persist, "-L", `0:127.0.0.1:${nobody.port}`, ...serverOptions(sshd)],
  );
  assert.equal(started.status, 0);
  const { stderr } = await asked("fairlead", path, "check");
  assert.match(stderr, /^Master running \(pid=\d+\)\r\n$/);
  await waitFor(() => !existsSync(path), { timeout: 15_000 });
});
