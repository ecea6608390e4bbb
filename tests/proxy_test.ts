/** Proxies: their URLs, the environment's, and what each refusal is called. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import process from "node:process";
import { test } from "node:test";
import { readProxyOption } from "../lib/cli/proxy_option.ts";
import { parseProxy, proxyFromEnvironment } from "../lib/ssh/proxy.ts";
import { connect, type ConnectOptions, FairleadError } from "../mod.ts";
import { answering, type TestProxy } from "./support/proxies.ts";
import { silentPort } from "./support/silent.ts";
import { refusingPort } from "./support/tcp.ts";

const SECRET = "hunter2 and more";
const CREDENTIALS = `me:${encodeURIComponent(SECRET)}@`;

test("a proxy's URL is read with its kind, its port and its credentials", () => {
  const none = { username: "", password: "" };
  assert.deepEqual(parseProxy("socks5://proxy.example.com"), {
    kind: "socks5",
    host: "proxy.example.com",
    port: 1080,
    ...none,
  });
  assert.deepEqual(parseProxy("socks5h://[2001:db8::1]:1081/"), {
    kind: "socks5",
    host: "2001:db8::1",
    port: 1081,
    ...none,
  });
  assert.deepEqual(parseProxy("http://me:a%3Ab%40c@proxy.example.com:3128"), {
    kind: "http",
    host: "proxy.example.com",
    port: 3128,
    username: "me",
    password: "a:b@c",
  });
  assert.equal(parseProxy("http://proxy.example.com").port, 80);
});

test("what is no proxy's URL is refused, without showing what was given", () => {
  const wrong: [string, RegExp][] = [
    ["", /expected socks5:/],
    [`proxy.example.com:1080:${SECRET}`, /expected socks5:/],
    [`ftp://${CREDENTIALS}proxy.example.com`, /expected socks5:/],
    [`socks5://${CREDENTIALS}`, /expected socks5:/],
    [`https://${CREDENTIALS}proxy.example.com`, /TLS to the proxy/],
    [`http://${CREDENTIALS}proxy.example.com/path`, /nothing after/],
    [`socks5://${CREDENTIALS}proxy.example.com:0`, /port/],
    [`socks5://me:${SECRET}%@proxy.example.com`, /%25/],
  ];
  for (const [text, message] of wrong) {
    assert.throws(() => parseProxy(text), (error: Error) => {
      assert.equal(error.name, "SyntaxError");
      assert.match(error.message, message);
      assert.ok(!error.message.includes("hunter2"), error.message);
      return true;
    });
  }
});

test("the environment names a proxy, and hosts to reach without it", () => {
  const all = { ALL_PROXY: "socks5://proxy:1" };
  const of = (host: string, except?: string) =>
    proxyFromEnvironment(host, except === undefined ? all : { ...all, no_proxy: except });
  assert.equal(proxyFromEnvironment("a.example.com", {}), undefined);
  assert.equal(proxyFromEnvironment("a.example.com", { ALL_PROXY: "" }), undefined);
  assert.equal(of("a.example.com"), "socks5://proxy:1");
  assert.equal(
    proxyFromEnvironment("a.example.com", { ...all, all_proxy: "http://other:2" }),
    "http://other:2",
    "the lower-case name is the better known one",
  );
  for (const except of ["*", "example.com", ".example.com", "x, A.Example.COM", "a.example.com."]) {
    assert.equal(of("a.example.com", except), undefined, except);
  }
  for (const except of ["", "b.example.com", "ample.com", "example", "a.example.com.org"]) {
    assert.equal(of("a.example.com", except), "socks5://proxy:1", except);
  }
  assert.equal(of("192.0.2.7", "192.0.2.7"), undefined);
  assert.equal(of("192.0.2.7", "2.7"), "socks5://proxy:1", "an address has no parent");
  assert.equal(of("2001:db8::1", "[2001:db8::1]"), undefined);
});

test("--proxy takes a URL, the environment's, or a variable's; a password only from there", () => {
  const name = "FAIRLEAD_TEST_PROXY";
  const url = `socks5://${CREDENTIALS}proxy.example.com`;
  assert.equal(readProxyOption("socks5://me@proxy:1080"), "socks5://me@proxy:1080");
  assert.equal(readProxyOption("env"), "env");
  assert.throws(() => readProxyOption(`env:${name}`), {
    code: "usage",
    message: `--proxy env:${name}: the variable ${name} is not set`,
  });
  process.env[name] = url;
  try {
    assert.equal(readProxyOption(`env:${name}`), url);
    process.env[name] = `ftp://${CREDENTIALS}proxy`;
    assert.throws(() => readProxyOption(`env:${name}`), (error: Error) => {
      assert.ok(!error.message.includes("hunter2"), error.message);
      return error.message.startsWith(`--proxy env:${name}: expected socks5://`);
    });
  } finally {
    delete process.env[name];
  }
  assert.throws(() => readProxyOption(url), {
    code: "usage",
    message: "--proxy: a password on the command line is for all to see",
    hint: "put the URL into a variable, and give --proxy env:NAME",
  });
});

/** What connecting through a proxy fails with; the password is nowhere in it. */
async function failure(proxy: string, more: Partial<ConnectOptions> = {}): Promise<FairleadError> {
  try {
    const options = { host: "inner.example.com", hostKeys: `SHA256:${"A".repeat(43)}` };
    await (await connect({ ...options, agent: "none", privateKeys: [], proxy, ...more })).close();
  } catch (error) {
    assert.ok(error instanceof FairleadError, String(error));
    for (let one: unknown = error; one instanceof Error; one = one.cause) {
      const all = `${one.message} ${one.stack} ${JSON.stringify(one)}`;
      assert.ok(!all.includes("hunter2"), all);
    }
    return error;
  }
  throw new Error("it connected");
}

