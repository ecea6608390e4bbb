/** Connecting from this machine: several addresses, deadlines, the local address, second tries. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connectSocket, type ConnectSocketOptions } from "../lib/connect.ts";
import { interleave, race } from "../lib/happy_eyeballs.ts";
import { directRoute } from "../lib/ssh/route.ts";
import { scriptCommand } from "./support/fairlead.ts";
import { silentPort } from "./support/silent.ts";
import { echoServer, refusingPort } from "./support/tcp.ts";
import { freePort, run, skipUnless } from "./support/tools.ts";

const hasIPv6 = Object.values(networkInterfaces()).flat()
  .some((address) => address?.address === "::1");
const skipProc = existsSync("/proc/net/tcp") ? {} : { skip: "there is no /proc" };
const skipIPv6 = hasIPv6 ? {} : { skip: "this machine has no IPv6" };

/** A resolver that knows one name. */
function names(...addresses: string[]): NonNullable<ConnectSocketOptions["lookup"]> {
  return (_host, family) =>
    Promise.resolve(
      addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }))
        .filter((found) => family === 0 || found.family === family),
    );
}

/** A listener on an address and a port that is the same on several addresses. */
async function listenOn(host: string, port: number): Promise<Server> {
  const server = createServer();
  server.listen(port, host);
  await once(server, "listening");
  return server;
}

test("the families take turns, beginning with the first address's", () => {
  const address = (name: string) => ({ name, family: name.startsWith("v6") ? 6 : 4 });
  const order = (...given: string[]) => interleave(given.map(address)).map(({ name }) => name);
  assert.deepEqual(order("v6a", "v6b", "v6c", "v4a", "v4b"), ["v6a", "v4a", "v6b", "v4b", "v6c"]);
  assert.deepEqual(order("v4a", "v4b", "v6a"), ["v4a", "v6a", "v4b"]);
  assert.deepEqual(order("v4a", "v4b"), ["v4a", "v4b"]);
  assert.deepEqual(order(), []);
});

test("an address that does not answer keeps nobody waiting for the next one", async () => {
  await using silent = await silentPort("127.0.0.2");
  const server = await listenOn("127.0.0.1", silent.port);
  try {
    const begun = performance.now();
    const socket = await connectSocket({ host: "two.test", port: silent.port }, {
      lookup: names("127.0.0.2", "127.0.0.1"),
    });
    const took = performance.now() - begun;
    assert.equal(socket.remoteAddress, "127.0.0.1");
    assert.ok(took >= 240 && took < 1_500, `${took} ms`);
    socket.destroy();
  } finally {
    server.close();
  }
});

test("an address that refuses leads to the next one at once", async () => {
  await using echo = await echoServer();
  const begun = performance.now();
  const socket = await connectSocket({ host: "three.test", port: echo.port }, {
    lookup: names("127.0.0.3", "127.0.0.4", "127.0.0.1"),
  });
  assert.equal(socket.remoteAddress, "127.0.0.1");
  assert.ok(performance.now() - begun < 200);
  socket.destroy();
});

test("an IPv6 address that refuses leads to the IPv4 address", skipIPv6, async () => {
  await using echo = await echoServer();
  const socket = await connectSocket({ host: "both.test", port: echo.port }, {
    lookup: names("::1", "127.0.0.1"),
  });
  assert.equal(socket.remoteAddress, "127.0.0.1");
  socket.destroy();
});

test("where addresses answer differently, the error names each answer", async () => {
  await using silent = await silentPort("127.0.0.2");
  await assert.rejects(
    connectSocket({ host: "two.test", port: silent.port }, {
      lookup: names("127.0.0.2", "127.0.0.1"),
      timeout: 700,
    }),
    {
      code: "connect-refused",
      message: `two.test:${silent.port} could not be connected to: ` +
        "127.0.0.2 did not answer within 0.7 s, 127.0.0.1 refused the connection",
    },
  );
});

test("where all addresses answer alike, the error says it once", async () => {
  const none = await refusingPort();
  await assert.rejects(
    connectSocket({ host: "two.test", port: none.port }, {
      lookup: names("127.0.0.1", "127.0.0.2"),
    }),
    { code: "connect-refused", message: `two.test:${none.port} refused the connection` },
  );
});

