/** Keys that the real ssh-keygen made, files and agents, against the real sshd. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { chmod, copyFile, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { SessionError } from "../lib/errors.ts";
import { runtime } from "../lib/runtime.ts";
import { fileIdentity, generateIdentity, isMissingFile, textIdentity } from "../lib/ssh/keys.ts";
import type { Prompter } from "../lib/ssh/prompter.ts";
import { parseKey } from "../lib/ssh/ssh2.ts";
import { WireReader } from "../lib/ssh/wire.ts";
import { connect, type ConnectOptions } from "../lib/tunnel/tunnel.ts";
import { emptyHome } from "./support/home.ts";
import { type KeyOptions, makeKey } from "./support/keys.ts";
import { startAgent } from "./support/ssh_agent.ts";
import { type SshServer, startSshd } from "./support/sshd.ts";
import { run, skipUnless, tempDir } from "./support/tools.ts";
import { warned } from "./support/warnings.ts";

const sshd = skipUnless("sshd", "ssh-keygen");
const agent = skipUnless("sshd", "ssh-keygen", "ssh-agent", "ssh-add");

/** Logs in and out again. */
async function login(server: SshServer, options: Partial<ConnectOptions>): Promise<void> {
  const tunnel = await connect({
    host: server.host,
    port: server.port,
    username: server.user,
    hostKeys: server.hostKeys.map((key) => key.fingerprint),
    identityFiles: [],
    agent: "none",
    ...options,
  });
  await tunnel.close();
}

/** Gives these answers to questions for a secret, one after another; then it declines. */
class Answers implements Prompter {
  readonly asked: string[] = [];
  readonly #answers: string[];

  constructor(...answers: string[]) {
    this.#answers = answers;
  }

