/** The session's state machine, with a fake clock and a fake server: every change of state. */
import assert from "node:assert/strict";
import type { Duplex } from "node:stream";
import { test } from "node:test";
import { ConnectionError, FairleadError, ForwardError, SessionError } from "../lib/errors.ts";
import type { SessionOptions, StateChange } from "../lib/session/options.ts";
import { Session } from "../lib/session/session.ts";
import { FakeClock } from "./support/fake_clock.ts";
import { type FakeLink, FakeServer } from "./support/fake_link.ts";
import { warned } from "./support/warnings.ts";

const HERE = { host: "127.0.0.1", port: 7 };

/** Everything of one test. */
interface Stage {
  readonly clock: FakeClock;
  readonly server: FakeServer;
  readonly changes: StateChange[];
  readonly opening: Promise<Session>;
}

function begin(options: SessionOptions = {}, signal?: AbortSignal): Stage {
  const clock = new FakeClock();
  const server = new FakeServer();
  const changes: StateChange[] = [];
  const opening = Session.open(server.connect, {
    serverAliveInterval: 0,
    onState: (change) => changes.push(change),
    ...options,
  }, { name: "server", signal, clock, random: () => 0.5 });
  opening.catch(() => {});
  return { clock, server, changes, opening };
}

/** A session that is open already. */
async function opened(
  options: SessionOptions = {},
): Promise<Stage & { session: Session; link: FakeLink }> {
  const stage = begin(options);
  await stage.clock.advance(0);
  const link = stage.server.attempt.succeed();
  return { ...stage, session: await stage.opening, link };
}

const states = ({ changes }: Stage) => changes.map(({ from, to }) => `${from} -> ${to}`);

/** How something ended, without waiting for it. */
function fate<T>(promise: Promise<T>): { value?: T; error?: FairleadError } {
  const seen: { value?: T; error?: FairleadError } = {};
  promise.then((value) => seen.value = value, (error) => seen.error = error);
  return seen;
}

function isPending(seen: { value?: unknown; error?: unknown }): boolean {
  return seen.value === undefined && seen.error === undefined;
}

test("a session opens, is closed, and nothing of it is left", async () => {
  const stage = await opened();
  const { session, link, clock } = stage;
  assert.equal(session.state, "open");
  await session.close();
  assert.deepEqual(states(stage), ["closed -> connecting", "connecting -> open", "open -> closed"]);
  assert.equal(await session.closed, undefined);
  assert.equal(link.closes, 1);
  assert.equal(clock.pending, 0);
  await assert.rejects(session.dial(HERE), { code: "connection-lost" });
  await session.close();
});

test("a first connection that fails is the end, unless it was to be waited for", async () => {
  const stage = begin();
  await stage.clock.advance(0);
  stage.server.attempt.fail("connect-refused");
  await assert.rejects(stage.opening, { code: "connect-refused" });
  assert.deepEqual(states(stage), ["closed -> connecting", "connecting -> failed"]);
  assert.equal(stage.server.attempts, 1);
  assert.equal(stage.clock.pending, 0);
});

test("a first connection that is waited for is tried about once a second", async () => {
  const stage = begin({ wait: true });
  const { clock, server } = stage;
  await clock.advance(0);
  for (let tries = 1; tries <= 10; tries++) {
    assert.equal(server.attempts, tries);
    server.attempt.fail("connect-refused");
    await clock.advance(1_100);
  }
  server.attempt.succeed();
  const session = await stage.opening;
  assert.deepEqual(states(stage), ["closed -> connecting", "connecting -> open"]);
  await session.close();
  assert.equal(clock.pending, 0);
});

test("what no waiting mends ends a first connection that is waited for", async () => {
  const codes = ["auth-failed", "host-key-changed", "host-key-unknown", "config-invalid"] as const;
  for (const code of codes) {
    const { clock, server, opening } = begin({ wait: true });
    await clock.advance(0);
    server.attempt.fail(code);
    await assert.rejects(opening, { code });
    assert.equal(clock.pending, 0);
  }
});

