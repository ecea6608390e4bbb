/** `fairlead with`: a command of this machine runs while the forwards are up. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { copyFile, readdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fairlead, programCommand, scriptCommand, serverOptions } from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, type Peer, refusingPort, sinkServer } from "../support/tcp.ts";
import { openTerminal, type Terminal } from "../support/terminal.ts";
import {
  freePort,
  processes,
  type Running,
  type RunResult,
  skipUnless,
  start,
  waitFor,
} from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen", "bash", "setsid");
const skipTerminal = { ...skip, ...skipUnless("tmux") };

let home: Home;
let sshd: SshServer;
let echo: Peer;
let toEcho: string;

before(async () => {
  home = await emptyHome();
  echo = await echoServer();
  toEcho = `db=0:${echo.host}:${echo.port}`;
  if (skip.skip === undefined) sshd = await startSshd();
});
after(async () => {
  await sshd?.stop();
  await echo?.stop();
  await home?.stop();
});

/** The arguments that run a command behind a forward to the echo server. */
function withArgs(
  command: readonly string[],
  options: readonly string[] = [],
  server = sshd,
): string[] {
  return ["with", ...options, "-L", toEcho, ...serverOptions(server), "--", ...command];
}

function runWith(
  command: readonly string[],
  options: readonly string[] = [],
  server = sshd,
): Promise<RunResult> {
  return fairlead(withArgs(command, options, server), { env: home.env });
}

/** In a session of its own, so that no terminal of whoever runs the tests is near. */
function startAway(args: readonly string[]): Running {
  const [program, first] = programCommand();
  return start("setsid", [program, ...first, ...args], { env: home.env });
}

const bash = (script: string, ...args: string[]) => ["bash", "-c", script, "bash", ...args];

/** Says a word through the forward, and prints what comes back. */
const ASK = "exec 3<>/dev/tcp/$0/$1; echo hello >&3; read -r answer <&3; echo $answer";

/** A file that a command makes when it runs, which must not happen. */
function trace(name: string): { path: string; command: string[] } {
  const path = join(home.path, name);
  return { path, command: ["touch", path] };
}

for (const [script, status] of [["exit 0", 0], ["exit 7", 7], ["kill -TERM $$", 143]] as const) {
  test(`the status of a command that says ${script} is ${status}`, skip, async () => {
    const run = await runWith(bash(script));
    assert.deepEqual([run.status, run.signal], [status, null], run.stderr);
  });
}

test("a command that is not there gives 127, one that cannot be executed 126", skip, async () => {
  const file = join(home.path, "plain");
  await writeFile(file, "no program\n", { mode: 0o600 });
  const missing = await runWith(["no-such-command-anywhere"], ["-q"]);
  assert.equal(missing.status, 127, missing.stderr);
  assert.equal(
    missing.stderr,
    "fairlead: no-such-command-anywhere: there is no such command\n",
  );
  const plain = await runWith([file], ["-q"]);
  assert.equal(plain.status, 126, plain.stderr);
  assert.equal(plain.stderr, `fairlead: ${file}: it cannot be executed\n`);
});

test("without a server the status is 255, and the command is not run", skip, async () => {
  const { path, command } = trace("no-server");
  const nobody = await refusingPort();
  const run = await runWith(command, ["-p", String(nobody.port)]);
  assert.equal(run.status, 255, run.stderr);
  assert.match(run.stderr, /refused/);
  assert.ok(!existsSync(path), "the command was run");
});

test("a forward that fails keeps the command from running, others or not", skip, async () => {
  const { path, command } = trace("no-forward");
  // The echo server has that port already.
  const taken = `${echo.host}:${echo.port}:127.0.0.1:9`;
  const run = await runWith(command, ["-o", "ExitOnForwardFailure=no", "-L", taken]);
  assert.equal(run.status, 255, run.stderr);
  assert.match(run.stderr, /in use/);
  assert.ok(!existsSync(path), "the command was run");
});

test("a signal before the start keeps the command from running", skip, async () => {
  const { path, command } = trace("stopped");
  const silent = createServer();
  const port = await listening(silent);
  let connected = false;
  silent.on("connection", (socket) => {
    connected = true;
    socket.on("error", () => {});
  });
  await using run = startAway(withArgs(command, ["-p", String(port)]));
  await waitFor(() => connected, { timeout: 20_000 });
  run.kill("SIGTERM");
  assert.deepEqual(await run.exited, { status: 143, signal: null }, run.stderr());
  assert.ok(!existsSync(path), "the command was run");
  silent.close();
});