test("the deadline holds for all addresses together", async () => {
  await using silent = await silentPort("127.0.0.2");
  const begun = performance.now();
  await assert.rejects(
    connectSocket({ host: "four.test", port: silent.port }, {
      lookup: names("127.0.0.2", "127.0.0.2", "127.0.0.2", "127.0.0.2"),
      timeout: 600,
    }),
    { code: "timeout", message: `four.test:${silent.port} did not answer within 0.6 s` },
  );
  const took = performance.now() - begun;
  assert.ok(took >= 590 && took < 1_500, `${took} ms`);
});

test("whoever succeeds after the winner is given up, and discarded", async () => {
  const cancelled: string[] = [];
  const discarded: string[] = [];
  const { promise: slow, resolve: release } = Promise.withResolvers<string>();
  const won = await race(["slow", "quick", "unused"], (name) => ({
    result: name === "slow" ? slow : Promise.resolve(name),
    cancel: () => cancelled.push(name),
  }), (late) => discarded.push(late));
  assert.equal(won, "quick");
  assert.deepEqual(cancelled, ["slow"], "neither the winner nor who was never started");
  release("slow");
  await sleep(0);
  assert.deepEqual(discarded, ["slow"]);
});

test("a signal gives up all that were started, and starts no more", async () => {
  const cancelled: string[] = [];
  const stop = new AbortController();
  const names = Array.from({ length: 20 }, (_, index) => `${index}`);
  const racing = race(
    names,
    (name) => ({
      result: new Promise<string>(() => {}),
      cancel: () => cancelled.push(name),
    }),
    () => {},
    stop.signal,
  );
  setTimeout(() => stop.abort(), 300);
  await assert.rejects(racing);
  await sleep(300);
  assert.deepEqual(cancelled, ["0", "1"]);
});

test("an address of the other family is no address", async () => {
  await assert.rejects(connectSocket({ host: "127.0.0.1", port: 22 }, { family: 6 }), {
    code: "name-not-found",
    message: "could not resolve the host name 127.0.0.1 as an IPv6 address",
  });
});

test("only addresses of the bind address's family are tried", async () => {
  await using echo = await echoServer();
  const options = { lookup: names("::1", "127.0.0.1"), bindAddress: "127.0.0.7" };
  const socket = await connectSocket({ host: "both.test", port: echo.port }, options);
  assert.equal(socket.localAddress, "127.0.0.7");
  assert.equal(socket.remoteAddress, "127.0.0.1");
  socket.destroy();

  await assert.rejects(
    connectSocket({ host: "v6.test", port: echo.port }, { ...options, lookup: names("::1") }),
    {
      code: "address-not-available",
      message: "v6.test has no IPv4 address to connect to from 127.0.0.7",
    },
  );
});

test("a local address that no interface has is named", async () => {
  await using echo = await echoServer();
  await assert.rejects(
    connectSocket({ host: "127.0.0.1", port: echo.port }, { bindAddress: "192.0.2.1" }),
    {
      code: "address-not-available",
      message: "this machine has no address 192.0.2.1 to connect from",
    },
  );
});

test("a second attempt comes a second after the first one", async () => {
  const port = await freePort();
  let server: Server | undefined;
  const starting = sleep(300).then(async () => server = await listenOn("127.0.0.1", port));
  const begun = performance.now();
  try {
    const socket = await connectSocket({ host: "127.0.0.1", port }, { attempts: 2 });
    const took = performance.now() - begun;
    assert.ok(took >= 950 && took < 2_500, `${took} ms`);
    socket.destroy();
  } finally {
    await starting;
    server?.close();
  }
});

test("a name that is not found is not asked for again", async () => {
  let asked = 0;
  const lookup = () => {
    asked++;
    return Promise.reject(Object.assign(new Error("ENOTFOUND"), { code: "ENOTFOUND" }));
  };
  await assert.rejects(
    connectSocket({ host: "nowhere.test", port: 22 }, { attempts: 3, lookup }),
    { code: "name-not-found", message: "could not resolve the host name nowhere.test" },
  );
  assert.equal(asked, 1);
});