test("a signal gives a first connection up, in every moment of it", async () => {
  for (const moment of ["before", "connecting", "pausing"]) {
    const stop = new AbortController();
    if (moment === "before") stop.abort();
    const stage = begin({ wait: true }, stop.signal);
    await stage.clock.advance(0);
    if (moment === "pausing") stage.server.attempt.fail("connect-refused");
    await stage.clock.advance(0);
    stop.abort();
    await assert.rejects(stage.opening, { code: "cancelled" }, moment);
    assert.equal(states(stage).at(-1), "connecting -> closed");
    assert.equal(stage.clock.pending, 0);
    // What comes later is not kept.
    if (moment === "connecting") {
      const late = stage.server.attempt.succeed();
      await stage.clock.advance(0);
      assert.equal(late.over, true);
    }
  }
});

test("a link that is lost is made anew, and who dials meanwhile waits for it", async () => {
  const stage = await opened();
  const { session, link, clock, server } = stage;
  const open = await session.dial(HERE);
  link.lose();
  const waiting = [1, 2, 3].map((port) => session.dial({ host: "h", port }));
  await clock.advance(0);
  assert.equal(session.state, "reconnecting");
  assert.equal(open.destroyed, true);
  assert.deepEqual(stage.changes.at(-1), {
    ...{ from: "open", to: "reconnecting", reason: "the server hung up", lost: 1, parked: 0 },
  });
  assert.equal(session.parked, 3);
  await clock.advance(1_000);
  const next = server.attempt.succeed();
  await Promise.all(waiting);
  assert.deepEqual(next.dials, [1, 2, 3].map((port) => ({ host: "h", port })));
  assert.deepEqual(stage.changes.at(-1), {
    ...{ from: "reconnecting", to: "open", reason: "connection 2", lost: 0, parked: 3 },
  });
  assert.equal(session.parked, 0);
  await session.close();
  assert.equal(clock.pending, 0);
});

test("a server that cannot be reached is looked for every second, and sooner for callers", async () => {
  const { session, link, clock, server } = await opened();
  await clock.advance(60_000);
  link.lose();
  await clock.advance(0);
  const count = async (ms: number) => {
    const before = server.attempts;
    for (let passed = 0; passed < ms; passed += 50) {
      if (server.waiting.length > 0) server.attempt.fail("unreachable");
      await clock.advance(50);
    }
    return server.attempts - before;
  };
  const alone = await count(10_000);
  assert.ok(alone >= 8 && alone <= 12, `${alone} looks in 10 s`);
  // In the middle of a pause: the caller need not wait for its end.
  const gone = new AbortController();
  const waiting = fate(session.dial(HERE, { signal: gone.signal }));
  const called = await count(10_000);
  assert.ok(called >= 30 && called <= 41, `${called} looks in 10 s`);
  gone.abort();
  await clock.advance(0);
  assert.equal(waiting.error?.code, "cancelled");
  await session.close();
  assert.equal(clock.pending, 0);
});

test("a server that is reached and fails is left alone ever longer, whoever waits", async () => {
  const { session, link, clock, server } = await opened();
  await clock.advance(60_000);
  link.lose();
  await clock.advance(0);
  fate(session.dial(HERE));
  const waits: number[] = [];
  for (let tries = 0; tries < 10; tries++) {
    server.attempt.reached();
    server.attempt.fail("connection-lost");
    const since = clock.now();
    while (server.waiting.length === 0) await clock.advance(50);
    waits.push(clock.now() - since);
  }
  // With 0.5 for chance: the middle between half a second and the limit.
  assert.deepEqual(waits, [750, 1250, 2250, 4250, 8250, 15250, 15250, 15250, 15250, 15250]);
  await session.close();
  assert.equal(clock.pending, 0);
});

