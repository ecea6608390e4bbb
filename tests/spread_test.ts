/** A session over several connections, with a fake clock and a fake server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type FairleadError, ForwardError, SessionError } from "../lib/errors.ts";
import type { ConnectionsChange, SessionOptions, StateChange } from "../lib/session/options.ts";
import { Session } from "../lib/session/session.ts";
import { FakeClock } from "./support/fake_clock.ts";
import { type FakeAttempt, type FakeLink, FakeServer } from "./support/fake_link.ts";
import { warned } from "./support/warnings.ts";

const HERE = { host: "127.0.0.1", port: 7 };
/** Longer than any loss takes to be told, and any first new attempt to be made. */
const SOON = 1_000;

interface Stage {
  readonly clock: FakeClock;
  readonly server: FakeServer;
  readonly session: Session;
  readonly states: StateChange[];
  readonly news: ConnectionsChange[];
  /** The attempt that is being made, or undefined. */
  readonly attempt: () => FakeAttempt | undefined;
  /** Lets one attempt succeed; the link that it makes is used from now on. */
  readonly more: () => Promise<FakeLink>;
}

/** An open session with its first connection alone. */
async function first(options: SessionOptions = {}): Promise<Stage & { link: FakeLink }> {
  const clock = new FakeClock();
  const server = new FakeServer();
  const states: StateChange[] = [];
  const news: ConnectionsChange[] = [];
  const opening = Session.open(server.connect, {
    ...{ connections: 3, serverAliveInterval: 0 },
    onState: (change) => states.push(change),
    onConnections: (change) => news.push(change),
    ...options,
  }, { name: "server", clock, random: () => 0.5 });
  await clock.advance(0);
  const link = server.attempt.succeed();
  const session = await opening;
  await clock.advance(0);
  const attempt = () => server.waiting.find(({ signal }) => !signal.aborted);
  const more = async () => {
    const made = attempt();
    assert.ok(made, "nobody wants to connect");
    const link = made.succeed();
    await clock.advance(0);
    return link;
  };
  return { clock, server, session, states, news, attempt, more, link };
}

/** One with all its connections. */
async function spread(options: SessionOptions = {}): Promise<Stage & { links: FakeLink[] }> {
  const { link, ...stage } = await first(options);
  const links = [link, await stage.more(), await stage.more()];
  // Old enough for a loss to be an accident.
  await stage.clock.advance(60_000);
  stage.news.splice(0);
  return { ...stage, links };
}

async function finish({ session, clock, server }: Stage): Promise<void> {
  await session.close();
  for (const attempt of [...server.waiting]) attempt.succeed();
  await clock.advance(0);
  assert.equal(server.live.length, 0, "no connection is left");
  assert.equal(clock.pending, 0, "no timer is left");
}

const counts = (links: readonly FakeLink[]) => links.map(({ streams }) => streams.size);

/** How something ended, without waiting for it. */
function fate(promise: Promise<unknown>): { value?: unknown; error?: FairleadError } {
  const seen: { value?: unknown; error?: FairleadError } = {};
  promise.then((value) => seen.value = value, (error) => seen.error = error);
  return seen;
}

test("one connection asks for no other, and tells of none", async () => {
  const stage = await first({ connections: 1 });
  await stage.session.dial(HERE);
  await stage.clock.advance(100_000);
  assert.equal(stage.server.attempts, 1);
  assert.equal(stage.session.connections, 1);
  assert.deepEqual(stage.news, []);
  await finish(stage);
});

test("the first serves alone, and the others follow one after another, asking nobody", async () => {
  const stage = await first();
  const { session, server, clock } = stage;
  await session.dial(HERE);
  assert.deepEqual(counts(server.links), [1]);
  for (const number of [2, 3]) {
    assert.equal(server.waiting.length, 1, "one attempt at a time");
    assert.equal(stage.attempt()?.quiet, true);
    await stage.more();
    assert.equal(session.connections, number);
  }
  await clock.advance(100_000);
  assert.equal(server.attempts, 3);
  assert.deepEqual(
    stage.news.map(({ open, wanted, gone, reason }) => [open, wanted, gone, reason]),
    [[2, 3, 0, undefined], [3, 3, 0, undefined]],
  );
  assert.deepEqual(stage.states.map(({ to }) => to), ["connecting", "open"]);
  await finish(stage);
});

