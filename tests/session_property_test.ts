/** Whatever happens to a session, and in whatever order: one generation serves, and nothing leaks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { RemoteListener } from "../lib/dialer.ts";
import { type ErrorCode, ForwardError, SessionError } from "../lib/errors.ts";
import type { SessionOptions, SessionState, StateChange } from "../lib/session/options.ts";
import { Session } from "../lib/session/session.ts";
import { FakeClock } from "./support/fake_clock.ts";
import { type FakeLink, FakeServer } from "./support/fake_link.ts";

const HERE = { host: "127.0.0.1", port: 7 };
const CODES: readonly ErrorCode[] = [
  ...Array.from({ length: 12 }, () => "connect-refused" as const),
  "unreachable",
  "timeout",
  "connection-lost",
  "auth-failed",
  "protocol-error",
  "host-key-changed",
];
/** The changes that there can be. */
const LEGAL: Readonly<Record<SessionState, readonly SessionState[]>> = {
  closed: ["connecting"],
  connecting: ["open", "failed", "closed"],
  open: ["reconnecting", "failed", "closed"],
  reconnecting: ["open", "failed", "closed"],
  failed: [],
};

/** Something that happens; the number chooses among what there is. */
const event = fc.tuple(
  fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom("succeed", "succeed", "advance", "dial") },
    {
      weight: 2,
      arbitrary: fc.constantFrom("fail", "lose", "leave", "end stream", "listen", "reload"),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        ...["sleep", "silence", "stall", "hold port", "let go", "close listener", "call", "close"],
      ),
    },
  ),
  fc.nat(),
);

const options: fc.Arbitrary<SessionOptions> = fc.record({
  wait: fc.boolean(),
  retries: fc.constantFrom(0, 1, 5, Infinity, Infinity, Infinity),
  retryFor: fc.constantFrom(10_000, Infinity, Infinity),
  park: fc.constantFrom(0, 30_000, 30_000),
  maxParked: fc.constantFrom(2, 256),
  serverAliveInterval: fc.constantFrom(0, 15_000),
  serverAliveCountMax: fc.constantFrom(1, 3),
  idleTimeout: fc.constantFrom(5_000, 60_000, Infinity),
}).map(({ idleTimeout, ...rest }) => idleTimeout === Infinity ? rest : { ...rest, idleTimeout });

class Model {
  readonly clock = new FakeClock();
  readonly server = new FakeServer();
  readonly changes: StateChange[] = [];
  readonly listeners: RemoteListener[] = [];
  readonly callers: AbortController[] = [];
  /** Everything that somebody waits for. */
  unsettled = 0;
  session: Session | undefined;
  opening = true;

  constructor(options: SessionOptions) {
    this.await(
      Session.open(this.server.connect, {
        ...options,
        onState: (change) => this.changes.push(change),
      }, { name: "server", clock: this.clock })
        .finally(() => this.opening = false)
        .then((session) => this.session = session),
    );
  }

  /** Not waited for here; but in the end everything must have settled. */
  await(promise: Promise<unknown>): void {
    this.unsettled++;
    promise.catch(() => {}).finally(() => this.unsettled--);
  }

  get newest(): FakeLink | undefined {
    return this.server.links.at(-1);
  }

