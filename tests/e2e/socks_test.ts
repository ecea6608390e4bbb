/** SOCKS clients that nobody here wrote, before both kinds of proxy. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect as connectTcp, isIPv4, isIPv6, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import process from "node:process";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { configureSync, resetSync } from "@logtape/logtape";
import { SocksClient } from "socks";
import { connect, type Forward, type RemoteOptions, type Tunnel } from "../../mod.ts";
import { descriptorsOf } from "../support/fairlead.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, pattern, type Peer, refusingPort } from "../support/tcp.ts";
import { run, skipUnless, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const skipCurl = { ...skip, ...skipUnless("curl") };
const hasIPv6 = Object.values(networkInterfaces()).flat()
  .some((address) => address?.address === "::1");

let sshd: SshServer;
let strict: SshServer;
let echo: Peer;
let web: Server;
let webPort: number;

before(async () => {
  if (skip.skip !== undefined) return;
  echo = await echoServer();
  sshd = await startSshd({ config: ["AddressFamily any"] });
  // Of random requests none may reach anybody.
  strict = await startSshd({ config: [`PermitOpen 127.0.0.1:${echo.port}`] });
  web = createServer((request, response) => response.end(`you asked for ${request.url}`));
  // Both families on one port, where there are two.
  web.listen(0, hasIPv6 ? "::" : "127.0.0.1");
  await once(web, "listening");
  webPort = (web.address() as AddressInfo).port;
});
after(async () => {
  web?.close();
  web?.closeAllConnections();
  await Promise.all([sshd?.stop(), strict?.stop(), echo?.stop()]);
});

type Kind = "-D" | "-R";

/** A proxy on a new connection: a local one, or the server's. */
async function proxy(
  kind: Kind,
  use: (port: number, forward: Forward, tunnel: Tunnel) => Promise<void>,
  { server = kind === "-D" ? sshd : strict, ...options }: { server?: SshServer } & RemoteOptions =
    {},
): Promise<void> {
  await using tunnel = await connect({
    host: server.host,
    port: server.port,
    username: server.user,
    identityFiles: [server.identity],
    identitiesOnly: true,
    agent: "none",
    userKnownHosts: [server.knownHosts],
    globalKnownHosts: [],
  });
  const forward = kind === "-D"
    ? await tunnel.forwardDynamic("0")
    : await tunnel.forwardRemote("0", options);
  await use(forward.port, forward as unknown as Forward, tunnel);
  await waitFor(() => tunnel.channelCount === 0, { what: "the last channel's end" });
  await waitFor(() => forward.stats.open === 0, { what: "the last connection's end" });
}

/** A whole greeting with its request (RFC 1928), as a client that does not wait would send it. */
function request5(host: string, port: number): Buffer {
  const name = Buffer.from(host);
  const address = isIPv4(host)
    ? [1, ...host.split(".").map(Number)]
    : isIPv6(host)
    ? [4, ...Array<number>(15).fill(0), 1] // ::1 is the only one here.
    : [3, name.length, ...name];
  return Buffer.from([5, 1, 0, 5, 1, 0, ...address, port >> 8, port & 255]);
}

function request4(host: string, port: number): Buffer {
  const address = isIPv4(host) ? host.split(".").map(Number) : [0, 0, 0, 1];
  const name = isIPv4(host) ? [] : [...Buffer.from(host), 0];
  return Buffer.from([4, 1, port >> 8, port & 255, ...address, ...Buffer.from("me"), 0, ...name]);
}

/** Sends these bytes and returns what comes back until the end. */
async function ask(port: number, bytes: Uint8Array): Promise<number[]> {
  const socket = connectTcp({ port, host: "127.0.0.1" });
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  socket.write(bytes);
  await ended(socket);
  return [...Buffer.concat(chunks)];
}