test("each stream goes to the connection that has the fewest, also of many at once", async () => {
  const stage = await spread();
  const { session, links: [one, two, three] } = stage;
  assert.ok(one && two && three);
  await Promise.all(Array.from({ length: 6 }, () => session.dial(HERE)));
  assert.deepEqual(counts([one, two, three]), [2, 2, 2]);
  for (const stream of two.streams) stream.destroy();
  await stage.clock.advance(0);
  await Promise.all(Array.from({ length: 4 }, () => session.dial(HERE)));
  assert.deepEqual(counts([one, two, three]), [3, 3, 2]);
  // What is not answered yet counts as well.
  for (const link of [one, two, three]) link.silent = true;
  for (let dials = 0; dials < 5; dials++) fate(session.dial(HERE));
  assert.deepEqual([one, two, three].map(({ channelCount }) => channelCount), [5, 4, 4]);
  await finish(stage);
});

test("a command runs on the first connection", async () => {
  const stage = await spread();
  const { session, links } = stage;
  await session.dial(HERE);
  await session.exec("one");
  await session.exec("two");
  assert.deepEqual(counts(links), [3, 0, 0]);
  await finish(stage);
});

test("a lost connection takes its own streams, and nobody after it waits", async () => {
  for (const index of [0, 1, 2]) {
    const stage = await spread();
    const { session, clock, links, server } = stage;
    const streams = await Promise.all(Array.from({ length: 6 }, () => session.dial(HERE)));
    links[index]?.lose("cut");
    const next = fate(session.dial(HERE));
    await clock.advance(0);
    assert.equal(session.state, "open");
    assert.equal(session.parked, 0);
    assert.ok(next.value, "served by another at once");
    assert.equal(streams.filter(({ destroyed }) => destroyed).length, 2);
    await clock.advance(SOON);
    assert.deepEqual(stage.news, [{ open: 2, wanted: 3, gone: 1, lost: 2, reason: "cut" }]);
    assert.deepEqual(stage.states.map(({ to }) => to), ["connecting", "open"]);
    assert.equal(stage.attempt()?.quiet, true);
    const fresh = await stage.more();
    await Promise.all([1, 2].map(() => session.dial(HERE)));
    assert.equal(fresh.streams.size, 2, "it is the one with the fewest");
    assert.equal(server.attempts, 4);
    assert.equal(stage.news.at(-1)?.open, 3);
    await finish(stage);
  }
});

test("a dial that its connection's loss kept from opening goes to another one", async () => {
  const stage = await spread();
  const { session, links: [one, two, three] } = stage;
  assert.ok(one && two && three);
  one.silent = true;
  const dial = fate(session.dial(HERE));
  assert.equal(one.dials.length, 1);
  one.lose();
  await stage.clock.advance(0);
  assert.ok(dial.value);
  assert.equal(two.streams.size + three.streams.size, 1);
  await finish(stage);
});

test("of three that are dead and not known to be, each is tried once", async () => {
  const stage = await spread();
  const { session, clock, links, server } = stage;
  const lost = new SessionError("not connected", { code: "connection-lost" });
  for (const link of links) link.refuses = lost;
  const dials = [1, 2, 3].map(() => fate(session.dial(HERE)));
  await clock.advance(1_000);
  assert.equal(server.links.flatMap(({ dials }) => dials).length, 9);
  assert.equal(session.parked, 3);
  // The one that becomes the first has failed them already.
  for (const link of links) {
    link.lose();
    await clock.advance(0);
  }
  assert.equal(session.parked, 3);
  assert.equal(server.links.flatMap(({ dials }) => dials).length, 9);
  await stage.more();
  assert.ok(dials.every(({ value }) => value !== undefined));
  await finish(stage);
});

test("a dial that meets one dead connection after the other waits for the next", async () => {
  const stage = await spread();
  const { session, clock, links, server } = stage;
  for (const link of links) link.silent = true;
  const dial = fate(session.dial(HERE));
  for (const link of links) {
    link.lose();
    await clock.advance(0);
  }
  assert.equal(session.parked, 1);
  // But one that the server cannot bear must not take link after link with it.
  for (let more = 0; more < 2; more++) {
    await clock.advance(10_000);
    const made = stage.attempt()?.succeed();
    assert.ok(made);
    made.silent = true;
    await clock.advance(0);
    assert.equal(dial.error, undefined);
    assert.equal(made.dials.length, 1);
    made.lose();
    await clock.advance(0);
  }
  assert.equal(dial.error?.code, "connection-lost");
  assert.equal(server.links.flatMap(({ dials }) => dials).length, 5);
  await finish(stage);
});

