import assert from "node:assert/strict";
import { test } from "node:test";
import constants from "ssh2/lib/protocol/constants.js";
import { SessionError } from "../lib/errors.ts";
import { type Algorithms, chooseAlgorithms, DEFAULT_ALGORITHMS } from "../lib/ssh/algorithms.ts";
import { HYBRID_METHODS } from "../lib/ssh/hybrid_kex.ts";
import { runtime } from "../lib/runtime.ts";
import { run, skipUnless } from "./support/tools.ts";

const CHACHA = "chacha20-poly1305@openssh.com";
const KINDS: (keyof Algorithms)[] = ["kex", "serverHostKey", "cipher", "hmac"];

/** What ssh2 can do on this runtime, and the methods that are ours. */
const SUPPORTED: Record<keyof Algorithms, readonly string[]> = {
  kex: [...constants.SUPPORTED_KEX, ...HYBRID_METHODS.keys()],
  serverHostKey: constants.SUPPORTED_SERVER_HOST_KEY,
  cipher: constants.SUPPORTED_CIPHER,
  hmac: constants.SUPPORTED_MAC,
};

/** The names that a user may choose among, from the hint of an unknown one. */
function known(kind: keyof Algorithms): string[] {
  try {
    chooseAlgorithms({ [kind]: "no-such-algorithm" });
  } catch (error) {
    assert.ok(error instanceof SessionError);
    return (error.hint ?? "").replace("choose among ", "").split(", ");
  }
  throw new Error("it was accepted");
}

test("nothing old is offered: no SHA-1, no CBC, no RC4, no small group, no MD5, no DSA", () => {
  const all = KINDS.flatMap((kind) => DEFAULT_ALGORITHMS[kind]);
  const old = /sha1|cbc|arcfour|group1-|group14-sha1|md5|ssh-rsa|ssh-dss|3des|umac-64|-96/;
  assert.deepEqual(all.filter((name) => old.test(name)), []);
  for (const kind of KINDS) assert.ok(DEFAULT_ALGORITHMS[kind].length > 3, kind);
});

test("every name that is known can be done on this runtime", () => {
  for (const kind of KINDS) {
    const names = known(kind);
    assert.ok(names.length > DEFAULT_ALGORITHMS[kind].length, "the old ones can be named");
    const missing = names.filter((name) => !SUPPORTED[kind].includes(name));
    // ssh2 looks for ciphers by OpenSSL's names; what a runtime lacks must not be offered.
    assert.deepEqual(missing.filter((name) => DEFAULT_ALGORITHMS[kind].includes(name)), []);
    if (kind !== "cipher") assert.deepEqual(missing, [], kind);
  }
});

test("the best cipher of each runtime goes first, and no runtime is without AES", () => {
  const { cipher } = DEFAULT_ALGORITHMS;
  assert.equal(cipher[0], runtime.name === "deno" ? CHACHA : "aes128-gcm@openssh.com");
  assert.equal(cipher.includes(CHACHA), runtime.name !== "bun");
  assert.ok(cipher.includes("aes256-ctr") && cipher.includes("aes256-gcm@openssh.com"));
});

test("where AES is fast it goes first, and a user's list is still the user's", () => {
  const { cipher } = chooseAlgorithms({}, [], true);
  assert.equal(cipher[0], "aes128-gcm@openssh.com");
  assert.deepEqual([...cipher].sort(), [...DEFAULT_ALGORITHMS.cipher].sort());
  const list = "aes256-ctr,aes128-gcm@openssh.com";
  assert.deepEqual(chooseAlgorithms({ cipher: list }, [], true).cipher, list.split(","));
  assert.equal(chooseAlgorithms({ cipher: "^aes256-ctr" }, [], true).cipher[0], "aes256-ctr");
  assert.equal(
    chooseAlgorithms({ cipher: "-aes*-gcm*" }, [], true).cipher.some((name) => /gcm/.test(name)),
    false,
  );
});

test("what is not chosen stays at its default", () => {
  assert.deepEqual(chooseAlgorithms(), DEFAULT_ALGORITHMS);
  const { cipher, ...rest } = chooseAlgorithms({ cipher: "aes256-ctr" });
  assert.deepEqual(cipher, ["aes256-ctr"]);
  const { cipher: _, ...defaults } = DEFAULT_ALGORITHMS;
  assert.deepEqual(rest, defaults);
});

test("a list takes the place of the defaults, in its own order, and may name old ones", () => {
  assert.deepEqual(chooseAlgorithms({ hmac: "hmac-sha1,hmac-sha2-256" }).hmac, [
    "hmac-sha1",
    "hmac-sha2-256",
  ]);
});

