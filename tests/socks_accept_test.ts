import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { duplexPair } from "node:stream";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { SocksClient, type SocksClientOptions } from "socks";
import { formatAddress, type TcpAddress } from "../lib/dialer.ts";
import { ConnectionError, type ErrorCode, FairleadError } from "../lib/errors.ts";
import { relay } from "../lib/forward/relay.ts";
import {
  acceptSocks,
  type AcceptSocksOptions,
  type SocksCaller,
} from "../lib/forward/socks_accept.ts";
import { digest, echoServer, parseReceipt, pattern, sinkServer } from "./support/tcp.ts";
import { countTimers } from "./support/timers.ts";
import { run, skipUnless, type Stoppable, stoppable, waitFor } from "./support/tools.ts";

const EVENTS = ["readable", "data", "end", "error", "close", "finish", "drain"];
const GRANTED_5 = "05000001000000000000";
const HELLO_5 = Buffer.of(5, 1, 0);

/** SOCKS4, 4a and 5: a request for a name, or for an address where it is one. */
const REQUESTS: Record<string, (port: number) => Buffer> = {
  "4": (port) => Buffer.of(4, 1, port >> 8, port & 0xff, 127, 0, 0, 1, 0x6d, 0x65, 0),
  "4a": (port) => Buffer.from([4, 1, port >> 8, port & 0xff, 0, 0, 0, 1, 0, ..."x\0"].map(code)),
  "5": (port) => Buffer.from([...HELLO_5, 5, 1, 0, 3, 1, "x", port >> 8, port & 0xff].map(code)),
};
/** What each is answered when all is well. */
const ANSWERS: Record<string, string> = {
  "4": "005a000000000000",
  "4a": "005a000000000000",
  "5": `0500${GRANTED_5}`,
};

function code(item: number | string): number {
  return typeof item === "number" ? item : item.charCodeAt(0);
}

interface Server extends Stoppable {
  readonly port: number;
  /** Accepted and not closed yet. */
  readonly sockets: Set<Socket>;
  /** How the handshakes went. */
  readonly outcomes: (SocksCaller | FairleadError)[];
}

/** Takes each caller through the handshake, then leaves it to `serve`. */
async function socksServer(
  serve: (caller: SocksCaller, socket: Socket) => unknown,
  options?: AcceptSocksOptions,
): Promise<Server> {
  const sockets = new Set<Socket>();
  const outcomes: (SocksCaller | FairleadError)[] = [];
  const server = createServer({ allowHalfOpen: true }, async (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    const before = listenersOf(socket);
    try {
      const caller = await acceptSocks(socket, options);
      outcomes.push(caller);
      assert.deepEqual(listenersOf(socket), before);
      await serve(caller, socket);
    } catch (error) {
      if (!(error instanceof FairleadError)) throw error;
      outcomes.push(error);
      assert.ok(socket.destroyed);
      assert.deepEqual(listenersOf(socket), before);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return stoppable({ port, sockets, outcomes }, async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await closed;
  });
}

function listenersOf(socket: Socket): number[] {
  return EVENTS.map((event) => socket.listenerCount(event));
}

/** Dials by itself. */
function proxy(dialled: TcpAddress[] = [], options?: AcceptSocksOptions): Promise<Server> {
  return socksServer((caller, socket) => {
    dialled.push(caller.destination);
    return carry(caller, socket);
  }, options);
}

/** Every destination is on this machine, whatever its name. */
async function carry(caller: SocksCaller, socket: Socket): Promise<void> {
  const { host, port } = caller.destination;
  const target = connect({ host: host === "::1" ? host : "127.0.0.1", port, allowHalfOpen: true });
  try {
    await once(target, "connect");
  } catch {
    return caller.refuse("connect-refused");
  }
  caller.grant();
  await relay(socket, target);
}

async function client(port: number): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  await once(socket, "connect");
  return socket;
}

/** Unlike `once`, it does not mind an error before. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

/** All that comes until the end; rejects when the connection is reset instead. */
async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(socket, "end");
  return Buffer.concat(chunks);
}

