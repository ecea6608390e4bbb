import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { devNull, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { configure, type LogRecord, reset } from "@logtape/logtape";
import fc from "fast-check";
import { SessionError } from "../lib/errors.ts";
import {
  type HostKeyVerifier,
  type KnownHostsOptions,
  knownHostsVerifier,
  type StrictHostKeyChecking,
} from "../lib/ssh/host_keys.ts";
import { fingerprint, formatEntry } from "../lib/ssh/known_hosts.ts";
import { pinnedVerifier } from "../lib/ssh/pinned_keys.ts";
import type { Prompter, UnknownHostKey } from "../lib/ssh/prompter.ts";
import { scriptCommand } from "./support/fairlead.ts";
import { emptyHome } from "./support/home.ts";
import { run } from "./support/tools.ts";

const ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHufyW64DBPHyC2kAlC6B2n+F67oc5WoOloQ1I4p0tBU";
const SECOND = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINj3KJCpDuDVCc23bmyRuDmtIa5edMUl/PT3sjp4L+MR";
const RSA =
  "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDKLHoQSn/T+d+apcUIUEqxY22DxnqOL/w52aULs81tU4NwikyPgYM0gkGBzrPKGK7b/sznkYmQyb86HrdMkLZSs5kmbyJyVBflsD4YdeFwlhVX2NxiIl4b+Z0l+ICwpTV4hZTwNZVHnhSZPx9sGv1yy3V1Mu0e0r1Wen4LzskQ3Q==";
const KEY = blobOf(ED25519);
const SECOND_KEY = blobOf(SECOND);
const RSA_KEY = blobOf(RSA);

const EVERY_STRICT: readonly StrictHostKeyChecking[] = ["yes", "ask", "accept-new", "no"];

function blobOf(publicKey: string): Buffer {
  return Buffer.from(publicKey.split(" ")[1] ?? "", "base64");
}

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-host-keys-"));
  try {
    await run(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Runs with a known_hosts file of this text in a folder of its own. */
async function withFile(text: string, run: (file: string) => Promise<void>): Promise<void> {
  await inFolder(async (folder) => {
    const file = join(folder, "known_hosts");
    await writeFile(file, text);
    await run(file);
  });
}

function verifierOf(file: string, options: Partial<KnownHostsOptions> = {}): HostKeyVerifier {
  return knownHostsVerifier({ userFiles: [file], globalFiles: [], strict: "yes", ...options });
}

/** A person who answers what is given, in turn, and notes the questions. */
function personWith(...answers: boolean[]): { prompter: Prompter; asked: UnknownHostKey[] } {
  const asked: UnknownHostKey[] = [];
  const unexpected = () => Promise.reject(new Error("asked for something else"));
  const prompter: Prompter = {
    secret: unexpected,
    questions: unexpected,
    confirmHostKey: (key) => {
      const answer = answers[asked.push(key) - 1];
      return answer === undefined
        ? Promise.reject(new Error("interrupted"))
        : Promise.resolve(answer);
    },
  };
  return { prompter, asked };
}

/** The error that a promise rejects with, which must be a SessionError of this code. */
async function refusal(promise: Promise<unknown>, code: string): Promise<SessionError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof SessionError, String(error));
    assert.equal(error.code, code, error.message);
    return error;
  }
  assert.fail(`nothing was refused, where ${code} was expected`);
}

/** Runs and returns what was logged meanwhile, as `level: text`. */
async function logged(run: () => Promise<void>): Promise<string[]> {
  const lines: string[] = [];
  const write = (record: LogRecord) => {
    lines.push(`${record.level}: ${record.message.join("")}`);
  };
  await configure({
    reset: true,
    sinks: { lines: write },
    loggers: [
      { category: "fairlead", sinks: ["lines"], lowestLevel: "debug" },
      { category: ["logtape", "meta"], sinks: [] },
    ],
  });
  try {
    await run();
  } finally {
    await reset();
  }
  return lines;
}

test("a known key may be used with every strictness, and nothing is written", async () => {
  await withFile(`a ${ED25519}\n`, async (file) => {
    for (const strict of EVERY_STRICT) await verifierOf(file, { strict }).verify("a", KEY);
    assert.equal(await readFile(file, "utf8"), `a ${ED25519}\n`);
  });
});