test("the command learns its ports from variables and from its arguments", skip, async () => {
  const second = `${echo.host}:0:${echo.host}:${echo.port}`;
  const third = `my-web=${await freePort()}:${echo.host}:${echo.port}`;
  const names = ["PORT", "PORT_1", "PORT_2", "DB_PORT", "DB_HOST", "MY_WEB_PORT", "MY_WEB_HOST"];
  const script = `echo ${
    names.map((name) => `"$FAIRLEAD_${name}"`).join(",")
  }; printf '%s\\n' "$@"`;
  const words = ["{db.port}", "x{db.host}:{db.port}/{db.port}", "{my-web.port}{no.port}{db.path}"];
  const options = ["-L", second, "-L", third];
  // The two that stand before -L db=0:… are the first.
  const run = await runWith(bash(script, ...words), options);
  assert.equal(run.status, 0, run.stderr);
  const [variables = "", ...filled] = run.stdout.trim().split("\n");
  const [first, next, none, db, dbHost, web, webHost] = variables.split(",");
  assert.deepEqual([none, dbHost, webHost], ["", "127.0.0.1", "127.0.0.1"], run.stdout);
  const ports = [...run.stderr.matchAll(/listening on [^\n]*?:(\d+)(?: and|,)/g)]
    .map((match) => match[1]);
  assert.deepEqual([first, web, next], ports, run.stderr);
  assert.equal(db, next);
  assert.deepEqual(filled, [db, `x127.0.0.1:${db}/${db}`, `${web}{no.port}{db.path}`]);
});

test(
  "forwards of a file count, and what is there for a remote command does not",
  skip,
  async () => {
    const file = join(home.path, "config");
    await writeFile(
      file,
      [
        "Host *",
        `LocalForward 0 ${echo.host}:${echo.port}`,
        "RemoteCommand touch /nowhere",
        "ForkAfterAuthentication yes",
        "StdinNull yes",
        "",
      ].join("\n"),
    );
    const args = serverOptions(sshd).map((word, index, all) =>
      all[index - 1] === "-F" ? file : word
    );
    const command = bash(ASK.replace("$0", "127.0.0.1").replace("$1", "$FAIRLEAD_PORT"));
    const run = await fairlead(["with", ...args, "--", ...command], { env: home.env });
    assert.deepEqual([run.status, run.stdout], [0, "hello\n"], run.stderr);
  },
);

test("secrets that came in variables are not the command's", skip, async () => {
  const [program, first] = programCommand();
  const args = withArgs(["env"], ["--password", "env:DEPLOY_SECRET"]);
  const env = { ...home.env, DEPLOY_SECRET: "swordfish" };
  await using run = start(program, [...first, ...args], { env });
  assert.equal((await run.closed).status, 0, run.stderr());
  assert.match(run.stdout(), /^FAIRLEAD_DB_PORT=\d+$/m);
  assert.doesNotMatch(run.stdout(), /swordfish|DEPLOY_SECRET/);
});

test("with --json, stdout is the command's alone", skip, async () => {
  const run = await runWith(["echo", "mine", "--json"], ["--json"]);
  assert.equal(run.stdout, "mine --json\n");
  const [line = ""] = run.stderr.split("\n");
  assert.equal(JSON.parse(line).event, "listening");
});

test("what the command wrote last arrives, though it has ended", skip, async () => {
  await using sink = await sinkServer();
  const script = "exec 3<>/dev/tcp/127.0.0.1/$1; head -c 3000000 /dev/zero >&3";
  const run = await runWith(bash(script, "{sink.port}"), [
    ...["-L", `sink=0:${sink.host}:${sink.port}`],
  ]);
  assert.equal(run.status, 0, run.stderr);
  assert.equal((await sink.received()).bytes, 3_000_000);
});

test("twenty at once have ports of their own, and each reaches its own", skip, async () => {
  const COUNT = 20;
  const folder = join(home.path, "started-");
  const servers = await Promise.all(
    Array.from({ length: COUNT }, async (_, index) => {
      const server = createServer((socket) => {
        socket.on("error", () => {});
        socket.end(`peer ${index}\n`);
      });
      return { server, port: await listening(server) };
    }),
  );
  // None goes on before all have begun.
  const script = `touch ${folder}$0; while [ $(ls ${folder}* | wc -l) -lt ${COUNT} ]; do sleep .1;
    done; exec 3<>/dev/tcp/127.0.0.1/$1; read -r answer <&3; echo $answer $1`;
  const runs = await Promise.all(servers.map(({ port }, index) => {
    const command = ["bash", "-c", script, String(index), "{peer.port}"];
    const options = ["-L", `peer=0:127.0.0.1:${port}`];
    const args = ["with", ...options, ...serverOptions(sshd), "--", ...command];
    return fairlead(args, { env: home.env, timeout: 60_000 });
  }));
  for (const { server } of servers) server.close();
  assert.equal((await readdir(home.path)).filter((name) => /^started-/.test(name)).length, COUNT);
  const ports = runs.map(({ status, stdout, stderr }, index) => {
    assert.equal(status, 0, stderr);
    assert.match(stdout, new RegExp(`^peer ${index} \\d+\\n$`));
    return stdout.split(" ")[2];
  });
  assert.equal(new Set(ports).size, COUNT);
});