test("listeners on the server move to another connection, which asks until it may", async () => {
  const stage = await spread();
  const { session, clock, links: [one, two, three] } = stage;
  assert.ok(one && two && three);
  const listener = await session.listen({ host: "", port: 0 }, (incoming) => incoming.accept());
  const key = JSON.stringify(listener.address);
  assert.deepEqual([one, two, three].map(({ listening }) => listening.size), [1, 0, 0]);
  // The server holds the port for the dead connection still.
  for (const link of [two, three]) {
    link.refusesToListen = new ForwardError("in use", { code: "address-in-use" });
  }
  await warned(async (warnings) => {
    one.lose();
    await clock.advance(2_000);
    two.refusesToListen = three.refusesToListen = undefined;
    await clock.advance(5_000);
    assert.equal(warnings.length, 2, warnings.join("\n"));
    assert.match(warnings[0] ?? "", /^in use; it may still hold it/);
  });
  assert.deepEqual([...two.listening.keys()], [key]);
  assert.equal(three.listening.size, 0);
  await two.call();
  assert.equal(two.streams.size, 1);
  // The loss of one that has no listener moves nothing.
  three.lose();
  await clock.advance(SOON);
  assert.deepEqual([...two.listening.keys()], [key]);
  await listener.close();
  assert.equal(two.listening.size, 0);
  await finish(stage);
});

test("a listener that another connection takes over at once is told at -v alone", async () => {
  const stage = await spread();
  const { session, clock, links } = stage;
  await session.listen({ host: "", port: 7_000 }, (incoming) => incoming.accept());
  const again = (lines: string[]) => lines.filter((line) => /^the server listens/.test(line));
  await warned(async (lines) => {
    links[0]?.lose();
    await clock.advance(SOON);
    assert.deepEqual(again(lines), ["the server listens on *:7000 again"]);
    // Also after the loss of all, on a new one.
    for (const link of stage.server.live) link.lose();
    await clock.advance(SOON);
    await stage.more();
    assert.equal(again(lines).length, 2);
  }, "info");
  await warned(async (warnings) => {
    for (const link of stage.server.live) link.lose();
    await clock.advance(SOON);
    await stage.more();
    assert.deepEqual(stage.server.live.map(({ listening }) => listening.size), [1]);
    assert.deepEqual(again(warnings), []);
  });
  await finish(stage);
});

test("when all are lost callers wait in order, once, for whichever is first", async () => {
  const stage = await spread();
  const { session, clock, links, server } = stage;
  await Promise.all(Array.from({ length: 7 }, () => session.dial(HERE)));
  for (const link of links) link.lose("the server hung up");
  await clock.advance(0);
  assert.equal(session.state, "reconnecting");
  const waiting = [1, 2, 3, 4].map((port) => fate(session.dial({ host: "h", port })));
  await clock.advance(0);
  assert.equal(session.parked, 4);
  assert.equal(session.connections, 0);
  assert.equal(stage.states.at(-1)?.lost, 7, "all are told of together");
  for (let tries = 0; tries < 5; tries++) {
    assert.equal(server.waiting.length, 1, "one attempt at a time");
    assert.notEqual(stage.attempt()?.quiet, true, "somebody may be asked for it");
    stage.attempt()?.fail("connect-refused");
    await clock.advance(1_100);
  }
  const back = await stage.more();
  assert.deepEqual(back.dials, [1, 2, 3, 4].map((port) => ({ host: "h", port })));
  assert.ok(waiting.every(({ value }) => value !== undefined));
  assert.equal(stage.states.at(-1)?.parked, 4);
  assert.deepEqual(stage.news, [], "a person was told of all of it already");
  await stage.more();
  await stage.more();
  assert.equal(session.connections, 3);
  assert.deepEqual(stage.states.map(({ to }) => to), [
    ...["connecting", "open", "reconnecting", "open"],
  ]);
  await finish(stage);
});

test("an attempt in the background does not hold up a session that is lost", async () => {
  const stage = await first();
  const background = stage.attempt();
  assert.equal(background?.quiet, true);
  stage.link.lose();
  await stage.clock.advance(SOON);
  assert.equal(background?.signal.aborted, true);
  assert.notEqual(stage.attempt()?.quiet, true);
  await stage.more();
  // What comes too late is not kept.
  const late = background?.succeed();
  await stage.clock.advance(0);
  assert.equal(late?.over, true);
  assert.equal(stage.session.connections, 1);
  await finish(stage);
});

