import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import fc from "fast-check";
import type { ErrorCode } from "../lib/errors.ts";
import {
  grantReply,
  MAX_PENDING,
  refuseReply,
  type SocksEvent,
  SocksServer,
  type SocksVersion,
} from "../lib/forward/socks.ts";

type Part = string | number[];

/** Text as it is, numbers as bytes. */
function bytes(...parts: Part[]): Buffer {
  return Buffer.concat(parts.map((part) => Buffer.from(part as string)));
}

const port = (number: number) => [number >> 8, number & 0xff];
const times = (count: number, value: number) => Array<number>(count).fill(value);
const text = (name: string): Part[] => [[Buffer.byteLength(name)], name];

const V4 = (address: number[], portNumber = 80, user = "") =>
  bytes([4, 1], port(portNumber), address, user, [0]);
const V4A = (name: string, portNumber = 80, user = "") =>
  bytes([4, 1], port(portNumber), [0, 0, 0, 1], user, [0], name, [0]);
const HELLO = [5, 1, 0];
const V5 = (type: number, address: Part[], portNumber = 80) =>
  bytes(HELLO, [5, 1, 0, type], ...address, port(portNumber));

const LONG = `${"n".repeat(251)}.com`;
const DOCUMENTATION = [0x20, 0x01, 0x0d, 0xb8];

/** What a client sends, and where it wants to be connected to. */
const VALID: [sent: Buffer, version: SocksVersion, host: string, port: number][] = [
  [V4([192, 0, 2, 7]), 4, "192.0.2.7", 80],
  [V4([192, 0, 2, 7], 65535, "me"), 4, "192.0.2.7", 65535],
  [V4([192, 0, 2, 7], 1, "u".repeat(255)), 4, "192.0.2.7", 1],
  [V4([0, 0, 0, 0]), 4, "0.0.0.0", 80],
  [V4([0, 0, 1, 1]), 4, "0.0.1.1", 80],
  [V4A("db.internal", 5432), 4, "db.internal", 5432],
  [V4A("db.internal", 5432, "me"), 4, "db.internal", 5432],
  [V4A(LONG, 80, "u".repeat(255)), 4, LONG, 80],
  [bytes([4, 1, 0, 80, 0, 0, 0, 255, 0], "x", [0]), 4, "x", 80],
  [V5(1, [[192, 0, 2, 7]]), 5, "192.0.2.7", 80],
  [V5(3, text("db.internal"), 5432), 5, "db.internal", 5432],
  [V5(3, text("DB.Internal."), 5432), 5, "DB.Internal.", 5432],
  [V5(3, text(LONG)), 5, LONG, 80],
  [V5(3, text("bücher.example")), 5, "bücher.example", 80],
  [V5(3, text("under_score")), 5, "under_score", 80],
  [V5(3, text("192.0.2.7")), 5, "192.0.2.7", 80],
  [V5(3, text("2001:DB8::0:1")), 5, "2001:DB8::0:1", 80],
  [V5(4, [DOCUMENTATION, times(11, 0), [5]], 443), 5, "2001:db8::5", 443],
  [bytes([5, 3, 2, 1, 0], [5, 1, 0, 3], ...text("x"), port(80)), 5, "x", 80],
  [bytes([5, 255], times(255, 0), [5, 1, 0, 3], ...text("x"), port(80)), 5, "x", 80],
];

const NO_METHOD = bytes([5, 0xff]);
const NO_4 = bytes([0, 91], times(6, 0));
const no5 = (code: number) => bytes([5, code, 0, 1], times(6, 0));

