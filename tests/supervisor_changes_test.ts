/** Named tunnels that several people change at once, with a real server. */
import assert from "node:assert/strict";
import { connect as connectTcp } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { tunnelsOf } from "./support/named_tunnels.ts";
import { silentPort } from "./support/silent.ts";
import { type SshServer, startSshd } from "./support/sshd.ts";
import { portOf, says, supervise } from "./support/supervisor.ts";
import { echoServer, type Peer, refusingPort, transfer } from "./support/tcp.ts";
import { countTimers } from "./support/timers.ts";
import { freePort, skipUnless, waitFor } from "./support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
let sshd: SshServer;
let echo: Peer;

before(async () => {
  if (skip.skip !== undefined) return;
  sshd = await startSshd();
  echo = await echoServer();
});
after(async () => {
  await sshd?.stop();
  await echo?.stop();
});

/** A tunnel with one forward to the echo server. */
const oneForward = (listen: number | string = 0, more = "") =>
  `tunnels:
  one: { host: 127.0.0.1, ${more} forwards: [{ local: ${listen}, to: "127.0.0.1:${echo.port}" }] }
`;

test("what several do to a tunnel at once leaves one session", skip, async () => {
  await using it = supervise(sshd);
  const text = (keepalive: string) =>
    `tunnels: { one: { host: 127.0.0.1, keepalive: ${keepalive} } }`;
  const restart = () => it.supervisor.restart({}, it.caller().call);
  await sshd.down();
  try {
    await it.up(text("20s"));
    assert.equal(it.now("one").state, "failed");
  } finally {
    await sshd.up();
  }
  await Promise.all([restart(), restart(), it.up(text("20s"), it.caller().call)]);
  await waitFor(() => sshd.sessions().length === 1);
  await Promise.all([it.reload(text("21s")), restart(), it.reload(text("22s")), restart()]);
  assert.equal(it.now("one").state, "open");
  await waitFor(() => sshd.sessions().length === 1);
  await it.supervisor.close();
  await waitFor(() => sshd.sessions().length === 0);
});

test("two who add the same forward at once get one, and the other is told", skip, async () => {
  await using it = supervise(sshd);
  await it.up("tunnels: { one: { host: 127.0.0.1 } }");
  const spec = { name: "db", listen: { port: 0 }, destination: { host: "x", port: 1 } };
  const add = () => it.supervisor.add({ tunnel: "one", forward: { kind: "local", spec } });
  const results = await Promise.allSettled([add(), add()]);
  assert.deepEqual(results.map(({ status }) => status), ["fulfilled", "rejected"]);
  assert.equal(it.now("one").forwards.length, 1);
});

test("restart brings up what had failed in the order of dependencies", skip, async () => {
  await using it = supervise(sshd);
  await sshd.down();
  try {
    await it.up(`tunnels:
  first: { host: 127.0.0.1 }
  second: { host: 127.0.0.1, jump: first }
`);
    assert.deepEqual([it.now("first").state, it.now("second").state], ["failed", "failed"]);
  } finally {
    await sshd.up();
  }
  const { tunnels } = await it.supervisor.restart({ names: ["second", "first"] }, it.call);
  assert.deepEqual(tunnels.map(({ state }) => state), ["open", "open"]);
});

test("who gives up leaves what somebody else waits for", skip, async () => {
  await using silent = await silentPort();
  await using it = supervise(sshd);
  const text = `tunnels: { one: { host: ${silent.host}, port: ${silent.port} } }`;
  const [first, second] = [it.caller(), it.caller()];
  const ups = [it.up(text, first.call), it.up(text, second.call)];
  for (const up of ups) up.catch(() => {});
  await waitFor(() => it.supervisor.status().tunnels[0]?.state === "connecting");
  first.giveUp();
  await sleep(50);
  assert.equal(it.now("one").state, "connecting");
  second.giveUp();
  for (const up of ups) await assert.rejects(up, { code: "cancelled" });
  assert.equal(it.supervisor.size, 0);
});

