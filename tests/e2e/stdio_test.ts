/** -W: stdin and stdout become one connection. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { connect } from "../../mod.ts";
import {
  connectOptions,
  fairlead,
  programCommand,
  programRuntime,
  serverOptions,
} from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { sshOptions, type SshServer, startSshd } from "../support/sshd.ts";
import {
  digest,
  echoServer,
  pattern,
  patternReceived,
  questionAnswer,
  refusingPort,
  serverEndsFirst,
  transfer,
} from "../support/tcp.ts";
import { descendants, quote, run, skipUnless, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh", "ssh-keygen");
const BYTES = 3_000_000;

let home: Home;
let sshd: SshServer;
let second: SshServer;

before(async () => {
  home = await emptyHome();
  if (skip.skip !== undefined) return;
  sshd = await startSshd({ config: ["AddressFamily any"] });
  second = await startSshd();
});
after(async () => {
  await sshd?.stop();
  await second?.stop();
  await home?.stop();
});

/** A run whose stdin and stdout the test holds. */
function connectStdio(peer: { host: string; port: number }) {
  const [program, first] = programCommand();
  const args = [...first, "-W", `${peer.host}:${peer.port}`, ...serverOptions(sshd)];
  const child = spawn(program, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...home.env },
  });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  let stderr = "";
  child.stderr.on("data", (chunk) => stderr += chunk);
  return {
    child,
    received: () => Buffer.concat(chunks),
    stderr: () => stderr,
    ended: once(child.stdout, "end"),
    exited: once(child, "exit").then(([status]) => status),
  };
}

function write(stream: NodeJS.WritableStream, data: Iterable<Uint8Array>): void {
  for (const chunk of data) stream.write(chunk);
}

test(
  "it is a ProxyCommand of the real ssh: megabytes both ways, and the status",
  skip,
  async () => {
    const [program, first] = programCommand();
    const proxy = [program, ...first, "-W", "%h:%p", ...serverOptions(sshd)].join(" ");
    const data = Buffer.concat([...pattern(BYTES)]);
    const { status, stdout, stderr } = await run(
      "ssh",
      [
        "-o",
        `ProxyCommand=${proxy}`,
        ...sshOptions(second),
        second.host,
        "tee /dev/stderr | sha256sum; exit 7",
      ],
      { env: home.env, stdin: data },
    );
    assert.equal(status, 7, stderr.slice(0, 500));
    assert.equal(stdout.split(" ")[0], digest(data).sha256);
  },
);

test("when stdin ends first, the whole answer still comes", skip, async () => {
  await using peer = await questionAnswer({ answerBytes: BYTES, seed: 3 });
  const io = connectStdio(peer);
  write(io.child.stdin, pattern(BYTES, 2));
  io.child.stdin.end();
  await io.ended;
  assert.deepEqual(await peer.received(), patternReceived(BYTES, 2));
  assert.deepEqual(digest(io.received()), patternReceived(BYTES, 3));
  assert.deepEqual([await io.exited, io.stderr()], [0, ""]);
});

// A shell is the parent here: with its pipes the end of stdout is that of the descriptor.
test("when the server ends first, stdout is closed and stdin still goes on", skip, async () => {
  await using peer = await serverEndsFirst({ answerBytes: BYTES, seed: 4 });
  const output = join(sshd.dir, "stdio-output");
  const [program, first] = programCommand();
  const script = `cat | "$@" | { cat > "${output}"; : > "${output}.ended"; }`;
  const args = ["-W", `${peer.host}:${peer.port}`, ...serverOptions(sshd)];
  const shell = spawn("sh", ["-c", script, "sh", program, ...first, ...args], {
    env: { ...process.env, ...home.env },
    stdio: ["pipe", "ignore", "inherit"],
  });
  const exited = new Promise((resolve) => shell.once("exit", resolve));
  // Deno and Bun keep a second descriptor of their stdout: there it ends with the process.
  if (programRuntime() === "node") await waitFor(() => existsSync(`${output}.ended`));
  write(shell.stdin, pattern(BYTES, 5));
  shell.stdin.end();
  assert.deepEqual(await peer.received(), patternReceived(BYTES, 5));
  assert.equal(await exited, 0);
  assert.deepEqual(digest(readFileSync(output)), patternReceived(BYTES, 4));
});

