/** What is said of a fairlead.yaml that is wrong: all of it, and nothing else happens. */
import assert from "node:assert/strict";
import { ChildProcess, spawn } from "node:child_process";
import dns from "node:dns";
import { readFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { connect, Socket } from "node:net";
import process from "node:process";
import { mock, test } from "node:test";
import fc from "fast-check";
import { Output } from "../lib/cli/output.ts";
import { readConfig } from "../lib/config/load.ts";
import { ConfigError } from "../lib/config/problems.ts";

const PASSWORD = "hunter2";
const PLACE = {
  ...{ path: "/p/fairlead.yaml", shown: "fairlead.yaml", home: "/home/u" },
  environment: { EMPTY: "", SECRET: PASSWORD, PROXY: `socks5://u:${PASSWORD}@h:1080` },
};

/** What is said of a text; nothing of one that is right. */
function told(text: string): string[] {
  try {
    readConfig(text, PLACE);
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error instanceof Error ? error.stack : error));
    return error.message.split("\n");
  }
}

interface BrokenFile {
  readonly what: string;
  readonly text: string;
  readonly told: readonly string[];
}

const BROKEN = brokenFiles();

function brokenFiles(): BrokenFile[] {
  const url = new URL("./support/fixtures/broken_fairlead_files.txt", import.meta.url);
  const [, ...parts] = readFileSync(url, "utf8").split(/^=== /m);
  return parts.map((part) => {
    const lines = part.trimEnd().split("\n");
    const first = lines.findIndex((line) => line.startsWith("> "));
    return {
      what: lines[0] ?? "",
      text: lines.slice(1, first).map((line) => `${line}\n`).join(""),
      told: lines.slice(first).map((line) => line.slice(2)),
    };
  });
}

test("of each broken file everything that is wrong is told, with its place", () => {
  const found = BROKEN.map(({ what, text }) => ({ what, text, told: told(text) }));
  assert.deepEqual(found, BROKEN);
  for (const { what, told } of found) assert.ok(!told.join().includes(PASSWORD), what);
});

test("there are more than 90 such files, and each has a name of its own", () => {
  const names = new Set(BROKEN.map(({ what }) => what));
  assert.ok(names.size === BROKEN.length && names.size > 90, `${names.size}`);
});

test("tabs are told of with their lines, and what follows from them is not", () => {
  assert.deepEqual(told("version: 1\ntunnels:\n\tmail:\n\t\thost: h\n"), [
    "fairlead.yaml:3: a tab indents this line: YAML wants spaces",
    "fairlead.yaml:4: a tab indents this line: YAML wants spaces",
  ]);
  // Elsewhere a tab does no harm.
  assert.deepEqual(told("version:\t1\ntunnels: {\n\ta: {\thost: h } }\n"), []);
});

test("lines are counted as editors count them: CRLF, CR, and with a byte order mark", () => {
  const text = "version: 1\ntunnels:\n a:\n  host: h\n  prot: 1\n";
  const expected = ["fairlead.yaml:5: tunnels.a.prot: unknown key; did you mean port?"];
  for (const variant of [text, text.replaceAll("\n", "\r\n"), text.replaceAll("\n", "\r")]) {
    assert.deepEqual(told(variant), expected);
    assert.deepEqual(told(`\ufeff${variant}`), expected);
  }
});

test("no more than a hundred mistakes are told of, and of the rest how many", () => {
  const keys = Array.from({ length: 5_000 }, (_, index) => `key${index}: 1\n`);
  const all = told(`version: 1\ntunnels: {}\n${keys.join("")}`);
  assert.equal(all.length, 101);
  assert.match(all[0] ?? "", /^fairlead\.yaml:3: key0: unknown key/);
  assert.equal(all[100], "fairlead.yaml: and 4900 more");
});

test("what is told of a long key, and of a long value, is short", () => {
  const [line = ""] = told(`version: 1\ntunnels: {}\n${"x".repeat(100_000)}: 1\n`);
  assert.ok(line.length < 200, `${line.length} letters`);
  const [other = ""] = told(`version: 1\ntunnels: { a: { host: h, port: ${"9".repeat(5000)} } }\n`);
  assert.ok(other.length < 200, `${other.length} letters`);
  assert.match(
    told(`version: 1\ntunnels: { a: { host: ${"h".repeat(20_000)} } }\n`).join(),
    /10000/,
  );
});