test(
  "a changed way to the server leaves local listeners open, on the ports that they got",
  skip,
  async () => {
    await using it = supervise(sshd);
    const text = (more: string) =>
      `tunnels:
  one:
    host: 127.0.0.1
    ${more}
    forwards: [{ local: 0, to: "127.0.0.1:${echo.port}" }, dynamic: 0, remote: "0:127.0.0.1:${echo.port}"]
`;
    await it.up(text(""));
    const ports = () => it.now("one").forwards.map(portOf);
    const before = ports();
    const [port = 0] = before;
    await transfer(port, { send: 1_000 });
    const socket = connectTcp(port, "127.0.0.1");
    await says(socket, "before");
    let reloading = true;
    let count = 0;
    const callers = (async () => {
      // None of them is refused at any moment.
      for (; reloading; count++) assert.equal((await transfer(port, { send: 10 })).bytes, 10);
    })();
    await waitFor(() => count > 0);
    const { changes } = await it.reload(text("keepalive: 20s"));
    const reached = count;
    await waitFor(() => count > reached);
    reloading = false;
    await callers;
    assert.deepEqual(changes, ["one: connected anew"]);
    assert.deepEqual(ports(), before);
    // What was open goes on, on the old session, which ends with it; counters go on.
    await says(socket, "after");
    assert.equal(it.now("one").forwards[0]?.stats.total, count + 2);
    socket.destroy();
    await waitFor(() => sshd.sessions().length === 1);
    await transfer(port, { send: 10 });

    // Where it is to listen in another way, it is not the same listener.
    await it.reload(text("options: { AddressFamily: inet }"));
    assert.deepEqual(it.now("one").forwards[0]?.addresses, [{ host: "127.0.0.1", port }]);
    await transfer(port, { send: 10 });
  },
);

test("a listener on the server moves to the new session, with its port", skip, async () => {
  await using it = supervise(sshd);
  const port = await freePort();
  const text = (more: string) =>
    `tunnels:
  one: { host: 127.0.0.1, ${more} forwards: [remote: "${port}:127.0.0.1:${echo.port}"] }
`;
  await it.up(text(""));
  const socket = connectTcp(port, "127.0.0.1");
  await says(socket, "before");
  await it.reload(text("keepalive: 20s,"));
  assert.equal(it.now("one").forwards[0]?.state, "listening");
  assert.equal((await transfer(port, { send: 1_000 })).bytes, 1_000);
  // What was open goes on, on the old session.
  await says(socket, "after");
  socket.destroy();
});

test(
  "a tunnel through one that connects anew goes on, and so do its connections",
  skip,
  async () => {
    await using it = supervise(sshd);
    const text = (more: string) =>
      `tunnels:
  outer: { host: 127.0.0.1${more} }
  inner: { host: 127.0.0.1, jump: outer, forwards: [{ local: 0, to: "127.0.0.1:${echo.port}" }] }
`;
    await it.up(text(""));
    const port = portOf(it.now("inner").forwards[0]);
    const socket = connectTcp(port, "127.0.0.1");
    await says(socket, "before");
    const { changes } = await it.reload(text(", keepalive: 20s"));
    assert.deepEqual(changes, ["outer: connected anew"]);
    await says(socket, "after");
    assert.equal((await transfer(port, { send: 100_000 })).bytes, 100_000);
    socket.destroy();
    // The old way ends once nobody uses it.
    await waitFor(() => sshd.sessions().length === 2);
    assert.equal((await transfer(port, { send: 100_000 })).bytes, 100_000);
    assert.equal(it.now("inner").reconnects, 0);
  },
);