/** Sends this, ends, and reads the answer. */
async function ask(port: number, sent: Uint8Array): Promise<Buffer> {
  const socket = await client(port);
  const answer = readAll(socket);
  socket.end(sent);
  return await answer.finally(() => socket.destroy());
}

async function failure(server: Server, index = 0): Promise<FairleadError> {
  const outcome = await waitFor(() => server.outcomes[index], { what: "the outcome" });
  assert.ok(outcome instanceof ConnectionError, String(outcome));
  return outcome;
}

async function empty(server: Server): Promise<void> {
  await waitFor(() => server.sockets.size === 0, { what: "the end of every socket" });
}

async function httpServer(host: string) {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => {
      socket.end("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes");
    });
  });
  server.listen(0, host);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return stoppable({ host, port }, () => new Promise((resolve) => server.close(() => resolve())));
}

test(
  "curl is served over SOCKS 4, 4a and 5, to addresses and to names",
  skipUnless("curl"),
  async () => {
    const dialled: TcpAddress[] = [];
    await using socks = await proxy(dialled);
    await using four = await httpServer("127.0.0.1");
    await using six = await httpServer("::1");
    const cases: [option: string, destination: TcpAddress][] = [
      ["--socks4", { host: "127.0.0.1", port: four.port }],
      ["--socks4a", { host: "peer.example", port: four.port }],
      ["--socks5", { host: "127.0.0.1", port: four.port }],
      ["--socks5", { host: "::1", port: six.port }],
      ["--socks5-hostname", { host: "peer.example", port: four.port }],
      ["--socks5-hostname", { host: "127.0.0.1", port: four.port }],
    ];
    for (const [option, destination] of cases) {
      const url = `http://${formatAddress(destination)}/`;
      const { stdout, stderr } = await run("curl", [
        "-sS",
        ...["--noproxy", ""],
        ...[option, `127.0.0.1:${socks.port}`],
        ...["--max-time", "10"],
        url,
      ]);
      assert.equal(stdout, "yes", `${option} ${url}: ${stderr}`);
      assert.deepEqual(dialled.pop(), destination);
    }
    await empty(socks);
  },
);

test("curl is told why its request was refused", skipUnless("curl"), async () => {
  const codes: [ErrorCode, number][] = [["forwarding-prohibited", 2], ["connect-refused", 5]];
  for (const [code, reply] of codes) {
    await using socks = await socksServer((caller) => caller.refuse(code));
    const { status, stderr } = await run("curl", [
      ...["-sS", "--noproxy", "", "--max-time", "10"],
      ...["--socks5-hostname", `127.0.0.1:${socks.port}`],
      "http://peer.example/",
    ]);
    assert.equal(status, 97);
    assert.match(stderr, new RegExp(`\\(${reply}\\)`));
    await empty(socks);
  }
});

test("the npm socks client is served over SOCKS 4, 4a and 5", async () => {
  const dialled: TcpAddress[] = [];
  await using socks = await proxy(dialled);
  await using four = await echoServer();
  await using six = await echoServer({ host: "::1" });
  const cases: [type: 4 | 5, destination: TcpAddress][] = [
    [4, { host: "127.0.0.1", port: four.port }],
    [4, { host: "peer.example", port: four.port }],
    [5, { host: "127.0.0.1", port: four.port }],
    [5, { host: "peer.example", port: four.port }],
    [5, { host: "::1", port: six.port }],
  ];
  for (const [type, destination] of cases) {
    const { socket } = await SocksClient.createConnection(clientOptions(socks, type, destination));
    socket.write("hello");
    socket.resume();
    const [echoed] = await once(socket, "data");
    assert.equal(String(echoed), "hello");
    assert.deepEqual(dialled.pop(), destination);
    socket.destroy();
  }
  await empty(socks);
});

