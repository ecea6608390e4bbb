/** Host certificates as ssh-keygen signs them: what they say, and what is wrong with others. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { certificateAlgorithms } from "../lib/ssh/certificate_exchange.ts";
import { type Certificate, readCertificate } from "../lib/ssh/certificate.ts";
import {
  authorityAlgorithms,
  CERTIFICATE_ALGORITHMS,
  faultOf,
  plainAlgorithm,
} from "../lib/ssh/host_certificate.ts";
import { type KeyPair, makeKey } from "./support/keys.ts";
import { skipUnless, tempDir } from "./support/tools.ts";

const skip = skipUnless("ssh-keygen");

function blobOf(line: string): Buffer {
  return Buffer.from(line.split(" ")[1] ?? "", "base64");
}

/** What a blob says that must be a certificate. */
function parse(blob: Buffer): Certificate {
  const certificate = readCertificate(blob);
  if (certificate === undefined) throw new SyntaxError("a key, and no certificate");
  return certificate;
}

/** The certificate that an authority makes of a key, with these options. */
function sign(authority: KeyPair, key: KeyPair, ...options: string[]): Buffer {
  const { status, stderr } = spawnSync(
    "ssh-keygen",
    ["-q", "-s", authority.path, "-I", "a test", ...options, key.publicPath],
    { encoding: "utf8" },
  );
  assert.equal(status, 0, stderr);
  return blobOf(readFileSync(key.publicPath.replace(/\.pub$/, "-cert.pub"), "utf8"));
}

test("a certificate holds the key, the authority, its names and its time", skip, async () => {
  await using folder = await tempDir();
  const authority = await makeKey(folder.path, { type: "rsa" });
  for (const type of ["ed25519", "ecdsa", "rsa"] as const) {
    const key = await makeKey(folder.path, { type });
    const validity = ["-V", "20260101000000Z:20270101000000Z"];
    const blob = sign(authority, key, "-h", "-n", "a.example,b.example", ...validity);
    assert.equal(readCertificate(blobOf(key.publicLine)), undefined);
    const certificate = parse(blob);
    assert.deepEqual(certificate.key, blobOf(key.publicLine));
    assert.deepEqual(certificate.authority, blobOf(authority.publicLine));
    assert.equal(certificate.kind, "host");
    assert.deepEqual(certificate.principals, ["a.example", "b.example"]);
    assert.deepEqual(certificate.criticalOptions, []);
    const at = (time: string) => faultOf(certificate, "a.example", Date.parse(time));
    assert.equal(at("2026-01-01T00:00:00Z"), undefined);
    assert.equal(at("2026-12-31T23:59:59Z"), undefined);
    assert.equal(
      at("2025-12-31T23:59:59Z"),
      "it is not valid before 2026-01-01T00:00:00Z; is this machine's clock right?",
    );
    assert.equal(at("2027-01-01T00:00:00Z"), "it expired on 2027-01-01T00:00:00Z");
    assert.match(faultOf(certificate, "c.example", Date.parse("2026-06-01")) ?? "", /^it is for /);
  }
});

test("a certificate of a user is not one of a host", skip, async () => {
  await using folder = await tempDir();
  const authority = await makeKey(folder.path);
  const certificate = parse(sign(authority, await makeKey(folder.path), "-n", "a"));
  assert.equal(faultOf(certificate, "a", Date.now()), "it is not for a host");
});

test("an authority may sign with SHA-2, not with SHA-1", skip, async () => {
  await using folder = await tempDir();
  const authority = await makeKey(folder.path, { type: "rsa" });
  const key = await makeKey(folder.path);
  for (
    const [algorithm, fault] of [
      ["rsa-sha2-512", undefined],
      ["rsa-sha2-256", undefined],
      ["ssh-rsa", 'its authority signed with "ssh-rsa", which is not accepted'],
    ] as const
  ) {
    const certificate = parse(sign(authority, key, "-h", "-n", "a", "-t", algorithm));
    assert.equal(faultOf(certificate, "a", Date.now()), fault, algorithm);
  }
});

