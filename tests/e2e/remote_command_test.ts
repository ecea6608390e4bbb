/** A command on the server: its stdin, stdout, stderr and status are ours. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fairlead, programCommand, serverOptions, startFairlead } from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { digest, echoServer, pattern, type Peer } from "../support/tcp.ts";
import { run, type RunResult, skipUnless, start, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const BYTES = 5_000_000;

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

function remotely(command: string, options: string[] = [], stdin?: Uint8Array) {
  const given = stdin === undefined ? {} : { stdin };
  return fairlead([...options, ...serverOptions(sshd), command], { env: home.env, ...given });
}

/** Lets a shell connect the program with files or pipes. */
function inShell(script: string, command: string): Promise<RunResult> {
  const [program, first] = programCommand();
  const args = ["-c", script, "sh", program, ...first, ...serverOptions(sshd), command];
  return run("sh", args, { env: home.env });
}

test("its exit status is ours", skip, async () => {
  for (const status of [0, 7, 255]) {
    assert.deepEqual(await remotely(`echo out; echo err >&2; exit ${status}`), {
      ...{ status, signal: null },
      ...{ stdout: "out\n", stderr: "err\n" },
    });
  }
});

test("a status that comes long after the output is ours all the same", skip, async () => {
  const { status, stderr } = await remotely("exec >&- 2>&-; sleep 0.2; exit 7");
  assert.deepEqual([status, stderr], [7, ""]);
});

test("a command that the server does not find gives 127", skip, async () => {
  const { status, stderr } = await remotely("no-such-command");
  assert.equal(status, 127);
  assert.match(stderr, /no-such-command/);
});

test("a command that a signal ended gives 255 and a line", skip, async () => {
  const { status, stderr } = await remotely("kill -TERM $$");
  assert.deepEqual([status, stderr], [
    255,
    "fairlead: the command on the server was ended by SIGTERM\n",
  ]);
});

test("stdin goes there, and its end as well", skip, async () => {
  const data = Buffer.concat([...pattern(BYTES)]);
  const { status, stdout, stderr } = await remotely("sha256sum", [], data);
  assert.deepEqual([status, stderr], [0, ""]);
  assert.equal(stdout.split(" ")[0], digest(data).sha256);
});

test("stdout and stderr come back byte by byte, alone and as one pipe", skip, async () => {
  const source = `head -c ${BYTES} /dev/zero | tr '\\0' '\\377'`;
  const { sha256 } = digest(Buffer.alloc(BYTES, 0xff));
  const pipes = [`"$@" 2>&1 | sha256sum`, `"$@" 2>&1 | (sleep 0.5; sha256sum)`];
  for (const pipe of pipes) {
    for (const command of [source, `(${source}) >&2`]) {
      const { stdout, stderr } = await inShell(pipe, command);
      assert.deepEqual([stdout.split(" ")[0], stderr], [sha256, ""], `${pipe}: ${command}`);
    }
  }
  const { stdout } = await inShell(`"$@" 2>&1 >/dev/null | sha256sum`, `(${source}) >&2`);
  assert.equal(stdout.split(" ")[0], sha256);
});

test("stdin and stdout may be files", skip, async () => {
  const [from, to] = [join(home.path, "input"), join(home.path, "output")];
  await writeFile(from, Buffer.concat([...pattern(BYTES)]));
  const { status } = await inShell(`"$@" <${from} >${to}`, "cat; exit 3");
  assert.equal(status, 3);
  assert.deepEqual(digest(await readFile(to)), digest(pattern(BYTES)));
});

test("a reader that has seen enough ends the command", skip, async () => {
  const { stdout, stderr } = await inShell(`"$@" | head -n 1`, "yes");
  assert.deepEqual([stdout, stderr], ["y\n", ""]);
});

test("with -n nothing of stdin is read", skip, async () => {
  const data = Buffer.from("this is for the next command");
  const { stdout, status } = await remotely("cat; echo end", ["-n"], data);
  assert.deepEqual([stdout, status], ["end\n", 0]);
});

test("forwards stay while it runs; what is open then may finish", skip, async () => {
  await using running = await startFairlead([
    ...["-L", `0:127.0.0.1:${echo.port}`, ...serverOptions(sshd), "sleep 0.5; exit 3"],
  ], { env: home.env });
  const socket = connect({ port: running.ports[0] ?? 0, host: "127.0.0.1" });
  await once(socket, "connect");
  socket.write("ping");
  await once(socket, "data");
  await waitFor(() => /waiting for 1 open connection to finish/.test(running.stderr()));
  socket.write("pong");
  const [answer] = await once(socket, "data");
  assert.equal(String(answer), "pong");
  assert.ok(running.running());
  socket.end();
  assert.deepEqual(await running.exited, { status: 3, signal: null });
});

test("a signal ends the command's run, with the signal's status", skip, async () => {
  const [program, first] = programCommand();
  const args = [...first, ...serverOptions(sshd), "echo up; sleep 10"];
  await using running = start(program, args, { env: home.env });
  await waitFor(() => running.stdout() === "up\n");
  running.kill("SIGTERM");
  assert.deepEqual(await running.exited, { status: 143, signal: null });
  assert.equal(running.stderr(), "");
});

test("a connection that is lost ends it with 255 and one line", skip, async () => {
  await using server = await startSshd();
  const [program, first] = programCommand();
  const args = [...first, ...serverOptions(server), "echo up; sleep 10"];
  await using running = start(program, args, { env: home.env });
  await waitFor(() => running.stdout() === "up\n");
  await server.down();
  assert.deepEqual(await running.exited, { status: 255, signal: null });
  assert.match(running.stderr(), /^fairlead: [^\n]*127\.0\.0\.1:\d+[^\n]*\n$/);
});

test("-N wins over a command, and says so", skip, async () => {
  await using running = await startFairlead([
    ...["-N", "-L", "0:web:80", ...serverOptions(sshd), "echo it ran"],
  ], { env: home.env });
  assert.deepEqual(running.lines(), ["fairlead: the command is not run, because of -N"]);
  assert.equal(running.stdout(), "");
});