for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  test(`${signal} by kill reaches the command once, whose status counts`, skip, async () => {
    await using run = startAway(withArgs(counter()));
    await waitFor(() => run.stdout().includes("counting"), { timeout: 20_000 });
    run.kill(signal);
    assert.deepEqual(await run.closed, { status: 7, signal: null }, run.stderr());
    assert.match(run.stdout(), new RegExp(`got ${signal} 1x\n$`));
  });
}

test("a signal ends the wait for connections that the command has left open", skip, async () => {
  // The subshell lives on with its connection; the command does not wait for it.
  const script = "(exec 3<>/dev/tcp/127.0.0.1/$1; echo up >&3; read -r word <&3; " +
    "echo $! >&2; exec >/dev/null 2>&1; sleep 30) & echo $!; sleep 1; exit 3";
  await using run = startAway(withArgs(bash(script, "{db.port}")));
  await waitFor(() => run.stderr().includes("1 open connection has 5 s"), { timeout: 20_000 });
  const begun = performance.now();
  run.kill("SIGTERM");
  assert.deepEqual(await run.exited, { status: 3, signal: null }, run.stderr());
  assert.ok(performance.now() - begun < 3_000, "the signal did not end the wait");
  endChild(run);
});

test(
  "a signal that comes right after the command's end leaves what is open its time",
  skip,
  async () => {
    const path = join(home.path, "late");
    // The subshell has the connection, and sends the signal as soon as the command is gone.
    const late = "exec >/dev/null 2>&1; while kill -0 $$; do :; done; kill -INT $PPID; sleep .7; " +
      "echo last >&3; read -r word <&3 && echo $word >$2";
    const script = "exec 3<>/dev/tcp/127.0.0.1/$1; echo up >&3; read -r word <&3; " +
      `(${late}) & exit 3`;
    await using run = startAway(withArgs(bash(script, "{db.port}", path)));
    assert.deepEqual(await run.exited, { status: 3, signal: null }, run.stderr());
    await waitFor(async () => await readFile(path, "utf8").catch(() => "") === "last\n", {
      what: "the answer to what was written last",
    });
  },
);

test("a session that is lost for good is told of, and the command goes on", skip, async () => {
  await using server = await startSshd();
  const go = join(home.path, "go");
  const script = `echo begun; while [ ! -e ${go} ]; do sleep .1; done; exit 7`;
  await using run = startAway(withArgs(bash(script), ["--retry", "0"], server));
  await waitFor(() => run.stdout().includes("begun"), { timeout: 20_000 });
  await server.down();
  await waitFor(() => run.stderr().includes("the command goes on"));
  assert.ok(run.running());
  await writeFile(go, "");
  assert.deepEqual(await run.exited, { status: 7, signal: null }, run.stderr());
});

test("--ready=dial waits for a destination that begins to listen later", skip, async () => {
  const late = createServer((socket) => {
    socket.on("error", () => {});
    socket.end("here\n");
  });
  const port = await freePort();
  const script = "exec 3<>/dev/tcp/127.0.0.1/$1; cat <&3";
  const options = ["--ready=dial", "-L", `late=0:127.0.0.1:${port}`, "-v"];
  await using run = startAway(withArgs(bash(script, "{late.port}"), options));
  await waitFor(() => run.stderr().includes("listening on"), { timeout: 20_000 });
  await sleep(1_000);
  assert.equal(run.stdout(), "");
  assert.ok(run.running(), run.stderr());
  await listening(late, port);
  assert.deepEqual(await run.closed, { status: 0, signal: null }, run.stderr());
  assert.equal(run.stdout(), "here\n");
  late.close();
});

test("--ready=dial takes a refusal by policy as final", skip, async () => {
  await using server = await startSshd({ config: ["PermitOpen 127.0.0.1:1"] });
  const { path, command } = trace("forbidden");
  const begun = performance.now();
  const run = await runWith(command, ["--ready=dial"], server);
  assert.equal(run.status, 255, run.stderr);
  assert.match(run.stderr, /PermitOpen/);
  // The time for an answer is 60 s.
  assert.ok(performance.now() - begun < 20_000);
  assert.ok(!existsSync(path), "the command was run");
});

