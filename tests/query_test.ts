/** `-Q` answers what `ssh -Q` does, as far as fairlead can do it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { answerQuery } from "../lib/cli/query.ts";
import { run, skipUnless } from "./support/tools.ts";

const lines = (text: string) => text.split("\n").filter((line) => line !== "");
const answer = (query: string) => lines(answerQuery(query));

test("queries about keys tell types from certificates and signatures", () => {
  const certificate = "ssh-ed25519-cert-v01@openssh.com";
  assert.ok(answer("key").includes(certificate) && answer("key").includes("ssh-ed25519"));
  assert.ok(answer("key-cert").every((name) => name.endsWith("-cert-v01@openssh.com")));
  assert.ok(answer("key-cert").includes(certificate));
  assert.ok(!answer("key-plain").includes(certificate) && answer("key-plain").includes("ssh-rsa"));
  assert.ok(answer("sig").includes("rsa-sha2-512") && !answer("sig").includes(certificate));
  assert.ok(answer("key-ca-sign").includes("rsa-sha2-512"));
  assert.deepEqual(answer("CASignatureAlgorithms"), answer("key-ca-sign"));
  assert.deepEqual(answer("pubkeyacceptedalgorithms"), answer("key-sig"));
  assert.ok(answer("key-sig").includes("rsa-sha2-256-cert-v01@openssh.com"));
});

test("all that -Q help names is answered, and what is not done is refused by its reason", () => {
  for (const query of answer("help")) assert.ok(answer(query).length > 0, query);
  assert.throws(() => answerQuery("HostbasedAcceptedAlgorithms"), {
    code: "usage",
    message: /^-Q HostbasedAcceptedAlgorithms: fairlead does not use host-based/,
  });
});

test("ssh knows by the same query whatever is told of keys", skipUnless("ssh"), async () => {
  for (const query of ["key", "key-cert", "key-plain", "key-sig", "sig", "cipher", "mac"]) {
    const known = lines((await run("ssh", ["-Q", query])).stdout);
    assert.deepEqual(answer(query).filter((name) => !known.includes(name)), [], query);
  }
});