  secret(prompt: string): Promise<string | undefined> {
    this.asked.push(prompt);
    return Promise.resolve(this.#answers.shift());
  }

  questions(): Promise<undefined> {
    throw new Error("not expected");
  }

  confirmHostKey(): Promise<boolean> {
    throw new Error("not expected");
  }
}

const enter = (path: string) => `Enter passphrase for key '${path}': `;

const PASSPHRASE = "correct horse – battery";
const ALL: KeyOptions[] = [
  { type: "ed25519" },
  ...([256, 384, 521] as const).map((bits): KeyOptions => ({ type: "ecdsa", bits })),
  { type: "rsa" },
  ...(["PEM", "PKCS8"] as const).flatMap((format): KeyOptions[] => [
    { type: "ecdsa", format },
    { type: "rsa", format },
  ]),
];
const HEADERS = {
  OPENSSH: /BEGIN OPENSSH PRIVATE KEY/,
  PEM: /BEGIN (RSA|EC) PRIVATE KEY/,
  PKCS8: /BEGIN (ENCRYPTED )?PRIVATE KEY/,
};

for (const [what, passphrase] of [["plain", ""], ["encrypted", PASSPHRASE]] as const) {
  test(`a key of every type and format logs in (${what})`, sshd, async () => {
    await using server = await startSshd();
    const keys = await Promise.all(
      ALL.map((options) => makeKey(server.dir, { ...options, passphrase })),
    );
    for (const [index, key] of keys.entries()) {
      const { format } = ALL[index] ?? {};
      assert.match(await readFile(key.path, "utf8"), HEADERS[format ?? "OPENSSH"]);
      await server.authorize(key.publicLine);
      const prompter = new Answers(PASSPHRASE);
      const name = `${key.publicLine.split(" ")[0]} ${format}`;
      await assert.doesNotReject(login(server, { identityFiles: [key.path], prompter }), name);
      assert.deepEqual(prompter.asked, passphrase === "" ? [] : [enter(key.path)], name);
    }
  });
}

test(
  "an ECDSA key signs, however many bytes its number has",
  skipUnless("ssh-keygen"),
  async () => {
    await using folder = await tempDir();
    const data = Buffer.from("to be signed");
    for (const bits of [256, 384, 521] as const) {
      // Half of them have a number that OpenSSH writes with a zero before it.
      for (let count = 0; count < 8; count++) {
        const { path, publicLine } = await makeKey(folder.path, { type: "ecdsa", bits });
        const signature = await (await fileIdentity(path)).sign(data, `ecdsa-sha2-nistp${bits}`);
        const key = parseKey(publicLine);
        assert.ok(!(key instanceof Error));
        assert.equal(key.verify(data, derOf(signature)), true);
      }
    }
  },
);

/** ECDSA's signature of SSH (RFC 5656 section 3.1.2) in the form that node:crypto has. */
function derOf(signature: Buffer): Buffer {
  const whole = new WireReader(signature);
  whole.string(); // algorithm
  const numbers = new WireReader(whole.string());
  const part = (tag: number, data: Buffer) =>
    Buffer.concat([Buffer.from([tag, ...(data.length > 127 ? [0x81] : []), data.length]), data]);
  return part(0x30, Buffer.concat([part(2, numbers.string()), part(2, numbers.string())]));
}

test("a passphrase is asked for only when the server wants a signature", sshd, async () => {
  await using server = await startSshd();
  for (const format of [undefined, "PEM", "PKCS8"] as const) {
    const options = { passphrase: PASSPHRASE, ...(format && { format, type: "rsa" as const }) };
    const [stranger, friend] = await Promise.all([
      makeKey(server.dir, options),
      makeKey(server.dir, options),
    ]);
    await server.authorize(friend.publicLine);
    const prompter = new Answers(PASSPHRASE);
    await login(server, { identityFiles: [stranger.path, friend.path], prompter });
    assert.deepEqual(prompter.asked, [enter(friend.path)]);
  }
});

test("a wrong passphrase is asked for again, three times in all", sshd, async () => {
  await using server = await startSshd();
  const key = await makeKey(server.dir, { passphrase: PASSPHRASE });
  await server.authorize(key.publicLine);
  const identityFiles = [key.path];

  const third = new Answers("wrong", "wrong again", PASSPHRASE);
  await login(server, { identityFiles, prompter: third });
  assert.deepEqual(third.asked, Array(3).fill(enter(key.path)));

  const never = new Answers("wrong", "wrong", "wrong", PASSPHRASE);
  await assert.rejects(login(server, { identityFiles, prompter: never }), { code: "auth-failed" });
  assert.equal(never.asked.length, 3);

  // And then it is the next key's turn.
  const next = new Answers("wrong", "wrong", "wrong");
  await login(server, { identityFiles: [key.path, server.identity], prompter: next });
  const declines = new Answers();
  await login(server, { identityFiles: [key.path, server.identity], prompter: declines });
  assert.equal(declines.asked.length, 1);
  await login(server, { identityFiles: [key.path, server.identity] });
});

test(
  "an encrypted key that nobody can open is told of in one line, with what can open it",
  sshd,
  async () => {
    await using server = await startSshd();
    const key = await makeKey(server.dir, { passphrase: PASSPHRASE });
    const pem = await makeKey(server.dir, { passphrase: PASSPHRASE, type: "rsa", format: "PEM" });
    await rm(pem.publicPath);
    await server.authorize(key.publicLine);
    for (const { path } of [key, pem]) {
      for (const passphrase of [undefined, "wrong"]) {
        await warned(async (warnings) => {
          const options = passphrase === undefined ? {} : { passphrase };
          await assert.rejects(login(server, { identityFiles: [path], ...options }), {
            code: "auth-failed",
          });
          assert.deepEqual(warnings, [
            passphrase === undefined
              ? `identity ${path} is encrypted, and nobody could be asked for its passphrase; ` +
                "--passphrase env:NAME (in the library, passphrase) or a program in SSH_ASKPASS " +
                "can give it"
              : `identity ${path} is not opened by the passphrase that was given`,
          ]);
        });
      }
    }
    // Where somebody can be asked, the wrong one is told before the question.
    await warned(async (warnings) => {
      const prompter = new Answers(PASSPHRASE);
      await login(server, { identityFiles: [key.path], passphrase: "wrong", prompter });
      assert.deepEqual(prompter.asked, [enter(key.path)]);
      assert.deepEqual(warnings, [
        `identity ${key.path} is not opened by the passphrase that was given`,
      ]);
    });
  },
);

test(
  "a key file that cannot be used is passed over, with a warning that says why",
  sshd,
  async () => {
    await using server = await startSshd();
    const wide = await makeKey(server.dir);
    await chmod(wide.path, 0o644);
    const missing = join(server.dir, "no-such-key");
    const garbage = join(server.dir, "garbage");
    await writeFile(garbage, "not a key\n", { mode: 0o600 });
    const cut = await makeKey(server.dir);
    await truncate(cut.path, 150);
    const publicHalf = join(server.dir, "public");
    await copyFile(wide.publicPath, publicHalf);
    await chmod(publicHalf, 0o600);
    await warned(async (warnings) => {
      await login(server, {
        identityFiles: [
          wide.path,
          missing,
          garbage,
          cut.path,
          publicHalf,
          server.dir,
          server.identity,
        ],
      });
      assert.equal(warnings.length, 6, warnings.join("\n"));
      assert.deepEqual(warnings.filter((_, index) => index !== 2 && index !== 3), [
        `identity ${wide.path} is readable by others (mode 0644) and is therefore not used; ` +
        `run: chmod 600 '${wide.path}'`,
        `identity ${missing} does not exist`,
        `identity ${server.dir} is not a file`,
        `identity ${publicHalf} is only a public key, and no agent holds it; ssh-add can add it ` +
        "to one",
      ]);
      assert.match(warnings[2] ?? "", /garbage is not a private key that fairlead can read: ./);
      assert.match(warnings[3] ?? "", /is not a private key that fairlead can read: ./);
    });
  },
);

test("a key file that cannot be used is an error with a code and a hint", sshd, async () => {
  await using folder = await tempDir();
  const key = await makeKey(folder.path);
  await chmod(key.path, 0o640);
  await assert.rejects(fileIdentity(key.path), {
    name: "SessionError",
    code: "identity-unreadable",
    hint: `run: chmod 600 '${key.path}'`,
  });
  const missing = await fileIdentity(join(folder.path, "none")).catch((error) => error);
  assert.ok(missing instanceof SessionError);
  assert.equal(missing.code, "identity-unreadable");
  assert.ok(isMissingFile(missing));
  assert.equal(isMissingFile(await fileIdentity(key.path).catch((error) => error)), false);
});

test(
  "the default identities of ~/.ssh are tried, and none of them has to exist",
  sshd,
  async () => {
    await using server = await startSshd();
    await using home = await emptyHome();
    const script = fileURLToPath(new URL("./support/fixtures/default_login.ts", import.meta.url));
    const config = fileURLToPath(new URL("../deno.json", import.meta.url));
    const options = runtime.name === "deno" ? ["run", "-A", "--no-check", "--config", config] : [];
    const { host, port, user, hostKeys: [hostKey] } = server;
    const args = [...options, script, host, String(port), user, hostKey?.fingerprint ?? ""];
    const login = () => run(process.execPath, args, { env: home.env });
    assert.match((await login()).stderr, /permission denied \(publickey\); nothing was offered/);
    const key = await makeKey(home.ssh, { name: "id_ecdsa", type: "ecdsa" });
    await server.authorize(key.publicLine);
    const { stdout, stderr } = await login();
    assert.equal(stdout, "[]\n", stderr);
  },
);

test(
  "a key can be given as text, and one that cannot be read is refused at once",
  sshd,
  async () => {
    await using server = await startSshd();
    const text = await readFile(server.identity, "utf8");
    await login(server, { privateKeys: [text] });
    const locked = await makeKey(server.dir, { passphrase: PASSPHRASE });
    const lockedText = await readFile(locked.path, "utf8");
    await assert.rejects(login(server, { privateKeys: [text, lockedText] }), {
      code: "identity-unreadable",
      message: "identity private key 2 is encrypted and no passphrase was given",
      hint:
        "--passphrase env:NAME (in the library, passphrase) or a program in SSH_ASKPASS can give it",
    });
    await assert.rejects(login(server, { privateKeys: ["nonsense"] }), {
      code: "identity-unreadable",
    });
    assert.throws(() => textIdentity("x", lockedText, { passphrase: "wrong" }), {
      message: "identity x is not opened by the passphrase that was given",
    });
    assert.ok(textIdentity("x", lockedText, { passphrase: PASSPHRASE }).publicBlob);
  },
);

test(
  "a key that fairlead makes is one that ssh-keygen reads and the server accepts",
  sshd,
  async () => {
    await using server = await startSshd();
    const { privateKey, publicKey } = generateIdentity();
    const path = join(server.dir, "made");
    await writeFile(path, privateKey, { mode: 0o600 });
    const shown = await run("ssh-keygen", ["-y", "-f", path]);
    assert.equal(shown.stdout.trim(), publicKey, shown.stderr);
    await server.authorize(publicKey);
    await login(server, { privateKeys: [privateKey] });
  },
);

test("an agent's keys log in, of every type, and are found by SSH_AUTH_SOCK", agent, async () => {
  await using server = await startSshd();
  for (const type of ["ed25519", "ecdsa", "rsa"] as const) {
    const key = await makeKey(server.dir, { type });
    await server.authorize(key.publicLine);
    await using running = await startAgent([key]);
    await login(server, { agent: running.socket });
    const { SSH_AUTH_SOCK } = process.env;
    process.env["SSH_AUTH_SOCK"] = running.socket;
    try {
      const { host, port, user: username, hostKeys } = server;
      const pins = hostKeys.map(({ fingerprint }) => fingerprint);
      const options = { host, port, username, hostKeys: pins, identityFiles: [] };
      await (await connect(options)).close();
    } finally {
      if (SSH_AUTH_SOCK === undefined) delete process.env["SSH_AUTH_SOCK"];
      else process.env["SSH_AUTH_SOCK"] = SSH_AUTH_SOCK;
    }
  }
});

test("identitiesOnly leaves out what the agent holds besides the named keys", agent, async () => {
  await using server = await startSshd();
  const stranger = await makeKey(server.dir);
  await using running = await startAgent([server.identityKey, stranger]);
  const options = { agent: running.socket, identityFiles: [stranger.path] };
  await login(server, options);
  await assert.rejects(login(server, { ...options, identitiesOnly: true }), (error) => {
    assert.ok(error instanceof SessionError);
    assert.equal(error.code, "auth-failed");
    // Its agent's copy goes first, and it is offered once.
    assert.match(error.message, /; offered: fairlead test \(agent\)$/);
    return true;
  });
});

test(
  "a key that the agent holds needs no passphrase, and goes before the agent's others",
  agent,
  async () => {
    await using server = await startSshd({ config: ["MaxAuthTries 2"] });
    const plain = await makeKey(server.dir, { name: "id_locked", comment: "mine" });
    const others = await Promise.all([1, 2, 3].map(() => makeKey(server.dir)));
    await using running = await startAgent([...others, plain]);
    await run("ssh-keygen", ["-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", plain.path]);
    await server.authorize(plain.publicLine);
    const prompter = new Answers();
    await login(server, { agent: running.socket, identityFiles: [plain.path], prompter });
    assert.deepEqual(prompter.asked, []);
  },
);

test(
  "a key that the agent holds is used whatever the mode of its file, as ssh uses it",
  agent,
  async () => {
    await using server = await startSshd();
    await using running = await startAgent([server.identityKey]);
    await chmod(server.identity, 0o644);
    const options = { agent: running.socket, identityFiles: [server.identity] };
    await warned(async (warnings) => {
      await login(server, { ...options, identitiesOnly: true });
      assert.deepEqual(warnings, []);
      await assert.rejects(login(server, { ...options, agent: "none" }), { code: "auth-failed" });
      assert.equal(warnings.length, 1);
      assert.match(warnings[0] ?? "", /readable by others \(mode 0644\)/);
    });
  },
);

test(
  "an ed25519 key in PKCS#8, as openssl writes it, logs in",
  { ...sshd, ...skipUnless("openssl") },
  async () => {
    await using server = await startSshd();
    for (const passphrase of ["", PASSPHRASE]) {
      const path = join(server.dir, "pkcs8.pem");
      const cipher = passphrase === "" ? [] : ["-aes256", "-pass", `pass:${passphrase}`];
      await run("openssl", ["genpkey", "-algorithm", "ed25519", ...cipher, "-out", path]);
      await chmod(path, 0o600);
      const identity = await fileIdentity(path, { passphrase });
      const blob = await identity.publicKey();
      await server.authorize(`ssh-ed25519 ${blob?.toString("base64")}`);
      await login(server, { identityFiles: [path], passphrase });
    }
  },
);

test("an agent that is not there, or is locked, leaves the files", agent, async () => {
  await using server = await startSshd();
  await warned(async (warnings) => {
    const nowhere = join(server.dir, "no-agent");
    await login(server, { agent: nowhere, identityFiles: [server.identity] });
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? "", /^the agent at .*no-agent gives no keys: ./);
  });
  await using running = await startAgent([]);
  await login(server, { agent: running.socket, identityFiles: [server.identity] });
});