/** What a client sends, what it is answered, and why. */
const REFUSED: [sent: Buffer, answer: Buffer, reason: RegExp][] = [
  [bytes([4, 2, 0, 80, 192, 0, 2, 7, 0]), NO_4, /^BIND is not supported, only CONNECT is$/],
  [bytes([4, 9, 0, 80, 192, 0, 2, 7, 0]), NO_4, /^command 9 is not supported/],
  [V4([192, 0, 2, 7], 0), NO_4, /^port 0 /],
  [V4([192, 0, 2, 7], 80, "u".repeat(256)), NO_4, /^the user id is too long$/],
  [V4A("n".repeat(256)), NO_4, /^the name is too long$/],
  [V4A(""), NO_4, /^the name is not a host name$/],
  [V4A("a b"), NO_4, /^the name is not a host name$/],
  [bytes([5, 0]), NO_METHOD, /^the client insists on authentication/],
  [bytes([5, 2, 1, 2]), NO_METHOD, /^the client insists on authentication/],
  [bytes(HELLO, [1, 2], "me", [2], "pw"), no5(1), /^what follows the greeting is no request$/],
  [bytes(HELLO, [5, 1, 1, 1]), no5(1), /^what follows the greeting is no request$/],
  [bytes(HELLO, [5, 2, 0, 1]), no5(7), /^BIND is not supported/],
  [bytes(HELLO, [5, 3, 0, 1]), no5(7), /^UDP ASSOCIATE is not supported/],
  [bytes(HELLO, [5, 0xf0, 0, 3]), no5(7), /^command 240 is not supported/],
  [bytes(HELLO, [5, 1, 0, 2]), no5(8), /^address type 2 is unknown$/],
  [bytes(HELLO, [5, 1, 0, 0]), no5(8), /^address type 0 is unknown$/],
  [V5(1, [[192, 0, 2, 7]], 0), no5(1), /^port 0 /],
  [V5(3, [[0]]), no5(1), /^the name is not a host name$/],
  ...[
    "a b",
    "a\0b",
    "a\nb",
    "a\x1b[1mb",
    "a\x7fb",
    "a\u0085b",
    "a\u00a0b",
    "\ufeffa",
    "a/b",
    "/tmp/socket",
    "[::1]",
    "-oProxyCommand",
    "x:80",
    "a@b",
    "*",
    "'",
  ].map((name): [Buffer, Buffer, RegExp] => [V5(3, text(name)), no5(1), /is not a host name$/]),
  [V5(3, [[3], [0x61, 0xff, 0x62]]), no5(1), /^the name is not a host name$/],
  [V5(3, [[2], [0xc0, 0xaf]]), no5(1), /^the name is not a host name$/],
  [bytes("GET / HTTP/1.1\r\n\r\n"), bytes(), /^not SOCKS: looks like an HTTP request$/],
  [bytes("CONNECT web:443 HTTP/1.1\r\n\r\n"), bytes(), /looks like an HTTP request$/],
  [bytes([0x16, 3, 1, 2, 0, 1]), bytes(), /^not SOCKS: looks like TLS$/],
  [bytes("SSH-2.0-x\r\n"), bytes(), /^not SOCKS: begins with 0x53$/],
  [bytes([0]), bytes(), /^not SOCKS: begins with 0x00$/],
];

/** Feeds a server, and asserts what holds whatever is fed. */
function feed(chunks: Iterable<Uint8Array>): SocksEvent[] {
  const server = new SocksServer();
  const events: SocksEvent[] = [];
  for (const chunk of chunks) {
    const before = server.over;
    const more = server.push(chunk);
    if (before) assert.deepEqual(more, []);
    events.push(...more);
    const terminal = events.findIndex(({ kind }) => kind !== "reply");
    assert.ok(terminal === -1 || terminal === events.length - 1);
    assert.ok(events.length <= 2);
    assert.equal(server.over, terminal !== -1);
    assert.ok(server.pending <= (server.over ? 0 : MAX_PENDING));
  }
  return events;
}

/** The events without what came after the request: that depends on the last chunk. */
function essence(events: SocksEvent[]): unknown[] {
  return events.map((event) => event.kind === "request" ? { ...event, rest: undefined } : event);
}

/** The pieces between these places. */
function cut(whole: Buffer, places: readonly number[]): Buffer[] {
  const edges = [0, ...places.map((place) => place % (whole.length + 1)), whole.length]
    .sort((one, other) => one - other);
  return edges.slice(1).map((edge, index) => whole.subarray(edges[index], edge));
}

const everyByte = (whole: Buffer) => cut(whole, [...whole.keys()]);

test("a request of each version and address type is understood", () => {
  for (const [sent, version, host, port] of VALID) {
    const request = {
      kind: "request",
      version,
      destination: { host, port },
      rest: Buffer.alloc(0),
    };
    const greeted = { kind: "reply", bytes: Buffer.of(5, 0) };
    assert.deepEqual(feed([sent]), version === 4 ? [request] : [greeted, request]);
  }
});