test("the user's files and the global files all count", async () => {
  await inFolder(async (folder) => {
    const files = ["one", "two", "three", "four"].map((name) => join(folder, name));
    const [one = "", two = "", three = "", four = ""] = files;
    await writeFile(two, `a ${RSA}\n`);
    await writeFile(three, `b ${ED25519}\n`);
    await writeFile(four, `a ${ED25519}\n@revoked * ${SECOND}\n`);
    const verifier = verifierOf("", { userFiles: [one, two], globalFiles: [three, four] });
    await verifier.verify("a", KEY);
    await verifier.verify("a", RSA_KEY);
    await verifier.verify("b", KEY);
    await refusal(verifier.verify("b", SECOND_KEY), "host-key-revoked");
    assert.deepEqual(await verifier.preferredAlgorithms("a"), [
      "rsa-sha2-512",
      "rsa-sha2-256",
      "ssh-ed25519",
    ]);
  });
});

test("a changed key is refused with every strictness, naming file, line and both keys", async () => {
  const name = "[127.0.0.1]:2222";
  const text = `# mine\n\n${name} ${SECOND}\n`;
  await withFile(text, async (file) => {
    for (const strict of EVERY_STRICT) {
      const { prompter, asked } = personWith(true);
      const error = await refusal(
        verifierOf(file, { strict, prompter }).verify(name, KEY),
        "host-key-changed",
      );
      assert.equal(
        error.message,
        `the host key of ${name} has changed: it is now ED25519 ${fingerprint(KEY)}, ` +
          `but ${file} line 3 holds ED25519 ${fingerprint(SECOND_KEY)}`,
      );
      assert.match(error.hint ?? "", /may be intercepting/);
      assert.ok(error.hint?.endsWith(`\`ssh-keygen -R '${name}' -f ${file}\``), error.hint);
      assert.deepEqual(asked, []);
    }
    assert.equal(await readFile(file, "utf8"), text);
  });
});

test("a key of another type than those known is refused as changed, as ssh does", async () => {
  await withFile(`a ${RSA}\n`, async (file) => {
    for (const strict of EVERY_STRICT) {
      const { prompter, asked } = personWith(true);
      const error = await refusal(
        verifierOf(file, { strict, prompter }).verify("a", KEY),
        "host-key-changed",
      );
      assert.ok(error.message.endsWith(`${file} line 1 holds RSA ${fingerprint(RSA_KEY)}`));
      assert.deepEqual(asked, []);
    }
    assert.equal(await readFile(file, "utf8"), `a ${RSA}\n`);
  });
});

test("the way to remove changed keys names every file, quoted for a shell", async () => {
  await inFolder(async (folder) => {
    const one = join(folder, "it's one");
    const two = join(folder, "two");
    await writeFile(one, `a ${SECOND}\na ${SECOND}\n`);
    await writeFile(two, `a ${SECOND}\n`);
    const verifier = verifierOf("", { userFiles: [one], globalFiles: [two] });
    const { hint, message } = await refusal(verifier.verify("a", KEY), "host-key-changed");
    const quoted = `'${one.replace("'", "'\\''")}'`;
    assert.ok(
      hint?.endsWith(`with: \`ssh-keygen -R a -f ${quoted}\` and \`ssh-keygen -R a -f ${two}\``),
      hint,
    );
    for (const place of [`${one} line 1`, `${one} line 2`, `${two} line 1`]) {
      assert.ok(message.includes(place), message);
    }
  });
});

test("a revoked key is refused with every strictness, naming file and line", async () => {
  await withFile(`a ${ED25519}\n@revoked * ${ED25519}\n`, async (file) => {
    for (const strict of EVERY_STRICT) {
      const { prompter, asked } = personWith(true);
      const error = await refusal(
        verifierOf(file, { strict, prompter }).verify("a", KEY),
        "host-key-revoked",
      );
      assert.ok(error.message.includes(`${file} line 2`), error.message);
      assert.ok(error.message.includes(fingerprint(KEY)), error.message);
      assert.ok(error.hint);
      assert.deepEqual(asked, []);
    }
  });
});

