/** Whatever happens to a session over three connections: nobody is lost, and nothing leaks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { RemoteListener } from "../lib/dialer.ts";
import { type ErrorCode, SessionError } from "../lib/errors.ts";
import { Session } from "../lib/session/session.ts";
import { FakeClock } from "./support/fake_clock.ts";
import { type FakeAttempt, FakeServer } from "./support/fake_link.ts";

/** What time alone may mend: nothing here ends the session. */
const CODES: readonly ErrorCode[] = [
  "connect-refused",
  "unreachable",
  "timeout",
  "connection-lost",
];

/** Something that happens; the number chooses among what there is. */
const event = fc.tuple(
  fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom("succeed", "succeed", "advance", "dial", "dial") },
    { weight: 3, arbitrary: fc.constantFrom("lose", "lose all", "end stream", "fail", "listen") },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        "stall",
        "reload",
        "silence",
        "answer",
        "close listener",
        "refuse",
      ),
    },
  ),
  fc.nat(),
);

const connections = fc.constantFrom(2, 3, 3, "auto" as const);

class Model {
  readonly clock = new FakeClock();
  readonly server = new FakeServer();
  /** How many dials there were, and what the failed ones failed with. */
  dials = 0;
  readonly failures: unknown[] = [];
  /** Callers that a session which is open again has just let in. */
  admitted = 0;
  asked = 0;
  readonly listeners: RemoteListener[] = [];
  readonly session: Promise<Session>;
  unsettled = 0;

  constructor(connections: number | "auto") {
    this.session = Session.open(this.server.connect, {
      connections,
      serverAliveInterval: 0,
      // Whoever waits does so for as long as the test lasts.
      park: 10 ** 9,
      maxParked: 10_000,
      onState: ({ from, to, parked }) => {
        if (from === "reconnecting" && to === "open") this.admitted = parked;
      },
    }, { name: "server", clock: this.clock });
  }

  get attempts(): FakeAttempt[] {
    return this.server.waiting.filter(({ signal }) => !signal.aborted);
  }

  await(promise: Promise<unknown>): void {
    this.unsettled++;
    promise.catch(() => {}).finally(() => this.unsettled--);
  }

  async happen(session: Session, what: string, number: number): Promise<void> {
    const { server, clock } = this;
    const pick = <T>(list: readonly T[]): T | undefined => list[number % list.length];
    switch (what) {
      case "succeed":
        pick(this.attempts)?.succeed();
        break;
      case "fail":
        if (number % 2 === 0) pick(this.attempts)?.reached();
        pick(this.attempts)?.fail(pick(CODES) ?? "timeout");
        break;
      case "refuse":
        // Of one that is made in the background; of the first it would end the session in the end.
        this.attempts.find(({ quiet }) => quiet)?.fail("auth-failed");
        break;
      case "lose":
        pick(server.live)?.lose();
        break;
      case "lose all":
        if (number % 3 === 0) { for (const link of server.live) link.lose(); }
        break;
      case "silence":
      case "answer":
        for (const link of server.live) link.silent = what === "silence";
        break;
      case "stall":
        pick(server.live)?.onStalled?.(new SessionError("stalls", { code: "timeout" }));
        break;
      case "dial":
        this.await(
          session.dial({ host: "h", port: ++this.dials })
            .catch((error) => this.failures.push(error)),
        );
        break;
      case "end stream":
        for (const stream of pick(server.live)?.streams ?? []) stream.destroy();
        break;
      case "listen":
        this.await(
          session.listen({ host: "", port: 40_000 + ++this.asked }, (incoming) => incoming.accept())
            .then((listener) => this.listeners.push(listener)),
        );
        break;
      case "close listener":
        await pick(this.listeners)?.close();
        this.listeners.splice(number % (this.listeners.length || 1), 1);
        break;
      case "reload":
        this.await(session.reload());
        break;
      case "advance":
        await clock.advance(number % 40_000);
        break;
    }
    await clock.advance(0);
  }

  /** What holds at every moment. */
  check(session: Session, wanted: number): void {
    const { server, attempts } = this;
    assert.ok(["open", "reconnecting"].includes(session.state), session.state);
    assert.equal(session.state === "open", session.connections > 0);
    assert.ok(session.connections <= wanted);
    if (session.state === "open") assert.equal(session.parked, 0, "nobody waits while one is open");
    assert.deepEqual(this.failures, [], "nobody is turned away");
    const quiet = attempts.filter((attempt) => attempt.quiet);
    assert.ok(quiet.length <= 1 && attempts.length - quiet.length <= 1, "one after another");
    if (session.state !== "open") assert.equal(quiet.length, 0, "a lost session comes first");
    for (const { address } of this.listeners) {
      const holders = server.live.filter(({ listening }) => listening.has(JSON.stringify(address)));
      assert.ok(holders.length <= 1, "a port is asked for on one connection");
    }
    if (this.admitted > 0) {
      const served = server.links.at(-1)?.dials.slice(0, this.admitted) ?? [];
      const ports = served.map((one) => "port" in one ? one.port : 0);
      assert.deepEqual(ports, ports.toSorted((one, other) => one - other), "in order");
      this.admitted = 0;
    }
  }

  /** What holds when all is well again, and when it is over. */
  async finish(session: Session, connections: number | "auto"): Promise<void> {
    const { server, clock } = this;
    await this.#settle();
    assert.equal(session.state, "open");
    const holders = server.live.filter(({ listening }) => listening.size > 0);
    assert.deepEqual(
      holders.flatMap(({ listening }) => [...listening.keys()]).toSorted(),
      this.listeners.map(({ address }) => JSON.stringify(address)).toSorted(),
    );
    assert.ok(holders.length <= 1, "all listeners are on one connection");
    // A login that was refused is tried again then.
    this.await(session.reload());
    await this.#settle();
    if (connections !== "auto") assert.equal(session.connections, connections, "all are back");
    await session.close();
    for (const attempt of [...server.waiting]) attempt.succeed();
    await clock.advance(0);
    assert.equal(await session.closed, undefined);
    assert.equal(this.unsettled, 0, "everybody who waited was told");
    assert.equal(server.live.length, 0, "no connection is left");
    assert.equal(clock.pending, 0, "no timer is left");
  }

  async #settle(): Promise<void> {
    for (let passed = 0; passed < 60; passed++) {
      await this.clock.advance(20_000);
      for (const attempt of this.attempts) attempt.succeed();
    }
    await this.clock.advance(0);
  }
}

test("in any order of events nobody is refused or waits while one is open", async () => {
  await fc.assert(
    fc.asyncProperty(
      connections,
      fc.array(event, { maxLength: 80, size: "max" }),
      async (connections, events) => {
        const model = new Model(connections);
        await model.clock.advance(0);
        model.server.attempt.succeed();
        const session = await model.session;
        for (const [what, number] of events) {
          const dead = model.server.links.filter(({ over }) => over);
          const before = dead.map(({ dials }) => dials.length);
          await model.happen(session, what, number);
          const after = dead.map(({ dials }) => dials.length);
          assert.deepEqual(after, before, "nobody dials over a dead connection");
          model.check(session, connections === "auto" ? 4 : connections);
        }
        await model.finish(session, connections);
      },
    ),
    { numRuns: 300 },
  );
});
