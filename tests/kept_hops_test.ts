/** Jump hosts that stay connected while the server behind them is looked for. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { FairleadError } from "../lib/errors.ts";
import { serve, type SshServer } from "../lib/server/server.ts";
import { connectHost, type ConnectOptions } from "../lib/ssh/host.ts";
import { KeptHops } from "../lib/ssh/kept_hops.ts";
import { generateIdentity } from "../lib/ssh/keys.ts";
import { connect } from "../lib/tunnel/tunnel.ts";
import { faultyPath } from "./support/faulty_path.ts";
import { echoServer, transfer } from "./support/tcp.ts";
import { freePort, waitFor } from "./support/tools.ts";

const HOST_KEY = generateIdentity();
let logins = 0;
let allowed = true;
let jump: SshServer;

before(async () => {
  jump = await serve({
    hostKeys: [HOST_KEY.privateKey],
    authorize: ({ method }) => method === "password" && ++logins > 0,
    allow: () => allowed,
  });
});
after(() => jump.close({ force: true }));

/** The server that is looked for. */
function startTarget(port: number): Promise<SshServer> {
  return serve({ hostKeys: [HOST_KEY.privateKey], authorize: () => true, port });
}

function to(port: number): ConnectOptions {
  const { publicKey: hostKeys } = HOST_KEY;
  return { host: "127.0.0.1", port, hostKeys, identityFiles: [], agent: "none", password: "x" };
}

/** What an attempt failed with, and whether a server had said anything. */
async function failure(options: ConnectOptions, keptHops: KeptHops, reachTimeout?: number) {
  let reached = false;
  try {
    await connectHost(options, { keptHops, reachTimeout, reached: () => reached = true });
  } catch (error) {
    assert.ok(error instanceof FairleadError, String(error));
    return { code: error.code, message: error.message, reached };
  }
  throw new Error("it connected");
}

test("a server is looked for behind a jump host that is logged in to once", async () => {
  logins = 0;
  const port = await freePort();
  const keptHops = new KeptHops();
  const options = { ...to(port), jump: to(jump.port) };
  const reached: boolean[] = [];
  for (let looks = 0; looks < 3; looks++) {
    const failed = await failure(options, keptHops);
    assert.equal(failed.code, "connect-refused");
    reached.push(failed.reached);
  }
  // Only a login is something that a failure has cost anybody.
  assert.deepEqual(reached, [true, false, false]);
  const target = await startTarget(port);
  const client = await connectHost(options, { keptHops });
  assert.deepEqual([logins, jump.connectionCount], [1, 1]);
  await keptHops.close();
  assert.equal(jump.connectionCount, 1, "it belongs to the connection now");
  await client.close();
  await waitFor(() => jump.connectionCount === 0);
  await target.close();
});

test("a jump host is not kept for long, nor where nothing is kept, nor after its own no", async () => {
  const options = { ...to(await freePort()), jump: to(jump.port) };
  const soon = new KeptHops({ kept: 100 });
  assert.equal((await failure(options, soon)).code, "connect-refused");
  assert.equal(jump.connectionCount, 1);
  await waitFor(() => jump.connectionCount === 0);
  assert.equal(soon.take(), undefined);
  const closed = new KeptHops();
  await failure(options, closed);
  await closed.close();
  await waitFor(() => jump.connectionCount === 0);
  await failure(options, closed);
  await waitFor(() => jump.connectionCount === 0);
  allowed = false;
  const refused = new KeptHops();
  assert.equal((await failure(options, refused)).code, "forwarding-prohibited");
  allowed = true;
  await waitFor(() => jump.connectionCount === 0);
});

test("a kept jump host that has gone is logged in to anew, also where it went silently", async () => {
  await using path = await faultyPath({ host: "127.0.0.1", port: jump.port });
  const options = { ...to(await freePort()), jump: to(path.port) };
  const keptHops = new KeptHops({ silence: 300 });
  logins = 0;
  await failure(options, keptHops);
  path.reset();
  // The first may come before this end has heard of it.
  while ((await failure(options, keptHops)).code !== "connect-refused");
  assert.equal(logins, 2);
  path.forget();
  const silent = await failure(options, keptHops);
  assert.deepEqual([silent.code, silent.reached], ["timeout", false]);
  assert.match(silent.message, /^jump host \(.*\): .*it has not answered for 0\.3 s/);
  assert.equal((await failure(options, keptHops)).code, "connect-refused");
  assert.equal(logins, 3);
  await keptHops.close();
});

test("of two attempts at once that fail, one jump host is kept", async () => {
  const options = { ...to(await freePort()), jump: to(jump.port) };
  const keptHops = new KeptHops();
  await Promise.all([failure(options, keptHops), failure(options, keptHops)]);
  await waitFor(() => jump.connectionCount === 1);
  await keptHops.close();
  await waitFor(() => jump.connectionCount === 0);
});

test("a tunnel through a jump host comes back with one login there, and leaves nothing", async () => {
  await using echo = await echoServer();
  const target = await startTarget(0);
  const { port } = target;
  logins = 0;
  const tunnel = await connect({ ...to(port), jump: to(jump.port) });
  const forward = await tunnel.forwardLocal(`0:127.0.0.1:${echo.port}`);
  await target.close({ force: true });
  await waitFor(() => tunnel.state === "reconnecting");
  const waiting = transfer(forward.port, { send: 10 });
  await sleep(1_500);
  const again = await startTarget(port);
  assert.equal((await waiting).bytes, 10);
  assert.equal(logins, 2);
  await again.close({ force: true });
  await waitFor(() => tunnel.state === "reconnecting");
  await waitFor(() => logins === 3);
  await sleep(100);
  await tunnel.close();
  await waitFor(() => jump.connectionCount === 0);
});
