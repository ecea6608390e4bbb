/** ProxyCommand: a command's stdin and stdout are the way to a real sshd. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { chmod, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { configure, type LogRecord, reset } from "@logtape/logtape";
import { connect, type ConnectOptions, type FairleadError } from "../../mod.ts";
import { scriptCommand } from "../support/fairlead.ts";
import { forwardInChild, optionsFor } from "../support/hops.ts";
import { sshOptions, type SshServer } from "../support/ssh_server.ts";
import { startSshd } from "../support/sshd.ts";
import {
  echoServer,
  parseReceipt,
  patternReceived,
  pausedReader,
  questionAnswer,
  sinkServer,
  transfer,
} from "../support/tcp.ts";
import {
  descendants,
  quote,
  run,
  signalProcess,
  skipUnless,
  tempDir,
  waitFor,
} from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh", "ssh-keygen");
const MB = 1_000_000;

let sshd: SshServer;
let hop: SshServer;

before(async () => {
  if (skip.skip === undefined) [sshd, hop] = await Promise.all([startSshd(), startSshd()]);
});
after(() => Promise.all([sshd?.stop(), hop?.stop()]));

const address = ({ host, port }: SshServer) => `${host}:${port}`;

/** The command line of the fixture that connects to the server. */
function pipeTo(server: SshServer, how = ""): string {
  const [program, args] = scriptCommand("tests/support/fixtures/pipe_to.ts");
  return quote([program, ...args, server.host, String(server.port), how]);
}

/** What went wrong; nothing of the command may be left. */
async function failure(options: Partial<ConnectOptions>): Promise<FairleadError> {
  const others = children();
  try {
    await (await connect({ ...optionsFor(sshd), ...options })).close();
  } catch (error) {
    assert.deepEqual(newChildren(others), [], "nothing of the command is left");
    return error as FairleadError;
  }
  throw new Error("it connected");
}

const children = () => new Set(descendants(process.pid).map(({ pid }) => pid));

function newChildren(before: ReadonlySet<number>): number[] {
  // Those of the servers come and go with their connections.
  const servers = [sshd.pid, hop.pid].flatMap(descendants).map(({ pid }) => pid);
  return [...children()].filter((pid) => !before.has(pid) && !servers.includes(pid));
}

/** Processes of ours that ended and that nobody has waited for. */
function zombies(): string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return state === "Z" && Number(parent) === process.pid ? [stat] : [];
    } catch {
      return [];
    }
  });
}

const ways: [string, () => string][] = [
  ["a command as nc is one", () => pipeTo(sshd)],
  ["ssh -W", () => quote(["ssh", ...sshOptions(hop), "-W", address(sshd), hop.host])],
];

for (const [name, command] of ways) {
  test(`${name} carries a transfer byte by byte, and ends with the session`, skip, async () => {
    const before = children();
    await using peer = await questionAnswer({ answerBytes: 20 * MB, seed: 7 });
    {
      await using tunnel = await connect({ ...optionsFor(sshd), proxyCommand: command() });
      const { port } = await tunnel.forwardLocal(`127.0.0.1:0:${peer.host}:${peer.port}`);
      const { bytes, sha256 } = await transfer(port, { send: 20 * MB, seed: 5 });
      assert.deepEqual({ bytes, sha256 }, patternReceived(20 * MB, 7));
      assert.deepEqual(await peer.received(), patternReceived(20 * MB, 5));
      assert.notDeepEqual(newChildren(before), []);
    }
    assert.deepEqual(newChildren(before), []);
    assert.deepEqual(zombies(), []);
  });
}

test("a reader that stops holds the sender up through a command, not in memory", skip, async () => {
  await using sink = await sinkServer();
  await using stuck = await pausedReader();
  const options = { ...optionsFor(sshd), proxyCommand: pipeTo(sshd) };
  await using held = await forwardInChild(options, [sink, stuck]);
  const [toSink, toStuck] = held.ports as [number, number];
  const { milliseconds } = await transfer(toSink, { send: 100 * MB });
  const before = held.memory();
  const sending = transfer(toStuck, { send: 200 * MB, seed: 6, timeout: 100_000 });
  sending.catch(() => {});
  let most = 0;
  for (const end = performance.now() + milliseconds; performance.now() < end;) {
    await sleep(50);
    most = Math.max(most, held.memory() - before);
  }
  assert.ok(most < 64 * MB, `memory grew by ${most} bytes`);
  stuck.resume();
  await sending;
  assert.deepEqual(await stuck.received(), patternReceived(200 * MB, 6));
});