test("the session that comes back starts to count anew", async () => {
  const { session, link, clock, server } = await opened({ retries: 3 });
  await clock.advance(60_000);
  let last = link;
  for (let outage = 0; outage < 3; outage++) {
    last.lose();
    await clock.advance(1_000);
    for (let tries = 0; tries < 2; tries++) {
      server.attempt.fail("connect-refused");
      await clock.advance(1_100);
    }
    last = server.attempt.succeed();
    await clock.advance(20_000);
    assert.equal(session.state, "open");
  }
  await session.close();
});

test("after so many tries, or so much time, it gives up with the reason", async () => {
  for (const options of [{ retries: 3 }, { retryFor: 2_500 }]) {
    const stage = await opened(options);
    const { session, link, clock, server } = stage;
    link.lose();
    await clock.advance(100);
    const waiting = fate(session.dial(HERE, {}));
    for (let passed = 0; passed < 100 && session.state !== "failed"; passed++) {
      if (server.waiting.length > 0) server.attempt.fail("unreachable", "no way there");
      await clock.advance(50);
    }
    const reason = await session.closed;
    assert.match(reason?.message ?? "", /^gave up after \d+ tries: no way there$/);
    assert.equal(reason?.code, "unreachable");
    // A caller has it looked for more often; that does not bring the end nearer.
    if ("retries" in options) assert.ok(clock.now() > 1_600, `${clock.now()} ms`);
    else assert.ok(clock.now() >= options.retryFor && clock.now() < options.retryFor + 1_000);
    assert.match(waiting.error?.message ?? "", /^gave up after/);
    assert.equal(states(stage).at(-1), "reconnecting -> failed");
    assert.equal(clock.pending, 0);
  }
});

test("an attempt that does not answer, and a login's pause, end with the time for trying", async () => {
  for (const code of [undefined, "auth-failed"] as const) {
    const { session, link, clock, server } = await opened({ retryFor: 5_000 });
    link.lose();
    await clock.advance(1_000);
    const { signal } = server.attempt;
    if (code !== undefined) server.attempt.fail(code);
    await clock.advance(4_000);
    assert.equal(session.state, "failed");
    assert.match((await session.closed)?.message ?? "", /^gave up after 1 try: /);
    if (code === undefined) assert.equal(signal.aborted, true);
    assert.equal(clock.pending, 0);
  }
});

test("without retries a lost link is the end", async () => {
  const stage = await opened({ retries: 0 });
  stage.link.lose();
  assert.equal((await stage.session.closed)?.message, "the server hung up");
  assert.equal(states(stage).at(-1), "open -> failed");
  assert.equal(stage.server.attempts, 1);
  await assert.rejects(stage.session.dial(HERE), { message: "the server hung up" });
  assert.equal(stage.clock.pending, 0);
});

test("a changed host key is final, and who waits is told so", async () => {
  const stage = await opened();
  const { session, link, clock, server } = stage;
  link.lose();
  const waiting = fate(session.dial(HERE));
  const listening = fate(session.listen(HERE, () => {}));
  await clock.advance(1_000);
  server.attempt.fail("host-key-changed", "the host key has changed");
  const reason = await session.closed;
  assert.equal(reason?.code, "host-key-changed");
  await clock.advance(0);
  assert.ok(waiting.error instanceof ConnectionError);
  assert.equal(waiting.error.code, "host-key-changed");
  assert.equal(listening.error?.code, "host-key-changed");
  assert.equal(states(stage).at(-1), "reconnecting -> failed");
  assert.equal(clock.pending, 0);
});

