/** The control socket, and everybody who comes to it and should not. */
import assert from "node:assert/strict";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer } from "node:net";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { connectControl } from "../lib/control/client.ts";
import type { Call } from "../lib/control/protocol.ts";
import { type Handlers, serveControl } from "../lib/control/server.ts";
import { controlSocketPath } from "../lib/control/socket_path.ts";
import { scriptCommand } from "./support/fairlead.ts";
import { need, run, skipUnless, start, stoppable, tempDir, waitFor } from "./support/tools.ts";

/** Nobody's number, on every system. */
const NOBODY = 65_534;
const MEBIBYTE = 1024 * 1024;

/** Asks for nothing from the first test on; the last one looks at what became of it. */
const idle = idleClient();

const asNobody = process.getuid?.() === 0
  ? skipUnless("setpriv", "curl")
  : { skip: "only root can be another user as well" };

test("the socket is for its user alone, in a folder for its user alone", async () => {
  await using folder = await tempDir();
  const path = controlSocketPath({ XDG_RUNTIME_DIR: folder.path });
  assert.equal(path, join(folder.path, "fairlead", "control.sock"));
  await using _ = await served(path);
  assert.equal(lstatSync(path).mode & 0o777, 0o600);
  assert.equal(lstatSync(join(folder.path, "fairlead")).mode & 0o777, 0o700);
});