test("a client that waits for the choice of method gets it before its request", () => {
  const server = new SocksServer();
  assert.deepEqual(server.push(bytes([5, 2, 0, 2])), [{ kind: "reply", bytes: bytes([5, 0]) }]);
  assert.deepEqual(server.push(bytes([5, 1, 0, 3, 1], "x", port(80))), [
    { kind: "request", version: 5, destination: { host: "x", port: 80 }, rest: bytes() },
  ]);
});

test("what cannot be served is refused with the answer that fits", () => {
  for (const [sent, answer, reason] of REFUSED) {
    const events = feed([sent]);
    const refusal = events.at(-1);
    assert.ok(refusal?.kind === "refused", sent.toString("latin1"));
    assert.match(refusal.reason, reason);
    assert.deepEqual(refusal.bytes, answer);
  }
});

test("a client of another protocol is told apart by its first byte, with a hint", () => {
  const [http] = feed([bytes("G")]);
  assert.ok(http?.kind === "refused");
  assert.equal(http.hint, "set the program to use a SOCKS proxy, not an HTTP proxy");
  const [tls] = feed([bytes([0x16])]);
  assert.ok(tls?.kind === "refused" && tls.hint?.startsWith("this is the port of a SOCKS proxy"));
});

test("each byte sent alone, and every split in two, gives the same events", () => {
  for (const [sent] of [...VALID, ...REFUSED]) {
    const whole = feed([sent]);
    assert.deepEqual(feed(everyByte(sent)), whole);
    for (let place = 0; place <= sent.length; place++) {
      assert.deepEqual(essence(feed(cut(sent, [place]))), essence(whole));
    }
  }
});

test("a valid request is complete with its last byte, and not before", () => {
  for (const [sent] of VALID) {
    const events = feed([sent.subarray(0, -1)]);
    assert.ok(events.every(({ kind }) => kind === "reply"));
  }
});

test("what comes after the request is handed on, and nothing of it is interpreted", () => {
  const rest = bytes([5, 1, 0], "GET / HTTP/1.1\r\n\r\n", [0, 255]);
  for (const [sent] of VALID) {
    for (const place of [0, 1, sent.length - 1]) {
      const request = feed(cut(Buffer.concat([sent, rest]), [place])).at(-1);
      assert.ok(request?.kind === "request");
      assert.deepEqual(request.rest, rest);
    }
  }
});

test("IPv6 addresses have their canonical text", () => {
  const groups = (...list: number[]) => Buffer.from(list.flatMap(port));
  const cases: [Buffer, string][] = [
    [groups(0, 0, 0, 0, 0, 0, 0, 0), "::"],
    [groups(0, 0, 0, 0, 0, 0, 0, 1), "::1"],
    [groups(1, 0, 0, 0, 0, 0, 0, 0), "1::"],
    [groups(0xfe80, 0, 0, 0, 0x10, 0, 0, 0), "fe80::10:0:0:0"],
    [groups(0x2001, 0xdb8, 0, 0, 1, 0, 0, 1), "2001:db8::1:0:0:1"],
    [groups(0x2001, 0xdb8, 0, 1, 1, 1, 1, 1), "2001:db8:0:1:1:1:1:1"],
    [groups(0x100, 0x10, 0, 0, 0x20, 0, 0, 0x30), "100:10::20:0:0:30"],
    [groups(0, 0, 1, 0, 0, 0, 1, 0), "0:0:1::1:0"],
    [groups(0, 0, 0, 0, 0, 0xffff, 0xc000, 0x207), "::ffff:192.0.2.7"],
  ];
  const hostOf = (address: Buffer) => {
    const event = feed([V5(4, [[...address]])]).at(-1);
    return event?.kind === "request" ? event.destination.host : undefined;
  };
  for (const [address, canonical] of cases) assert.equal(hostOf(address), canonical);
  // A URL has the same form for all but mapped addresses.
  const group = fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.nat(0xffff));
  const address = fc.array(group, { minLength: 8, maxLength: 8 });
  fc.assert(fc.property(address, (list) => {
    fc.pre(!/^0,0,0,0,0,65535,/.test(list.join()));
    const { hostname } = new URL(`http://[${list.map((part) => part.toString(16)).join(":")}]`);
    assert.equal(`[${hostOf(groups(...list))}]`, hostname);
  }));
});