/** A network of its own, whose connections come from port 40000 first. */
const OWN_NETWORK = [
  ...["unshare", "--net", "--mount", "--pid", "--fork", "sh", "-c"],
  [
    // The machine's own /proc may be one that nobody writes to.
    "mount -t proc proc /proc",
    "busybox ip link set lo up",
    "echo 40000 40001 > /proc/sys/net/ipv4/ip_local_port_range",
    'exec "$@"',
  ].join(" && "),
  "sh",
];
const skipNetwork = process.getuid?.() === 0
  ? skipUnless("unshare", "busybox")
  : { skip: "only root has a network of its own" };

test(
  "a connection that meets itself counts as refused: nobody listens there",
  skipNetwork,
  async () => {
    const [program, args] = scriptCommand("tests/support/fixtures/connect_to.ts");
    const [unshare = "", ...options] = OWN_NETWORK;
    const asked = [program, ...args, "127.0.0.1", "40000"];
    const { stdout, stderr } = await run(unshare, [...options, ...asked]);
    assert.equal(stderr, "");
    assert.deepEqual(JSON.parse(stdout), {
      code: "connect-refused",
      message: "127.0.0.1:40000 refused the connection",
    });
  },
);

/** Timers that would hold up the end of the process; Bun does not tell. */
function timers(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
}

test("an abort ends it at once, at each step", async () => {
  await using silent = await silentPort("127.0.0.2");
  const none = await refusingPort();
  const never: NonNullable<ConnectSocketOptions["lookup"]> = () => new Promise(() => {});
  const steps: [string, { host: string; port: number }, ConnectSocketOptions][] = [
    ["resolving", { host: "slow.test", port: 22 }, { lookup: never }],
    ["connecting", silent, {}],
    ["waiting for the next attempt", none, { attempts: 5 }],
  ];
  for (const [step, address, options] of steps) {
    const stop = new AbortController();
    const before = timers();
    const begun = performance.now();
    setTimeout(() => stop.abort(), 150);
    await assert.rejects(connectSocket(address, { ...options, signal: stop.signal }), {
      code: "cancelled",
    }, step);
    assert.ok(performance.now() - begun < 600, step);
    assert.equal(timers(), before, step);
  }
});

test("a resolver that does not answer is given up at the deadline", async () => {
  await assert.rejects(
    connectSocket({ host: "slow.test", port: 22 }, {
      timeout: 200,
      lookup: () => new Promise(() => {}),
    }),
    { code: "timeout", message: "the host name slow.test was not resolved within 0.2 s" },
  );
});

test("no socket is left behind of the addresses that lost", async () => {
  await using silent = await silentPort("127.0.0.2");
  const server = createServer();
  let open = 0;
  server.on("connection", (socket) => {
    open++;
    socket.on("error", () => {}).once("close", () => open--).resume();
  });
  server.listen(silent.port, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const socket = await connectSocket({ host: "three.test", port }, {
    lookup: names("127.0.0.2", "127.0.0.1", "127.0.0.1"),
  });
  await sleep(400);
  assert.equal(open, 1, "the third address was not connected to besides");
  socket.destroy();
  server.close();
});

test("the system keeps asking a silent server, unless it shall not", skipProc, async () => {
  await using echo = await echoServer();
  for (const tcpKeepAlive of [undefined, true, false]) {
    const given = tcpKeepAlive === undefined ? {} : { tcpKeepAlive };
    const route = await directRoute({ host: echo.host, port: echo.port, ...given });
    const { localPort = 0 } = route.stream as Socket;
    const hex = (port: number) => `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
    // The port alone may be that of another connection as well, to somewhere else.
    const line = readFileSync("/proc/net/tcp", "utf8").split("\n")
      .map((line) => line.trim().split(/\s+/)).find(([, local, remote]) =>
        local?.endsWith(hex(localPort)) && remote?.endsWith(hex(echo.port))
      );
    // Timer 02 is the one for keepalive (proc_net_tcp of the kernel's documentation).
    assert.equal(line?.[5]?.startsWith("02:"), tcpKeepAlive !== false, String(tcpKeepAlive));
    route.destroy();
  }
});