  async happen(what: string, number: number): Promise<void> {
    const { server, session, clock } = this;
    const pick = <T>(list: readonly T[]): T | undefined => list[number % list.length];
    switch (what) {
      case "succeed":
        if (server.waiting.length > 0) server.attempt.succeed();
        break;
      case "fail":
        if (server.waiting.length > 0) {
          if (number % 2 === 0) server.attempt.reached();
          server.attempt.fail(pick(CODES) ?? "timeout");
        }
        break;
      case "lose":
        pick(server.live)?.lose("lost", pick(CODES) ?? "connection-lost");
        break;
      case "silence":
        for (const link of server.live) link.silent = true;
        break;
      case "stall":
        pick(server.links)?.onStalled?.(new SessionError("stalls", { code: "timeout" }));
        break;
      case "hold port":
        for (const link of server.live) {
          link.refusesToListen = new ForwardError("in use", { code: "address-in-use" });
        }
        break;
      case "let go":
        for (const link of server.live) link.refusesToListen = undefined;
        break;
      case "dial": {
        const caller = new AbortController();
        this.callers.push(caller);
        if (session) this.await(session.dial(HERE, { signal: caller.signal }));
        break;
      }
      case "leave":
        pick(this.callers)?.abort();
        break;
      case "end stream":
        for (const stream of pick(server.live)?.streams ?? []) stream.destroy();
        break;
      case "call":
        await this.newest?.call().catch(() => {});
        break;
      case "listen":
        if (session) {
          this.await(
            session.listen({ host: "", port: 0 }, (incoming) => incoming.accept())
              .then((listener) => this.listeners.push(listener)),
          );
        }
        break;
      case "close listener":
        await pick(this.listeners)?.close();
        break;
      case "reload":
        if (session) this.await(session.reload());
        break;
      case "sleep":
        clock.sleep(number % 100_000);
        break;
      case "advance":
        await clock.advance(number % 40_000);
        break;
      case "close":
        if (session && number % 4 === 0) this.await(session.close());
        break;
    }
    await clock.advance(0);
  }

  /** What holds at every moment. */
  check(before: ReadonlyMap<FakeLink, number>): void {
    const { server, session } = this;
    // One that was given up may linger, as a resolver does; what comes of it is not kept.
    const wanted = server.waiting.filter(({ signal }) => !signal.aborted);
    assert.ok(wanted.length <= 1, "one attempt at a time");
    const newest = this.newest;
    for (const link of server.live) {
      if (link === newest) continue;
      assert.ok(link.channelCount > 0, "an older connection stays only for its last users");
      const grown = link.dials.length - (before.get(link) ?? link.dials.length);
      assert.equal(grown, 0, "nobody dials over an older connection");
    }
    if (session !== undefined) {
      assert.equal(session.state === "open", newest !== undefined && !newest.over);
    }
    for (const { from, to } of this.changes) assert.ok(LEGAL[from].includes(to), `${from} ${to}`);
    this.changes.reduce((last, { from, to }) => {
      assert.equal(from, last, "no change is missing");
      return to;
    }, "closed" as SessionState);
  }

  /** What holds when it is over. */
  async finish(): Promise<void> {
    const { session, server, clock } = this;
    while (session === undefined && this.opening) {
      if (server.waiting.length > 0) server.attempt.fail("host-key-changed");
      await clock.advance(1_000);
    }
    await clock.advance(60_000);
    if (session !== undefined) await session.close();
    await clock.advance(0);
    // Attempts that nobody waits for any more may still succeed.
    for (const attempt of [...server.waiting]) attempt.succeed();
    await clock.advance(0);
    if (session !== undefined) await session.closed;
    assert.equal(this.unsettled, 0, "everybody who waited was told");
    assert.equal(server.live.length, 0, "no connection is left");
    assert.equal(clock.pending, 0, "no timer is left");
  }
}

test("in any order of events one generation serves, and no timer or connection is left", async () => {
  await fc.assert(
    fc.asyncProperty(
      options,
      fc.array(event, { maxLength: 80, size: "max" }),
      async (options, events) => {
        const model = new Model(options);
        await model.clock.advance(0);
        for (const [what, number] of events) {
          const before = new Map(model.server.links.map((link) => [link, link.dials.length]));
          const newest = model.newest;
          await model.happen(what, number);
          // A connection that was made in this step may have become the older one only now.
          if (newest !== undefined && newest !== model.newest) before.delete(newest);
          model.check(before);
        }
        await model.finish();
      },
    ),
    { numRuns: 300 },
  );
});
