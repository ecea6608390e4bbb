import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatAddress } from "../lib/dialer.ts";
import {
  type DynamicForwardSpec,
  formatForward,
  formatListen,
  type ForwardSpec,
  type LocalForwardSpec,
  parseDestination,
  parseDynamicForward,
  parseLocalForward,
  parseRemoteForward,
  type RemoteForwardSpec,
} from "../lib/forward/spec.ts";

/** Each with what it means and how it is printed. */
const GOOD: [text: string, spec: LocalForwardSpec, printed?: string][] = [
  [
    "1100:mail.example.com:110",
    { listen: { port: 1100 }, destination: { host: "mail.example.com", port: 110 } },
  ],
  [
    "localhost:1100:mail:110",
    { listen: { bind: "localhost", port: 1100 }, destination: { host: "mail", port: 110 } },
  ],
  [
    "192.0.2.7:80:10.0.0.1:65535",
    { listen: { bind: "192.0.2.7", port: 80 }, destination: { host: "10.0.0.1", port: 65535 } },
  ],
  ["*:80:web:8080", { listen: { bind: "*", port: 80 }, destination: { host: "web", port: 8080 } }],
  [
    ":80:web:8080",
    { listen: { bind: "*", port: 80 }, destination: { host: "web", port: 8080 } },
    "*:80:web:8080",
  ],
  ["[::1]:80:web:8080", {
    listen: { bind: "::1", port: 80 },
    destination: { host: "web", port: 8080 },
  }],
  ["[::]:80:web:8080", {
    listen: { bind: "::", port: 80 },
    destination: { host: "web", port: 8080 },
  }],
  ["80:[2001:db8::5]:443", {
    listen: { port: 80 },
    destination: { host: "2001:db8::5", port: 443 },
  }],
  [
    "[::1]:80:[2001:db8::5]:443",
    { listen: { bind: "::1", port: 80 }, destination: { host: "2001:db8::5", port: 443 } },
  ],
  [
    "[fe80::1%eth0]:80:[::ffff:192.0.2.1]:443",
    {
      listen: { bind: "fe80::1%eth0", port: 80 },
      destination: { host: "::ffff:192.0.2.1", port: 443 },
    },
  ],
  [
    "[localhost]:80:[web]:443",
    { listen: { bind: "localhost", port: 80 }, destination: { host: "web", port: 443 } },
    "localhost:80:web:443",
  ],
  ["0:web:80", { listen: { port: 0 }, destination: { host: "web", port: 80 } }],
  ["[::1]:0:web:80", { listen: { bind: "::1", port: 0 }, destination: { host: "web", port: 80 } }],
  [
    "00080:web:00443",
    { listen: { port: 80 }, destination: { host: "web", port: 443 } },
    "80:web:443",
  ],
  ["65535:under_score:1", {
    listen: { port: 65535 },
    destination: { host: "under_score", port: 1 },
  }],
  ["80:bücher.example.:80", {
    listen: { port: 80 },
    destination: { host: "bücher.example.", port: 80 },
  }],
  [`80:${"a".repeat(255)}:80`, {
    listen: { port: 80 },
    destination: { host: "a".repeat(255), port: 80 },
  }],
  [
    "db=0:db.internal:5432",
    { name: "db", listen: { port: 0 }, destination: { host: "db.internal", port: 5432 } },
  ],
  [
    "Db-2_x=*:0:[::1]:5432",
    { name: "Db-2_x", listen: { bind: "*", port: 0 }, destination: { host: "::1", port: 5432 } },
  ],
  [
    "db=:0:db:5432",
    { name: "db", listen: { bind: "*", port: 0 }, destination: { host: "db", port: 5432 } },
    "db=*:0:db:5432",
  ],
  ["80:/run/x.sock", { listen: { port: 80 }, destination: { path: "/run/x.sock" } }],
  [
    "[::1]:80:/run/x.sock",
    { listen: { bind: "::1", port: 80 }, destination: { path: "/run/x.sock" } },
  ],
  [
    "/run/x.sock:host:80",
    { listen: { path: "/run/x.sock" }, destination: { host: "host", port: 80 } },
  ],
  ["/run/x:/run/y", { listen: { path: "/run/x" }, destination: { path: "/run/y" } }],
  ["./x:./y", { listen: { path: "./x" }, destination: { path: "./y" } }],
  [
    "db=[::1]:0:db:5432",
    { name: "db", listen: { bind: "::1", port: 0 }, destination: { host: "db", port: 5432 } },
  ],
];