test("a login that was once accepted is tried three more times, 30 s apart", async () => {
  const { session, link, clock, server } = await opened();
  link.lose();
  await clock.advance(1_000);
  fate(session.dial(HERE));
  const times: number[] = [];
  while (session.state === "reconnecting") {
    if (server.waiting.length > 0) {
      times.push(clock.now());
      server.attempt.reached();
      server.attempt.fail("auth-failed");
    }
    await clock.advance(1_000);
  }
  assert.equal(times.length, 4);
  const pauses = times.slice(1).map((time, index) => time - (times[index] ?? 0));
  assert.ok(pauses.every((pause) => pause >= 30_000 && pause <= 37_000), String(pauses));
  assert.equal((await session.closed)?.code, "auth-failed");
  assert.equal(clock.pending, 0);
});

test("a mistake in the options is final at once", async () => {
  const { clock, opening } = (() => {
    const clock = new FakeClock();
    const connect = () => Promise.reject(new TypeError("host must not be empty"));
    const opening = Session.open(connect, { wait: true }, { name: "server", clock });
    return { clock, opening };
  })();
  await assert.rejects(opening, { message: "host must not be empty" });
  assert.equal(clock.pending, 0);
});

test("a server that lets us in only to hang up is left alone ever longer", async () => {
  const { session, link, clock, server } = await opened();
  let last = link;
  const waits: number[] = [];
  for (let times = 0; times < 12; times++) {
    last.lose();
    const since = clock.now();
    await clock.advance(0);
    while (server.waiting.length === 0) await clock.advance(50);
    waits.push(clock.now() - since);
    last = server.attempt.succeed();
    await clock.advance(0);
  }
  assert.deepEqual(waits, [50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 15000, 15000, 15000]);
  // A link that has carried something was a good one.
  (await session.dial(HERE)).destroy();
  last.lose();
  await clock.advance(0);
  assert.equal(server.waiting.length, 1);
  await session.close();
  assert.equal(clock.pending, 0);
});

test("a dial that no link survives is given up after three", async () => {
  const { session, link, clock, server } = await opened();
  let last = link;
  last.silent = true;
  const poison = fate(session.dial(HERE));
  for (let links = 1; links <= 3; links++) {
    await clock.advance(0);
    assert.ok(isPending(poison));
    last.lose();
    while (server.waiting.length === 0) await clock.advance(50);
    last = server.attempt.succeed();
    last.silent = true;
    await clock.advance(0);
  }
  assert.equal(poison.error?.code, "connection-lost");
  assert.equal(last.dials.length, 0);
  await session.close();
  assert.equal(clock.pending, 0);
});

test("a dial that the lost link never answered waits, in its place, for the next link", async () => {
  const { session, link, clock, server } = await opened();
  link.silent = true;
  const early = [1, 2].map((port) => session.dial({ host: "early", port }));
  await clock.advance(0);
  link.lose();
  const late = session.dial({ host: "late", port: 3 });
  await clock.advance(1_000);
  const next = server.attempt.succeed();
  await Promise.all([...early, late]);
  assert.deepEqual(next.dials.map((destination) => "port" in destination && destination.port), [
    ...[1, 2, 3],
  ]);
  await session.close();
  assert.equal(clock.pending, 0);
});

test("a command is not started twice", async () => {
  const { session, link, clock, server } = await opened();
  link.silent = true;
  const started = fate(session.exec("rm -r"));
  await clock.advance(0);
  link.lose();
  await clock.advance(1_000);
  assert.equal(started.error?.code, "connection-lost");
  const next = server.attempt.succeed();
  await clock.advance(0);
  assert.deepEqual(next.dials, []);
  await session.exec("uptime");
  assert.deepEqual(next.dials, [{ path: "uptime" }]);
  await session.close();
});

test("a refusal is the server's answer, not the link's failure", async () => {
  const { session, link } = await opened();
  link.refuses = new ConnectionError("not allowed", { code: "forwarding-prohibited" });
  await assert.rejects(session.dial(HERE), { code: "forwarding-prohibited" });
  assert.equal(link.dials.length, 1);
  await session.close();
});