const url = (kind: string, { host, port }: TestProxy, credentials = "") =>
  `${kind}://${credentials}${host}:${port}`;

const bytes = (...all: number[]) => Uint8Array.from(all);

test("each refusal of a SOCKS proxy says what, in words, and that it was the proxy", async () => {
  const replies: [number, string, RegExp][] = [
    [1, "connect-failed", /general failure/],
    [2, "forwarding-prohibited", /does not allow a connection to inner\.example\.com:22/],
    [3, "unreachable", /network unreachable/],
    [4, "unreachable", /host unreachable/],
    [5, "connect-refused", /inner\.example\.com:22: connection refused/],
    [6, "timeout", /time to live/],
    [7, "not-supported", /does not do CONNECT/],
    [8, "not-supported", /address type/],
    [99, "connect-failed", /SOCKS reply 99/],
  ];
  for (const [reply, code, message] of replies) {
    await using proxy = await answering(bytes(5, 0), bytes(5, reply, 0, 1, 0, 0, 0, 0, 0, 0));
    const error = await failure(url("socks5", proxy));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    assert.ok(error.message.startsWith(`the proxy socks5://127.0.0.1:${proxy.port} `));
    assert.notEqual(error.hint, undefined);
  }
});

test("a SOCKS proxy's word on credentials is told apart", async () => {
  const cases: [TestProxy, string, RegExp][] = [
    [await answering(bytes(5, 0xff)), "", /wants a user name and a password/],
    [await answering(bytes(5, 0xff)), CREDENTIALS, /accepts no user name and password/],
    [await answering(bytes(5, 2), bytes(1, 1)), CREDENTIALS, /refused the user name and the pass/],
  ];
  for (const [proxy, credentials, message] of cases) {
    const error = await failure(url("socks5h", proxy, credentials));
    assert.equal(error.code, "auth-failed");
    assert.match(error.message, message);
    await proxy.stop();
  }
});

