/** A link that is lost in all the ways that take no more than seconds: nobody is refused. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, type Tunnel, type TunnelOptions } from "../../lib/tunnel/tunnel.ts";
import { type HeldOpen, holdOpen, type SteadyCallers, steadyCallers } from "../support/callers.ts";
import { type FaultStage, faultStage } from "../support/fault_stage.ts";
import type { Direction } from "../support/faulty_path.ts";
import { patternReceived, questionAnswer, transfer } from "../support/tcp.ts";
import { skipUnless, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
/** Milliseconds that users are promised between the server's return and the first new byte. */
const PROMISE = 2_000;
/** Milliseconds in which a reset has arrived that comes at once. */
const AT_ONCE = 1_000;

/** A tunnel with callers that come all the time and some that stay. */
interface Scene extends AsyncDisposable {
  readonly stage: FaultStage;
  readonly tunnel: Tunnel;
  readonly port: number;
  readonly callers: SteadyCallers;
  readonly held: HeldOpen;
}

const HELD = 5;

async function scene(
  options: Partial<TunnelOptions> & { direct?: boolean } = {},
): Promise<Scene> {
  const { direct = false, ...rest } = options;
  await using parts = new AsyncDisposableStack();
  const stage = parts.use(await faultStage());
  const serverPort = direct ? stage.sshd.port : stage.path.port;
  const tunnel = await connect({ ...stage.options, port: serverPort, ...rest });
  parts.defer(() => tunnel.close({ force: true }));
  const { port } = await tunnel.forwardLocal(`0:${stage.to}`);
  const callers = parts.use(steadyCallers(port));
  const held = parts.use(await holdOpen(port, HELD));
  const all = parts.move();
  return {
    ...{ stage, tunnel, port, callers, held },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** Whoever came after the fault was served, and what was open at its moment was reset. */
async function nobodyRefused({ callers, held }: Scene): Promise<void> {
  const { served, ...others } = await callers.finish();
  assert.ok(served > 0);
  // One or two may have been in the middle of their word.
  assert.ok(others.lost <= 2, `${others.lost} callers were lost`);
  assert.deepEqual({ ...others, lost: 0 }, { refused: 0, lost: 0, expired: 0, hung: 0 });
  assert.deepEqual(held.ends.map(({ how }) => how), Array(HELD).fill("reset"));
}

test("a server that is killed and back after 0.1 s refuses nobody", skip, async () => {
  await using scenery = await scene({ direct: true });
  const { stage: { sshd }, callers, held } = scenery;
  callers.fault();
  const killed = performance.now();
  await sshd.down("SIGKILL");
  assert.ok(await held.allEnded(killed) < AT_ONCE);
  await sleep(100);
  const back = performance.now();
  await sshd.up();
  assert.ok(await callers.firstByteAfter(back) < PROMISE);
  await nobodyRefused(scenery);
});

test("callers of a server that is away for a second are served when it is back", skip, async () => {
  await using scenery = await scene({ direct: true });
  const { stage: { sshd }, tunnel, callers, held } = scenery;
  callers.fault();
  const killed = performance.now();
  await sshd.down("SIGKILL");
  assert.ok(await held.allEnded(killed) < AT_ONCE);
  await sleep(1_000);
  assert.ok(tunnel.parked >= 10, `${tunnel.parked} are parked`);
  const back = performance.now();
  await sshd.up();
  assert.ok(await callers.firstByteAfter(back) < PROMISE);
  await nobodyRefused(scenery);
});

test(
  "what hangs up in the place of a server that is away is no reason to wait long",
  skip,
  async () => {
    await using scenery = await scene();
    const { stage: { sshd, path }, callers } = scenery;
    callers.fault();
    const { connections } = path;
    await sshd.down("SIGKILL");
    await sleep(3_000);
    // As a load balancer does: connections are taken, and closed without a word; about one a second.
    const attempts = path.connections - connections;
    assert.ok(attempts >= 2, `${attempts} attempts`);
    const back = performance.now();
    await sshd.up();
    assert.ok(await callers.firstByteAfter(back) < PROMISE);
    await nobodyRefused(scenery);
  },
);

test("a session process that is killed alone refuses nobody", skip, async () => {
  await using scenery = await scene();
  const { stage: { sshd }, callers, held } = scenery;
  callers.fault();
  const killed = performance.now();
  sshd.signalSessions("SIGKILL");
  const ended = await held.allEnded(killed);
  assert.ok(ended < AT_ONCE);
  // The listener was there all the time.
  assert.ok(await callers.firstByteAfter(killed + ended) < PROMISE);
  await nobodyRefused(scenery);
});

test("a path that is reset, and refuses for a while, refuses nobody here", skip, async () => {
  await using scenery = await scene();
  const { stage: { path }, callers, held } = scenery;
  callers.fault();
  const cut = performance.now();
  await path.refuse();
  path.reset();
  assert.ok(await held.allEnded(cut) < AT_ONCE);
  await sleep(500);
  const back = performance.now();
  await path.accept();
  assert.ok(await callers.firstByteAfter(back) < PROMISE);
  await nobodyRefused(scenery);
});

/** Quick to notice a black hole. */
const WATCHFUL = { serverAliveInterval: 300, serverAliveCountMax: 2 };

for (const directions of [["up"], ["down"], ["up", "down"]] satisfies Direction[][]) {
  const name = directions.length === 2 ? "in both directions" : `on its way ${directions[0]}`;
  test(`a path that swallows all ${name} is noticed, and refuses nobody`, skip, async () => {
    await using scenery = await scene(WATCHFUL);
    const { stage: { path }, tunnel, callers, held } = scenery;
    callers.fault();
    const swallowed = performance.now();
    path.stall(directions);
    await waitFor(() => tunnel.state === "reconnecting");
    const noticed = performance.now();
    assert.ok(noticed - swallowed < 4 * WATCHFUL.serverAliveInterval + AT_ONCE);
    assert.ok(await held.allEnded(noticed) < AT_ONCE);
    await sleep(300);
    assert.equal(tunnel.state, "reconnecting");
    const back = performance.now();
    path.resume();
    assert.ok(await callers.firstByteAfter(back) < PROMISE);
    await nobodyRefused(scenery);
  });
}

test("a connection that the path forgot is left for a new one", skip, async () => {
  await using scenery = await scene(WATCHFUL);
  const { stage: { path }, tunnel, callers, held } = scenery;
  callers.fault();
  path.forget();
  await waitFor(() => tunnel.state === "reconnecting");
  const noticed = performance.now();
  assert.ok(await held.allEnded(noticed) < AT_ONCE);
  assert.ok(await callers.firstByteAfter(noticed) < PROMISE);
  await nobodyRefused(scenery);
});

test("of 50 parked callers 10 give up: 40 are served in order, 10 forgotten", skip, async () => {
  await using stage = await faultStage();
  await using guests = await guestBook();
  const tunnel = await connect({ ...stage.options, port: stage.sshd.port });
  const forward = await tunnel.forwardLocal(`0:127.0.0.1:${guests.port}`);
  await stage.sshd.down();
  await waitFor(() => tunnel.state === "reconnecting");

  const sockets: Socket[] = [];
  for (let number = 0; number < 50; number++) {
    const socket = connectTcp(forward.port, "127.0.0.1").on("error", () => {});
    sockets.push(socket);
    await once(socket, "connect");
    socket.write(`${number} `);
    await waitFor(() => tunnel.parked === number + 1);
  }
  const givesUp = (number: number) => number % 5 === 3;
  const answers = sockets.map((socket, number) =>
    givesUp(number) ? undefined : once(socket, "data").then(([data]) => String(data))
  );
  for (const [number, socket] of sockets.entries()) if (givesUp(number)) socket.resetAndDestroy();
  await waitFor(() => tunnel.parked === 40);
  assert.equal(forward.stats.open, 40);

  await stage.sshd.up();
  const stayed = sockets.map((_, number) => `${number} `).filter((_, number) => !givesUp(number));
  assert.deepEqual((await Promise.all(answers)).filter((text) => text !== undefined), stayed);
  assert.deepEqual(await guests.names(), stayed);
  for (const socket of sockets) socket.destroy();
  await waitFor(() => tunnel.channelCount === 0 && forward.stats.open === 0);
  assert.equal(tunnel.parked, 0);
  await waitFor(() => guests.open === 0);
  assert.equal(guests.connections, 40);
  await tunnel.close();
  await waitFor(() => stage.sshd.sessions().length === 0);
});

test("a caller that ends its side while it is parked has its whole answer", skip, async () => {
  await using stage = await faultStage();
  await using peer = await questionAnswer({ answerBytes: 300_000, seed: 3 });
  await using tunnel = await connect({ ...stage.options, port: stage.sshd.port });
  const { port } = await tunnel.forwardLocal(`0:127.0.0.1:${peer.port}`);
  await stage.sshd.down();
  await waitFor(() => tunnel.state === "reconnecting");
  const asking = transfer(port, { send: 40_000, seed: 2 });
  await waitFor(() => tunnel.parked === 1);
  await sleep(300);
  await stage.sshd.up();
  const { bytes, sha256 } = await asking;
  assert.deepEqual({ bytes, sha256 }, patternReceived(300_000, 3));
  assert.deepEqual(await peer.received(), patternReceived(40_000, 2));
});

/** An echo that knows in which order its clients connected, and what each said first. */
async function guestBook() {
  const book: (string | undefined)[] = [];
  let open = 0;
  const server = createServer((socket) => {
    const place = book.push(undefined) - 1;
    open++;
    socket.on("error", () => {});
    socket.on("close", () => open--);
    socket.on("data", (data) => {
      book[place] ??= String(data);
      socket.write(data);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("not a TCP listener");
  return {
    port: address.port,
    get open() {
      return open;
    },
    get connections() {
      return book.length;
    },
    names: async () => {
      await waitFor(() => !book.includes(undefined));
      return book;
    },
    [Symbol.asyncDispose]: () => Promise.resolve(void server.close()),
  };
}
