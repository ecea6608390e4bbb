import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { execFileSync, spawnSync } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import {
  algorithmsFor,
  fingerprint,
  formatEntry,
  hostName,
  keyTypeLabel,
  keyTypeOf,
  type KnownHostsEntry,
  lookup,
  parseKnownHosts,
  parsePublicKey,
  signatureAlgorithms,
} from "../lib/ssh/known_hosts.ts";

const ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHufyW64DBPHyC2kAlC6B2n+F67oc5WoOloQ1I4p0tBU";
const SECOND = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINj3KJCpDuDVCc23bmyRuDmtIa5edMUl/PT3sjp4L+MR";
const ECDSA =
  "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBPnhPTHWGk5PWtsQvZlEO/Fie2K748WmDleeSTk9V8d5/nBOsKu5cmZ6FF/liOHH/jy/AtlHdOXqouzZhY5Vi+o=";
const RSA =
  "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDKLHoQSn/T+d+apcUIUEqxY22DxnqOL/w52aULs81tU4NwikyPgYM0gkGBzrPKGK7b/sznkYmQyb86HrdMkLZSs5kmbyJyVBflsD4YdeFwlhVX2NxiIl4b+Z0l+ICwpTV4hZTwNZVHnhSZPx9sGv1yy3V1Mu0e0r1Wen4LzskQ3Q==";

const skip = spawnSync("ssh-keygen", ["-?"]).error ? "ssh-keygen is not installed" : false;

function blobOf(publicKey: string): Buffer {
  return Buffer.from(publicKey.split(" ")[1] ?? "", "base64");
}

/** The entries of a text in which no line may be broken. */
function entriesOf(text: string): KnownHostsEntry[] {
  const { entries, problems } = parseKnownHosts(text, "kh");
  assert.deepEqual(problems, []);
  return entries;
}

/** The one problem of a text in which every line is broken. */
function problemOf(text: string): string {
  const { entries, problems } = parseKnownHosts(text, "kh");
  assert.deepEqual(entries, []);
  assert.equal(problems.length, 1);
  return problems[0]?.message ?? "";
}

/** Whether a line with these patterns is found for a name. */
function isFound(patterns: string, name: string): boolean {
  return lookup(entriesOf(`${patterns} ${ED25519}\n`), name, blobOf(ED25519)).kind === "known";
}

