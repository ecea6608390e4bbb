/** -f: the work goes on in the background once everything is up, and not before. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { fairlead, programCommand, serverOptions } from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { type KeyPair, makeKey } from "../support/keys.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, type Peer, refusingPort, sinkServer, transfer } from "../support/tcp.ts";
import { openTerminal } from "../support/terminal.ts";
import {
  descendants,
  processes,
  signalProcess,
  skipUnless,
  start,
  waitFor,
} from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const skipTerminal = skipUnless("sshd", "ssh-keygen", "tmux");
const PASSPHRASE = "open sesame street";

let home: Home;
let sshd: SshServer;
let echo: Peer;
let encrypted: KeyPair;

before(async () => {
  home = await emptyHome();
  echo = await echoServer();
  if (skip.skip !== undefined) return;
  sshd = await startSshd();
  encrypted = await makeKey(sshd.dir, { passphrase: PASSPHRASE });
  await sshd.authorize(encrypted.publicLine);
});
after(async () => {
  await sshd?.stop();
  await echo?.stop();
  await home?.stop();
});

/** Goes to the background; `fairlead` itself waits until stdout and stderr have ended. */
async function background(...args: string[]): Promise<{ pid: number; port: number; said: string }> {
  const { status, stdout, stderr } = await fairlead(["-f", ...args], { env: home.env });
  assert.deepEqual([status, stdout], [0, ""], stderr);
  return { ...readUp(stderr), said: stderr };
}

function readUp(lines: string): { pid: number; port: number } {
  return {
    pid: Number(/^fairlead: in the background, as process (\d+)$/m.exec(lines)?.[1]),
    port: Number(/listening on 127\.0\.0\.1:(\d+)/.exec(lines)?.[1]),
  };
}

const toEcho = () => ["-L", `0:127.0.0.1:${echo.port}`];
const runs = (pid: number) => processes().some((one) => one.pid === pid);

async function gone(pid: number): Promise<void> {
  await waitFor(() => !runs(pid), { what: `the end of process ${pid}` });
}

async function echoes(port: number): Promise<void> {
  assert.equal((await transfer(port, { send: 100_000 })).bytes, 100_000);
}

test("it ends with 0 when the forward works, and a process of its own goes on", skip, async () => {
  const { pid, port, said } = await background("-N", ...toEcho(), ...serverOptions(sshd));
  try {
    assert.match(said, /^fairlead: listening on [^\n]*\nfairlead: in the background, [^\n]*\n$/);
    await echoes(port);
    assert.ok(!descendants(process.pid).some((one) => one.pid === pid), "nobody's child any more");
    const [, , session] = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1]?.split(" ")
      .slice(1) ?? [];
    assert.equal(Number(session), pid, "a session of its own");
    assert.doesNotMatch(await readFile(`/proc/${pid}/cmdline`, "utf8"), /FAIRLEAD/);
  } finally {
    signalProcess(pid, "SIGTERM");
  }
  await gone(pid);
  await assert.rejects(transfer(port, { timeout: 1_000 }));
});

test("what fails before is told with status 255, and nothing is left", skip, async () => {
  const nobody = await refusingPort();
  const refused = ["-F", "none", "-p", `${nobody.port}`, "127.0.0.1"];
  const failures: [string[], number, RegExp][] = [
    [["-f", ...toEcho(), ...refused], 255, /^fairlead: .* refused the connection; [^\n]*\n$/],
    [["-f", "-L", `${echo.port}:a:1`, ...serverOptions(sshd)], 255, /^fairlead: cannot listen/],
    [["-f", ...serverOptions(sshd)], 2, /^fairlead: nothing to forward, [^\n]*\n$/],
  ];
  for (const [args, status, message] of failures) {
    const result = await fairlead(args, { env: home.env });
    assert.deepEqual([result.status, result.stdout], [status, ""]);
    assert.match(result.stderr, message);
    assert.equal(result.stderr.trimEnd().split("\n").length, 1, result.stderr);
  }
});