test("the answer to a request says what happened, in the words of its version", () => {
  assert.deepEqual(grantReply(4), bytes([0, 90], times(6, 0)));
  assert.deepEqual(grantReply(5), bytes([5, 0, 0, 1], times(6, 0)));
  const codes: [ErrorCode, number][] = [
    ["forwarding-prohibited", 2],
    ["unreachable", 4],
    ["name-not-found", 4],
    ["connect-refused", 5],
    ["timeout", 6],
    ["connect-failed", 1],
    ["connection-lost", 1],
    ["resource-shortage", 1],
    ["cancelled", 1],
  ];
  for (const [code, reply] of codes) {
    assert.deepEqual(refuseReply(5, code), no5(reply));
    assert.deepEqual(refuseReply(4, code), NO_4);
  }
});

test("an endless greeting is refused as soon as it is too long", () => {
  const endless: [start: Buffer, most: number][] = [
    [bytes([4, 1, 0, 80, 1, 2, 3, 4]), 8 + 256],
    [bytes([4, 1, 0, 80, 0, 0, 0, 1, 0]), 9 + 256],
    [bytes([4, 1, 0, 80, 0, 0, 0, 1], "u".repeat(255), [0]), 8 + 256 + 256],
  ];
  for (const [start, most] of endless) {
    const server = new SocksServer();
    assert.deepEqual(server.push(start), []);
    let sent = start.length;
    while (!server.over) {
      server.push(bytes("a"));
      sent++;
      assert.ok(sent <= most && server.pending <= MAX_PENDING);
    }
    assert.equal(sent, most);
  }
});

const places = fc.array(fc.nat(600), { maxLength: 8 });
const seeds = [...VALID, ...REFUSED].map(([sent]) => sent);
const mutation = fc.record({
  kind: fc.constantFrom("replace", "insert", "delete", "repeat", "truncate"),
  place: fc.nat(600),
  value: fc.oneof(fc.constantFrom(0, 1, 3, 4, 5, 0xff), fc.nat(255)),
});

/** Whatever the bytes and the chunks are, one outcome; a request has a destination that is one. */
function assertSound(input: Buffer, chunks: Buffer[]): void {
  const whole = feed([input]);
  const pieces = feed(chunks);
  assert.deepEqual(essence(pieces), essence(whole));
  const last = whole.at(-1);
  if (last?.kind === "refused") {
    assert.ok([0, 2, 8, 10].includes(last.bytes.length));
  } else if (last?.kind === "request") {
    const { host, port } = last.destination;
    assert.match(host, /^[^\s\p{Cc}/]{1,255}$/u);
    assert.ok(port >= 1 && port <= 65535);
    assert.deepEqual(last.rest, input.subarray(input.length - last.rest.length));
  }
}

test("10,000 random inputs, in random chunks, each have one outcome", () => {
  const random = fc.oneof(
    fc.uint8Array({ maxLength: 700 }),
    fc.uint8Array({ maxLength: 40 }),
    fc.tuple(fc.constantFrom([4], [4, 1], HELLO, [...HELLO, 5, 1, 0]), fc.uint8Array())
      .map(([start, rest]) => Uint8Array.of(...start, ...rest)),
  );
  fc.assert(
    fc.property(random, places, (input, places) => {
      const whole = Buffer.from(input);
      assertSound(whole, cut(whole, places));
    }),
    { numRuns: 10_000 },
  );
});

test("10,000 mutations of greetings, in random chunks, each have one outcome", () => {
  const mutations = fc.array(mutation, { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(fc.constantFrom(...seeds), mutations, places, (seed, mutations, places) => {
      const mutated = [...seed];
      for (const { kind, place: far, value } of mutations) {
        const place = far % (mutated.length + 1);
        if (kind === "replace") mutated[place] = value;
        else if (kind === "insert") mutated.splice(place, 0, value);
        else if (kind === "delete") mutated.splice(place, 1);
        else if (kind === "repeat") mutated.push(...mutated.slice(place));
        else mutated.length = place;
      }
      const whole = Buffer.from(mutated);
      assertSound(whole, cut(whole, places));
    }),
    { numRuns: 10_000 },
  );
});