function sshString(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function inFolder(run: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-known-hosts-"));
  try {
    run(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function makeKey(folder: string, type: string): string {
  const file = join(folder, type);
  execFileSync("ssh-keygen", ["-q", "-t", type, "-N", "", "-C", "", "-f", file]);
  return readFileSync(`${file}.pub`, "utf8").trim();
}

test("an entry knows its file, line, marker, patterns, type and key", () => {
  const entries = entriesOf(`# comment\n\na.example,10.0.0.1 ${ED25519} me@home\n`);
  assert.deepEqual(entries, [{
    file: "kh",
    line: 3,
    patterns: ["a.example", "10.0.0.1"],
    keyType: "ssh-ed25519",
    key: blobOf(ED25519),
  }]);
  assert.equal(entriesOf(`@revoked * ${RSA}`)[0]?.marker, "revoked");
  assert.equal(entriesOf(`@cert-authority\t*.example\t${RSA}`)[0]?.marker, "cert-authority");
});

test("CRLF, blanks around a line, tabs and a missing last newline change nothing", () => {
  const entries = entriesOf(
    `a ${ED25519}\r\n\r\n  \t\r\n \t# b\r\n\tc\t \t${ECDSA}  comment\r\nd ${RSA}`,
  );
  assert.deepEqual(
    entries.map((entry) => [entry.line, entry.patterns[0], entry.keyType]),
    [[1, "a", "ssh-ed25519"], [5, "c", "ecdsa-sha2-nistp256"], [6, "d", "ssh-rsa"]],
  );
  assert.deepEqual(entries.map((entry) => entry.key), [ED25519, ECDSA, RSA].map(blobOf));
});

test("a very long line is understood", () => {
  const hosts = Array.from({ length: 100_000 }, (_, index) => `host${index}`).join(",");
  const [entry] = entriesOf(`${hosts} ${ED25519} ${"comment ".repeat(100_000)}`);
  assert.equal(entry?.patterns.length, 100_000);
  assert.ok(isFound(hosts, "host99999"));
  assert.ok(!isFound(hosts, "host100000"));
});

test("a broken line is a problem with its line, and its neighbours still count", () => {
  const { entries, problems } = parseKnownHosts(
    `a ${ED25519}\nbroken\n@revoked b\nc ${ED25519}\n`,
    "kh",
  );
  assert.deepEqual(entries.map((entry) => entry.line), [1, 4]);
  assert.deepEqual(problems, [
    { file: "kh", line: 2, message: "the key is missing", marked: false },
    { file: "kh", line: 3, message: "the key is missing", marked: true },
  ]);
});

test("the problem says what is wrong with the line", () => {
  const cut = blobOf(ED25519).subarray(0, -3).toString("base64");
  const tooLong = Buffer.concat([blobOf(ED25519), Buffer.of(1)]).toString("base64");
  const typeOnly = sshString("ssh-ed25519").toString("base64");
  for (
    const [line, problem] of [
      ["a # comment", /the key is missing/],
      ["a ssh-ed25519", /nothing follows the key type/],
      ["a ssh-ed25519 # comment", /nothing follows/],
      ["a 1024 35 1386745918", /SSH protocol 1/],
      ["a ssh-ed25519 AAAA!AAA", /not base64/],
      [`a ${RSA.replace(/=+$/, "")}`, /not base64/],
      [`a ssh-ed25519 ${cut}`, /damaged or cut short/],
      [`a ssh-ed25519 ${tooLong}`, /damaged or cut short/],
      [`a ssh-ed25519 ${typeOnly}`, /damaged or cut short/],
      [`a ssh-rsa ${ED25519.split(" ")[1]}`, /is of type ssh-ed25519, but the line says ssh-rsa/],
      [`, ${ED25519}`, /no host is named/],
      [`@revokd a ${ED25519}`, /the marker @revokd is not one of/],
      [`@ a ${ED25519}`, /the marker @ is not one of/],
      [`@revoked @cert-authority a ${ED25519}`, /only one marker/],
      [`|1|AAAA|AAAA ${ED25519}`, /hashed host name/],
      [`|1|AAAA|zDby48ZgHvNQSAKP1sOM2d+driY= ${ED25519}`, /hashed host name/],
      [`|1|wAH59wMtP2INGAU/UOYMB77XdtU=|AAAA ${ED25519}`, /hashed host name/],
      [`|2|wAH59wMtP2INGAU/UOYMB77XdtU=|zDby48ZgHvNQSAKP1sOM2d+driY= ${ED25519}`, /hashed/],
      [`|1|wAH59wMtP2INGAU/UOYMB77XdtU=|zDby48ZgHvNQSAKP1sOM2d+driY=,b ${ED25519}`, /alone/],
    ] as const
  ) {
    assert.match(problemOf(line), problem, line);
  }
});

test("hostName is lower-case and names the port unless it is 22", () => {
  assert.equal(hostName("Host.Example", 22), "host.example");
  assert.equal(hostName("Host.Example", 2222), "[host.example]:2222");
  assert.equal(hostName("::1", 22), "::1");
  assert.equal(hostName("::1", 2222), "[::1]:2222");
});

test("a name is found whatever its case, and only as a whole", () => {
  assert.ok(isFound("Host.Example", "host.example"));
  assert.ok(isFound("a,b", "b"));
  assert.ok(!isFound("a.example", "a.example.org"));
  assert.ok(!isFound("a.example", "b.a.example"));
});

test("the port is part of the name", () => {
  assert.ok(isFound("[a]:2222", hostName("a", 2222)));
  assert.ok(!isFound("[a]:2222", hostName("a", 22)));
  assert.ok(!isFound("a", hostName("a", 2222)));
  assert.ok(isFound("[*.example]:2222", hostName("b.example", 2222)));
});

test("wildcards match any text and any one character", () => {
  for (
    const [pattern, name, found] of [
      ["*", "a", true],
      ["*.example", "a.b.example", true],
      ["*.example", "example", false],
      ["a?c", "abc", true],
      ["a?c", "ac", false],
      ["a*b*c", "a-b-b-c", true],
      ["a*b*c", "a-b-b-d", false],
      ["a**", "a", true],
      ["a.c", "abc", false],
      ["192.168.*", "192.168.1.1", true],
    ] as const
  ) {
    assert.equal(isFound(pattern, name), found, `${pattern} and ${name}`);
  }
});

test("a negated match outweighs the others, wherever it stands, and matches nothing alone", () => {
  assert.ok(isFound("*.example,!bad.example", "good.example"));
  assert.ok(!isFound("*.example,!bad.example", "bad.example"));
  assert.ok(!isFound("!BAD.example,*.example", "bad.example"));
  assert.ok(!isFound("!bad.example", "good.example"));
});

test("a pattern of many stars does not take long", () => {
  const started = performance.now();
  assert.ok(!isFound(`${"*a".repeat(2_000)}b`, "a".repeat(4_000)));
  assert.ok(performance.now() - started < 5_000);
});

test("a hashed name is found, with its port in the hash", () => {
  const plain = "|1|wAH59wMtP2INGAU/UOYMB77XdtU=|zDby48ZgHvNQSAKP1sOM2d+driY=";
  const withPort = "|1|LMn+I1HhslrRcy6IcZh5ObnAsaI=|Pwcahysl4Rhmqe7Bsjzi66lzBtU=";
  assert.ok(isFound(plain, "example.com"));
  assert.ok(isFound(plain, "Example.COM"));
  assert.ok(!isFound(plain, "example.org"));
  assert.ok(isFound(withPort, "[127.0.0.1]:2222"));
  assert.ok(!isFound(withPort, "127.0.0.1"));
});

test("the verdict is known where any line of the host holds the key", () => {
  const entries = entriesOf(`a ${SECOND}\nb ${ED25519}\na ${RSA}\na ${ED25519}\n`);
  const verdict = lookup(entries, "a", blobOf(ED25519));
  assert.deepEqual(verdict, { kind: "known", entry: entries[3] });
});

test("the verdict is changed where the host holds only other keys of the type", () => {
  const entries = entriesOf(`b ${ED25519}\na ${RSA}\n* ${SECOND}\n`);
  const verdict = lookup(entries, "a", blobOf(ED25519));
  assert.deepEqual(verdict, { kind: "changed", entries: [entries[2]] });
});

test("the verdict is unknown, with the other keys, where the host holds other types only", () => {
  const entries = entriesOf(`b ${ED25519}\na ${RSA}\n* ${ECDSA}\n`);
  const verdict = lookup(entries, "a", blobOf(ED25519));
  assert.deepEqual(verdict, { kind: "unknown", otherTypes: [entries[1], entries[2]] });
  assert.deepEqual(lookup(entries.slice(0, 1), "a", blobOf(ED25519)), {
    kind: "unknown",
    otherTypes: [],
  });
});

test("a revoked key stays revoked whatever the other lines say, for its hosts and this key only", () => {
  const entries = entriesOf(
    `a ${ED25519}\n@revoked *.example,a ${ED25519}\nb ${ED25519}\na ${RSA}`,
  );
  assert.deepEqual(lookup(entries, "a", blobOf(ED25519)), { kind: "revoked", entry: entries[1] });
  assert.equal(lookup(entries, "b", blobOf(ED25519)).kind, "known");
  assert.equal(lookup(entries, "a", blobOf(RSA)).kind, "known");
  assert.deepEqual(lookup(entries.slice(1, 2), "a", blobOf(SECOND)), {
    kind: "unknown",
    otherTypes: [],
  });
});

test("a cert-authority line says nothing of a plain key", () => {
  const entries = entriesOf(`@cert-authority * ${ED25519}\n`);
  for (const key of [ED25519, SECOND, RSA]) {
    assert.deepEqual(lookup(entries, "a", blobOf(key)), { kind: "unknown", otherTypes: [] });
  }
});

test("looking up what is not a key is a TypeError", () => {
  assert.throws(() => lookup([], "a", Buffer.from("junk")), TypeError);
});

test("the algorithms to prefer follow the file, once each, without SHA-1, marked lines or others", () => {
  const entries = entriesOf(
    `@revoked a ${ECDSA}\n@cert-authority a ${ECDSA}\nb ${ECDSA}\na ${RSA}\na ${ED25519}\na ${SECOND}\na ${RSA}\n`,
  );
  assert.deepEqual(algorithmsFor(entries, "A"), ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]);
  assert.deepEqual(algorithmsFor(entries, "b"), ["ecdsa-sha2-nistp256"]);
  assert.deepEqual(algorithmsFor(entries, "c"), []);
  assert.deepEqual(signatureAlgorithms("ssh-ed25519"), ["ssh-ed25519"]);
});

test("a fingerprint is what ssh-keygen -l prints", () => {
  assert.equal(
    fingerprint(blobOf(ED25519)),
    "SHA256:OKvJPCf3KLFx/1ioWq7ZI1K/Jsw3TWJuMOFzMiSFDw8",
  );
  assert.equal(fingerprint(blobOf(RSA)), "SHA256:PbN85EXSpPklAA72uA5WnZVpVyZ49zfoTMR8EyeYkJE");
});

test("a key type is the blob's first string, if that can be shown as it is", () => {
  assert.equal(keyTypeOf(blobOf(ECDSA)), "ecdsa-sha2-nistp256");
  assert.equal(keyTypeOf(sshString("sk-ssh-ed25519@openssh.com")), "sk-ssh-ed25519@openssh.com");
  for (const type of ["", "a b", "a,b", "a\u001b[2J", "a\n", "é", "x".repeat(65)]) {
    assert.throws(() => keyTypeOf(sshString(type)), TypeError, JSON.stringify(type));
  }
  assert.throws(() => keyTypeOf(Buffer.alloc(0)), TypeError);
  assert.throws(() => keyTypeOf(Buffer.of(0, 0, 0, 9, 65)), TypeError);
});

test("a key type has the label that people know", () => {
  assert.deepEqual(
    [
      "ssh-ed25519",
      "ecdsa-sha2-nistp256",
      "ecdsa-sha2-nistp384",
      "ecdsa-sha2-nistp521",
      "ssh-rsa",
      "ssh-dss",
      "sk-ssh-ed25519@openssh.com",
      "sk-ecdsa-sha2-nistp256@openssh.com",
      "ssh-future",
    ].map(keyTypeLabel),
    ["ED25519", "ECDSA", "ECDSA", "ECDSA", "RSA", "DSA", "ED25519-SK", "ECDSA-SK", "ssh-future"],
  );
});

test("formatEntry makes one line, in lower case", () => {
  assert.equal(formatEntry("[A.example]:2222", blobOf(ED25519)), `[a.example]:2222 ${ED25519}\n`);
});

test("formatEntry refuses a name that would say something else", () => {
  for (
    const name of [
      "",
      "*",
      "a?",
      "a,b",
      "a b",
      "a\nb",
      "a\tb",
      "a\u0000b",
      "!a",
      "#a",
      "@a",
      "|1|a",
    ]
  ) {
    assert.throws(() => formatEntry(name, blobOf(ED25519)), TypeError, JSON.stringify(name));
  }
  assert.throws(() => formatEntry("a", Buffer.from("junk")), TypeError);
});

test("parsePublicKey reads a line of a .pub file", () => {
  for (const text of [ED25519, `  ${ED25519} me@home\n`, `${ED25519}\r\n`]) {
    assert.deepEqual(parsePublicKey(text), { keyType: "ssh-ed25519", key: blobOf(ED25519) });
  }
  assert.throws(() => parsePublicKey(`host ${ED25519}`), TypeError);
});

test("arbitrary text never throws, and every line of it is an entry, a problem or neither", () => {
  const word = fc.constantFrom(
    "@revoked",
    "@cert-authority",
    "@",
    "a",
    "*,!b",
    "|1|",
    "|1|AAAA|AAAA",
    ...ED25519.split(" "),
    ...RSA.split(" "),
    "#",
    " ",
    "\t",
    "\r",
    "\n",
  );
  const likely = fc.array(word, { maxLength: 30 }).map((words) => words.join(" "));
  fc.assert(
    fc.property(fc.oneof(likely, fc.string({ unit: "binary" })), fc.string(), (text, name) => {
      const { entries, problems } = parseKnownHosts(text, "kh");
      const lines = [...entries, ...problems].map((found) => found.line);
      assert.equal(new Set(lines).size, lines.length);
      assert.ok(lines.every((line) => line >= 1 && line <= text.split("\n").length));
      lookup(entries, name, blobOf(ED25519));
      algorithmsFor(entries, name);
    }),
    { numRuns: 500 },
  );
});

test("what formatEntry writes is read back, and known for that name alone", () => {
  const host = fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6());
  const port = fc.integer({ min: 1, max: 65_535 });
  const body = fc.uint8Array({ minLength: 1, maxLength: 80 });
  fc.assert(
    fc.property(host, port, body, (host, port, body) => {
      const key = Buffer.concat([
        sshString("ssh-test"),
        sshString(Buffer.from(body).toString("hex")),
      ]);
      const name = hostName(host, port);
      const entries = entriesOf(formatEntry(name, key));
      assert.deepEqual(entries, [{
        file: "kh",
        line: 1,
        patterns: [name],
        keyType: "ssh-test",
        key,
      }]);
      assert.equal(lookup(entries, name, key).kind, "known");
      assert.equal(lookup(entries, `${name}x`, key).kind, "unknown");
    }),
    { numRuns: 200 },
  );
});

test("any name is found by its hash, and no other", () => {
  fc.assert(
    fc.property(fc.domain(), fc.domain(), (name, other) => {
      fc.pre(name.toLowerCase() !== other.toLowerCase());
      const salt = randomBytes(20);
      const hash = createHmac("sha1", salt).update(name.toLowerCase()).digest("base64");
      const pattern = `|1|${salt.toString("base64")}|${hash}`;
      assert.ok(isFound(pattern, name));
      assert.ok(!isFound(pattern, other));
    }),
    { numRuns: 100 },
  );
});

test("ssh-keygen -l prints the same fingerprint and label", { skip }, () => {
  inFolder((folder) => {
    for (const type of ["ed25519", "ecdsa", "rsa"]) {
      const key = blobOf(makeKey(folder, type));
      const printed = execFileSync("ssh-keygen", ["-lf", join(folder, `${type}.pub`)], {
        encoding: "utf8",
      });
      assert.equal(printed.split(" ")[1], fingerprint(key));
      assert.ok(printed.includes(`(${keyTypeLabel(keyTypeOf(key))})`));
    }
  });
});

test("what ssh-keygen -H hashes is found", { skip }, () => {
  inFolder((folder) => {
    const publicKey = makeKey(folder, "ed25519");
    const file = join(folder, "known_hosts");
    writeFileSync(file, `one.example,10.0.0.1 ${publicKey}\n[two.example]:2222 ${publicKey}\n`);
    execFileSync("ssh-keygen", ["-q", "-H", "-f", file], { stdio: "ignore" });
    const text = readFileSync(file, "utf8");
    assert.ok(!text.includes("example"));
    const entries = entriesOf(text);
    const kindOf = (host: string, port: number) =>
      lookup(entries, hostName(host, port), blobOf(publicKey)).kind;
    assert.equal(kindOf("one.example", 22), "known");
    assert.equal(kindOf("10.0.0.1", 22), "known");
    assert.equal(kindOf("two.example", 2222), "known");
    assert.equal(kindOf("two.example", 22), "unknown");
  });
});

test("ssh-keygen -F finds the same lines", { skip }, () => {
  inFolder((folder) => {
    const file = join(folder, "known_hosts");
    const text = [
      `*.example,!bad.example ${ED25519}`,
      `[a.example]:2222 ${SECOND}`,
      `a.example ${ECDSA}`,
      `10.0.?.1 ${RSA}`,
      formatEntry("[::1]:2200", blobOf(ED25519)),
    ].join("\n");
    writeFileSync(file, text);
    const entries = entriesOf(text);
    for (
      const name of [
        "a.example",
        "bad.example",
        "[a.example]:2222",
        "10.0.7.1",
        "[::1]:2200",
        "::1",
      ]
    ) {
      const { stdout } = spawnSync("ssh-keygen", ["-F", name, "-f", file], { encoding: "utf8" });
      const lines = [...stdout.matchAll(/found: line (\d+)/g)].map(([, line]) => Number(line));
      // A key that no line holds, of a type that no line has: every line of the host is reported.
      const verdict = lookup(entries, name, sshString("ssh-none"));
      assert.equal(verdict.kind, "unknown");
      const found = verdict.kind === "unknown" ? verdict.otherTypes.map((entry) => entry.line) : [];
      assert.deepEqual(found, lines, name);
    }
  });
});