test("+ appends, ^ puts first, and neither names anything twice", () => {
  const { kex, hmac } = DEFAULT_ALGORITHMS;
  const old = "diffie-hellman-group14-sha1";
  assert.deepEqual(chooseAlgorithms({ kex: `+${old}` }).kex, [...kex, old]);
  assert.deepEqual(chooseAlgorithms({ kex: `^${old}` }).kex, [old, ...kex]);
  assert.deepEqual(chooseAlgorithms({ hmac: `+${hmac[0]}` }).hmac, hmac);
  assert.deepEqual(chooseAlgorithms({ hmac: `^hmac-sha2-512,hmac-sha1` }).hmac, [
    "hmac-sha2-512",
    "hmac-sha1",
    ...hmac.filter((name) => name !== "hmac-sha2-512"),
  ]);
});

test("- takes away by name and by wildcard, and dots are only dots", () => {
  const { hmac, kex, cipher } = DEFAULT_ALGORITHMS;
  assert.deepEqual(
    chooseAlgorithms({ hmac: "-*-etm@openssh.com" }).hmac,
    hmac.filter((name) => !name.includes("etm")),
  );
  assert.deepEqual(
    chooseAlgorithms({ kex: "-ecdh-sha2-nistp???,diffie-hellman-*" }).kex,
    kex.filter((name) => !/^(?:ecdh|diffie)/.test(name)),
  );
  assert.deepEqual(
    chooseAlgorithms({ cipher: "-aes128-ctr" }).cipher,
    cipher.filter((name) => name !== "aes128-ctr"),
  );
  // As in ssh, what is not there need not be known.
  assert.deepEqual(chooseAlgorithms({ cipher: "-no-such,aes1" }).cipher, cipher);
  assert.deepEqual(chooseAlgorithms({ hmac: "-hmac-sha2-256-etm@openssh?com" }).hmac.length, 3);
  assert.deepEqual(chooseAlgorithms({ hmac: "-hmac.sha2.256" }).hmac, hmac);
});

test("a list that leaves nothing is refused", () => {
  for (const kind of KINDS) {
    assert.throws(() => chooseAlgorithms({ [kind]: "-*" }), {
      name: "SessionError",
      code: "algorithm-mismatch",
      message: /^"-\*" leaves no .+ algorithm$/,
    });
  }
});

test("an unknown name is refused, with the names that there are", () => {
  const words = { kex: "key exchange", serverHostKey: "host key", cipher: "cipher", hmac: "MAC" };
  for (const kind of KINDS) {
    for (const text of ["rot13", "+rot13", "^rot13", `${DEFAULT_ALGORITHMS[kind][0]},rot13`]) {
      assert.throws(() => chooseAlgorithms({ [kind]: text }), {
        name: "SessionError",
        code: "algorithm-mismatch",
        message: `unknown ${words[kind]} algorithm "rot13"`,
        hint: `choose among ${known(kind).join(", ")}`,
      });
    }
    const [best = ""] = DEFAULT_ALGORITHMS[kind];
    assert.throws(() => chooseAlgorithms({ [kind]: `${best}x` }), {
      message: `unknown ${words[kind]} algorithm "${best}x"`,
      hint: `did you mean ${best}?`,
    });
    for (const text of ["", "+", "^", ","]) {
      assert.throws(() => chooseAlgorithms({ [kind]: text }), { code: "algorithm-mismatch" });
    }
    const [first] = DEFAULT_ALGORITHMS[kind];
    assert.ok(known(kind).includes(first ?? ""));
  }
  if (runtime.name === "bun") {
    assert.throws(() => chooseAlgorithms({ cipher: CHACHA }), { message: /on this runtime$/ });
  }
});

test("what OpenSSH knows and fairlead cannot do is passed over, unless nothing is left", () => {
  const { hmac } = chooseAlgorithms({ hmac: "umac-128-etm@openssh.com,,hmac-sha2-256" });
  assert.deepEqual(hmac, ["hmac-sha2-256"]);
  const { serverHostKey } = DEFAULT_ALGORITHMS;
  assert.deepEqual(chooseAlgorithms({ serverHostKey: "+ssh-dss" }).serverHostKey, serverHostKey);
  assert.throws(() => chooseAlgorithms({ cipher: "3des-cbc" }), {
    code: "algorithm-mismatch",
    message: "fairlead cannot do the cipher algorithm 3des-cbc",
  });
  assert.throws(() => chooseAlgorithms({ serverHostKey: "ssh-dss*" }), {
    message: "fairlead cannot do the host key algorithm ssh-dss-cert-v01@openssh.com, ssh-dss",
  });
});

const SSH_NAMES = {
  kex: "KexAlgorithms",
  serverHostKey: "HostKeyAlgorithms",
  cipher: "Ciphers",
  hmac: "MACs",
};