test("a further connection that fails is tried ever more slowly, and told once", async () => {
  const stage = await first();
  const { clock, session } = stage;
  const pauses: number[] = [];
  await warned(async (warnings) => {
    for (let tries = 0; tries < 10; tries++) {
      stage.attempt()?.fail("connection-lost", "too many connections");
      const since = clock.now();
      while (stage.attempt() === undefined) await clock.advance(250);
      pauses.push(clock.now() - since);
    }
    assert.deepEqual(warnings, [
      "server: no further connection: too many connections; going on with 1 of 3",
    ]);
  });
  assert.deepEqual(pauses.slice(0, 4), [3_750, 7_500, 15_000, 30_000]);
  assert.deepEqual(pauses.slice(-2), [450_000, 450_000]);
  await session.dial(HERE);
  await stage.more();
  await stage.more();
  assert.equal(session.connections, 3);
  await finish(stage);
});

test("a login that was refused is not tried again until a reload, or a new session", async () => {
  const stage = await first();
  const { clock, session, server } = stage;
  await warned(async (warnings) => {
    stage.attempt()?.fail("auth-failed", "permission denied");
    await clock.advance(10_000_000);
    assert.equal(warnings.length, 1);
  });
  assert.equal(server.attempts, 2);
  await session.dial(HERE);
  const reloading = session.reload();
  await stage.more();
  await reloading;
  assert.equal(stage.attempt()?.quiet, true);
  stage.attempt()?.fail("host-key-changed");
  await clock.advance(10_000_000);
  assert.equal(stage.attempt(), undefined);
  assert.equal(session.state, "open");
  server.links.at(-1)?.lose();
  await clock.advance(SOON);
  await stage.more();
  assert.equal(stage.attempt()?.quiet, true);
  await finish(stage);
});

test("a server that lets us in only to hang up is not logged in to again and again", async () => {
  const stage = await first();
  const { clock, server } = stage;
  const until = clock.now() + 600_000;
  while (clock.now() < until) {
    if (stage.attempt() !== undefined) (await stage.more()).lose();
    await clock.advance(250);
  }
  assert.ok(server.attempts < 12, `${server.attempts} logins in 10 minutes`);
  assert.equal(stage.session.state, "open");
  await finish(stage);
});

test("without retries what is lost stays lost, and the last one is the end", async () => {
  const stage = await spread({ retries: 0 });
  const { session, clock, links, server } = stage;
  links[0]?.lose("first");
  await clock.advance(10_000);
  links[2]?.lose("second");
  await clock.advance(10_000);
  assert.equal(session.state, "open");
  await session.dial(HERE);
  assert.equal(links[1]?.streams.size, 1);
  assert.deepEqual(stage.news.map(({ open, wanted }) => [open, wanted]), [[2, 2], [1, 1]]);
  links[1]?.lose("third");
  assert.equal((await session.closed)?.message, "third");
  assert.equal(server.attempts, 3);
  await finish(stage);
});

test("a host key that has changed is told, and ends the session with its last connection", async () => {
  const stage = await spread();
  const { session, clock, links } = stage;
  await warned(async (warnings) => {
    links[1]?.lose();
    await clock.advance(SOON);
    stage.attempt()?.fail("host-key-changed", "the host key has changed");
    await clock.advance(1_000_000);
    assert.deepEqual(warnings, [
      "server: no further connection: the host key has changed; going on with 2 of 3",
    ]);
  });
  links[2]?.lose();
  await clock.advance(1_000_000);
  assert.equal(stage.attempt(), undefined);
  await session.dial(HERE);
  links[0]?.lose();
  await clock.advance(SOON);
  stage.attempt()?.fail("host-key-changed", "the host key has changed");
  assert.equal((await session.closed)?.code, "host-key-changed");
  await finish(stage);
});

test("reload makes all of them anew, and what is open finishes where it is", async () => {
  const stage = await spread();
  const { session, clock, links, server } = stage;
  const streams = await Promise.all(Array.from({ length: 3 }, () => session.dial(HERE)));
  const reloading = session.reload();
  await clock.advance(0);
  const fresh = await stage.more();
  await reloading;
  await session.dial(HERE);
  assert.equal(fresh.streams.size, 1, "nothing new comes to the old ones");
  await stage.more();
  await stage.more();
  await clock.advance(100_000);
  assert.equal(server.attempts, 6);
  assert.equal(session.connections, 3);
  assert.equal(server.live.length, 6);
  for (const stream of streams) stream.destroy();
  await clock.advance(0);
  assert.ok(links.every(({ over }) => over));
  assert.equal(server.live.length, 3);
  await finish(stage);
});

