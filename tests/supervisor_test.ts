/** Named tunnels, brought up and changed while they run, with a real server. */
import assert from "node:assert/strict";
import { connect as connectTcp } from "node:net";
import { after, before, test } from "node:test";
import type { ForwardStatus } from "../lib/control/status.ts";
import { tunnelsOf } from "./support/named_tunnels.ts";
import { silentPort } from "./support/silent.ts";
import { type SshServer, startSshd } from "./support/sshd.ts";
import { portOf, says, supervise, tunnelIn } from "./support/supervisor.ts";
import { echoServer, type Peer, refusingPort, transfer } from "./support/tcp.ts";
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

function stage() {
  return supervise(sshd);
}

test("tunnels come up with every kind of forward, and go down again", skip, async () => {
  await using it = stage();
  const status = await it.up(`tunnels:
  one:
    host: 127.0.0.1
    forwards:
      - { name: db, local: 0, to: "127.0.0.1:${echo.port}" }
      - { remote: 0, to: "127.0.0.1:${echo.port}" }
      - dynamic: 0
    groups: dev
  two: { host: 127.0.0.1 }
`);
  const one = tunnelIn(status, "one");
  assert.equal(one.state, "open");
  assert.equal(one.destination, `${sshd.user}@127.0.0.1:${sshd.port}`);
  assert.deepEqual(one.groups, ["dev"]);
  assert.deepEqual(one.forwards.map(({ kind, state }) => `${kind} ${state}`), [
    "local listening",
    "remote listening",
    "dynamic listening",
  ]);
  assert.equal(tunnelIn(status, "two").state, "open");
  const [db, remote] = one.forwards;
  for (const forward of [db, remote]) {
    const { bytes } = await transfer(portOf(forward as ForwardStatus), { send: 20_000 });
    assert.equal(bytes, 20_000);
  }
  const stats = tunnelIn(it.supervisor.status(), "one").forwards[0]?.stats;
  assert.deepEqual([stats?.sent, stats?.received, stats?.total], [20_000, 20_000, 1]);
  assert.deepEqual(
    it.events.flatMap((event) =>
      event.event === "tunnel" && event.name === "one" ? [event.state] : []
    ),
    ["connecting", "open"],
  );
  assert.deepEqual(await it.supervisor.down({ names: ["one"] }), { down: ["one"] });
  assert.equal(it.isEmpty(), false);
  await it.supervisor.down({});
  assert.equal(it.isEmpty(), true);
  await waitFor(() => sshd.sessions().length === 0);
});

test(
  "a tunnel waits for those that it depends on, and goes through one of them",
  skip,
  async () => {
    await using it = stage();
    const text = `tunnels:
  inner: { host: 127.0.0.1, jump: outer, forwards: [{ local: 0, to: "127.0.0.1:${echo.port}" }] }
  third: { host: 127.0.0.1, dependsOn: inner }
  outer: { host: 127.0.0.1 }
`;
    const status = await it.up(text);
    const opened = it.events.flatMap((event) =>
      event.event === "tunnel" && event.state === "open" ? [event.name] : []
    );
    assert.deepEqual(opened, ["outer", "inner", "third"]);
    const [forward] = tunnelIn(status, "inner").forwards;
    assert.equal((await transfer(portOf(forward as ForwardStatus), { send: 500 })).bytes, 500);
    assert.deepEqual(await it.supervisor.down({ names: ["outer"] }), {
      down: ["third", "inner", "outer"],
    });
  },
);

test("what depends on a tunnel that fails fails with it, and up tries again", skip, async () => {
  const nobody = await refusingPort();
  await using it = stage();
  const text = (port: number) =>
    `tunnels:
  first: { host: 127.0.0.1, port: ${port} }
  second: { host: 127.0.0.1, dependsOn: first }
`;
  const status = await it.up(text(nobody.port));
  const [first, second] = ["first", "second"].map((name) => tunnelIn(status, name));
  assert.deepEqual([first?.state, second?.state], ["failed", "failed"]);
  assert.equal(first?.failure?.code, "connect-refused");
  assert.match(second?.failure?.message ?? "", /^the tunnel first, which it depends on, is not up/);
  const again = await it.up(text(sshd.port));
  assert.deepEqual(again.tunnels.map(({ state }) => state), ["open", "open"]);
});