/** A slash makes a Unix socket of it, on either side. */
const GOOD_UNIX: [text: string, spec: LocalForwardSpec][] = [
  [
    "/run/a.sock:db:5432",
    { listen: { path: "/run/a.sock" }, destination: { host: "db", port: 5432 } },
  ],
  ["80:/run/b.sock", { listen: { port: 80 }, destination: { path: "/run/b.sock" } }],
  [
    "[::1]:80:/run/b.sock",
    { listen: { bind: "::1", port: 80 }, destination: { path: "/run/b.sock" } },
  ],
  [
    "both=./a.sock:/run/b.sock",
    { name: "both", listen: { path: "./a.sock" }, destination: { path: "/run/b.sock" } },
  ],
  ["[/run/a:1]:[/run/b:2]", { listen: { path: "/run/a:1" }, destination: { path: "/run/b:2" } }],
  ["[[/run/a]:[[x/b]", { listen: { path: "[/run/a" }, destination: { path: "[x/b" } }],
  ["[a=/run/a]:/run/b", { listen: { path: "a=/run/a" }, destination: { path: "/run/b" } }],
];

const FORM = "expected [bind:]port:host:hostport";
const DYNAMIC_FORM = "expected [bind:]port";
const BRACKETS = `${FORM}; an IPv6 address needs brackets, as in [::1]`;
const LISTEN_PORT = "is not a listen port: expected a number from 0 to 65535";
const DESTINATION_PORT = "is not a destination port: expected a number from 1 to 65535";

const MALFORMED: [text: string, message: string][] = [
  ["", FORM],
  ["80", FORM],
  ["80:host", FORM],
  [":", FORM],
  ["db=", FORM],
  ["db=80:host", FORM],
  ["80:host:/run/x:90", `"host" ${LISTEN_PORT}`],
  ["/run/x", FORM],
  ["/run/x:80", FORM],
  ["a:b:80:/run/x", FORM],
  ["80:host:80:90:100", BRACKETS],
  ["::1:80:host:80", BRACKETS],
  ["80:::1:80", BRACKETS],
  ["80:fe80::1:80", BRACKETS],
  ["80:::1]:80", BRACKETS],
  ["80:[::1:80", `"[" without "]"; ${FORM}`],
  ["[::1:80:host:80", `"[" without "]"; ${FORM}`],
  ["[::1]80:host:80", `text after "]"; ${FORM}`],
  ["80:[::1]80", `text after "]"; ${FORM}`],
  ["80:[[::1]]:80", `text after "]"; ${FORM}`],
  ["80:[]:80", "empty brackets"],
  ["[]:80:host:80", "empty brackets"],
  ["::", "the listen port is missing"],
  [":host:80", "the listen port is missing"],
  [":::", "the listen port is missing"],
  ["80::80", "the host is missing"],
  ["80:host:", "the destination port is missing"],
  ["http:host:80", `"http" ${LISTEN_PORT}`],
  ["-1:host:80", `"-1" ${LISTEN_PORT}`],
  ["+80:host:80", `"+80" ${LISTEN_PORT}`],
  ["65536:host:80", `"65536" ${LISTEN_PORT}`],
  ["000080:host:80", `"000080" ${LISTEN_PORT}`],
  ["0x50:host:80", `"0x50" ${LISTEN_PORT}`],
  ["8e1:host:80", `"8e1" ${LISTEN_PORT}`],
  ["80.5:host:80", `"80.5" ${LISTEN_PORT}`],
  ["٨٠:host:80", `"٨٠" ${LISTEN_PORT}`],
  [" 80:host:80", `" 80" ${LISTEN_PORT}`],
  ["*:80/tcp:host:80", `"80/tcp" ${LISTEN_PORT}`],
  ["1db=80:host:80", `"1db=80" ${LISTEN_PORT}`],
  ["=80:host:80", `"=80" ${LISTEN_PORT}`],
  ["db=db=80:host:80", `"db=80" ${LISTEN_PORT}`],
  ["80:host:0", `"0" ${DESTINATION_PORT}`],
  ["80:host:65536", `"65536" ${DESTINATION_PORT}`],
  ["80:host:http", `"http" ${DESTINATION_PORT}`],
  ["80:host:80 ", `"80 " ${DESTINATION_PORT}`],
  ["80:host:80\n", `"80\\n" ${DESTINATION_PORT}`],
  ["80:ho st:80", `"ho st" is not a host`],
  ["80:ho\0st:80", `"ho\\u0000st" is not a host`],
  ["80:\x1b[31mhost:80", `"\\u001b[31mhost" is not a host`],
  ["80:*:80", `"*" is not a host`],
  ["80:host,other:80", `"host,other" is not a host`],
  ["80:user@host:80", `"user@host" is not a host`],
  ['80:"host":80', `"\\"host\\"" is not a host`],
  ["80:-oProxyCommand:80", `"-oProxyCommand" is not a host`],
  ["-g:80:host:80", `"-g" is not a bind address`],
  ["a*:80:host:80", `"a*" is not a bind address`],
  [`80:${"a".repeat(256)}:80`, `"${"a".repeat(256)}" is not a host`],
  ["/run/x:host", FORM],
  ["1:2:80:/run/x", FORM],
  ["80:/run/x:80", `"/run/x" is not a host`],
  ["/run/x:80:host:80", `"/run/x" is not a bind address`],
];