test("reload tries again what has failed where the file has changed", skip, async () => {
  const nobody = await refusingPort();
  await using it = supervise(sshd);
  const broken = oneForward(0, `port: ${nobody.port},`);
  await it.up(broken);
  assert.deepEqual((await it.reload(broken)).changes, []);
  assert.equal(it.now("one").state, "failed");
  const { changes } = await it.reload(oneForward());
  assert.deepEqual(changes, ["one: up again"]);
  assert.equal(it.now("one").forwards[0]?.state, "listening");
});

test(
  "reload leaves a tunnel of the same name alone that is up from another file",
  skip,
  async () => {
    await using it = supervise(sshd);
    await it.up(oneForward());
    const { changes } = await it.reload(
      "tunnels: { one: { host: 127.0.0.1 } }",
      "/other/fairlead.yaml",
    );
    assert.deepEqual(changes, ["one: up from /project/fairlead.yaml, left alone"]);
    assert.equal(it.now("one").forwards.length, 1);
  },
);

test("reload hands a port from one tunnel to another", skip, async () => {
  await using it = supervise(sshd);
  const port = await freePort();
  const forward = `forwards: [{ local: ${port}, to: "127.0.0.1:${echo.port}" }]`;
  await it.up(`tunnels:
  one: { host: 127.0.0.1 }
  two: { host: 127.0.0.1, ${forward} }
`);
  await it.reload(`tunnels:
  one: { host: 127.0.0.1, ${forward} }
  two: { host: 127.0.0.1 }
`);
  assert.equal(it.now("one").forwards[0]?.state, "listening");
  assert.equal((await transfer(port, { send: 10 })).bytes, 10);
});

test("what a tunnel has carried stays counted when it fails and comes up again", skip, async () => {
  await using it = supervise(sshd);
  const text = oneForward(0, "retry: 0,");
  await it.up(text);
  await transfer(portOf(it.now("one").forwards[0]), { send: 1_000 });
  sshd.signalSessions("SIGKILL");
  await waitFor(() => it.now("one").state === "failed");
  assert.deepEqual(it.now("one").forwards.map(({ state }) => state), ["down"]);
  await it.up(text);
  await transfer(portOf(it.now("one").forwards[0]), { send: 500 });
  assert.equal(it.now("one").forwards[0]?.stats.sent, 1_500);
});

test(
  "a forward is removed by its name, its text, or as the option would have it",
  skip,
  async () => {
    await using it = supervise(sshd);
    await it.up("tunnels: { one: { host: 127.0.0.1 } }");
    for (const word of ["db", "0:x:1", "db=0:x:1", "-L 0:x:1"]) {
      const spec = { name: "db", listen: { port: 0 }, destination: { host: "x", port: 1 } };
      await it.supervisor.add({ tunnel: "one", forward: { kind: "local", spec } });
      await it.supervisor.remove({ tunnel: "one", forward: word });
    }
    assert.equal(it.now("one").forwards.length, 0);
  },
);

test(
  "down lets what is open finish, and a second one that is forced does not wait",
  skip,
  async () => {
    await using it = supervise(sshd);
    await it.up(oneForward());
    const socket = connectTcp(portOf(it.now("one").forwards[0]), "127.0.0.1");
    socket.on("error", () => {});
    await says(socket, "before");
    const down = it.supervisor.down({});
    await waitFor(() => it.now("one").state === "draining");
    await says(socket, "still there");
    const closed = new Promise((resolve) => socket.once("close", resolve));
    await it.supervisor.down({ force: true });
    await closed;
    assert.deepEqual(await down, { down: ["one"] });
  },
);

test("down waits for a session that was just replaced as well", skip, async () => {
  using timers = countTimers();
  await using it = supervise(sshd);
  const text = (more: string) => oneForward(0, more);
  await it.up(text(""));
  const socket = connectTcp(portOf(it.now("one").forwards[0]), "127.0.0.1");
  socket.on("error", () => {});
  await says(socket, "before");
  await it.reload(text("keepalive: 20s,"));
  assert.equal(sshd.sessions().length, 2);
  const closed = new Promise((resolve) => socket.once("close", resolve));
  await it.supervisor.down({ force: true });
  await closed;
  await waitFor(() => sshd.sessions().length === 0);
  await waitFor(() => timers.pending === 0, { what: "the last timer" });
});