test("a command that stops reading holds the sender up, not in memory", skip, async () => {
  await using sink = await sinkServer();
  const options = { ...optionsFor(sshd), proxyCommand: pipeTo(sshd) };
  await using held = await forwardInChild(options, [sink, sink]);
  const [first, second] = held.ports as [number, number];
  await transfer(first, { send: 100 * MB });
  const before = held.memory();
  const [command] = descendants(held.pid);
  assert.ok(command !== undefined);
  signalProcess(command.pid, "SIGSTOP");
  const sending = transfer(second, { send: 200 * MB, seed: 6, timeout: 100_000 });
  sending.catch(() => {});
  await sleep(1_500);
  const grown = held.memory() - before;
  signalProcess(command.pid, "SIGCONT");
  assert.ok(grown < 64 * MB, `memory grew by ${grown} bytes`);
  assert.deepEqual(parseReceipt((await sending).head), patternReceived(200 * MB, 6));
});

test(
  "a command that is not found is named, with status 127 and what the shell says",
  skip,
  async () => {
    const error = await failure({ proxyCommand: "no-such-command --password=hunter2" });
    assert.equal(error.code, "connection-lost");
    assert.match(
      error.message,
      /the proxy command no-such-command ended with status 127: .*not found/,
    );
    assert.match(error.hint ?? "", /installed/);
    assert.doesNotMatch(error.message, /hunter2/);
  },
);

test(
  "a command that fails shows the last lines of its stderr, cut where they are long",
  skip,
  async () => {
    const script = "for i in 1 2 3 4 5 6 7 8; do echo line $i >&2; done; " +
      "printf '%02000d\\033[2J\\n' 1 >&2; exit 3";
    const error = await failure({ proxyCommand: quote(["sh", "-c", script]) });
    assert.match(
      error.message,
      /the proxy command sh ended with status 3: line 5; .*; line 8; 0{490}/,
    );
    assert.doesNotMatch(error.message, /line 4/);
    assert.ok(error.message.length < 1_000);
    // deno-lint-ignore no-control-regex -- it must not reach a terminal
    assert.doesNotMatch(error.message, /\x1b/);
  },
);

test("a command that ends by a signal is told as such", skip, async () => {
  const error = await failure({ proxyCommand: "sh -c 'kill -KILL $$'" });
  assert.match(error.message, /the proxy command sh was ended by SIGKILL/);
});

test("a command that prints garbage is named", skip, async () => {
  const error = await failure({ proxyCommand: "sh -c 'yes garbage; true'" });
  assert.match(error.message, /does not follow the SSH protocol.*through the proxy command sh/);
});

test("a command that says nothing is given up at the deadline, and ended", skip, async () => {
  const begun = performance.now();
  const error = await failure({ proxyCommand: "sleep 1000", connectTimeout: 500 });
  assert.equal(error.code, "timeout");
  assert.match(error.message, /did not answer in time through the proxy command sleep/);
  assert.ok(performance.now() - begun < 3_000);
});

test("an abort ends the command", skip, async () => {
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 300);
  const begun = performance.now();
  const error = await failure({ proxyCommand: "sleep 1000", signal: stop.signal });
  assert.equal(error.code, "cancelled");
  assert.ok(performance.now() - begun < 2_000);
});

test("what the command has started itself is ended with it", skip, async () => {
  const script = "sleep 1000 & sleep 1000; true";
  const begun = performance.now();
  const error = await failure({ proxyCommand: quote(["sh", "-c", script]), connectTimeout: 500 });
  assert.equal(error.code, "timeout");
  assert.ok(performance.now() - begun < 3_000);
});

test(
  "a command that dies in the middle ends the session, with its status and its words",
  skip,
  async () => {
    await using peer = await echoServer();
    const proxyCommand = pipeTo(sshd, "dies");
    const tunnel = await connect({ ...optionsFor(sshd), proxyCommand, retries: 0 });
    const { port } = await tunnel.forwardLocal(`127.0.0.1:0:${peer.host}:${peer.port}`);
    await assert.rejects(transfer(port, { send: MB }));
    const reason = await tunnel.closed;
    assert.equal(reason?.code, "connection-lost");
    assert.match(reason?.message ?? "", /ended with status 7: the wire was cut$/);
    await tunnel.close();
  },
);

test("a command that hears neither the end nor SIGHUP nor SIGTERM is killed", skip, async () => {
  const before = children();
  const tunnel = await connect({ ...optionsFor(sshd), proxyCommand: pipeTo(sshd, "deaf") });
  assert.equal(newChildren(before).length, 1);
  const begun = performance.now();
  await tunnel.close();
  assert.ok(performance.now() - begun < 6_000);
  assert.deepEqual(newChildren(before), []);
  assert.deepEqual(zombies(), []);
});