test(
  "another user can connect neither where the folder was open nor to the socket",
  asNobody,
  async () => {
    await using folder = await tempDir();
    chmodSync(folder.path, 0o755);
    const inner = join(folder.path, "fairlead");
    mkdirSync(inner);
    chmodSync(inner, 0o777);
    const path = controlSocketPath({ XDG_RUNTIME_DIR: folder.path });
    await using _ = await served(path);
    assert.equal(lstatSync(inner).mode & 0o777, 0o700, "an open folder is closed");
    assert.match(await saidToNobody(path), /Permission denied|Couldn't connect/);
    // Its own mode keeps them out as well.
    chmodSync(inner, 0o755);
    assert.match(await saidToNobody(path), /Permission denied|Couldn't connect/);
    chmodSync(path, 0o666);
    assert.match(await saidToNobody(path), /^\* Connected to/m, "else this test shows nothing");
  },
);

test("nothing is said to a socket that belongs to another user", asNobody, async () => {
  await using folder = await tempDir();
  const path = join(folder.path, "squatter.sock");
  let clients = 0;
  const squatter = createServer((socket) => {
    clients++;
    socket.destroy();
  });
  squatter.listen(path);
  await once(squatter, "listening");
  chownSync(path, NOBODY, NOBODY);
  await assert.rejects(connectControl(path), {
    code: "not-permitted",
    message: `${path} belongs to another user`,
  });
  squatter.close();
  assert.equal(clients, 0);
});

test("garbage, invalid UTF-8 and JSON that asks for nothing get one error, and others are served", async () => {
  await using folder = await tempDir();
  await using server = await served(join(folder.path, "s"));
  const cases: [Uint8Array | string, RegExp][] = [
    [Uint8Array.from({ length: 5_000 }, (_, at) => (at * 7919) % 256), /no JSON/],
    ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", /no JSON/],
    [Uint8Array.of(0x7b, 0x22, 0xff, 0xfe, 0x22, 0x0a), /no JSON, in UTF-8/],
    ["null\n", /no request|no JSON/],
    ["{}\n", /no request/],
    ["[1,2,3]\n", /no request|no JSON/],
    ['{"method":"echo"}\n', /no request/],
    [`${'{"a":'.repeat(200_000)}\n`, /no JSON/],
  ];
  for (const [bytes, reason] of cases) {
    const raw = await rawClient(server.path);
    raw.socket.write(bytes);
    await waitFor(raw.isClosed, { what: "its end" });
    const { error } = raw.lines()[1] as { error: { code: string; message: string } };
    assert.equal(error.code, "protocol-error");
    assert.match(error.message, reason);
    assert.equal(raw.lines().length, 2, "a greeting and an error");
  }
  assert.deepEqual(await ask(server.path, "echo", { still: "here" }), { still: "here" });
});

test("strange requests are answered, and end nothing", async () => {
  await using folder = await tempDir();
  await using server = await served(join(folder.path, "s"));
  const raw = await rawClient(server.path);
  const strange = [
    { method: "nonsense" },
    { method: "constructor" },
    { method: "__proto__" },
    { method: { toString: 1 } },
    { method: "echo", protocol: { toString: 1 } },
    { method: "echo", protocol: "1" },
    { method: "echo", params: [] },
    { method: "echo", params: 7 },
    { method: "fails" },
    {},
  ];
  strange.forEach((request, at) => raw.send({ protocol: 1, ...request, id: at }));
  // Answers to what nobody has asked.
  raw.send({ id: 1, question: 77, value: "a" });
  raw.send({ id: 99, protocol: 1, method: "echo", params: { a: 1 }, unheardOf: true });
  await waitFor(() => raw.lines().length > strange.length + 1, { what: "answers" });
  const answers = raw.lines().slice(1) as { id: number; error?: object; result?: unknown }[];
  assert.deepEqual(answers.filter(({ error }) => error === undefined), [
    { id: 99, result: { a: 1 } },
  ]);
  raw.socket.destroy();
  await assert.rejects(ask(server.path, "nonsense"), {
    code: "not-supported",
    message: 'fairlead 1.0.0 cannot be asked for "nonsense"',
  });
});

test("a line of 100 MB is cut off after its first, and is not kept", async () => {
  await using folder = await tempDir();
  await using server = await served(join(folder.path, "s"));
  const raw = await rawClient(server.path);
  const before = process.memoryUsage().rss;
  const chunk = new Uint8Array(64 * 1024).fill(0x78);
  raw.socket.write('{"id":"');
  let written = 0;
  while (written < 100e6 && !raw.isClosed()) {
    if (!raw.socket.write(chunk)) await Promise.race([once(raw.socket, "drain"), sleep(50)]);
    written += chunk.length;
  }
  await waitFor(raw.isClosed, { what: "its end" });
  const grown = process.memoryUsage().rss - before;
  assert.ok(grown < 80 * MEBIBYTE, `${grown} bytes more`);
  assert.match(JSON.stringify(raw.lines()), /a line of more than 1048576 bytes/);
  assert.deepEqual(await ask(server.path, "echo", { a: 1 }), { a: 1 });
});

test("of 500 clients at once 64 are served, the others are told, and then there is room", async () => {
  await using folder = await tempDir();
  await using server = await served(join(folder.path, "s"));
  const all = await Promise.all(Array.from({ length: 500 }, () => rawClient(server.path)));
  const first = all.map((client) => client.lines()[0] as { fairlead?: string; error?: object });
  assert.equal(first.filter(({ fairlead }) => fairlead === "1.0.0").length, 64);
  const refused = first.filter(({ error }) => error !== undefined);
  assert.equal(refused.length, 436);
  assert.deepEqual(refused[0]?.error, {
    code: "resource-shortage",
    message: "64 clients are connected already",
    hint: "try again in a moment",
  });
  await assert.rejects(connectControl(server.path), { code: "resource-shortage" });
  all.forEach(({ socket }) => socket.destroy());
  await waitFor(async () => {
    const client = await connectControl(server.path).catch(() => undefined);
    client?.close();
    return client !== undefined;
  }, { what: "room" });
  assert.deepEqual(await ask(server.path, "echo", { a: 1 }), { a: 1 });
});

test("a client that reads nothing is dropped, and its request given up", async () => {
  await using folder = await tempDir();
  await using server = await served(join(folder.path, "s"));
  const raw = await rawClient(server.path);
  raw.socket.pause();
  const before = process.memoryUsage().rss;
  raw.send({ id: 1, protocol: 1, method: "flood" });
  await waitFor(() => server.ended.includes("flood"), { timeout: 10_000, what: "the end" });
  const grown = process.memoryUsage().rss - before;
  assert.ok(grown < 120 * MEBIBYTE, `${grown} bytes more`);
  raw.socket.destroy();
});

test("a client that goes away in the middle has its request given up", async () => {
  await using folder = await tempDir();
  await using server = await served(join(folder.path, "s"));
  const client = await connectControl(server.path);
  const answer = client?.call("wait");
  answer?.catch(() => {});
  await waitFor(() => server.waiting() === 1);
  client?.close();
  await waitFor(() => server.ended.includes("wait"), { what: "the end" });
  await assert.rejects(answer as Promise<unknown>, { code: "connection-lost" });
});

test("one client has 16 requests carried out at a time, and is told of the next", async () => {
  await using folder = await tempDir();
  await using server = await served(join(folder.path, "s"));
  const client = await connectControl(server.path);
  const waiting = Array.from({ length: 16 }, () => client?.call("wait"));
  await assert.rejects(client?.call("echo") as Promise<unknown>, {
    code: "resource-shortage",
    message: "16 requests are being carried out already",
  });
  assert.equal(server.waiting(), 16);
  server.release();
  await Promise.all(waiting);
  assert.deepEqual(await client?.call("echo", { a: 1 }), { a: 1 });
  client?.close();
});

test("a process that was killed leaves a socket, and of five that start at once one takes it over", async () => {
  await using folder = await tempDir("fl-");
  const paths = Array.from({ length: 8 }, (_, round) => join(folder.path, `${round}.sock`));
  for (const path of paths) await leaveStale(path);
  // Far enough away for all five to have started.
  const begin = Date.now() + 2_500;
  const rounds = JSON.stringify(paths.map((path, round) => [path, begin + round * 400]));
  const [command, before] = scriptCommand("tests/support/fixtures/serve_control.ts");
  const processes = Array.from({ length: 5 }, () => start(command, [...before, rounds]));
  try {
    const said = () => processes.map(({ stdout, stderr }) => stdout() + stderr()).join("");
    await waitFor(() => said().split("\n").length > 5 * paths.length, {
      timeout: 20_000,
      what: "a word on each",
    });
    for (const path of paths) {
      const serving = processes.filter(({ stdout }) => stdout().includes(`serves ${path}\n`));
      assert.equal(serving.length, 1, said());
      assert.equal(said().split(`found ${path}\n`).length - 1, 4, said());
      const client = await connectControl(path);
      assert.equal(client?.greeting.pid, serving[0]?.pid);
      client?.close();
    }
    assert.deepEqual(readdirSync(folder.path).sort(), paths.map((path) => basename(path)));
  } finally {
    await Promise.all(processes.map((process) => process.stop()));
  }
});

test("who closes takes its own socket away at once, and answers first", async () => {
  await using folder = await tempDir();
  const path = join(folder.path, "s");
  await using server = await served(path);
  const client = await connectControl(path);
  const answer = client?.call("wait");
  await waitFor(() => server.waiting() === 1);
  const closed = server.close();
  assert.equal(existsSync(path), false);
  assert.equal(await connectControl(path), undefined);
  server.release();
  assert.equal(await answer, null);
  await closed;
});

test("who closes leaves a socket alone that is another process's by now", async () => {
  await using folder = await tempDir();
  const path = join(folder.path, "s");
  const first = await served(path);
  unlinkSync(path);
  await using _ = await served(path);
  await first.stop();
  assert.deepEqual(await ask(path, "echo", { a: 1 }), { a: 1 });
});

test("a socket that a cleaner of temporary files takes away is there again, for tunnels", async () => {
  await using folder = await tempDir();
  const path = join(folder.path, "fairlead", "s");
  mkdirSync(dirname(path), { mode: 0o700 });
  const handlers: Handlers = { echo: (params) => params };
  const options = { version: "1.0.0", serves: "tunnels", look: 20 } as const;
  const server = await serveControl(path, handlers, options);
  const client = await connectControl(path);
  for (let times = 0; times < 2; times++) {
    rmSync(dirname(path), { recursive: true });
    await waitFor(() => existsSync(path), { what: "the socket" });
    const { mode } = statSync(path);
    assert.equal(mode & 0o777, 0o600);
    assert.equal(statSync(dirname(path)).mode & 0o777, 0o700);
    assert.deepEqual(await ask(path, "echo", { times }), { times });
    // Whoever was connected still is.
    assert.deepEqual(await client?.call("echo", { times }), { times });
  }
  client?.close();
  await server.close();
  assert.ok(!existsSync(path));
});

test("where somebody serves already nobody else does, and a plain file is not removed", async () => {
  await using folder = await tempDir();
  await using server = await served(join(folder.path, "s"));
  await assert.rejects(served(server.path), { code: "address-in-use" });
  assert.deepEqual(await ask(server.path, "echo", { a: 1 }), { a: 1 });
  const file = join(folder.path, "file");
  writeFileSync(file, "precious");
  await assert.rejects(served(file), { code: "address-in-use" });
  assert.equal(readFileSync(file, "utf8"), "precious");
});

test("who asks for nothing within 10 s is let go", async () => {
  const seconds = await idle;
  assert.ok(seconds > 9 && seconds < 14, `${seconds} s`);
});

/** A server of the test's own, with toy methods. */
async function served(path: string) {
  const ended: string[] = [];
  const releases = new Set<() => void>();
  const untilReleased = (call: Call) =>
    new Promise<void>((resolve) => {
      const release = () => {
        releases.delete(release);
        resolve();
      };
      releases.add(release);
      call.signal.addEventListener("abort", release);
    });
  const handlers: Handlers = {
    echo: (params) => params,
    fails: () => {
      throw new TypeError("as a mistake would");
    },
    wait: async (_params, call) => {
      await untilReleased(call);
      if (call.signal.aborted) ended.push("wait");
    },
    flood: async (_params, call) => {
      const message = "x".repeat(MEBIBYTE / 16);
      while (!call.signal.aborted) {
        call.event({ event: "note", message });
        await turn();
      }
      ended.push("flood");
    },
  };
  const server = await serveControl(path, handlers, { version: "1.0.0", serves: "tunnels" });
  const release = () => [...releases].forEach((one) => one());
  return stoppable(
    { path, ended, waiting: () => releases.size, release, close: () => server.close() },
    async () => {
      release();
      await server.close();
    },
  );
}

/** Asks once, as a command does. */
async function ask(path: string, method: string, params: object = {}): Promise<unknown> {
  const client = await connectControl(path);
  try {
    return await client?.call(method, params);
  } finally {
    client?.close();
  }
}

/** A client that says what it likes. It has been greeted. */
async function rawClient(path: string) {
  const socket = connect({ path });
  let text = "";
  let closed = false;
  socket.on("data", (chunk: Buffer) => text += chunk.toString("utf8"));
  socket.on("error", () => {});
  socket.on("close", () => closed = true);
  const lines = (): unknown[] => text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
  socket.write("\n");
  await waitFor(() => text.includes("\n"), { timeout: 10_000, what: "a greeting" });
  return {
    socket,
    lines,
    isClosed: () => closed,
    send: (value: object) => socket.write(`${JSON.stringify(value)}\n`),
  };
}

/** What another user gets to see: the answer, or why there is none. */
async function saidToNobody(path: string): Promise<string> {
  const { stdout, stderr } = await run("setpriv", [
    ...[`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", need("curl"), "-q", "-v"],
    ...["--http0.9", "--max-time", "1", "--unix-socket", path, "http://localhost/"],
  ]);
  return stdout + stderr;
}

/** A socket file as a process leaves it that was killed. */
async function leaveStale(path: string): Promise<void> {
  const server = createServer();
  server.listen(path);
  await once(server, "listening");
  renameSync(path, `${path}.kept`);
  await new Promise((resolve) => server.close(resolve));
  renameSync(`${path}.kept`, path);
}

/** @returns Seconds until a client that says nothing was let go. */
async function idleClient(): Promise<number> {
  await using folder = await tempDir();
  await using server = await served(join(folder.path, "s"));
  const { socket } = await rawClient(server.path);
  const begin = performance.now();
  await once(socket, "close");
  return (performance.now() - begin) / 1000;
}