test("with --json what listens is on stdout, and the process as well", skip, async () => {
  const args = ["-f", "--json", ...toEcho(), ...serverOptions(sshd)];
  const { status, stdout, stderr } = await fairlead(args, { env: home.env });
  assert.deepEqual([status, stderr], [0, ""]);
  const [listening, up] = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual([listening.event, up.event], ["listening", "background"]);
  await echoes(listening.port);
  signalProcess(up.pid, "SIGTERM");
  await gone(up.pid);
});

test("its log goes to the file of -E, also afterwards", skip, async () => {
  const file = join(home.path, "log");
  const args = ["-v", "-E", file, ...toEcho(), ...serverOptions(sshd)];
  const { said } = await background(...args);
  assert.equal(said, "");
  const { pid, port } = readUp(await readFile(file, "utf8"));
  await echoes(port);
  await waitFor(async () => / #1 from .*: closed; 100000/.test(await readFile(file, "utf8")));
  signalProcess(pid, "SIGTERM");
  await gone(pid);
});

test("after the command's end, what is open may finish; then the process ends", skip, async () => {
  const { pid, port } = await background(...toEcho(), ...serverOptions(sshd), "sleep 1");
  const socket = connect({ port, host: "127.0.0.1" });
  await once(socket, "connect");
  await waitFor(() => transfer(port, { timeout: 1_000 }).then(() => false, () => true));
  socket.write("still there?");
  const [answer] = await once(socket, "data");
  assert.equal(String(answer), "still there?");
  assert.ok(runs(pid));
  socket.end();
  await gone(pid);
});

test("a passphrase and a host key are asked for at the terminal", skipTerminal, async () => {
  await using own = await emptyHome();
  await using terminal = await openTerminal(own);
  const [program, first] = programCommand();
  await terminal.run([
    ...[program, ...first, "-F", "none", "-f", "-N", ...toEcho(), "-i", encrypted.path],
    ...["-p", `${sshd.port}`, `${sshd.user}@${sshd.host}`],
  ]);
  await terminal.until(/Are you sure you want to continue connecting/);
  await terminal.type("yes");
  await terminal.until(/nter passphrase for key '/);
  await terminal.type(PASSPHRASE);
  const { status, screen, echo: shown } = await terminal.end();
  assert.deepEqual({ status, shown }, { status: 0, shown: true }, screen);
  assert.doesNotMatch(screen, /sesame/);
  const { pid, port } = readUp(screen);
  // The terminal goes, the forward stays.
  await terminal.stop();
  await echoes(port);
  signalProcess(pid, "SIGTERM");
  await gone(pid);
});

test("Ctrl-C at a question ends both processes", skipTerminal, async () => {
  await using own = await emptyHome();
  await using terminal = await openTerminal(own);
  const [program, first] = programCommand();
  const before = sshd.sessions().length;
  await terminal.run([
    ...[program, ...first, "-F", "none", "-f", "-N", ...toEcho(), "-i", encrypted.path],
    ...["-o", `UserKnownHostsFile=${sshd.knownHosts}`, "-p", `${sshd.port}`],
    `${sshd.user}@${sshd.host}`,
  ]);
  await terminal.until(/nter passphrase for key '/);
  await terminal.press("C-c");
  const { status, echo: shown } = await terminal.end();
  assert.deepEqual({ status, shown }, { status: 130, shown: true });
  await waitFor(() => sshd.sessions().length <= before);
});

test("a first process that is killed takes the second one with it", skip, async () => {
  // An echo would be an answer that ends the attempt, and with it both processes.
  await using silent = await sinkServer();
  const [program, first] = programCommand();
  const args = [...first, "-f", "-F", "none", ...toEcho(), "-p", `${silent.port}`, silent.host];
  await using parent = start(program, args, { env: home.env });
  const [child] = await waitFor(() => {
    const found = descendants(parent.pid);
    return found.length > 0 ? found : undefined;
  });
  parent.kill("SIGKILL");
  await gone(child?.pid ?? 0);
});