test("who has waited long enough is told why, and the next one has a time of its own", async () => {
  const { session, link, clock, server } = await opened({ park: 30_000 });
  link.lose("cable cut");
  const first = fate(session.dial(HERE));
  await clock.advance(500);
  server.attempt.fail("unreachable", "no way there");
  await clock.advance(19_500);
  const second = fate(session.dial(HERE));
  await clock.advance(9_999);
  assert.ok(isPending(first));
  await clock.advance(1);
  assert.equal(first.error?.code, "timeout");
  assert.match(first.error?.message ?? "", /^waited 30 s for the server in vain: no way there$/);
  assert.ok(isPending(second));
  await clock.advance(20_000);
  assert.equal(second.error?.code, "timeout");
  await session.close();
  assert.equal(clock.pending, 0);
});

test("nobody waits where that was asked for", async () => {
  const { session, link } = await opened({ park: 0 });
  link.lose("cable cut");
  await Promise.resolve();
  await assert.rejects(session.dial(HERE), {
    code: "connection-lost",
    message: "there is no connection to the server: cable cut",
  });
  await session.close();
});

test("256 callers are parked; there is room again as they leave", async () => {
  const { session, link, clock } = await opened({ maxParked: 3, park: 30_000 });
  assert.equal(session.room(), undefined);
  link.lose();
  await clock.advance(0);
  const gone = new AbortController();
  const parked = [1, 2, 3].map(() => fate(session.dial(HERE, { signal: gone.signal })));
  const room = session.room();
  assert.ok(room !== undefined);
  const made = fate(room.then(() => true));
  // Who comes in all the same waits, but its time does not run yet.
  await clock.advance(20_000);
  const beyond = fate(session.dial(HERE));
  await clock.advance(9_999);
  assert.ok(isPending(made));
  await clock.advance(1);
  assert.ok(parked.every(({ error }) => error?.code === "timeout"));
  assert.equal(made.value, true);
  assert.equal(session.room(), undefined);
  await clock.advance(29_999);
  assert.ok(isPending(beyond));
  await clock.advance(1);
  assert.equal(beyond.error?.code, "timeout");
  await session.close();
  assert.equal(clock.pending, 0);
});

test("a silent link is taken for dead, and made anew", async () => {
  const stage = await opened({ serverAliveInterval: 15_000, serverAliveCountMax: 3 });
  const { session, link, clock, server } = stage;
  await clock.advance(14_000);
  link.onReceived?.();
  await clock.advance(59_000);
  assert.equal(session.state, "open");
  assert.equal(link.probes, 3);
  await clock.advance(2_000);
  assert.equal(session.state, "reconnecting");
  assert.match(stage.changes.at(-1)?.reason ?? "", /60 s/);
  assert.equal(link.over, true);
  await clock.advance(1_000);
  server.attempt.succeed();
  await clock.advance(0);
  assert.equal(session.state, "open");
  await session.close();
  assert.equal(clock.pending, 0);
});

test("listeners on the server are asked for again, with the same port", async () => {
  const { session, link, clock, server } = await opened();
  const calls: Duplex[] = [];
  const listener = await session.listen({ host: "", port: 0 }, (incoming) => {
    calls.push(incoming.accept());
  });
  await link.call();
  assert.equal(calls.length, 1);
  link.lose();
  await clock.advance(1_000);
  const next = server.attempt.succeed();
  await clock.advance(0);
  assert.deepEqual([...next.listening.keys()], [JSON.stringify(listener.address)]);
  await next.call();
  assert.equal(calls.length, 2);
  await listener.close();
  assert.equal(next.listening.size, 0);
  next.lose();
  await clock.advance(1_000);
  const last = server.attempt.succeed();
  await clock.advance(1_000);
  assert.equal(last.listening.size, 0, "what was closed is not asked for again");
  await session.close();
  assert.equal(clock.pending, 0);
});