test("every form of -L means what ssh(1) says, and our extensions what they should", () => {
  for (const [text, spec] of [...GOOD, ...GOOD_UNIX]) {
    assert.deepEqual(parseLocalForward(text), spec, text);
  }
});

test("-R has every form of -L", () => {
  for (const [text, spec] of [...GOOD, ...GOOD_UNIX]) {
    assert.deepEqual(parseRemoteForward(text), spec, text);
  }
});

test("a forward is printed in its plainest form", () => {
  for (const [text, spec, printed] of [...GOOD, ...GOOD_UNIX]) {
    assert.equal(formatForward(spec), printed ?? text);
  }
});

test("a malformed -L is refused with a message that says what is wrong with which part", () => {
  assert.ok(MALFORMED.length >= 30);
  for (const [text, message] of MALFORMED) {
    assert.throws(
      () => parseLocalForward(text),
      { name: "SyntaxError", message },
      JSON.stringify(text),
    );
  }
});

const REMOTE: [text: string, spec: RemoteForwardSpec][] = [
  ["8080:localhost:3000", {
    listen: { port: 8080 },
    destination: { host: "localhost", port: 3000 },
  }],
  ["0:[::1]:3000", { listen: { port: 0 }, destination: { host: "::1", port: 3000 } }],
  ["*:80:/run/x", { listen: { bind: "*", port: 80 }, destination: { path: "/run/x" } }],
  ["/run/x:web:80", { listen: { path: "/run/x" }, destination: { host: "web", port: 80 } }],
  ["1080", { listen: { port: 1080 } }],
  ["[::1]:1080", { listen: { bind: "::1", port: 1080 } }],
  ["proxy=*:0", { name: "proxy", listen: { bind: "*", port: 0 } }],
];

const DYNAMIC: [text: string, spec: DynamicForwardSpec][] = [
  ["1080", { listen: { port: 1080 } }],
  ["localhost:1080", { listen: { bind: "localhost", port: 1080 } }],
  ["proxy=[::]:0", { name: "proxy", listen: { bind: "::", port: 0 } }],
];

test("every form of -R and -D is read and printed back", () => {
  for (const [text, spec] of REMOTE) {
    assert.deepEqual(parseRemoteForward(text), spec, text);
    assert.equal(formatForward(spec), text);
  }
  for (const [text, spec] of DYNAMIC) {
    assert.deepEqual(parseDynamicForward(text), spec, text);
    assert.equal(formatForward(spec), text);
  }
});

test("a malformed -R, -D or -W is refused with a message that says what is wrong", () => {
  const malformed: [(text: string) => unknown, string, string][] = [
    [parseRemoteForward, "", "the listen port is missing"],
    [parseRemoteForward, "http", `"http" ${LISTEN_PORT}`],
    [parseRemoteForward, "80:host:0", `"0" ${DESTINATION_PORT}`],
    [parseRemoteForward, "/run/x", FORM],
    [parseRemoteForward, "80:h:80:90:100", BRACKETS],
    [parseDynamicForward, "80:host:80", DYNAMIC_FORM],
    [parseDynamicForward, "", "the listen port is missing"],
    [parseDynamicForward, "[::1:80", `"[" without "]"; expected [bind:]port`],
    [parseDynamicForward, "/run/x", `"/run/x" ${LISTEN_PORT}`],
    [parseDestination, "host", "expected host:port"],
    [parseDestination, "", "expected host:port"],
    [parseDestination, "user@host:22", `"user@host" is not a host`],
    [parseDynamicForward, "65536", `"65536" ${LISTEN_PORT}`],
    [
      parseDynamicForward,
      "::1:1080",
      `${DYNAMIC_FORM}; an IPv6 address needs brackets, as in [::1]`,
    ],
    [parseDestination, "host:0", `"0" ${DESTINATION_PORT}`],
    [parseDestination, ":22", "the host is missing"],
    [parseDestination, "::1:22", "expected host:port; an IPv6 address needs brackets, as in [::1]"],
  ];
  for (const [parse, text, message] of malformed) {
    assert.throws(() => parse(text), { name: "SyntaxError", message }, JSON.stringify(text));
  }
});