test("--ready=dial gives up after --ready-timeout, with the last reason", skip, async () => {
  const nobody = await refusingPort();
  const { path, command } = trace("unanswered");
  const to = `-Lnobody=0:${nobody.host}:${nobody.port}`;
  const run = await runWith(command, ["--ready=dial", "--ready-timeout", "1", to]);
  assert.equal(run.status, 255, run.stderr);
  const address = `${nobody.host}:${nobody.port}`;
  assert.match(
    run.stderr,
    new RegExp(`${address} did not answer within 1 s; the last reason: .*refused`, "i"),
  );
  assert.ok(!existsSync(path), "the command was run");
});

test("Ctrl-C reaches the command exactly once, and its status counts", skipTerminal, async () => {
  await atTerminal(withArgs(counter()), async (terminal) => {
    await terminal.until(/^counting$/m);
    await terminal.press("C-c");
    const { status, screen } = await terminal.end();
    assert.match(screen, /^(?:\^C)?got SIGINT 1x$/m);
    assert.equal(status, 7, screen);
  });
});

test("the command has the terminal: it is asked, stopped and continued", skipTerminal, async () => {
  const script = "[ -t 0 ] && [ -t 1 ] && read -r -p 'name? ' name && echo hello $name; " +
    "sleep 1.5; echo done; exit 5";
  await atTerminal(withArgs(bash(script)), async (terminal) => {
    await terminal.until(/^name\?/m);
    await terminal.type("you");
    await terminal.until(/^hello you$/m);
    await terminal.press("C-z");
    // What a shell says of a stopped job's status: 128 and the number of SIGTSTP.
    await terminal.until(/^status: 148$/m);
    await terminal.type("clear; fg; echo after: $?");
    await terminal.until(/^after: 5$/m);
  });
});

test("a link that comes back asks nothing at the command's terminal", skipTerminal, async () => {
  await using server = await startSshd();
  const known = join(home.path, "known_hosts_for_a_while");
  await copyFile(server.knownHosts, known);
  const asking = [
    ...["-o", "BatchMode=no", "-o", "StrictHostKeyChecking=ask"],
    ...["-o", `UserKnownHostsFile=${known}`],
  ];
  const args = withArgs(bash("echo begun; read -r word; echo read: $word"), asking, server);
  await atTerminal(args, async (terminal) => {
    await terminal.until(/^begun$/m);
    await writeFile(known, "");
    await server.restart();
    await terminal.until(/connected to .* again after/);
    await terminal.type("yes");
    const { screen } = await terminal.end();
    assert.match(screen, /^read: yes$/m);
    assert.doesNotMatch(screen, /authenticity|continue connecting/);
  });
});

test(
  "a terminal that hangs up ends both, though fairlead leads the session",
  skipTerminal,
  async () => {
    await using sitting = await emptyHome();
    await using terminal = await openTerminal(sitting);
    const path = join(sitting.path, "pids");
    const script = join(sitting.path, "leader");
    const [program, first] = programCommand();
    const command = bash("echo $PPID $$ >$1.new; mv $1.new $1; exec sleep 300", path);
    const words = [program, ...first, ...withArgs(command)];
    await writeFile(script, `exec ${words.map((word) => `'${word}'`).join(" ")}\n`);
    await terminal.type(`exec sh ${script}`);
    await waitFor(() => existsSync(path), { timeout: 20_000, what: "the command's start" });
    const pids = (await readFile(path, "utf8")).trim().split(" ").map(Number);
    const left = () => processes().filter(({ pid }) => pids.includes(pid)).map(({ name }) => name);
    assert.equal(left().length, 2);
    await terminal.stop();
    try {
      await waitFor(() => left().length === 0, { timeout: 10_000, what: "the end of both" });
    } finally {
      for (const { pid } of processes()) if (pids.includes(pid)) process.kill(pid, "SIGKILL");
    }
  },
);

/** The command that counts signals. */
function counter(): string[] {
  const [program, args] = scriptCommand("tests/support/fixtures/count_signals.ts");
  return [program, ...args];
}

async function atTerminal(
  args: readonly string[],
  use: (terminal: Terminal) => Promise<void>,
): Promise<void> {
  await using sitting = await emptyHome();
  await using terminal = await openTerminal(sitting);
  const [program, first] = programCommand();
  await terminal.run([program, ...first, ...args]);
  await use(terminal);
}

async function listening(server: Server, port = 0): Promise<number> {
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return (server.address() as { port: number }).port;
}

/** What a command said that it left behind. */
function endChild(run: Running): void {
  const pid = Number(/^\d+$/m.exec(run.stdout())?.[0]);
  if (pid > 0) process.kill(pid, "SIGKILL");
}