test("a port that the server still holds is asked for until it lets go", async () => {
  const { session, link, clock, server } = await opened();
  await session.listen({ host: "", port: 8080 }, () => {});
  link.lose();
  await clock.advance(1_000);
  const next = server.attempt.succeed();
  next.refusesToListen = new ForwardError("the port is in use", { code: "address-in-use" });
  await clock.advance(60_000);
  assert.equal(next.listening.size, 0);
  assert.equal(session.state, "open");
  next.refusesToListen = undefined;
  await clock.advance(5_000);
  assert.equal(next.listening.size, 1);
  await session.close();
  assert.equal(clock.pending, 0);
});

test("a server that forbids listening from now on is not said to hold a port", async () => {
  const { session, link, clock, server } = await opened();
  await session.listen({ host: "", port: 8080 }, () => {});
  link.lose();
  await clock.advance(1_000);
  await warned(async (warnings) => {
    const next = server.attempt.succeed();
    next.refusesToListen = new ForwardError("not allowed", { code: "forwarding-prohibited" });
    await clock.advance(60_000);
    assert.deepEqual(warnings, ["not allowed; asking until it does"]);
    next.refusesToListen = undefined;
    await clock.advance(5_000);
    assert.equal(next.listening.size, 1);
  });
  await session.close();
  assert.equal(clock.pending, 0);
});

test("asking for a port ends with the listener, with the link, and with the session", async () => {
  for (const end of ["listener", "link", "session"]) {
    const { session, link, clock, server } = await opened();
    const listener = await session.listen({ host: "", port: 8080 }, () => {});
    link.lose();
    await clock.advance(1_000);
    const next = server.attempt.succeed();
    next.refusesToListen = new ForwardError("the port is in use", { code: "address-in-use" });
    await clock.advance(1_000);
    if (end === "listener") await listener.close();
    if (end === "link") next.lose();
    if (end === "session") await session.close();
    await clock.advance(0);
    next.refusesToListen = undefined;
    await clock.advance(10_000);
    assert.equal(next.listening.size, 0, end);
    await session.close();
    assert.equal(clock.pending, 0);
  }
});

test("reload makes the new connection before the old one is left", async () => {
  const stage = await opened();
  const { session, link, clock, server } = stage;
  const stream = await session.dial(HERE);
  const listener = await session.listen({ host: "", port: 8080 }, () => {});
  const reloading = session.reload();
  assert.equal(session.reload(), reloading, "two wishes are one");
  await clock.advance(0);
  await session.dial(HERE);
  assert.equal(link.dials.length, 2, "until then the old one serves");
  const next = server.attempt.succeed();
  await reloading;
  assert.equal(session.state, "open");
  assert.equal(link.listening.size, 0);
  assert.deepEqual([...next.listening.keys()], [JSON.stringify(listener.address)]);
  await session.dial(HERE);
  assert.deepEqual([link.dials.length, next.dials.length], [2, 1]);
  assert.equal(stream.destroyed, false);
  assert.equal(link.over, false);
  for (const one of link.streams) one.destroy();
  await clock.advance(0);
  assert.equal(link.over, true, "the old one goes with its last connection");
  assert.deepEqual(states(stage), ["closed -> connecting", "connecting -> open"]);
  await session.close();
  assert.equal(clock.pending, 0);
});

test("a reload that fails leaves the connection as it is", async () => {
  const { session, link, clock, server } = await opened();
  const reloading = session.reload();
  await clock.advance(0);
  server.attempt.fail("auth-failed");
  await assert.rejects(reloading, { code: "auth-failed" });
  assert.equal(session.state, "open");
  await session.dial(HERE);
  assert.equal(link.dials.length, 1);
  await session.close();
});