test("a reload while the first connection is lost takes over from the one that inherited", async () => {
  const stage = await spread();
  const { session, clock, links, server } = stage;
  const listener = await session.listen({ host: "", port: 0 }, (incoming) => incoming.accept());
  const reloading = session.reload();
  await clock.advance(0);
  links[0]?.lose();
  await clock.advance(0);
  assert.equal(links[1]?.listening.size, 1);
  const fresh = await stage.more();
  await reloading;
  assert.deepEqual([...fresh.listening.keys()], [JSON.stringify(listener.address)]);
  await clock.advance(0);
  assert.deepEqual(server.live, [fresh], "the one that inherited has nothing to finish");
  await finish(stage);
});

test("one that stalls is left, and another one made", async () => {
  const stage = await spread();
  const { session, clock, links } = stage;
  await Promise.all(Array.from({ length: 3 }, () => session.dial(HERE)));
  links[1]?.onStalled?.(new SessionError("no new keys", { code: "timeout" }));
  assert.equal(session.connections, 2);
  await clock.advance(0);
  const fresh = await stage.more();
  await session.dial(HERE);
  assert.deepEqual(counts([...links, fresh]), [1, 1, 1, 1]);
  for (const stream of links[1]?.streams ?? []) stream.destroy();
  await clock.advance(0);
  assert.equal(links[1]?.over, true);
  await finish(stage);
});

test("a session that nobody uses on any of its connections ends after its idle timeout", async () => {
  const stage = await spread({ idleTimeout: 100_000 });
  const { session, clock } = stage;
  const streams = await Promise.all([session.dial(HERE), session.dial(HERE)]);
  await clock.advance(1_000_000);
  assert.equal(session.state, "open");
  streams[0]?.destroy();
  await clock.advance(1_000_000);
  assert.equal(session.state, "open");
  streams[1]?.destroy();
  await clock.advance(100_000);
  assert.equal(session.state, "closed");
  assert.equal(await session.closed, undefined);
  await finish(stage);
});

test("auto makes another one when each carries eight, four at most", async () => {
  const stage = await first({ connections: "auto" });
  const { session, clock, server } = stage;
  const dial = (times: number) =>
    Promise.all(Array.from({ length: times }, () => session.dial(HERE)));
  await dial(8);
  await clock.advance(100_000);
  assert.equal(server.attempts, 1);
  await dial(1);
  await clock.advance(0);
  await stage.more();
  assert.equal(session.connections, 2);
  await dial(7);
  await clock.advance(0);
  assert.deepEqual(counts(server.links), [9, 7]);
  assert.equal(stage.attempt(), undefined);
  await dial(2);
  await stage.more();
  await dial(100);
  await stage.more();
  await dial(100);
  await clock.advance(100_000);
  assert.equal(stage.attempt(), undefined);
  assert.equal(session.connections, 4);
  assert.equal(server.attempts, 4);
  await finish(stage);
});

test("auto closes what nothing has used for a minute, but not the first", async () => {
  const stage = await first({ connections: "auto" });
  const { session, clock, server } = stage;
  const streams = await Promise.all(Array.from({ length: 9 }, () => session.dial(HERE)));
  await clock.advance(0);
  const second = await stage.more();
  const last = await session.dial(HERE);
  assert.equal(second.streams.size, 1);
  await clock.advance(1_000_000);
  assert.equal(session.connections, 2);
  last.destroy();
  for (const stream of streams) stream.destroy();
  await clock.advance(59_000);
  assert.equal(session.connections, 2);
  await clock.advance(1_000);
  assert.equal(session.connections, 1);
  await clock.advance(10_000_000);
  assert.equal(second.over, true);
  assert.equal(server.live.length, 1);
  assert.deepEqual(stage.news.map(({ open, wanted }) => [open, wanted]), [[2, 2], [1, 1]]);
  await finish(stage);
});

test("auto does not make up for what is lost until it is needed again", async () => {
  const stage = await first({ connections: "auto" });
  const { session, clock } = stage;
  const streams = await Promise.all(Array.from({ length: 9 }, () => session.dial(HERE)));
  await clock.advance(0);
  const second = await stage.more();
  await clock.advance(30_000);
  for (const stream of streams.slice(4)) stream.destroy();
  second.lose();
  await clock.advance(100_000);
  assert.equal(stage.attempt(), undefined);
  assert.equal(session.connections, 1);
  await Promise.all(Array.from({ length: 9 }, () => session.dial(HERE)));
  await clock.advance(0);
  await stage.more();
  assert.equal(session.connections, 2);
  await finish(stage);
});