test("-W takes a host and port, or a Unix socket", () => {
  assert.deepEqual(parseDestination("host:22"), { host: "host", port: 22 });
  assert.deepEqual(parseDestination("[::1]:22"), { host: "::1", port: 22 });
  assert.deepEqual(parseDestination("/run/x"), { path: "/run/x" });
});

const hexGroup = fc.integer({ min: 0, max: 0xffff }).map((group) => group.toString(16));
const ipv6 = fc.oneof(
  fc.ipV6(),
  fc.tuple(hexGroup, hexGroup).map(([a, b]) => `fe80::${a}:${b}%eth0`),
);
const word = fc.stringMatching(/^[a-z0-9_\u00e0-\u00ff][a-z0-9_.%-]{0,30}$/);
const host = fc.oneof(word, fc.domain(), fc.ipV4(), ipv6);
const path = fc.stringMatching(/^[.a=[]?\/[A-Za-z0-9_. :=/[-]{1,30}$/).map((path) => ({ path }));
const port = fc.integer({ min: 1, max: 65535 });
const plain = { noNullPrototype: true };
const listen = fc.oneof(
  fc.record(
    { bind: fc.oneof(fc.constant("*"), host), port: fc.oneof(fc.constant(0), port) },
    { requiredKeys: ["port"], ...plain },
  ),
  path,
);
const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9_-]{0,12}$/);
const destination = fc.oneof(fc.record({ host, port }, plain), path);
const specs: fc.Arbitrary<LocalForwardSpec> = fc.record(
  { name, listen, destination },
  { requiredKeys: ["listen", "destination"], ...plain },
);

test("what is printed is read back as the same forward", () => {
  fc.assert(fc.property(specs, (spec) => {
    assert.deepEqual(parseLocalForward(formatForward(spec)), spec);
    assert.deepEqual(parseRemoteForward(formatForward(spec)), spec);
  }));
});

/** Text that is nearly right more often than chance would have it. */
const texts = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string(),
  fc.array(
    fc.oneof(
      fc.constantFrom(":", ":", ":", "[", "]", "*", "=", "-", "/", "db=", "0", "80", "99999"),
      fc.constantFrom("host", "::1", "[::1]", "[]", "127.0.0.1", " ", "\n", "@", "%eth0", "\ud800"),
      fc.constantFrom("/run/x", "/", "[/", "]/"),
    ),
    { maxLength: 12 },
  ).map((parts) => parts.join("")),
  fc.tuple(specs, fc.nat(2), fc.nat(60), fc.string({ maxLength: 2 })).map((parts) => {
    const [spec, part, at, more] = parts;
    const text = [
      formatForward(spec),
      formatListen(spec.listen),
      formatAddress(spec.destination),
    ][part] as string;
    return text.slice(0, at) + more + text.slice(at);
  }),
);

test("any text is either read, and printed in a form that stays, or refused as a SyntaxError", () => {
  const readers: ((text: string) => ForwardSpec)[] = [
    parseLocalForward,
    parseRemoteForward,
    parseDynamicForward,
    (text) => ({ listen: { port: 1 }, destination: parseDestination(text) }),
  ];
  for (const [index, read] of readers.entries()) {
    const readBack = index === 3 ? parseLocalForward : read;
    let successes = 0;
    fc.assert(
      fc.property(texts, (text) => {
        let spec: ForwardSpec;
        try {
          spec = read(text);
        } catch (error) {
          assert.ok(error instanceof SyntaxError, String(error));
          assert.notEqual(error.message, "");
          return;
        }
        successes++;
        const printed = formatForward(spec);
        assert.deepEqual(readBack(printed), spec);
        assert.equal(formatForward(readBack(printed)), printed);
      }),
      { numRuns: 2_000 },
    );
    assert.ok(successes > 20, `only ${successes} were read: the generator proves too little`);
  }
});