test("a link that is lost during a reload is replaced by the reload", async () => {
  for (const outcome of ["succeeds", "fails"]) {
    const stage = await opened();
    const { session, link, clock, server } = stage;
    await session.listen({ host: "", port: 8080 }, () => {});
    const reloading = fate(session.reload());
    await clock.advance(0);
    link.lose();
    await clock.advance(0);
    assert.equal(session.state, "reconnecting");
    const waiting = fate(session.dial(HERE));
    assert.equal(server.waiting.length, 1, "one attempt at a time");
    if (outcome === "fails") {
      server.attempt.fail("unreachable");
      await clock.advance(2_000);
      assert.equal(reloading.error?.code, "unreachable");
    }
    const next = server.attempt.succeed();
    await clock.advance(0);
    assert.equal(session.state, "open");
    assert.ok(waiting.value !== undefined);
    assert.equal(next.listening.size, 1);
    await session.close();
    assert.equal(clock.pending, 0);
  }
});

test("a reload that hangs holds up a session that is lost for 4 s, and not for longer", async () => {
  const { session, link, clock, server } = await opened();
  await clock.advance(60_000);
  const reloading = fate(session.reload());
  await clock.advance(60_000);
  const hanging = server.attempt;
  link.lose("cable cut");
  const waiting = fate(session.dial(HERE));
  await clock.advance(3_999);
  assert.equal(hanging.signal.aborted, false);
  await clock.advance(1);
  assert.equal(hanging.signal.aborted, true);
  assert.equal(reloading.error?.message, "cable cut");
  server.waiting.find(({ signal }) => !signal.aborted)?.succeed();
  await clock.advance(0);
  assert.ok(waiting.value !== undefined);
  // What comes of it later is not kept.
  const late = hanging.succeed();
  await clock.advance(0);
  assert.equal(late.over, true);
  await session.close();
  assert.equal(clock.pending, 0);
});

test("a reload while there is no link looks for one at once, but for a login", async () => {
  for (const code of ["unreachable", "auth-failed"] as const) {
    const { session, link, clock, server } = await opened();
    await clock.advance(60_000);
    link.lose();
    await clock.advance(0);
    server.attempt.fail(code);
    await clock.advance(0);
    const reloading = fate(session.reload());
    await clock.advance(code === "unreachable" ? 0 : 29_000);
    assert.equal(server.waiting.length, code === "unreachable" ? 1 : 0, code);
    await clock.advance(10_000);
    server.attempt.succeed();
    await clock.advance(0);
    assert.equal(session.state, "open");
    // Who asked for it waits no longer than any caller.
    assert.equal(reloading.error?.code, code === "unreachable" ? undefined : "timeout");
    await session.close();
    await assert.rejects(session.reload(), { code: "connection-lost" });
    assert.equal(clock.pending, 0);
  }
});

test("a listener that is asked for while a reload takes over is on the new connection", async () => {
  const { session, link, clock, server } = await opened();
  const reloading = session.reload();
  await clock.advance(0);
  const answer = link.holdListens();
  const listening = session.listen({ host: "", port: 8080 }, () => {});
  await clock.advance(0);
  const next = server.attempt.succeed();
  await reloading;
  answer();
  await listening;
  await clock.advance(0);
  assert.equal(next.listening.size, 1);
  assert.equal(link.over, true, "nothing keeps the old one");
  await session.close();
  assert.equal(clock.pending, 0);
});

test("who still asks for a port on an older connection does not get it there", async () => {
  const { session, link, clock, server } = await opened();
  await session.listen({ host: "", port: 8080 }, () => {});
  link.lose();
  await clock.advance(1_000);
  const second = server.attempt.succeed();
  second.refusesToListen = new ForwardError("the port is in use", { code: "address-in-use" });
  await clock.advance(1_000);
  const reloading = session.reload();
  await clock.advance(0);
  const third = server.attempt.succeed();
  third.refusesToListen = second.refusesToListen;
  await reloading;
  second.refusesToListen = undefined;
  await clock.advance(10_000);
  assert.equal(second.listening.size, 0);
  third.refusesToListen = undefined;
  await clock.advance(10_000);
  assert.equal(third.listening.size, 1);
  await session.close();
  assert.equal(clock.pending, 0);
});