test("a reader that is slow slows the far end, and loses nothing", skip, async () => {
  await using peer = await echoServer();
  const io = connectStdio(peer);
  io.child.stdout.pause();
  write(io.child.stdin, pattern(8 * BYTES, 6));
  io.child.stdin.end();
  await new Promise((resolve) => setTimeout(resolve, 700));
  assert.ok(peer.bytes < 7 * BYTES, `${peer.bytes} bytes went through nobody's hands`);
  io.child.stdout.resume();
  await io.ended;
  assert.deepEqual(digest(io.received()), patternReceived(8 * BYTES, 6));
  assert.equal(await io.exited, 0);
});

const ipv6 = Object.values(networkInterfaces()).flat().some((own) => own?.address === "::1");

test(
  "-W reaches an IPv6 address",
  ipv6 ? skip : { skip: "this machine has no IPv6" },
  async () => {
    await using peer = await echoServer({ host: "::1" });
    const args = ["-W", `[::1]:${peer.port}`, ...serverOptions(sshd)];
    const ran = await fairlead(args, { env: home.env, stdin: "over IPv6" });
    assert.deepEqual([ran.status, ran.stdout, ran.stderr], [0, "over IPv6", ""]);
  },
);

test("a destination that refuses gives 255 and the reason", skip, async () => {
  const nobody = await refusingPort();
  const args = ["-W", `${nobody.host}:${nobody.port}`, ...serverOptions(sshd)];
  const { status, stdout, stderr } = await fairlead(args, { env: home.env });
  assert.deepEqual([status, stdout], [255, ""]);
  assert.match(stderr, /^fairlead: 127\.0\.0\.1:\d+ refused the connection[^\n]*\n$/);
});

test("several SSH connections are not for -W, and -v says so", skip, async () => {
  const nobody = await refusingPort();
  const args = ["-v", "--connections", "3", "-W", `${nobody.host}:${nobody.port}`];
  const { stderr } = await fairlead([...args, ...serverOptions(sshd)], { env: home.env });
  assert.match(stderr, /^fairlead: --connections 3 changes nothing: -W has one SSH connection$/m);
});

test("nothing but data is on stdout, with --json and -v as well", skip, async () => {
  await using peer = await serverEndsFirst({ answerBytes: 100 });
  const args = ["--json", "-v", "-W", `${peer.host}:${peer.port}`, ...serverOptions(sshd)];
  const [program, first] = programCommand();
  // Something is sent: on Deno, the peer of a client that ends without a byte cannot write (EPIPE).
  const script = `printf x | "$@" 2>/dev/null | sha256sum`;
  const { stdout } = await run("sh", ["-c", script, "sh", program, ...first, ...args], {
    env: home.env,
  });
  assert.equal(stdout.split(" ")[0], patternReceived(100).sha256);
});

test("a signal ends it at once", skip, async () => {
  await using peer = await echoServer();
  const io = connectStdio(peer);
  io.child.stdin.write("ping");
  await once(io.child.stdout, "data");
  process.kill(io.child.pid as number, "SIGHUP");
  assert.deepEqual([await io.exited, io.stderr()], [129, ""]);
  io.child.stdin.destroy();
});

test("-W is the proxy command of another one, which it ends with", skip, async () => {
  // Those of the servers come and go with their connections.
  const ours = () => {
    const servers = [sshd.pid, second.pid].flatMap(descendants).map(({ pid }) => pid);
    return descendants(process.pid).map(({ pid }) => pid).filter((pid) => !servers.includes(pid));
  };
  const others = ours();
  const [program, first] = programCommand();
  const to = `${second.host}:${second.port}`;
  const proxyCommand = quote([program, ...first, "-W", to, ...serverOptions(sshd)]);
  await using peer = await questionAnswer({ answerBytes: BYTES, seed: 7 });
  {
    await using tunnel = await connect({ ...connectOptions(second), proxyCommand });
    const { port } = await tunnel.forwardLocal(`127.0.0.1:0:${peer.host}:${peer.port}`);
    const { bytes, sha256 } = await transfer(port, { send: BYTES, seed: 5 });
    assert.deepEqual({ bytes, sha256 }, patternReceived(BYTES, 7));
    assert.deepEqual(await peer.received(), patternReceived(BYTES, 5));
    assert.notDeepEqual(ours(), others);
  }
  assert.deepEqual(ours(), others);
});