test("more than 200 tunnels, or 1,000 forwards of one, are too many", () => {
  const tunnels = Array.from({ length: 201 }, (_, index) => `  t${index}: { host: h }\n`);
  assert.deepEqual(told(`version: 1\ntunnels:\n${tunnels.slice(1).join("")}`), []);
  assert.deepEqual(told(`version: 1\ntunnels:\n${tunnels.join("")}`), [
    "fairlead.yaml:2: tunnels: expected 200 tunnels at most",
  ]);
  const forwards = Array.from({ length: 1_001 }, (_, index) => `   - dynamic: ${index + 1}\n`);
  const one = "version: 1\ntunnels:\n a:\n  host: h\n  forwards:\n";
  assert.deepEqual(told(one + forwards.slice(1).join("")), []);
  assert.deepEqual(told(one + forwards.join("")), [
    "fairlead.yaml:5: tunnels.a.forwards: found a list: expected 1000 at most",
  ]);
});

const HOSTILE: Readonly<Record<string, string>> = {
  "a billion laughs": [..."abcdefghij"].reduce(
    (text, letter, index, all) =>
      `${text}${letter}: &${letter} [${
        Array(9).fill(index === 0 ? "ha" : `*${all[index - 1]}`).join()
      }]\n`,
    "version: 1\n",
  ) + "tunnels: *j\n",
  "laughs in mappings": [..."abcdefghij"].reduce(
    (text, letter, index, all) =>
      `${text}${letter}: &${letter} { ${
        [1, 2, 3, 4, 5, 6, 7, 8, 9].map((key) =>
          `k${key}: ${index === 0 ? "ha" : `*${all[index - 1]}`}`
        ).join()
      } }\n`,
    "version: 1\n",
  ) + "tunnels: *j\n",
  "a mapping that holds itself": "version: 1\ntunnels: &a { x: *a }\n",
  "a list that holds itself": "version: 1\ntunnels: &a [*a, *a]\n",
  "half a million brackets": `tunnels: ${"[".repeat(500_000)}`,
  "half a million braces": `tunnels: ${"{a: ".repeat(250_000)}`,
  "lists in lists in one line": `${"- ".repeat(20_000)}a\n`,
  "a key with blanks without end": `version: 1\nk${" ".repeat(1_000_000)}x\n`,
  "quotes without end": `a: ${`"a`.repeat(300_000)}`,
  "variables without end": `a: '${"${".repeat(100_000)}'`,
  "a word without end, in quotes that are not closed": `a: "${"x".repeat(1_000_000)}`,
  "one line of colons": `a${":".repeat(1_000_000)}`,
  "keys without end": Array.from({ length: 50_000 }, (_, index) => `k${index}: 1`).join("\n"),
  "a host of colons": `version: 1\ntunnels: { a: { host: '${":".repeat(500_000)}[' } }`,
  "zeros and letters at random": String.fromCharCode(
    ...Array.from({ length: 9_999 }, (_, n) => (n * 7919) % 256),
  ),
};

test("what is made to take long ends soon, with a message", () => {
  for (const [what, text] of Object.entries(HOSTILE)) {
    const start = process.hrtime.bigint();
    const all = told(text);
    assert.ok(all.length > 0 && all.length <= 101, what);
    assert.ok(all.every((line) => line.length < 1_000), what);
    const took = Number(process.hrtime.bigint() - start) / 1e9;
    assert.ok(took < 20, `${what}: ${took} s`);
  }
});

const GOOD = `# Tunnels of the project.
version: 1
defaults:
  keepalive: 15s
  hostKeyPolicy: strict
  options: { Compression: no }
tunnels:
  vpn: { host: "vpn.example.com", user: 'me', port: 2222 }
  mail:
    host: deploy@other.example.com
    jump: [bastion, "ssh://u@[2001:db8::1]:22"]
    identity: [~/.ssh/id_ed25519, env:KEY]
    hostKey: &key SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU
    proxy: socks5://proxy.example.com:1080
    password: env:PASSWORD
    connections: auto
    windowBudget: 64M
    forwards:
      - local: 1100:mail.example.com:110
      - { name: db, local: 0, to: "db.internal:\${PORT:-5432}" }
      - remote: 8080:localhost:3000
      - dynamic: "[::1]:1080"
      - local: /run/user/1000/x.sock
        to: /var/run/docker.sock
    groups: [dev, all]
    dependsOn: [vpn]
  inner:
    host: ssh://me@inner:2200
    jump: vpn
    hostKey: *key
    sshConfig: |-
      ./config
`;