test("the npm socks client is told why its request was refused", async () => {
  await using socks = await socksServer((caller) => caller.refuse("forwarding-prohibited"));
  const to = { host: "peer.example", port: 80 };
  for (const [type, words] of [[4, /Failed/], [5, /NotAllowed/]] as const) {
    await assert.rejects(SocksClient.createConnection(clientOptions(socks, type, to)), words);
  }
  await empty(socks);
});

function clientOptions(
  server: Server,
  type: 4 | 5,
  destination: TcpAddress,
): SocksClientOptions {
  const proxy = { host: "127.0.0.1", port: server.port, type };
  return { proxy, command: "connect", destination: { ...destination } };
}

test("what is sent together with the request arrives once and in order, its end included", async () => {
  await using socks = await proxy();
  await using sink = await sinkServer();
  for (const [version, request] of Object.entries(REQUESTS)) {
    for (const bytes of [0, 1, 300_000]) {
      const data = Buffer.concat([...pattern(bytes)]);
      const answer = await ask(socks.port, Buffer.concat([request(sink.port), data]));
      const reply = Buffer.from(ANSWERS[version] as string, "hex");
      assert.deepEqual(answer.subarray(0, reply.length), reply);
      assert.deepEqual(parseReceipt(answer.subarray(reply.length)), digest(data));
    }
  }
  await empty(socks);
});

test("what is sent while the destination is dialled arrives once and in order", async () => {
  const dialling = Promise.withResolvers<void>();
  await using socks = await socksServer(async (caller, socket) => {
    const target = connect({ ...caller.destination, allowHalfOpen: true });
    await dialling.promise;
    caller.grant();
    await relay(socket, target);
  });
  await using sink = await sinkServer();
  const data = Buffer.concat([...pattern(2_000_000)]);
  const socket = await client(socks.port);
  const answer = readAll(socket);
  socket.write(REQUESTS["4"]?.(sink.port) as Buffer);
  socket.write(data.subarray(0, 10));
  await sleep(20);
  socket.write(data.subarray(10, 1_000_000));
  await sleep(20);
  socket.end(data.subarray(1_000_000));
  await sleep(20);
  dialling.resolve();
  assert.deepEqual(parseReceipt((await answer).subarray(8)), digest(data));
  await empty(socks);
});

test("each byte of a request may come alone", async () => {
  await using socks = await proxy();
  await using echo = await echoServer();
  for (const [version, request] of Object.entries(REQUESTS)) {
    const socket = await client(socks.port);
    socket.setNoDelay();
    const answer = readAll(socket);
    for (const byte of request(echo.port)) {
      socket.write(Buffer.of(byte));
      await sleep(1);
    }
    socket.end("hello");
    assert.equal((await answer).toString("latin1"), latin1(ANSWERS[version]) + "hello");
  }
  await empty(socks);
});

function latin1(hex = ""): string {
  return Buffer.from(hex, "hex").toString("latin1");
}

test("a client that resets while its destination is dialled is noticed", async () => {
  for (const pipelined of ["", "hello"]) {
    const noticed = Promise.withResolvers<void>();
    await using socks = await socksServer(async (_caller, socket) => {
      await closed(socket);
      noticed.resolve();
    });
    const socket = await client(socks.port);
    socket.write(Buffer.concat([REQUESTS["4"]?.(80) as Buffer, Buffer.from(pipelined)]));
    await waitFor(() => socks.outcomes.length === 1);
    socket.resetAndDestroy();
    await noticed.promise;
  }
});

test("a client that ends while its destination is dialled is noticed, and can still be served", async () => {
  await using echo = await echoServer();
  await using socks = await socksServer(async (caller, socket) => {
    await once(socket, "end");
    const target = connect({ ...caller.destination, allowHalfOpen: true });
    caller.grant();
    await relay(socket, target);
  });
  const answer = await ask(socks.port, REQUESTS["4"]?.(echo.port) as Buffer);
  assert.equal(answer.toString("hex"), ANSWERS["4"]);
  await empty(socks);
});