test("an unknown key is refused by yes, with its fingerprint and the ways to accept it", async () => {
  await withFile("", async (file) => {
    const { prompter, asked } = personWith(true);
    const { hint, message } = await refusal(
      verifierOf(file, { prompter }).verify("a", KEY),
      "host-key-unknown",
    );
    assert.equal(message, `the host key of a is not known: it is ED25519 ${fingerprint(KEY)}`);
    assert.ok(hint?.includes(fingerprint(KEY)), hint);
    assert.ok(hint?.includes(`add this line to ${file}: \`a ${ED25519}\``), hint);
    assert.ok(hint?.includes("-o StrictHostKeyChecking=accept-new"), hint);
    assert.ok(!hint?.includes("terminal"), hint);
    assert.deepEqual(asked, []);
    assert.equal(await readFile(file, "utf8"), "");
  });
});

test("an unknown key is refused by ask where there is nobody to ask", async () => {
  await withFile("", async (file) => {
    const verifier = verifierOf(file, { strict: "ask" });
    const { hint } = await refusal(verifier.verify("a", KEY), "host-key-unknown");
    assert.ok(hint?.includes("connect once from a terminal"), hint);
    assert.equal(await readFile(file, "utf8"), "");
  });
});

test("a refused key is accepted by the same verifier once its line was added", async () => {
  await withFile("", async (file) => {
    const verifier = verifierOf(file);
    await refusal(verifier.verify("a", KEY), "host-key-unknown");
    await writeFile(file, formatEntry("a", KEY));
    await verifier.verify("a", KEY);
  });
});

test("ask shows the key to the person, remembers a yes and does not ask again", async () => {
  await withFile("", async (file) => {
    const { prompter, asked } = personWith(true);
    const verifier = verifierOf(file, { strict: "ask", prompter });
    await verifier.verify("[a]:2222", KEY);
    await verifier.verify("[a]:2222", KEY);
    assert.deepEqual(asked, [
      { host: "[a]:2222", keyType: "ED25519", fingerprint: fingerprint(KEY) },
    ]);
    assert.equal(await readFile(file, "utf8"), `[a]:2222 ${ED25519}\n`);
    await verifierOf(file).verify("[a]:2222", KEY);
  });
});

test("a declined key is refused, not written, and not asked about again", async () => {
  await withFile("", async (file) => {
    const { prompter, asked } = personWith(false, true);
    const verifier = verifierOf(file, { strict: "ask", prompter });
    for (let attempt = 0; attempt < 2; attempt++) {
      const { message } = await refusal(verifier.verify("a", KEY), "host-key-unknown");
      assert.match(message, /^host key verification was declined for a,/);
    }
    assert.equal(asked.length, 1);
    assert.equal(await readFile(file, "utf8"), "");
  });
});

test("another key or another host is another question", async () => {
  const { prompter, asked } = personWith(true, false, true);
  const verifier = knownHostsVerifier({ userFiles: [], globalFiles: [], strict: "ask", prompter });
  await verifier.verify("a", KEY);
  await refusal(verifier.verify("a", SECOND_KEY), "host-key-unknown");
  await verifier.verify("b", SECOND_KEY);
  assert.equal(asked.length, 3);
});

test("a person who is asked twice at once answers once", async () => {
  const { prompter, asked } = personWith(true);
  const verifier = knownHostsVerifier({ userFiles: [], globalFiles: [], strict: "ask", prompter });
  await Promise.all([verifier.verify("a", KEY), verifier.verify("a", KEY)]);
  assert.equal(asked.length, 1);
});

test("an interrupted question rejects as the prompter did, and may be asked again", async () => {
  const { prompter, asked } = personWith();
  const verifier = knownHostsVerifier({ userFiles: [], globalFiles: [], strict: "ask", prompter });
  await assert.rejects(verifier.verify("a", KEY), /interrupted/);
  await assert.rejects(verifier.verify("a", KEY), /interrupted/);
  assert.equal(asked.length, 2);
});

