/** One attempt to connect: when it has reached the server, how long that may take, and giving up. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect as connectSocket, createServer, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { FairleadError } from "../lib/errors.ts";
import { serve, type SshServer } from "../lib/server/server.ts";
import type { ConnectOptions } from "../lib/ssh/connect_options.ts";
import { connectHost } from "../lib/ssh/host.ts";
import { generateIdentity } from "../lib/ssh/keys.ts";
import { answering, httpProxy } from "./support/proxies.ts";
import { silentPort } from "./support/silent.ts";
import { refusingPort } from "./support/tcp.ts";
import { skipUnless, type Stoppable, stoppable } from "./support/tools.ts";

const HOST_KEY = generateIdentity();
let server: SshServer;

before(async () => {
  server = await serve({
    hostKeys: [HOST_KEY.privateKey],
    authorize: () => true,
    allow: () => true,
  });
});
after(() => server.close());

function to(port: number, options: Partial<ConnectOptions> = {}): ConnectOptions {
  const { publicKey: hostKeys } = HOST_KEY;
  const base = { host: "127.0.0.1", port, hostKeys, identityFiles: [], agent: "none" };
  return { ...base, password: "x", ...options };
}

/** How often the server was reached, and the error that came of it in the end. */
async function attempt(options: ConnectOptions, reachTimeout?: number) {
  let reached = 0;
  try {
    const client = await connectHost(options, { reached: () => reached++, reachTimeout });
    await client.close();
    return { reached, error: undefined };
  } catch (error) {
    assert.ok(error instanceof FairleadError, String(error));
    return { reached, error };
  }
}

/** A listener that hands each connection to the test. */
async function listening(take: (socket: Socket) => void): Promise<{ port: number } & Stoppable> {
  const sockets = new Set<Socket>();
  const listener = createServer((socket) => {
    sockets.add(socket.on("error", () => {}));
    take(socket);
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  return stoppable({ port: (listener.address() as AddressInfo).port }, async () => {
    for (const socket of sockets) socket.destroy();
    listener.close();
    await once(listener, "close");
  });
}

test("a server is reached once it has said anything", async () => {
  assert.deepEqual(await attempt(to(server.port)), { reached: 1, error: undefined });
  await using hangingUp = await listening((socket) => socket.destroy());
  const { reached, error } = await attempt(to(hangingUp.port));
  assert.deepEqual([reached, error?.code], [0, "connection-lost"]);
  await using saying = await listening((socket) => socket.end("Exceeded MaxStartups\r\n"));
  const dropped = await attempt(to(saying.port));
  assert.deepEqual([dropped.reached, dropped.error?.code], [1, "connection-lost"]);
  const none = await refusingPort();
  const refused = await attempt(to(none.port));
  assert.deepEqual([refused.reached, refused.error?.code], [0, "connect-refused"]);
  // What takes the connection may be nothing but a kernel, or a proxy of the network's.
  await using silent = await listening(() => {});
  const unheard = await attempt(to(silent.port, { connectTimeout: 300 }));
  assert.deepEqual([unheard.reached, unheard.error?.code], [0, "timeout"]);
});

test("the deadline for reaching it is the shorter one of the two", async () => {
  await using silent = await silentPort();
  const { host, port } = silent;
  const message = (seconds: number) => `${host}:${port} did not answer within ${seconds} s`;
  const short = await attempt(to(port, { host }), 300);
  assert.deepEqual([short.reached, short.error?.message], [0, message(0.3)]);
  const long = await attempt(to(port, { host, connectTimeout: 200 }), 60_000);
  assert.deepEqual([long.reached, long.error?.message], [0, message(0.2)]);
});

test("once it is reached, a server has its usual time", async () => {
  await using slow = await listening((socket) => {
    setTimeout(() => {
      const onward = connectSocket(server.port, "127.0.0.1").on("error", () => {});
      socket.pipe(onward).pipe(socket);
    }, 600);
  });
  assert.deepEqual(await attempt(to(slow.port), 200), { reached: 1, error: undefined });
});

test("a proxy has not reached the server until it says so, and has no longer for it", async () => {
  await using proxy = await httpProxy();
  const through = (port: number, onwards = server.port) =>
    to(onwards, { proxy: `http://127.0.0.1:${port}` });
  assert.deepEqual(await attempt(through(proxy.port)), { reached: 1, error: undefined });
  await using refusing = await answering("HTTP/1.1 502 Bad Gateway\r\n\r\n");
  const refused = await attempt(through(refusing.port));
  assert.equal(refused.reached, 0);
  assert.match(refused.error?.message ?? "", /502/);
  await using silent = await listening(() => {});
  for (const kind of ["http", "socks5"]) {
    const options = to(server.port, { proxy: `${kind}://127.0.0.1:${silent.port}` });
    const { reached, error } = await attempt(options, 300);
    assert.deepEqual([reached, error?.code], [0, "timeout"]);
    assert.match(error?.message ?? "", /0\.3 s/);
  }
});

test("a ProxyCommand counts as soon as it runs", skipUnless("sh"), async () => {
  const { reached, error } = await attempt(to(server.port, { proxyCommand: "exit 3" }));
  assert.deepEqual([reached, error?.code], [1, "connection-lost"]);
});

test("of several servers the first one counts, and counts once", async () => {
  const jump = to(server.port);
  assert.deepEqual(await attempt(to(server.port, { jump })), { reached: 1, error: undefined });
  const none = await refusingPort();
  const second = await attempt(to(none.port, { jump }));
  assert.equal(second.reached, 1);
  assert.match(second.error?.message ?? "", /^jump host/);
  const first = await attempt(to(server.port, { jump: to(none.port) }));
  assert.deepEqual([first.reached, first.error?.code], [0, "connect-refused"]);
});

test("the attempt's signal gives it up, and so does that of the options", async () => {
  let taken = () => {};
  await using silent = await listening(() => taken());
  const jump = to(silent.port);
  for (const options of [to(silent.port), to(server.port, { jump })]) {
    for (const which of ["the attempt's", "the options'"]) {
      const [stop, other] = [new AbortController(), new AbortController()];
      const [ours, theirs] = which === "the attempt's" ? [stop, other] : [other, stop];
      taken = () => stop.abort();
      const connecting = connectHost({ ...options, signal: theirs.signal }, {
        signal: ours.signal,
      });
      await assert.rejects(connecting, { code: "cancelled" }, which);
    }
  }
  const stopped = { signal: AbortSignal.abort() };
  await assert.rejects(connectHost(to(server.port), stopped), { code: "cancelled" });
});