test("a tunnel that nobody uses goes by itself, where it is to", skip, async () => {
  await using it = supervise(sshd);
  await it.up("tunnels: { one: { host: 127.0.0.1, idleTimeout: 200ms } }");
  await waitFor(() => it.isEmpty());
  assert.equal(it.supervisor.size, 0);
});

test("who names what is not there is told, also where nothing is", skip, async () => {
  await using it = supervise(sshd);
  await assert.rejects(it.supervisor.down({ names: ["one"] }), {
    message: "no tunnel one is up",
    hint: "none is up",
  });
  await it.up("tunnels: { one: { host: 127.0.0.1 } }");
  await assert.rejects(it.supervisor.remove({ tunnel: "one", forward: "db" }), {
    message: "one has no forward db",
    hint: "it has none",
  });
  await assert.rejects(it.supervisor.restart({ names: ["on"] }, it.call), {
    hint: "did you mean one?",
  });
});

test("whatever several do at once, down leaves nothing behind", skip, async () => {
  await using it = supervise(sshd);
  const ports = await Promise.all([freePort(), freePort(), freePort()]);
  const text = (turn: number) => {
    const forwards = (own: number) =>
      ports.filter((_, index) => (index + turn) % 3 === own)
        .map((port) => `{ local: ${port}, to: "127.0.0.1:${echo.port}" }`).join(", ");
    return `tunnels:
  a: { host: 127.0.0.1, keepalive: ${15 + turn % 2}s, forwards: [${forwards(0)}] }
  b: { host: 127.0.0.1, jump: a, forwards: [${forwards(1)}] }
${turn % 4 === 0 ? "" : `  c: { host: 127.0.0.1, dependsOn: a, forwards: [${forwards(2)}] }`}
`;
  };
  const unexpected: unknown[] = [];
  const work: Promise<unknown>[] = [];
  for (let turn = 0; turn < 40; turn++) {
    const { call, giveUp } = it.caller();
    const doing = [
      () => it.up(text(turn), call),
      () => it.reload(text(turn)),
      () => it.supervisor.restart({}, call),
      () => it.up(text(turn + 1), call),
      () => it.reload(text(turn + 2)),
      () => it.supervisor.down({ force: turn % 2 === 0 }, call),
    ][turn % 6];
    work.push(
      (doing as () => Promise<unknown>)().catch((error) => {
        if (error.code !== "cancelled") unexpected.push(error);
      }),
    );
    if (turn % 5 === 0) setTimeout(giveUp, 10);
    if (turn % 7 === 0) sshd.signalSessions("SIGKILL");
    await sleep((turn * 17) % 60);
  }
  await Promise.all(work);
  await it.supervisor.close({ force: true });
  assert.deepEqual(unexpected, []);
  assert.equal(it.supervisor.size, 0);
  await waitFor(() => sshd.sessions().length === 0);
  for (const port of ports) {
    await assert.rejects(transfer(port, { send: 1 }), { code: "ECONNREFUSED" });
  }
});

test("there can be 200 tunnels at most", async () => {
  const many = (from: number, count: number) =>
    "tunnels:\n" +
    Array.from({ length: count }, (_, index) => `  t${from + index}: { host: h }\n`).join("");
  const nowhere = { host: "h", port: 1, user: "u", identity: "/x", knownHosts: "/x" };
  await using it = supervise(nowhere);
  const tunnels = [...tunnelsOf(nowhere, many(0, 200)), ...tunnelsOf(nowhere, many(200, 1))];
  await assert.rejects(it.supervisor.up({ tunnels, secrets: {} }, it.call), {
    code: "resource-shortage",
  });
  assert.equal(it.supervisor.size, 0);
});