test("accept-new and no remember an unknown key, say so, and go by it from then on", async () => {
  for (const strict of ["accept-new", "no"] as const) {
    await withFile(`b ${RSA}\n`, async (file) => {
      const { prompter, asked } = personWith(false);
      const lines = await logged(() => verifierOf(file, { strict, prompter }).verify("a", KEY));
      assert.deepEqual(lines, [
        `warning: permanently added a (ED25519) to the list of known hosts, ${file}`,
      ]);
      assert.deepEqual(asked, []);
      assert.equal(await readFile(file, "utf8"), `b ${RSA}\na ${ED25519}\n`);
      const next = verifierOf(file, { strict });
      await refusal(next.verify("a", SECOND_KEY), "host-key-changed");
    });
  }
});

test("a key is remembered on a line of its own where the last newline is missing", async () => {
  await withFile(`b ${RSA}`, async (file) => {
    await verifierOf(file, { strict: "accept-new" }).verify("a", KEY);
    assert.equal(await readFile(file, "utf8"), `b ${RSA}\na ${ED25519}\n`);
  });
});

test("a missing file and its folder are made for their owner alone", {
  skip: process.platform === "win32" ? "Windows has no such modes" : false,
}, async () => {
  // What is the user's own is settled when a program starts.
  await using home = await emptyHome();
  await rm(home.ssh, { recursive: true });
  const file = join(home.ssh, "known_hosts");
  const [command, before] = scriptCommand("tests/support/fixtures/add_known_host.ts");
  const task = JSON.stringify({ file, key: KEY.toString("base64"), names: ["a"] });
  const { status, stderr } = await run(command, [...before, task], { env: home.env });
  assert.equal(status, 0, stderr);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.equal((await stat(home.ssh)).mode & 0o777, 0o700);
  assert.equal(await readFile(file, "utf8"), `a ${ED25519}\n`);
});

test("a folder that is not the user's own is not made, and the connection goes on", async () => {
  await inFolder(async (folder) => {
    await verifierOf(join(folder, "typo", "x"), { strict: "accept-new" }).verify("a", KEY);
    assert.deepEqual(await readdir(folder), []);
  });
});

test("only the first of the user's files is written", async () => {
  await inFolder(async (folder) => {
    const verifier = knownHostsVerifier({
      userFiles: [join(folder, "one"), join(folder, "two")],
      globalFiles: [join(folder, "three")],
      strict: "accept-new",
    });
    await verifier.verify("a", KEY);
    assert.deepEqual(await readdir(folder), ["one"]);
  });
});

test("without files of the user's, an unknown key is accepted and not remembered", async () => {
  await inFolder(async (folder) => {
    const globalFiles = [join(folder, "global")];
    const verifier = knownHostsVerifier({ userFiles: [], globalFiles, strict: "accept-new" });
    assert.deepEqual(await logged(() => verifier.verify("a", KEY)), []);
    assert.deepEqual(await readdir(folder), []);
  });
});

test("the null device is an empty file that takes every key", {
  skip: process.platform === "win32" ? "Windows has no folder of devices" : false,
}, async () => {
  const verifier = verifierOf(devNull, { strict: "no" });
  await verifier.verify("a", KEY);
  await verifier.verify("a", SECOND_KEY);
  assert.deepEqual(await verifier.preferredAlgorithms("a"), []);
});

test("a file that cannot be written is reported, and the connection goes on", async () => {
  await withFile("", async (file) => {
    const inFile = join(file, "known_hosts");
    const verifier = verifierOf(inFile, { strict: "accept-new" });
    const lines = await logged(() => verifier.verify("a", KEY));
    const added = lines.filter((line) => line.includes("list of known hosts"));
    assert.equal(added.length, 1);
    assert.ok(
      added[0]?.startsWith(`warning: cannot add a to the list of known hosts, ${inFile}: `),
      added[0],
    );
  });
});

test("an unreadable file is reported once and skipped; a missing one is not", async () => {
  await inFolder(async (folder) => {
    const unreadable = join(folder, "folder");
    const missing = join(folder, "missing");
    const readable = join(folder, "readable");
    await mkdir(unreadable);
    await writeFile(readable, `a ${ED25519}\n`);
    const verifier = verifierOf("", { userFiles: [missing, unreadable], globalFiles: [readable] });
    const lines = await logged(async () => {
      await verifier.preferredAlgorithms("a");
      await verifier.verify("a", KEY);
    });
    assert.equal(lines.length, 1);
    assert.ok(lines[0]?.startsWith(`warning: cannot read ${unreadable}, `), lines[0]);
  });
});