test("a greeting that trickles in is cut off in time", async () => {
  await using socks = await proxy([], { timeout: 200 });
  const socket = await client(socks.port);
  socket.on("error", () => {});
  const begun = performance.now();
  const end = closed(socket);
  socket.on("end", () => socket.destroy()).resume();
  socket.write(Buffer.of(4, 1, 0, 80, 1, 2, 3, 4));
  const trickle = setInterval(() => socket.write("u"), 10);
  await end;
  clearInterval(trickle);
  const taken = performance.now() - begun;
  assert.ok(taken > 150 && taken < 1_500, `${taken} ms`);
  const { code, message } = await failure(socks);
  assert.equal(code, "timeout");
  assert.equal(message, "the client did not complete its SOCKS request in 200 ms");
  await empty(socks);
});

test("an endless greeting is cut off by its size, and answered", async () => {
  await using socks = await proxy();
  const socket = await client(socks.port);
  const answer = readAll(socket);
  socket.write(Buffer.of(4, 1, 0, 80, 1, 2, 3, 4));
  const endless = setInterval(() => socket.write(Buffer.alloc(10_000, "u")), 1);
  assert.equal((await answer).toString("hex"), "005b000000000000");
  clearInterval(endless);
  socket.end();
  assert.match((await failure(socks)).message, /refused: the user id is too long$/);
  await empty(socks);
});

test("a refused client gets its answer, and its end is waited for, however much it has sent", async () => {
  const much = Buffer.alloc(1_000_000);
  await using early = await proxy();
  await using late = await socksServer(async (caller, socket) => {
    await sleep(20);
    await caller.refuse("name-not-found");
    assert.ok(socket.destroyed);
  });
  const cases: [Server, request: Buffer, answer: string][] = [
    [early, Buffer.concat([HELLO_5, Buffer.of(5, 2, 0, 1)]), "050005070001000000000000"],
    [late, REQUESTS["5"]?.(80) as Buffer, "050005040001000000000000"],
  ];
  for (const [socks, request, reply] of cases) {
    const begun = performance.now();
    const socket = await client(socks.port);
    const answer = readAll(socket);
    socket.end(Buffer.concat([request, much]));
    assert.equal((await answer).toString("hex"), reply);
    await closed(socket);
    await empty(socks);
    assert.ok(performance.now() - begun < 1_500);
  }
  assert.match((await failure(early)).message, /BIND is not supported/);
});

test("a refused client that does not hang up is hung up on", async () => {
  await using socks = await socksServer((caller) => caller.refuse("timeout"));
  const socket = await client(socks.port);
  const answer = readAll(socket);
  socket.write(REQUESTS["4"]?.(80) as Buffer);
  assert.equal((await answer).toString("hex"), "005b000000000000");
  assert.equal(socks.sockets.size, 1);
  await empty(socks);
  socket.destroy();
});

test("a client that leaves before its request is complete is told apart from one that is broken off", async () => {
  for (const sent of [Buffer.alloc(0), HELLO_5, Buffer.of(4, 1)]) {
    await using socks = await proxy();
    await ask(socks.port, sent);
    const { code, message } = await failure(socks);
    assert.equal(code, "protocol-error");
    assert.equal(message, "the client left before it made a SOCKS request");
    const socket = await client(socks.port);
    if (sent.length > 0) socket.write(sent);
    await sleep(20);
    socket.resetAndDestroy();
    assert.equal((await failure(socks, 1)).code, "connection-reset");
    await empty(socks);
  }
});

test("a client of another protocol is hung up on, with a hint for the log", async () => {
  await using socks = await proxy();
  assert.equal((await ask(socks.port, Buffer.from("GET / HTTP/1.1\r\n\r\n"))).length, 0);
  const { code, message, hint } = await failure(socks);
  assert.equal(code, "protocol-error");
  assert.equal(message, "the SOCKS client was refused: not SOCKS: looks like an HTTP request");
  assert.equal(hint, "set the program to use a SOCKS proxy, not an HTTP proxy");
});