test("a stalled exchange does not replace the link of a session that ends with it", async () => {
  const { session, link, clock, server } = await opened({ retries: 0 });
  link.onStalled?.(new SessionError("the exchange of keys stalls", { code: "timeout" }));
  await clock.advance(0);
  assert.equal(server.waiting.length, 0);
  link.lose();
  assert.equal((await session.closed)?.message, "the server hung up");
});

test("without retries a first connection can be waited for all the same", async () => {
  const { clock, server, opening } = begin({ wait: true, retries: 0 });
  await clock.advance(0);
  server.attempt.fail("connect-refused");
  await clock.advance(2_000);
  server.attempt.succeed();
  const session = await opening;
  await session.close();
  assert.equal(clock.pending, 0);
});

test("the idle time runs only while there is a link", async () => {
  const { clock, server, opening } = begin({ wait: true, idleTimeout: 5_000 });
  await clock.advance(60_000);
  const link = server.attempt.succeed();
  const session = await opening;
  await clock.advance(4_000);
  link.lose();
  await clock.advance(60_000);
  assert.equal(session.state, "reconnecting");
  server.attempt.succeed();
  await clock.advance(4_000);
  assert.equal(session.state, "open");
  await clock.advance(1_000);
  assert.equal(session.state, "closed");
  assert.equal(clock.pending, 0);
  const { session: endless, clock: other } = await opened({ idleTimeout: 0 });
  await other.advance(1_000_000);
  assert.equal(endless.state, "open");
  await endless.close();
});

test("an exchange of keys that stalls has the connection replaced", async () => {
  const { session, link, clock, server } = await opened();
  await session.dial(HERE);
  link.onStalled?.(new SessionError("the exchange of keys stalls", { code: "timeout" }));
  await clock.advance(0);
  const next = server.attempt.succeed();
  await clock.advance(0);
  await session.dial(HERE);
  assert.equal(next.dials.length, 1);
  assert.equal(link.over, false);
  // The older generation speaks for itself alone.
  link.onStalled?.(new SessionError("the exchange of keys stalls", { code: "timeout" }));
  link.lose();
  await clock.advance(0);
  assert.equal(session.state, "open");
  assert.equal(server.waiting.length, 0);
  await session.close();
  assert.equal(clock.pending, 0);
});

test("a session that nobody uses ends, and one that is used does not", async () => {
  const { session, clock } = await opened({ idleTimeout: 60_000 });
  await clock.advance(59_000);
  const stream = await session.dial(HERE);
  await clock.advance(600_000);
  assert.equal(session.state, "open");
  stream.destroy();
  await clock.advance(59_000);
  assert.equal(session.state, "open");
  await clock.advance(1_000);
  assert.equal(session.state, "closed");
  assert.equal(await session.closed, undefined);
  assert.equal(clock.pending, 0);
});

test("close() ends every wait, in whatever state the session is", async () => {
  for (const moment of ["attempt", "pause", "reload"]) {
    const { session, link, clock, server } = await opened();
    await clock.advance(60_000);
    const others: { error?: FairleadError }[] = [];
    if (moment === "reload") others.push(fate(session.reload()));
    else {
      link.lose();
      await clock.advance(0);
      others.push(fate(session.dial(HERE)));
      if (moment === "pause") server.attempt.fail("unreachable");
    }
    await clock.advance(0);
    await session.close();
    await clock.advance(0);
    for (const { error } of others) assert.ok(error instanceof FairleadError, moment);
    assert.equal(clock.pending, 0, moment);
    for (const attempt of [...server.waiting]) attempt.succeed();
    await clock.advance(0);
    assert.deepEqual(server.live, [], moment);
    assert.equal(session.state, "closed");
  }
});

test("a listener of changes that fails does not keep the session from going on", async () => {
  const { session, clock } = await opened({
    onState: () => {
      throw new Error("mine");
    },
  });
  assert.equal(session.state, "open");
  await session.close();
  assert.equal(clock.pending, 0);
});