test("a broken line is reported once with its place, aloud where it bears a marker", async () => {
  await withFile(`broken\n@revoked * ssh-rsa\na ${ED25519}\n`, async (file) => {
    const verifier = verifierOf(file);
    const lines = await logged(async () => {
      await verifier.preferredAlgorithms("a");
      await verifier.verify("a", KEY);
    });
    assert.deepEqual(lines, [
      `info: ${file}:1: the key is missing, the line is ignored`,
      `warning: ${file}:2: nothing follows the key type, the line is ignored`,
    ]);
  });
});

test("a file above 64 MiB is refused", async () => {
  await withFile(`a ${ED25519}\n`, async (file) => {
    await truncate(file, 64 * 1024 * 1024 + 1);
    const verifier = verifierOf(file, { strict: "no" });
    const { hint, message } = await refusal(verifier.verify("a", KEY), "config-invalid");
    assert.ok(message.startsWith(`${file} is larger than 64 MiB`), message);
    assert.ok(hint);
    await refusal(verifier.preferredAlgorithms("a"), "config-invalid");
  });
});

test("a host on another port may be known without its port, as in ssh, but not the reverse", async () => {
  await withFile(`a ${ED25519}\n[b]:2222 ${ED25519}\n`, async (file) => {
    const verifier = verifierOf(file);
    await verifier.verify("[a]:2222", KEY);
    await refusal(verifier.verify("b", KEY), "host-key-unknown");
    // Another server may well listen on that port: a different key is new there, not changed.
    await refusal(verifier.verify("[a]:2222", SECOND_KEY), "host-key-unknown");
    assert.deepEqual(await verifier.preferredAlgorithms("[a]:2222"), ["ssh-ed25519"]);
  });
});

test("the name without its port does not vouch where the port has keys of its own", async () => {
  await withFile(`a ${ED25519}\n[a]:2222 ${SECOND}\n[a]:2223 ${RSA}\n`, async (file) => {
    const verifier = verifierOf(file);
    await refusal(verifier.verify("[a]:2222", KEY), "host-key-changed");
    await refusal(verifier.verify("[a]:2223", KEY), "host-key-changed");
    assert.deepEqual(await verifier.preferredAlgorithms("[a]:2223"), [
      "rsa-sha2-512",
      "rsa-sha2-256",
    ]);
  });
});

test("a key revoked for a host is revoked on its other ports", async () => {
  await withFile(`@revoked a ${ED25519}\n`, async (file) => {
    const verifier = verifierOf(file, { strict: "no" });
    await refusal(verifier.verify("[a]:2222", KEY), "host-key-revoked");
  });
});

test("a name that would mean other hosts, and what is not a key, are refused unwritten", async () => {
  await withFile("", async (file) => {
    const verifier = verifierOf(file, { strict: "no" });
    for (const name of ["*", "a,b", `a ${ED25519}\nb`]) {
      await refusal(verifier.verify(name, KEY), "config-invalid");
    }
    await refusal(verifier.verify("a", Buffer.from("junk")), "protocol-error");
    assert.equal(await readFile(file, "utf8"), "");
  });
});

test("fifty keys remembered at once, by several verifiers, are all kept", async () => {
  await withFile(`b ${RSA}`, async (file) => {
    const names = Array.from({ length: 50 }, (_, index) => `host${index}`);
    const verifiers = Array.from({ length: 5 }, () => verifierOf(file, { strict: "no" }));
    await Promise.all(
      names.map((name, index) => verifiers[index % verifiers.length]?.verify(name, KEY)),
    );
    const lines = (await readFile(file, "utf8")).split("\n").filter((line) => line !== "");
    const expected = [`b ${RSA}`, ...names.map((name) => `${name} ${ED25519}`)];
    assert.deepEqual(lines.sort(), expected.sort());
  });
});