test("a stream that is no socket is served as well", async () => {
  const [near, far] = duplexPair();
  near.write(Buffer.concat([REQUESTS["5"]?.(80) as Buffer, Buffer.from("hel")]));
  const caller = await acceptSocks(far);
  assert.deepEqual(caller.destination, { host: "x", port: 80 });
  caller.grant();
  far.pipe(far);
  near.end("lo");
  const chunks: Buffer[] = [];
  for await (const chunk of near) chunks.push(chunk);
  assert.equal(Buffer.concat(chunks).toString("latin1"), latin1(ANSWERS["5"]) + "hello");
});

test("a signal ends the handshake, and has no say after it", async () => {
  const before = new AbortController();
  before.abort();
  const during = new AbortController();
  for (const controller of [before, during]) {
    await using socks = await proxy([], { signal: controller.signal });
    const socket = await client(socks.port);
    socket.on("error", () => {});
    socket.resume();
    if (controller === during) {
      await waitFor(() => socks.sockets.size === 1);
      controller.abort();
    }
    assert.equal((await failure(socks)).code, "cancelled");
    await empty(socks);
    socket.destroy();
  }
  const after = new AbortController();
  await using echo = await echoServer();
  await using socks = await proxy([], { signal: after.signal });
  const socket = await client(socks.port);
  const answer = readAll(socket);
  socket.write(REQUESTS["4"]?.(echo.port) as Buffer);
  await waitFor(() => socks.outcomes.length === 1);
  after.abort();
  socket.end("hello");
  assert.equal((await answer).toString("latin1"), latin1(ANSWERS["4"]) + "hello");
});

test("an answer to a client that is gone is dropped", async () => {
  const done = Promise.withResolvers<void>();
  await using socks = await socksServer(async (caller, socket) => {
    await closed(socket);
    caller.grant();
    await caller.refuse("timeout");
    done.resolve();
  });
  const socket = await client(socks.port);
  socket.write(REQUESTS["4"]?.(80) as Buffer);
  await waitFor(() => socks.outcomes.length === 1);
  socket.resetAndDestroy();
  await done.promise;
});

test("a stream that is closed already makes no caller", async () => {
  const [local] = [connect({ port: 1, host: "127.0.0.1" })];
  await once(local, "error");
  await assert.rejects(acceptSocks(local), { code: "connection-reset" });
});

test("1,000 connections of garbage leave nothing behind, and a proper client is served after them", async () => {
  await using echo = await echoServer();
  await using socks = await socksServer((caller, socket) =>
    // Garbage may name any port.
    caller.destination.port === echo.port
      ? carry(caller, socket)
      : caller.refuse("forwarding-prohibited")
  );
  using timers = countTimers();
  const noise = Buffer.concat([...pattern(100_000)]);
  const garbage = async (index: number) => {
    const socket = connect({ port: socks.port, host: "127.0.0.1" });
    const over = closed(socket);
    socket.on("error", () => {});
    socket.resume();
    await once(socket, "connect");
    // A third speaks no SOCKS at all, a third SOCKS4, a third SOCKS5.
    const start = [[], [4, 1, 0, 80], [5, 1, 0, 5, 1, 0, 3]][index % 3] as number[];
    socket.write(Buffer.of(...start, ...noise.subarray(index * 99, index * 99 + index % 99)));
    // Most hang up, some are reset, the others send on until they are hung up on.
    if (index % 5 < 2) socket.end();
    else if (index % 5 === 2) sleep(5).then(() => socket.resetAndDestroy());
    else socket.write(Buffer.alloc(600, 1));
    await over;
  };
  for (let index = 0; index < 1_000; index += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, offset) => garbage(index + offset)));
  }
  for (const [version, request] of Object.entries(REQUESTS)) {
    const answer = await ask(socks.port, Buffer.concat([request(echo.port), Buffer.from("hi")]));
    assert.equal(answer.toString("latin1"), latin1(ANSWERS[version]) + "hi");
  }
  await empty(socks);
  await waitFor(() => socks.outcomes.length >= 1_003);
  assert.equal(socks.outcomes.length, 1_003);
  assert.equal(timers.pending, 0);
});