/** Not events.once(): it would reject at a reset, which is an end as well. */
function ended(socket: Socket): Promise<void> {
  socket.on("error", () => {});
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

/** Reads exactly as many bytes as are asked for, again and again. */
function reader(socket: Socket): (count: number) => Promise<Buffer> {
  let got = Buffer.alloc(0);
  socket.on("error", () => {});
  socket.on("data", (chunk) => got = Buffer.concat([got, chunk]));
  return async (count) => {
    await waitFor(() => got.length >= count, { what: `an answer of ${count} bytes` });
    const head = got.subarray(0, count);
    got = got.subarray(count);
    return head;
  };
}

const CURL = [
  { option: "--socks4", hosts: ["127.0.0.1", "localhost"] },
  { option: "--socks4a", hosts: ["127.0.0.1", "localhost"] },
  { option: "--socks5", hosts: ["127.0.0.1", "[::1]", "localhost"] },
  { option: "--socks5-hostname", hosts: ["127.0.0.1", "[::1]", "localhost"] },
];

const CLIENT = [
  { type: 4, host: "127.0.0.1" },
  { type: 4, host: "localhost" }, // 4a
  { type: 5, host: "127.0.0.1" },
  { type: 5, host: "::1" },
  { type: 5, host: "localhost" },
] as const;

const reachable = (host: string) => hasIPv6 || !host.includes(":");

for (const kind of ["-D", "-R"] as const) {
  for (const { option, hosts } of CURL) {
    const tried = hosts.filter(reachable);
    test(`curl ${option} through ${kind} reaches ${tried.join(", ")}`, skipCurl, async () => {
      await proxy(kind, async (port) => {
        for (const host of tried) {
          const url = `http://${host}:${webPort}/${host.length}`;
          const args = ["-sS", "--noproxy", "", option, `127.0.0.1:${port}`, url];
          const { stdout, stderr, status } = await run("curl", args);
          assert.deepEqual([stdout, status], [`you asked for /${host.length}`, 0], stderr);
        }
      });
    });
  }

  test(`the npm client socks through ${kind} reaches addresses and names`, skip, async () => {
    await proxy(kind, async (port) => {
      for (const { type, host } of CLIENT.filter(({ host }) => reachable(host))) {
        const { socket } = await SocksClient.createConnection({
          proxy: { host: "127.0.0.1", port, type },
          command: "connect",
          destination: { host, port: webPort },
        });
        const chunks: Buffer[] = [];
        socket.on("data", (chunk) => chunks.push(chunk));
        socket.write(`GET /${type} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
        socket.resume();
        await ended(socket);
        assert.match(String(Buffer.concat(chunks)), new RegExp(`you asked for /${type}`), host);
      }
    });
  });

  test(`each byte of a request to ${kind} may come alone`, skip, async () => {
    await proxy(kind, async (port) => {
      const requests = [
        { bytes: request4("127.0.0.1", echo.port), answer: [0, 90] },
        { bytes: request4("localhost", echo.port), answer: [0, 90] },
        { bytes: request5("127.0.0.1", echo.port), answer: [5, 0, 5, 0] },
        { bytes: request5("localhost", echo.port), answer: [5, 0, 5, 0] },
      ];
      await Promise.all(requests.map(async ({ bytes, answer }) => {
        const socket = connectTcp({ port, host: "127.0.0.1", noDelay: true });
        const take = reader(socket);
        await once(socket, "connect");
        for (const byte of bytes) {
          socket.write(Buffer.of(byte));
          await sleep(2);
        }
        const size = bytes[0] === 4 ? 8 : 12;
        assert.deepEqual([...await take(size)].slice(0, answer.length), answer);
        socket.write("hello");
        assert.equal(String(await take(5)), "hello");
        socket.end();
        await ended(socket);
      }));
    });
  });

  test(`what a client sends with its request to ${kind} arrives first`, skip, async () => {
    await proxy(kind, async (port) => {
      const socket = connectTcp({ port, host: "127.0.0.1" });
      socket.end(Buffer.concat([request5("127.0.0.1", echo.port), Buffer.from("in haste")]));
      const chunks: Buffer[] = [];
      socket.on("data", (chunk) => chunks.push(chunk));
      await ended(socket);
      assert.equal(String(Buffer.concat(chunks).subarray(12)), "in haste");
    });
  });

  test(`a client of ${kind} is told why it was not connected`, skip, async () => {
    const nobody = await refusingPort();
    await proxy(kind, async (port) => {
      const cases = [
        { host: "127.0.0.1", port: nobody.port, code: 5 },
        { host: "no-such-host.invalid", port: 80, code: 4 },
        // TCP to everybody has no route. sshd does not say why where it knows at once, and Bun
        // takes every failure for a refusal.
        {
          host: "255.255.255.255",
          port: 80,
          code: kind === "-D" ? 1 : "bun" in process.versions ? 5 : 4,
        },
      ];
      for (const { host, port: there, code } of cases) {
        const five = await ask(port, request5(host, there));
        assert.deepEqual(five, [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0], host);
        const four = await ask(port, request4(host, there));
        assert.deepEqual(four, [0, 91, 0, 0, 0, 0, 0, 0], host);
      }
    });
  });

  test(
    `500 random greetings leave nothing of ${kind}, and the next client is served`,
    skip,
    async () => {
      const permitRemoteOpen = [`127.0.0.1:${echo.port}`];
      await proxy(kind, async (port, forward, tunnel) => {
        const before = descriptorsOf(process.pid);
        const bytes = Buffer.concat([...pattern(500 * 100, 9)]);
        for (let batch = 0; batch < 10; batch++) {
          await Promise.all(Array.from({ length: 50 }, async (_, index) => {
            const number = batch * 50 + index;
            const greeting = bytes.subarray(number * 100, (number + 1) * 100);
            // Two of three get past the first byte, and some of them a step further.
            if (number % 3 !== 0) greeting[0] = number % 3 + 3;
            if (number % 2 === 0) greeting.set(greeting[0] === 5 ? [1, 0, 5, 1, 0] : [1], 1);
            const socket = connectTcp({ port, host: "127.0.0.1" });
            socket.end(greeting.subarray(0, 1 + number % 100));
            socket.resume();
            await ended(socket);
          }));
        }
        await waitFor(() => tunnel.channelCount === 0, { what: "the last channel's end" });
        await waitFor(() => descriptorsOf(process.pid) <= before, {
          what: "the last socket's end",
        });
        assert.deepEqual([forward.stats.open, forward.stats.total], [0, 500]);
        const hello = Buffer.concat([request5("127.0.0.1", echo.port), Buffer.from("hello")]);
        const socket = connectTcp({ port, host: "127.0.0.1" });
        socket.write(hello);
        assert.equal(String((await reader(socket)(17)).subarray(12)), "hello");
        socket.destroy();
      }, { server: strict, permitRemoteOpen });
    },
  );
}

test("a client of -D learns that the server does not allow it", skip, async () => {
  await proxy("-D", async (port) => {
    assert.deepEqual((await ask(port, request5("127.0.0.1", 9))).slice(2, 4), [5, 2]);
    assert.deepEqual((await ask(port, request4("127.0.0.1", 9))).slice(0, 2), [0, 91]);
  }, { server: strict });
});

test("a name is resolved by the server of -D, not here", skip, async () => {
  await proxy("-D", async (port) => {
    const asked = ["localhost", "no-such-host.invalid", "127.0.0.1"];
    for (const name of asked) {
      const before = sshd.log().length;
      const socket = connectTcp({ port, host: "127.0.0.1" });
      socket.end(request5(name, echo.port));
      socket.resume();
      await ended(socket);
      assert.ok(sshd.log().slice(before).includes(`target ${name} port ${echo.port}`), name);
    }
  });
});

test("the answer of -D comes when the server has confirmed, not before", skip, async () => {
  await using own = await startSshd();
  await proxy("-D", async (port) => {
    own.signalSessions("SIGSTOP");
    const socket = connectTcp({ port, host: "127.0.0.1" });
    const take = reader(socket);
    socket.write(request5("127.0.0.1", echo.port));
    assert.deepEqual([...await take(2)], [5, 0], "the method is chosen at once");
    let answered = false;
    const answer = take(10).then((bytes) => {
      answered = true;
      return bytes;
    });
    await sleep(150);
    assert.equal(answered, false);
    own.signalSessions("SIGCONT");
    assert.deepEqual([...await answer], [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    socket.destroy();
  }, { server: own });
});

test("PermitRemoteOpen says where clients of -R may go, and the rest are told", skip, async () => {
  const lines: string[] = [];
  configureSync({
    reset: true,
    sinks: { lines: (record) => lines.push(record.message.map(String).join("")) },
    loggers: [
      { category: ["fairlead", "forward"], sinks: ["lines"], lowestLevel: "warning" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "error" },
    ],
  });
  try {
    await proxy("-R", async (port) => {
      const hello = Buffer.concat([request5("127.0.0.1", echo.port), Buffer.from("hello")]);
      const socket = connectTcp({ port, host: "127.0.0.1" });
      socket.write(hello);
      assert.equal(String((await reader(socket)(17)).subarray(12)), "hello");
      socket.destroy();
      for (const [host, there] of [["127.0.0.1", 9], ["localhost", echo.port]] as const) {
        assert.deepEqual((await ask(port, request5(host, there))).slice(2, 4), [5, 2]);
        assert.deepEqual((await ask(port, request4(host, there))).slice(0, 2), [0, 91]);
      }
    }, { permitRemoteOpen: [`127.0.0.1:${echo.port}`, "*:1"] });
  } finally {
    resetSync();
  }
  const said = lines.filter((line) => line.includes("PermitRemoteOpen"));
  assert.equal(said.length, 4, lines.join("\n"));
  assert.match(
    said[0] ?? "",
    /^-R \d+ #2 from .*: PermitRemoteOpen does not allow 127\.0\.0\.1:9$/,
  );
});