test("whatever the file held, a remembered key is known afterwards", async () => {
  await inFolder(async (folder) => {
    const file = join(folder, "known_hosts");
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "binary" }), fc.domain(), async (text, name) => {
        await writeFile(file, text);
        await verifierOf(file, { strict: "accept-new" }).verify(name, KEY);
        await verifierOf(file).verify(name, KEY);
        assert.ok(
          (await readFile(file)).subarray(0, Buffer.byteLength(text)).equals(Buffer.from(text)),
        );
      }),
      { numRuns: 50 },
    );
  });
});

test("an alias is looked up and remembered instead of the host and its port", async () => {
  await withFile(`db ${ED25519}\n[real]:2222 ${SECOND}\n`, async (file) => {
    const verifier = verifierOf(file, { hostKeyAlias: "DB" });
    await verifier.verify("[real]:2222", KEY);
    await verifier.verify("other", KEY);
    assert.deepEqual(await verifier.preferredAlgorithms("other"), ["ssh-ed25519"]);
    const { hint, message } = await refusal(
      verifier.verify("[real]:2222", SECOND_KEY),
      "host-key-changed",
    );
    assert.ok(message.startsWith("the host key of [real]:2222 (HostKeyAlias db) has changed"));
    assert.ok(hint?.endsWith(`\`ssh-keygen -R db -f ${file}\``), hint);

    await verifierOf(file, { hostKeyAlias: "New", strict: "no" }).verify("[real]:2222", RSA_KEY);
    assert.ok((await readFile(file, "utf8")).endsWith(`\nnew ${RSA}\n`));
  });
});

test("an alias that looks like a port is no host without its port", async () => {
  await withFile(`a ${ED25519}\n`, async (file) => {
    const verifier = verifierOf(file, { hostKeyAlias: "[a]:2222" });
    await refusal(verifier.verify("a", KEY), "host-key-unknown");
    assert.deepEqual(await verifier.preferredAlgorithms("a"), []);
  });
});

test("a hashed name is remembered, does not tell the host, and is known from then on", async () => {
  await withFile("", async (file) => {
    const options = { strict: "accept-new", hashKnownHosts: true } as const;
    await verifierOf(file, options).verify("[Secret.example]:2222", KEY);
    const text = await readFile(file, "utf8");
    assert.match(text, /^\|1\|[A-Za-z0-9+/]{27}=\|[A-Za-z0-9+/]{27}= ssh-ed25519 /);
    assert.ok(!/secret|2222/i.test(text));
    const verifier = verifierOf(file);
    await verifier.verify("[secret.example]:2222", KEY);
    await refusal(verifier.verify("secret.example", KEY), "host-key-unknown");
    await refusal(verifier.verify("[secret.example]:2222", SECOND_KEY), "host-key-changed");
    assert.deepEqual(await verifier.preferredAlgorithms("[secret.example]:2222"), ["ssh-ed25519"]);
  });
});

test("the algorithms to prefer are those of hashed, wildcard, alias and port entries too", async () => {
  const hashed = formatEntry("h", RSA_KEY, { hashed: true });
  await withFile(`${hashed}*.example ${ED25519}\n[p]:2222 ${RSA}\np ${ED25519}\n`, async (file) => {
    const verifier = verifierOf(file);
    const rsa = ["rsa-sha2-512", "rsa-sha2-256"];
    assert.deepEqual(await verifier.preferredAlgorithms("h"), rsa);
    assert.deepEqual(await verifier.preferredAlgorithms("[h]:2222"), rsa);
    assert.deepEqual(await verifier.preferredAlgorithms("a.example"), ["ssh-ed25519"]);
    assert.deepEqual(await verifier.preferredAlgorithms("[p]:2222"), rsa);
    assert.deepEqual(await verifier.preferredAlgorithms("p"), ["ssh-ed25519"]);
    const alias = verifierOf(file, { hostKeyAlias: "h" });
    assert.deepEqual(await alias.preferredAlgorithms("a.example"), rsa);
  });
});

test("with noHostAuthenticationForLocalhost any key is accepted from loopback, and only there", async () => {
  await withFile(`localhost ${SECOND}\n@revoked * ${RSA}\n`, async (file) => {
    const verifier = verifierOf(file, { noHostAuthenticationForLocalhost: true });
    for (const address of ["127.0.0.1", "127.1.2.3", "::1"]) {
      await verifier.verify("localhost", KEY, address);
    }
    for (const address of [undefined, "10.0.0.1", "1127.0.0.1", "::2", "127.0.0.1.example"]) {
      await refusal(verifier.verify("localhost", KEY, address), "host-key-changed");
    }
    await refusal(verifierOf(file).verify("localhost", KEY, "127.0.0.1"), "host-key-changed");
  });
});