test("a host name goes to the SOCKS proxy as it is, and so does an IPv6 address", async () => {
  const requests: Buffer[] = [];
  for (const host of ["inner.example.com", "192.0.2.7", "2001:db8::1:7", "::ffff:192.0.2.1"]) {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => {
        socket.write(bytes(5, 0));
        socket.once("data", (chunk: Buffer) => {
          requests.push(chunk);
          socket.end(bytes(5, 1));
        });
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    await failure(`socks5://127.0.0.1:${port}`, { host, port: 2022 });
    server.close();
  }
  assert.deepEqual(requests.map((request) => request.toString("hex")), [
    `05010003${(17).toString(16)}${Buffer.from("inner.example.com").toString("hex")}07e6`,
    "05010001c000020707e6",
    "0501000420010db800000000000000000001000707e6",
    "0501000400000000000000000000ffffc000020107e6",
  ]);
});

test("each refusal of an HTTP proxy says what, in words, and that it was the proxy", async () => {
  const answers: [string, string, RegExp][] = [
    ["403 Forbidden", "forwarding-prohibited", /does not allow inner\.example\.com:22 \(HTTP 403/],
    ["405 Not Allowed", "not-supported", /does not do CONNECT/],
    ["502 Bad Gateway", "connect-failed", /could not connect to .*\(HTTP 502 Bad Gateway\)/],
    ["504 Gateway Timeout", "timeout", /got no answer from/],
    ["500 \x1b[2JOh", "connect-failed", /refused to connect to .*\(HTTP 500 \[2JOh\)/],
    ["407 Who are you", "auth-failed", /wants a user name and a password \(HTTP 407/],
  ];
  for (const [answer, code, message] of answers) {
    await using proxy = await answering(`HTTP/1.0 ${answer}\r\nX: y\r\n\r\n<html>`);
    const error = await failure(url("http", proxy));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    assert.ok(error.message.startsWith(`the proxy http://127.0.0.1:${proxy.port} `));
  }
  await using proxy = await answering("HTTP/1.1 407 No\r\n\r\n");
  const error = await failure(url("http", proxy, CREDENTIALS));
  assert.match(error.message, /refused the user name and the password/);
});

test("a proxy of another kind is told as such", async () => {
  const kinds: [string, string, RegExp][] = [
    ["socks5", "HTTP/1.1 400 Bad Request\r\n\r\n", /does not speak SOCKS5/],
    ["http", "SSH-2.0-OpenSSH\r\n", /does not speak HTTP/],
  ];
  for (const [kind, answer, message] of kinds) {
    await using proxy = await answering(answer);
    const error = await failure(url(kind, proxy));
    assert.equal(error.code, "protocol-error");
    assert.match(error.message, message);
    assert.match(error.hint ?? "", /proxy's URL/);
  }
});

test("a proxy that hangs up, says nothing, or never ends what it says is given up", async () => {
  for (const kind of ["socks5", "http"]) {
    await using gone = await answering();
    assert.match((await failure(url(kind, gone))).message, /hung up instead of answering/);

    await using silent = await answering("");
    const begun = performance.now();
    const late = await failure(url(kind, silent), { connectTimeout: 300 });
    assert.equal(late.code, "timeout");
    assert.match(late.message, /^the proxy \S+ did not answer within 0\.3 s$/);
    assert.ok(performance.now() - begun < 2_000);
  }
  await using endless = await answering(`HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(4_000)}`);
  assert.match((await failure(url("http", endless))).message, /answers without an end/);
});

test("a proxy that says yes and hangs up then is named with the server", async () => {
  await using proxy = await answering(bytes(5, 0), bytes(5, 0, 0, 1, 0, 0, 0, 0, 0, 0));
  const error = await failure(url("socks5", proxy));
  assert.equal(error.code, "connection-lost");
  const named = `the proxy socks5://127.0.0.1:${proxy.port}`;
  assert.equal(
    error.message,
    `inner.example.com:22 hung up before the SSH handshake (through ${named})`,
  );
  assert.ok(error.hint?.startsWith(`${named} may not reach it; `), error.hint);
});

test("a proxy that cannot be connected to is told from the server", async () => {
  const none = await refusingPort();
  const refused = await failure(`socks5://127.0.0.1:${none.port}`);
  assert.equal(refused.code, "connect-refused");
  assert.equal(refused.message, `the proxy: 127.0.0.1:${none.port} refused the connection`);

  await using silent = await silentPort();
  const late = await failure(`http://${silent.host}:${silent.port}`, { connectTimeout: 400 });
  assert.equal(late.code, "timeout");
  assert.match(late.message, /^the proxy: 127\.0\.0\.2:\d+ did not answer within 0\.4 s$/);
});

test("a host name cannot smuggle a header to the proxy", async () => {
  await using proxy = await answering("HTTP/1.1 200 OK\r\n\r\n");
  const host = "a.example.com:22 HTTP/1.1\r\nX-Other: yes\r\n";
  const error = await failure(url("http", proxy), { host });
  assert.equal(error.code, "name-not-found");
  assert.deepEqual(proxy.requests, []);
});

test("a malformed proxy is the programmer's mistake, and its password is not shown", async () => {
  await assert.rejects(connect({ host: "a.example.com", proxy: `ftp://${CREDENTIALS}b` }), {
    name: "TypeError",
    message: "proxy: expected socks5://host:port or http://host:port",
  });
});

test("an abort gives up the proxy's answer", async () => {
  await using silent = await answering("");
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 100);
  const begun = performance.now();
  const error = await failure(url("socks5", silent), { signal: stop.signal });
  assert.equal(error.code, "cancelled");
  assert.ok(performance.now() - begun < 1_000);
});