test("a forward that cannot listen leaves the others, and up tries it again", skip, async () => {
  await using it = stage();
  const taken = await echoServer();
  const text = `tunnels:
  one:
    host: 127.0.0.1
    forwards: [{ local: ${taken.port}, to: "x:1" }, { local: 0, to: "127.0.0.1:${echo.port}" }]
`;
  const { state, forwards } = tunnelIn(await it.up(text), "one");
  assert.equal(state, "open");
  assert.deepEqual(forwards.map(({ state }) => state), ["failed", "listening"]);
  assert.equal(forwards[0]?.failure?.code, "address-in-use");
  await taken.stop();
  const again = tunnelIn(await it.up(text), "one").forwards;
  assert.deepEqual(again.map(({ state }) => state), ["listening", "listening"]);
  assert.equal(portOf(again[1]), portOf(forwards[1]));
});

test("up waits for a link that is lost, as long as somebody asks", skip, async () => {
  await using it = stage();
  const text = `tunnels: { one: { host: 127.0.0.1, forwards: [dynamic: 0] } }`;
  await it.up(text);
  sshd.kill("SIGSTOP");
  try {
    sshd.signalSessions("SIGKILL");
    await waitFor(() => it.now("one").state === "reconnecting");
    const { call, giveUp } = it.caller();
    const givenUp = it.up(text, call);
    giveUp();
    assert.equal(tunnelIn(await givenUp, "one").state, "reconnecting");
    const up = it.up(text);
    sshd.kill("SIGCONT");
    assert.equal(tunnelIn(await up, "one").state, "open");
  } finally {
    sshd.kill("SIGCONT");
  }
});

test("two who bring the same tunnel up at once share it", skip, async () => {
  await using it = stage();
  const text = `tunnels: { one: { host: 127.0.0.1, forwards: [dynamic: 0] } }`;
  const [first, second] = await Promise.all([it.up(text), it.up(text)]);
  assert.deepEqual(
    tunnelIn(first, "one").forwards[0]?.addresses,
    tunnelIn(second, "one").forwards[0]?.addresses,
  );
  await waitFor(() => sshd.sessions().length === 1);
});

test("down in the middle of up ends it, and whoever waits is told", skip, async () => {
  await using silent = await silentPort();
  await using it = stage();
  const up = it.up(`tunnels: { one: { host: ${silent.host}, port: ${silent.port} } }`);
  up.catch(() => {});
  await waitFor(() => it.supervisor.status().tunnels[0]?.state === "connecting");
  assert.deepEqual(await it.supervisor.down({}), { down: ["one"] });
  await assert.rejects(up, { code: "cancelled", message: /one was taken down before it was up/ });
  assert.equal(it.supervisor.size, 0);
});

test("who gives up takes down what is not up yet, and nothing else", skip, async () => {
  await using silent = await silentPort();
  await using it = stage();
  const up = it.up(`tunnels:
  never: { host: ${silent.host}, port: ${silent.port} }
  one: { host: 127.0.0.1 }
`);
  up.catch(() => {});
  await waitFor(() => it.supervisor.status().tunnels.some(({ state }) => state === "open"));
  it.giveUp();
  await assert.rejects(up, { code: "cancelled" });
  assert.deepEqual(it.supervisor.status().tunnels.map(({ name }) => name), ["one"]);
});

test(
  "reload adds, removes and changes one forward, and the others do not notice",
  skip,
  async () => {
    await using it = stage();
    const [kept, gone, changed, added] = [freePort(), freePort(), freePort(), freePort()];
    const text = (forwards: [number | undefined, number][], more = "") =>
      `tunnels:
  one:
    host: 127.0.0.1
    ${more}
    forwards:
${forwards.map(([port, to]) => `      - { local: ${port}, to: "127.0.0.1:${to}" }`).join("\n")}
`;
    const ports = await Promise.all([kept, gone, changed, added]);
    const [keptPort, gonePort, changedPort, addedPort] = ports;
    await it.up(text([[keptPort, echo.port], [gonePort, echo.port], [changedPort, 1]]));
    const socket = connectTcp(keptPort ?? 0, "127.0.0.1");
    await says(socket, "before");
    const leaving = connectTcp(gonePort ?? 0, "127.0.0.1");
    await says(leaving, "before");
    const transferring = transfer(keptPort ?? 0, { send: 3_000_000 });
    const { changes } = await it.reload(
      text(
        [[addedPort, echo.port], [changedPort, echo.port], [keptPort, echo.port]],
        "groups: new",
      ),
    );
    assert.deepEqual(
      [...changes].sort(),
      [
        `one: -L ${addedPort}:127.0.0.1:${echo.port} added`,
        `one: -L ${changedPort}:127.0.0.1:${echo.port} added`,
        `one: -L ${changedPort}:127.0.0.1:1 removed`,
        `one: -L ${gonePort}:127.0.0.1:${echo.port} removed`,
      ].sort(),
    );
    await says(socket, "after");
    // What was open on a forward that has gone may finish.
    await says(leaving, "after");
    assert.equal((await transferring).bytes, 3_000_000);
    for (const port of [addedPort, changedPort]) {
      assert.equal((await transfer(port ?? 0, { send: 1_000 })).bytes, 1_000);
    }
    await assert.rejects(transfer(gonePort ?? 0, { send: 1 }), { code: "ECONNREFUSED" });
    assert.equal(sshd.sessions().length, 1);
    socket.destroy();
    leaving.destroy();
  },
);