test("a program that exits takes the command with it", skip, async () => {
  const [program, args] = scriptCommand("tests/support/fixtures/leave_with_command.ts");
  const command = `sh -c ${quote([`sleep 1000 & ${pipeTo(sshd)}; true`])}`;
  const options = { ...optionsFor(sshd), proxyCommand: command };
  const { stdout, status, stderr } = await run(program, [...args, JSON.stringify(options)]);
  assert.equal(status, 0, stderr);
  const pids = stdout.trim().split(" ").map(Number);
  assert.ok(pids.length >= 3, stdout);
  await waitFor(() => pids.every((pid) => !isAlive(pid)), { what: "the command's end" });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test("the command's stderr is passed on as it comes", skip, async () => {
  const records: LogRecord[] = [];
  await configure({
    reset: true,
    sinks: { keep: (record) => records.push(record) },
    loggers: [
      { category: "fairlead", sinks: ["keep"], lowestLevel: "warning" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "fatal" },
    ],
  });
  try {
    const script = `echo 'sign in at the address below' >&2; exec ${pipeTo(sshd)}`;
    await using tunnel = await connect({
      ...optionsFor(sshd),
      proxyCommand: quote(["sh", "-c", script]),
    });
    assert.deepEqual(records.map(({ message }) => message.join("")), [
      "proxy command: sign in at the address below",
    ]);
    void tunnel;
  } finally {
    await reset();
  }
});

test("the user's shell runs it, and is replaced by it", skip, async () => {
  await using folder = await tempDir();
  const shell = join(folder.path, "shell");
  const seen = join(folder.path, "seen");
  await writeFile(shell, `#!/bin/sh\nprintf '%s\\n' "$@" > '${seen}'\nexec /bin/sh "$@"\n`);
  await chmod(shell, 0o755);
  const before = process.env["SHELL"];
  process.env["SHELL"] = shell;
  try {
    const others = children();
    await using tunnel = await connect({ ...optionsFor(sshd), proxyCommand: pipeTo(sshd) });
    assert.equal(await readFile(seen, "utf8"), `-c\nexec ${pipeTo(sshd)}\n`);
    assert.equal(newChildren(others).length, 1);
    void tunnel;
    process.env["SHELL"] = join(folder.path, "none");
    await assert.rejects(connect({ ...optionsFor(sshd), proxyCommand: "true" }), {
      code: "connect-failed",
      message: `the proxy command could not be started: there is no shell ${folder.path}/none`,
    });
  } finally {
    if (before === undefined) delete process.env["SHELL"];
    else process.env["SHELL"] = before;
  }
});

test("Ctrl-C, which the terminal sends to the command as well, does not end it", skip, async () => {
  const others = children();
  const proxyCommand = quote(["ssh", ...sshOptions(hop), "-W", address(sshd), hop.host]);
  await using peer = await echoServer();
  await using tunnel = await connect({ ...optionsFor(sshd), proxyCommand });
  for (const pid of newChildren(others)) signalProcess(pid, "SIGINT");
  await sleep(100);
  const { port } = await tunnel.forwardLocal(`127.0.0.1:0:${peer.host}:${peer.port}`);
  assert.equal((await transfer(port, { send: 100 })).bytes, 100);
});

test("a jump host may stand behind a proxy command", skip, async () => {
  await using peer = await echoServer();
  await using tunnel = await connect({
    ...optionsFor(sshd),
    jump: { ...optionsFor(hop), proxyCommand: pipeTo(hop) },
  });
  const { port } = await tunnel.forwardLocal(`127.0.0.1:0:${peer.host}:${peer.port}`);
  const { bytes, sha256 } = await transfer(port, { send: MB });
  assert.deepEqual({ bytes, sha256 }, patternReceived(MB));
});

test("two ways at once are refused", async () => {
  const host = { host: "inner.example.com", proxyCommand: "nc" };
  await assert.rejects(connect({ ...host, jump: { host: "outer.example.com" } }), {
    name: "TypeError",
    message: "jump and proxyCommand are two ways to inner.example.com: give one",
  });
  await assert.rejects(connect({ ...host, proxy: "socks5://localhost" }), {
    name: "TypeError",
    message: "proxy and proxyCommand are two ways to inner.example.com: give one",
  });
});

test("no descriptor and no timer is left after a command that failed", skip, async () => {
  await failure({ proxyCommand: "false" });
  const before = readdirSync("/proc/self/fd").length;
  for (let round = 0; round < 10; round++) await failure({ proxyCommand: "false" });
  await sleep(50);
  assert.ok(readdirSync("/proc/self/fd").length <= before);
});