test(
  "a certificate with any byte changed, cut or added is malformed or not accepted",
  skip,
  async () => {
    await using folder = await tempDir();
    for (const type of ["ed25519", "ecdsa", "rsa"] as const) {
      const authority = await makeKey(folder.path, { type });
      const blob = sign(authority, await makeKey(folder.path, { type }), "-h", "-n", "a");
      const accepted = (changed: Buffer) => {
        try {
          const { authority: named, ...certificate } = parse(changed);
          // Who the authority is, a line of known_hosts says, and not the certificate.
          if (!named.equals(blobOf(authority.publicLine))) return false;
          return faultOf({ authority: named, ...certificate }, "a", Date.now()) === undefined;
        } catch (error) {
          assert.ok(error instanceof SyntaxError, String(error));
          return false;
        }
      };
      assert.ok(accepted(blob));
      assert.ok(!accepted(Buffer.concat([blob, Buffer.of(0)])));
      fc.assert(
        fc.property(
          fc.nat(blob.length - 1),
          fc.integer({ min: 1, max: 255 }),
          (at, bits) => {
            const changed = Buffer.from(blob);
            changed[at] = (changed[at] ?? 0) ^ bits;
            assert.ok(!accepted(changed), `byte ${at} ^ ${bits}`);
            assert.ok(!accepted(blob.subarray(0, at)), `${at} bytes`);
          },
        ),
        { numRuns: 300 },
      );
    }
  },
);

test("arbitrary bytes never do more than a SyntaxError", () => {
  const type = Buffer.from("\0\0\0\x20ssh-ed25519-cert-v01@openssh.com");
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, typed) => {
    const blob = Buffer.concat([typed ? type : Buffer.alloc(0), bytes]);
    assert.throws(() => parse(blob), SyntaxError);
  }));
});

test("an authority signs with what CASignatureAlgorithms allows", skip, async () => {
  await using folder = await tempDir();
  const authority = await makeKey(folder.path);
  const certificate = parse(sign(authority, await makeKey(folder.path), "-h", "-n", "a"));
  const fault = (list: string) => faultOf(certificate, "a", Date.now(), authorityAlgorithms(list));
  for (const list of ["ssh-ed25519", "ssh-*", "-rsa*", "+rsa-sha2-512", "ssh-dss,ssh-ed25519"]) {
    assert.equal(fault(list), undefined, list);
  }
  for (const list of ["rsa-sha2-512", "-ssh-ed25519", "ecdsa*"]) {
    assert.equal(fault(list), 'its authority signed with "ssh-ed25519", which is not accepted');
  }
  assert.throws(() => authorityAlgorithms("ssh-ed448"), /unknown signature algorithm "ssh-ed448"/);
  assert.throws(() => authorityAlgorithms("-*"), /leaves no signature algorithm/);
});

test("the algorithms of certificates are offered as far as the user's list allows", () => {
  const preferred = [...CERTIFICATE_ALGORITHMS, "ssh-ed25519"];
  const ed25519 = "ssh-ed25519-cert-v01@openssh.com";
  for (
    const [choice, expected] of [
      [undefined, CERTIFICATE_ALGORITHMS],
      ["+ssh-rsa", CERTIFICATE_ALGORITHMS],
      ["^ssh-ed25519", CERTIFICATE_ALGORITHMS],
      ["-ssh-ed25519*", CERTIFICATE_ALGORITHMS.slice(1)],
      ["-*", []],
      [`ssh-ed25519,${ed25519}`, [ed25519]],
      ["ssh-ed25519*", [ed25519]],
      ["ssh-ed25519", []],
    ] as const
  ) {
    assert.deepEqual(certificateAlgorithms(preferred, choice), expected, choice);
  }
  assert.deepEqual(certificateAlgorithms(["ssh-ed25519"]), []);
  assert.equal(plainAlgorithm("rsa-sha2-512-cert-v01@openssh.com"), "rsa-sha2-512");
  assert.equal(plainAlgorithm("rsa-sha2-512"), undefined);
});