test("a pinned fingerprint accepts its key from any host, and no other key", async () => {
  const verifier = pinnedVerifier(fingerprint(KEY));
  assert.deepEqual(await verifier.preferredAlgorithms("a"), []);
  await verifier.verify("a", KEY);
  await verifier.verify("[b]:2222", KEY);
  const { hint, message } = await refusal(verifier.verify("a", SECOND_KEY), "host-key-changed");
  assert.equal(
    message,
    `the host key of a is ED25519 ${fingerprint(SECOND_KEY)}, but ${fingerprint(KEY)} was expected`,
  );
  assert.ok(hint);
});

test("a pinned public key accepts itself and asks the server for its type", async () => {
  const verifier = pinnedVerifier(`${RSA} me@home\n`);
  await verifier.verify("a", RSA_KEY);
  await refusal(verifier.verify("a", KEY), "host-key-changed");
  assert.deepEqual(await verifier.preferredAlgorithms("a"), ["rsa-sha2-512", "rsa-sha2-256"]);
});

test("of several pinned keys each is accepted", async () => {
  const verifier = pinnedVerifier([fingerprint(KEY), RSA, ED25519]);
  assert.deepEqual(await verifier.preferredAlgorithms("a"), [
    "rsa-sha2-512",
    "rsa-sha2-256",
    "ssh-ed25519",
  ]);
  await verifier.verify("a", KEY);
  await verifier.verify("a", RSA_KEY);
  await refusal(verifier.verify("a", SECOND_KEY), "host-key-changed");
});

test("what is not a key is refused by a pinned verifier too", async () => {
  await refusal(pinnedVerifier(ED25519).verify("a", Buffer.from("junk")), "protocol-error");
});

test("after a pinned fingerprint was not shown, keys of the other types are asked for", async () => {
  const verifier = pinnedVerifier([fingerprint(RSA_KEY), SECOND]);
  assert.deepEqual(await verifier.preferredAlgorithms("a"), ["ssh-ed25519"]);
  await refusal(verifier.verify("a", KEY), "host-key-changed");
  assert.equal(verifier.hasAnother?.(), true);
  const [, ...others] = await verifier.preferredAlgorithms("a");
  assert.deepEqual(others, [
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
  ]);
  // The server has no other: it shows the same one again, and there is no third time.
  const { message } = await refusal(verifier.verify("a", KEY), "host-key-changed");
  assert.equal(message.split(fingerprint(KEY)).length, 2);
  assert.equal(verifier.hasAnother?.(), false);
});

test("where every pin tells its type there is nothing else to ask for", async () => {
  const verifier = pinnedVerifier([RSA, SECOND]);
  await refusal(verifier.verify("a", KEY), "host-key-changed");
  assert.equal(verifier.hasAnother?.(), false);
});

test("a malformed pin, or none, is a TypeError", () => {
  for (
    const pin of [
      "",
      "SHA256:short",
      `${fingerprint(KEY)}=`,
      fingerprint(KEY).slice(7),
      "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
      "ssh-ed25519",
      "ssh-ed25519 AAAA",
      ED25519.replace("ssh-ed25519", "ssh-rsa"),
      `a ${ED25519}`,
      `${ED25519}\n${RSA}`,
    ]
  ) {
    assert.throws(() => pinnedVerifier(pin), TypeError, pin);
    assert.throws(() => pinnedVerifier([ED25519, pin]), TypeError, pin);
  }
  assert.throws(() => pinnedVerifier([]), TypeError);
});

test("a malformed pin is named by its place, not by its text, which may be a secret", () => {
  for (const secret of ["hunter2", "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2", "a hunter2"]) {
    assert.throws(() => pinnedVerifier([ED25519, secret]), (error) => {
      assert.ok(error instanceof TypeError);
      assert.match(error.message, /^host key 2 is neither/);
      assert.doesNotMatch(error.message, /hunter2/);
      return true;
    });
  }
});