test(
  "reload connects anew where the way has changed, and keeps the old where it cannot",
  skip,
  async () => {
    await using it = stage();
    const port = await freePort();
    const text = (more: string) =>
      `tunnels:
  one: { host: 127.0.0.1, ${more} forwards: [{ local: ${port}, to: "127.0.0.1:${echo.port}" }] }
`;
    await it.up(text(""));
    const socket = connectTcp(port, "127.0.0.1");
    await says(socket, "before");
    const [before] = sshd.sessions();
    const { changes, status } = await it.reload(text("keepalive: 20s,"));
    assert.deepEqual(changes, ["one: connected anew"]);
    await says(socket, "after");
    assert.equal((await transfer(port, { send: 1_000 })).bytes, 1_000);
    assert.equal(tunnelIn(status, "one").forwards[0]?.state, "listening");
    const stats = tunnelIn(it.supervisor.status(), "one").forwards[0]?.stats;
    assert.deepEqual([stats?.sent, stats?.total, stats?.open], [1_011, 2, 1]);
    socket.destroy();
    await waitFor(() => !sshd.sessions().includes(before ?? 0));
    const refused = await it.reload(text("identity: /nonexistent,"));
    assert.deepEqual(refused.changes, ["one: stays as it was"]);
    assert.ok(it.events.some(({ event }) => event === "failed"));
    assert.equal((await transfer(port, { send: 1_000 })).bytes, 1_000);
  },
);

test("forwards are added and removed live, and restart keeps the ports", skip, async () => {
  await using it = stage();
  await it.up("tunnels: { one: { host: 127.0.0.1 } }");
  const destination = { host: "127.0.0.1", port: echo.port };
  const forward = {
    kind: "local",
    spec: { name: "db", listen: { port: 0 }, destination },
  } as const;
  const added = await it.supervisor.add({ tunnel: "one", forward });
  const port = portOf(added);
  assert.ok(port > 0);
  await assert.rejects(it.supervisor.add({ tunnel: "one", forward }), /has a forward named db/);
  const [before] = sshd.sessions();
  const status = await it.supervisor.restart({}, it.call);
  const [again] = tunnelIn(status, "one").forwards;
  assert.equal(portOf(again as ForwardStatus), port);
  assert.equal((await transfer(port, { send: 10 })).bytes, 10);
  assert.notEqual(sshd.sessions().at(-1), before);
  await assert.rejects(it.supervisor.remove({ tunnel: "one", forward: "dp" }), {
    message: "one has no forward dp",
    hint: "did you mean db?",
  });
  await it.supervisor.remove({ tunnel: "one", forward: String(port) });
  await assert.rejects(transfer(port, { send: 1 }), { code: "ECONNREFUSED" });
  await assert.rejects(it.supervisor.add({ tunnel: "two", forward }), /no tunnel two is up/);
});

test("a lost link is counted, and its counters go on", skip, async () => {
  await using it = stage();
  const status = await it.up(
    `tunnels: { one: { host: 127.0.0.1, forwards: [{ local: 0, to: "127.0.0.1:${echo.port}" }] } }`,
  );
  const port = portOf(tunnelIn(status, "one").forwards[0] as ForwardStatus);
  await transfer(port, { send: 1_000 });
  sshd.signalSessions("SIGKILL");
  await waitFor(() => tunnelIn(it.supervisor.status(), "one").reconnects === 1);
  await transfer(port, { send: 1_000 });
  const one = tunnelIn(it.supervisor.status(), "one");
  assert.equal(one.state, "open");
  assert.equal(one.forwards[0]?.stats.sent, 2_000);
  assert.equal(one.failure?.code, "connection-lost");
});

test("a tunnel of the same name in another file is not taken for this one", skip, async () => {
  await using it = stage();
  const text = "tunnels: { one: { host: 127.0.0.1 } }";
  await it.up(text);
  const other = tunnelsOf(sshd, text, "/other/fairlead.yaml");
  await assert.rejects(it.supervisor.up({ tunnels: other, secrets: {} }, it.call), {
    message: "a tunnel one is up already, from /project/fairlead.yaml",
  });
});