/** Lists of every form, good and bad. */
const LISTS: Record<keyof Algorithms, string[]> = {
  kex: [
    "+diffie-hellman-group1-sha1,diffie-hellman-group14-sha1",
    "^ecdh-sha2-nistp521,ecdh-sha2-nistp256,ecdh-sha2-nistp521",
    "^ecdh*",
    "+diffie-hellman-group1*",
    "-diffie-*,ecdh-sha2-nistp???",
    "-curve*,!curve25519-sha256",
    "ecdh-sha2-nistp384,curve25519-sha256",
    "Curve25519-sha256",
  ],
  serverHostKey: [
    "+ssh-r*",
    "+ssh-rsa,sk-ssh-ed25519@openssh.com",
    "^ecdsa*",
    "^rsa-sha2-256,ssh-ed25519",
    "rsa*",
    "rsa-sha2-512,rsa-sha2-256,ssh-rsa,sk-ssh-ed25519@openssh.com",
    "-ecdsa*",
    "-ssh-ed25519,rsa*,!rsa-sha2-256",
    "+nope*",
    "!rsa*",
  ],
  cipher: [
    "-aes*-gcm*,aes1*",
    "-nope",
    "-!aes*",
    "-aes1?8-*",
    "+aes*-cbc",
    "aes128-c*",
    "+3des-cbc",
    "aes256-ctr,aes128-ctr,aes256-ctr",
    "^aes256-ctr,aes128-ctr,aes256-ctr",
    "arcfour",
    "none",
    "AES128-CTR",
    "+",
  ],
  hmac: [
    "+hmac-md5*",
    "+hmac-md5",
    "hmac-sha1,,hmac-sha2-256",
    "-*etm*",
    "-hmac-sha2-256",
    "^hmac-sha2-512",
    "umac-64-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com",
  ],
};

test("lists mean what they mean to ssh, which is asked itself", skipUnless("ssh"), async () => {
  const ask = async (kind: keyof Algorithms, ...options: string[]) => {
    const { status, stdout } = await run("ssh", ["-F", "none", "-G", ...options, "host"]);
    const name = SSH_NAMES[kind].toLowerCase();
    const line = stdout.split("\n").find((line) => line.startsWith(`${name} `));
    return status === 0 && line !== undefined ? line.slice(name.length + 1).split(",") : undefined;
  };
  for (const kind of KINDS) {
    const theirs = await ask(kind) ?? [];
    const ours = DEFAULT_ALGORITHMS[kind];
    const all = known(kind);
    for (const list of LISTS[kind]) {
      const expected = await ask(kind, "-o", `${SSH_NAMES[kind]}=${list}`);
      let got: readonly string[] | undefined;
      try {
        got = chooseAlgorithms({ [kind]: list })[kind];
      } catch {
        // Refused.
      }
      const what = `${kind}: ${list}`;
      assert.equal(got === undefined, expected === undefined, what);
      if (got === undefined || expected === undefined) continue;
      const common = all.filter((name) => !theirs.includes(name) && !ours.includes(name))
        .concat(theirs.filter((name) => ours.includes(name)));
      const told = /^[+^-]/.test(list);
      const removed = (before: readonly string[], now: readonly string[]) =>
        before.filter((name) => common.includes(name) && !now.includes(name)).sort();
      const added = (before: readonly string[], now: readonly string[]) =>
        now.filter((name) => common.includes(name) && !before.includes(name));
      if (list === "rsa*") {
        // A wildcard stands for names in ssh's order, which has SHA-256 before SHA-512; ours not.
        assert.deepEqual(got, ["rsa-sha2-512", "rsa-sha2-256"]);
      } else if (!told) {
        assert.deepEqual(got, expected.filter((name) => all.includes(name)), what);
      } else {
        assert.deepEqual(removed(ours, got), removed(theirs, expected), what);
        assert.deepEqual(added(ours, got), added(theirs, expected), what);
        if (list.startsWith("^")) {
          const first = expected.filter((name) => all.includes(name)).slice(0, 2);
          assert.deepEqual(got.slice(0, 2), first, what);
        }
      }
    }
  }
});

test("host key algorithms of known keys go first, unless the user chose a list", () => {
  const { serverHostKey } = DEFAULT_ALGORITHMS;
  const rsa = ["rsa-sha2-512", "rsa-sha2-256"];
  assert.deepEqual(chooseAlgorithms({}, rsa).serverHostKey, [
    ...rsa,
    ...serverHostKey.filter((name) => !rsa.includes(name)),
  ]);
  // One that is off stays off, whatever the file holds.
  assert.deepEqual(chooseAlgorithms({}, ["ssh-rsa", "ssh-dss"]).serverHostKey, serverHostKey);
  const chosen = { serverHostKey: "ssh-ed25519,rsa-sha2-256" };
  assert.deepEqual(chooseAlgorithms(chosen, rsa).serverHostKey, ["ssh-ed25519", "rsa-sha2-256"]);
});
