/** known_hosts as the real ssh-keygen reads, writes and changes it, over files made at random. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import {
  entriesOf,
  formatEntry,
  hostName,
  lookup,
  parseKnownHosts,
} from "../lib/ssh/known_hosts.ts";
import { addKnownHost } from "../lib/ssh/known_hosts_file.ts";
import { skipUnless, tempDir } from "./support/tools.ts";

const ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHufyW64DBPHyC2kAlC6B2n+F67oc5WoOloQ1I4p0tBU";
const SECOND = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINj3KJCpDuDVCc23bmyRuDmtIa5edMUl/PT3sjp4L+MR";
const ECDSA =
  "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBPnhPTHWGk5PWtsQvZlEO/Fie2K748WmDleeSTk9V8d5/nBOsKu5cmZ6FF/liOHH/jy/AtlHdOXqouzZhY5Vi+o=";

const NAMES = [
  "a",
  "b",
  "a.example",
  "b.a.example",
  "[a.example]:2222",
  "[a]:22",
  "10.0.0.1",
  "::1",
  "[::1]:2222",
];

function blobOf(publicKey: string): Buffer {
  return Buffer.from(publicKey.split(" ")[1] ?? "", "base64");
}

function keygen(...args: string[]): { status: number | null; stdout: string } {
  const { status, stdout } = spawnSync("ssh-keygen", args, { encoding: "utf8" });
  return { status, stdout };
}

/** What `ssh-keygen -F` finds: `4`, `7 CA`, `9 REVOKED`. */
function foundBySsh(file: string, name: string): string[] {
  const { stdout } = keygen("-F", name, "-f", file);
  return [...stdout.matchAll(/^# Host .* found: line (\d+)( CA| REVOKED|) *$/gm)]
    .map(([, line = "", marker = ""]) => line + marker);
}

function foundByUs(text: string, name: string): string[] {
  const words = { "cert-authority": " CA", revoked: " REVOKED" };
  return entriesOf(parseKnownHosts(text, "kh").entries, name)
    .map((entry) => entry.line + (entry.marker === undefined ? "" : words[entry.marker]));
}

const publicKey = fc.constantFrom(ED25519, SECOND, ECDSA);
const pattern = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...NAMES) },
  fc.constantFrom(...NAMES.map((name) => `!${name}`)),
  fc.constantFrom(...NAMES.map((name) => name.toUpperCase())),
  fc.constantFrom("*", "?", "*.example", "!*.example", "*a*", "[*]:2222", "10.0.?.*", "??", "a?e*"),
  fc.string({
    unit: fc.constantFrom("a", "b", ".", "*", "?", "!", "[", "]", ":", "2"),
    maxLength: 9,
  }),
);
// No tab after a marker: ssh then looks for the first space, and takes what it finds for no marker
// that it knows. Here such a line counts, for a revocation that is not seen protects nobody.
const plain = fc.tuple(
  fc.constantFrom("", "", "", " ", "\t", " \t "),
  fc.constantFrom("", "", "", "@revoked ", "@cert-authority ", "@revokd "),
  fc.array(pattern, { minLength: 1, maxLength: 4 }).map((patterns) => patterns.join(",")),
  fc.constantFrom(" ", " ", "\t", "  "),
  publicKey,
  fc.constantFrom("", "", " a comment", "\t#x", " "),
).map((parts) => parts.join(""));
const hashed = fc.tuple(fc.constantFrom(...NAMES), publicKey)
  .map(([name, key]) => formatEntry(name, blobOf(key), { hashed: true }).trimEnd());
// For a host of their own: ssh-keygen -F prints a line of the host without looking at its key.
const broken = fc.constantFrom(
  "",
  "   ",
  "# a comment",
  "  # another",
  "broken",
  "broken ssh-ed25519",
  `broken ssh-ed25519 ${"A".repeat(68)}`,
  `broken ${ED25519.slice(0, -8)}`,
  `broken ssh-rsa ${ED25519.split(" ")[1]}`,
  "@revoked",
  "broken 1024 35 1386745918",
  `broken ${"x".repeat(20_000)}`,
  `${"a.example,".repeat(2_000)}b ${ED25519}`,
  `@revoked @cert-authority broken ${ED25519}`,
);
const text = fc.tuple(
  fc.array(fc.oneof({ weight: 4, arbitrary: plain }, hashed, broken), { maxLength: 12 }),
  fc.constantFrom("\n", "\n", "\r\n"),
  fc.boolean(),
).map(([lines, newline, last]) => lines.join(newline) + (last ? newline : ""));

test("in files made at random, ssh-keygen -F finds the same lines, marked in the same way", {
  ...skipUnless("ssh-keygen"),
}, async () => {
  await using folder = await tempDir();
  const file = join(folder.path, "known_hosts");
  let found = 0;
  fc.assert(
    fc.property(text, fc.subarray(NAMES, { minLength: 2, maxLength: 4 }), (text, names) => {
      writeFileSync(file, text);
      for (const name of names) {
        const lines = foundBySsh(file, name);
        found += lines.length;
        assert.deepEqual(foundByUs(text, name), lines, name);
      }
    }),
    { numRuns: 150 },
  );
  assert.ok(found > 100, `only ${found} lines were found: the files say too little`);
});

test("what is added plain or hashed, ssh-keygen -F finds and ssh-keygen -R removes", {
  ...skipUnless("ssh-keygen"),
}, async () => {
  await using folder = await tempDir();
  const file = join(folder.path, "known_hosts");
  for (const hashed of [false, true]) {
    for (const [host, port] of [["Host.Example", 22], ["10.0.0.1", 2222], ["::1", 2200]] as const) {
      const name = hostName(host, port);
      const other = `other.example ${SECOND}`;
      writeFileSync(file, other);
      await addKnownHost(file, name, blobOf(ED25519), hashed);
      assert.equal(readFileSync(file, "utf8").includes(name), !hashed);
      assert.deepEqual(foundBySsh(file, name), ["2"]);
      assert.deepEqual(foundBySsh(file, "other.example"), ["1"]);
      assert.equal(keygen("-R", name, "-f", file).status, 0);
      assert.equal(readFileSync(file, "utf8"), `${other}\n`);
    }
  }
});

test("a file that ssh-keygen -H hashed says of every host what it said before", {
  ...skipUnless("ssh-keygen"),
}, async () => {
  await using folder = await tempDir();
  const file = join(folder.path, "known_hosts");
  const before = [
    ...NAMES.map((name, index) => `${name} ${[ED25519, SECOND, ECDSA][index % 3]}`),
    `*.example,!b.a.example ${SECOND}`,
    `@revoked * ${ECDSA}`,
    "",
  ].join("\n");
  writeFileSync(file, before);
  assert.equal(keygen("-H", "-f", file).status, 0);
  const after = readFileSync(file, "utf8");
  assert.ok(after.includes("|1|"));
  for (const name of NAMES) {
    for (const key of [ED25519, SECOND, ECDSA].map(blobOf)) {
      const [was, is] = [before, after].map((text) =>
        lookup(parseKnownHosts(text, "kh").entries, name, key).kind
      );
      assert.equal(is, was, name);
    }
  }
});
