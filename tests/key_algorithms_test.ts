/** Which algorithm a key is offered with. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { acceptedAlgorithms, algorithmFor, plainType, rsaBits } from "../lib/ssh/key_algorithms.ts";
import { parsePublicKey } from "../lib/ssh/public_key.ts";
import { sshString } from "../lib/ssh/wire.ts";
import { makeKey } from "./support/keys.ts";
import { run, skipUnless, tempDir } from "./support/tools.ts";

const ssh = skipUnless("ssh");
const keygen = skipUnless("ssh-keygen");
const CERT = "-cert-v01@openssh.com";

/** What the real ssh makes of a list. */
async function inSsh(list?: string): Promise<string[]> {
  const option = list === undefined ? [] : ["-o", `PubkeyAcceptedAlgorithms=${list}`];
  const { stdout, stderr } = await run("ssh", ["-F", "none", ...option, "-G", "host"]);
  const line = stdout.split("\n").find((line) => line.startsWith("pubkeyacceptedalgorithms "));
  assert.ok(line, stderr);
  return line.slice("pubkeyacceptedalgorithms ".length).split(",");
}

test("the list of algorithms is ssh's own, whatever a user adds or takes away", ssh, async () => {
  const lists = [
    undefined,
    "ssh-ed25519",
    "ssh-ed25519,rsa-sha2-256",
    "rsa-sha2-*",
    "-*cert*",
    "-ssh-ed25519,ecdsa-*",
    "+ssh-rsa",
    "^rsa-sha2-512,ssh-ed25519",
    "-none-of-these",
    "ssh-ed25519,webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
  ];
  for (const list of lists) {
    // OpenSSH 10 knows some that no key here can use.
    const expected = (await inSsh(list)).filter((name) => !/^(webauthn|ssh-dss)/.test(name));
    assert.deepEqual(acceptedAlgorithms(list), expected, list);
  }
});

test("a list that names nothing, or leaves nothing, is an error that says so", () => {
  assert.throws(() => acceptedAlgorithms("ssh-ed25519,nonsense"), {
    code: "algorithm-mismatch",
    message: 'unknown public key algorithm "nonsense"',
  });
  // Users have those in their files still, beside what they are about.
  assert.deepEqual(acceptedAlgorithms("ssh-rsa,ssh-dss"), ["ssh-rsa"]);
  assert.throws(() => acceptedAlgorithms("-*"), {
    code: "algorithm-mismatch",
    message: '"-*" leaves no public key algorithm',
  });
});

const blobOf = (type: string) => sshString(type);

test("an RSA key signs with what both sides take, and SHA-1 only where it is named", () => {
  for (const suffix of ["", CERT]) {
    const rsa = blobOf(`ssh-rsa${suffix}`);
    const choose = (list: string | undefined, server: string[] | undefined) =>
      algorithmFor(rsa, acceptedAlgorithms(list), server);
    const by = (signature: string) => ({ name: `${signature}${suffix}`, signature });
    const all = ["ssh-ed25519", "rsa-sha2-256", "rsa-sha2-512", "ssh-rsa"];
    assert.deepEqual(choose(undefined, all), by("rsa-sha2-512"));
    assert.deepEqual(choose(undefined, ["rsa-sha2-256"]), by("rsa-sha2-256"));
    assert.deepEqual(choose(`^rsa-sha2-256${suffix}`, all), by("rsa-sha2-256"));
    assert.equal(choose(undefined, ["ssh-ed25519", "ssh-rsa"]), undefined);
    assert.deepEqual(choose(`+ssh-rsa${suffix}`, ["ssh-rsa"]), by("ssh-rsa"));
    assert.deepEqual(choose(`+ssh-rsa${suffix}`, all), by("rsa-sha2-512"));
    // A server that does not say what it takes.
    assert.deepEqual(choose(undefined, undefined), by("rsa-sha2-512"));
    assert.deepEqual(choose(`+ssh-rsa${suffix}`, undefined), by("ssh-rsa"));
    assert.equal(choose("ssh-ed25519", all), undefined);
  }
});

test("a key of another type has one algorithm, and a certificate signs as its key does", () => {
  const all = acceptedAlgorithms();
  const types = [
    ["ssh-ed25519", `ssh-ed25519${CERT}`],
    ["ecdsa-sha2-nistp521", `ecdsa-sha2-nistp521${CERT}`],
    ["sk-ssh-ed25519@openssh.com", `sk-ssh-ed25519${CERT}`],
    ["sk-ecdsa-sha2-nistp256@openssh.com", `sk-ecdsa-sha2-nistp256${CERT}`],
  ] as const;
  for (const [plain, certificate] of types) {
    // A server lists RSA's algorithms for us to choose among; as for ssh, the rest is tried.
    for (const type of [plain, certificate]) {
      assert.deepEqual(algorithmFor(blobOf(type), all, []), { name: type, signature: plain });
    }
    assert.equal(plainType(certificate), plain);
    assert.equal(algorithmFor(blobOf(certificate), acceptedAlgorithms(plain), []), undefined);
  }
  for (const blob of [blobOf("ssh-dss"), Buffer.alloc(0), Buffer.from("garbage")]) {
    assert.equal(algorithmFor(blob, all, undefined), undefined);
  }
});

test("the bits of an RSA key are counted as ssh-keygen counts them", keygen, async () => {
  await using folder = await tempDir();
  for (const bits of [2048, 3072] as const) {
    const { publicLine } = await makeKey(folder.path, { type: "rsa", bits });
    assert.equal(rsaBits(parsePublicKey(publicLine) ?? Buffer.alloc(0)), bits);
  }
  const { publicLine } = await makeKey(folder.path);
  assert.equal(rsaBits(parsePublicKey(publicLine) ?? Buffer.alloc(0)), undefined);
});