const TOKENS = [
  ..."\n\t :-#{}[],&*!|>%@`\"'\0\ufeff",
  ...[
    "\n  ",
    "\n    ",
    ": ",
    "- ",
    "${",
    "${A}",
    "$${",
    "*key",
    "&key",
    "<<: *key",
    "---\n",
    "!!str ",
  ],
  ...["env:", "none", "null", "~", "true", "0x10", "1e400", ".inf", ".nan", "-0", "65536", "22:22"],
  ...["__proto__: ", "constructor: ", "toString", "tunnels", "options: ", "forwards: ", "host: "],
  ...[
    "\u2028",
    "\ud800",
    "é",
    "😀",
    "/",
    "..",
    "[::1]:",
    "@",
    "%d",
    "%%",
    "\\",
    "SHA256:",
    "ssh://",
  ],
];

test("5,000 mutations of a good file do nothing but be read, or be refused", () => {
  assert.deepEqual(told(GOOD), []);
  const calls = counted();
  const at = fc.nat(GOOD.length);
  const mutation = fc.oneof(
    fc.record({ at, length: fc.nat(40), text: fc.constantFrom("", ...TOKENS) }),
    fc.record({ at, length: fc.nat(3), text: fc.string({ maxLength: 6, unit: "binary" }) }),
    fc.record({ at, from: at, length: fc.nat(80), text: fc.constant(undefined) }),
  );
  let refused = 0;
  try {
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 4 }), (mutations) => {
        const text = mutations.reduce((text, { at, length, ...other }) => {
          const piece = other.text ?? text.slice(other.from, other.from + length);
          return text.slice(0, at) + piece +
            text.slice(other.text === undefined ? at : at + length);
        }, GOOD);
        const all = told(text);
        if (all.length > 0) refused += 1;
        for (const line of all) assert.match(line, /^fairlead\.yaml(?::\d+)?: /);
      }),
      { numRuns: 5_000 },
    );
    assert.deepEqual(calls.counts(), { connect: 0, lookup: 0, spawn: 0 });
    assert.ok(refused > 1_000 && refused < 5_000, `${refused} refused`);
    // They would have been counted.
    connect({ host: "127.0.0.1", port: 9 });
    dns.lookup("localhost", () => {});
    assert.throws(() => spawn("true"), Counted);
    assert.deepEqual(calls.counts(), { connect: 1, lookup: 1, spawn: 1 });
  } finally {
    calls.stop();
  }
});

class Counted extends Error {}

/** Has connecting, looking up and starting do nothing but be counted. */
function counted() {
  const mocks = {
    connect: mock.method(Socket.prototype, "connect", function (this: Socket) {
      return this;
    }),
    lookup: mock.method(dns, "lookup", (() => {}) as unknown as typeof dns.lookup),
    // What node:child_process starts goes through here on every runtime.
    spawn: mock.method(ChildProcess.prototype as unknown as { spawn(): void }, "spawn", () => {
      throw new Counted();
    }),
  };
  syncBuiltinESMExports();
  return {
    counts: () =>
      Object.fromEntries(
        Object.entries(mocks).map(([name, { mock }]) => [name, mock.callCount()]),
      ),
    stop: () => {
      for (const { mock } of Object.values(mocks)) mock.restore();
      syncBuiltinESMExports();
    },
  };
}

test("on the command line each mistake is a line of its own, and an object with --json", () => {
  const text = "version: 1\ntunnels:\n  a:\n    host: h\n    prot: 1\n    port: x\n";
  const shown = (json: boolean) => {
    const lines: string[] = [];
    const screen = { color: false, out: assert.fail, err: (line: string) => lines.push(line) };
    try {
      readConfig(text, PLACE);
    } catch (error) {
      new Output({ verbosity: 0, json }, screen).error(error, 2);
    }
    return lines;
  };
  assert.deepEqual(shown(false), [
    "fairlead: fairlead.yaml:5: tunnels.a.prot: unknown key; did you mean port?",
    'fairlead: fairlead.yaml:6: tunnels.a.port: found "x": expected a number from 1 to 65535',
  ]);
  const common = { v: 1, event: "error", code: "config-invalid", file: "fairlead.yaml", status: 2 };
  assert.deepEqual(shown(true).map((line) => JSON.parse(line)), [
    {
      ...common,
      ...{ line: 5, path: "tunnels.a.prot", hint: "did you mean port?" },
      message: "fairlead.yaml:5: tunnels.a.prot: unknown key",
    },
    {
      ...common,
      ...{ line: 6, path: "tunnels.a.port" },
      message: 'fairlead.yaml:6: tunnels.a.port: found "x": expected a number from 1 to 65535',
    },
  ]);
});
