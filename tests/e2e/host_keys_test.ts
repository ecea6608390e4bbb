/** Host keys against real servers, with the real ssh beside us: who is accepted, and who is not. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { connect, type ConnectOptions, SessionError } from "../../mod.ts";
import { skipUnlessDropbear, startDropbear } from "../support/dropbear.ts";
import { type KeyPair, makeKey, publicKey } from "../support/keys.ts";
import { type SshServer, startSshd, trySsh } from "../support/sshd.ts";
import { run, skipUnless, tempDir } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh", "ssh-keygen");
const TYPES = ["ed25519", "ecdsa", "rsa"] as const;

/** A server with a host key of every type. */
let sshd: SshServer;

before(async () => {
  if (skip.skip === undefined) sshd = await startSshd({ hostKeyTypes: [...TYPES] });
});
after(() => sshd?.stop());

function keyOf(server: SshServer, type: string): string {
  return publicKey(server.hostKeys.find((key) => key.type === type));
}

/** Connects and hangs up, knowing nothing but what is said. */
async function meet(server: SshServer, options: Partial<ConnectOptions>): Promise<void> {
  const tunnel = await connect({
    host: server.host,
    port: server.port,
    username: server.user,
    identityFiles: [server.identity],
    identitiesOnly: true,
    agent: "none",
    userKnownHosts: [],
    globalKnownHosts: [],
    strictHostKeyChecking: "yes",
    ...options,
  });
  await tunnel.close();
}

async function refusal(promise: Promise<void>, code: string): Promise<SessionError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof SessionError, String(error));
    assert.equal(error.code, code, error.message);
    return error;
  }
  assert.fail(`nothing was refused, where ${code} was expected`);
}

for (const type of TYPES) {
  test(
    `of a server with three keys the one of type ${type} is asked for, however it is known`,
    skip,
    async () => {
      await using folder = await tempDir();
      const file = join(folder.path, "known_hosts");
      const key = keyOf(sshd, type);
      const fingerprint = sshd.hostKeys.find((one) => one.type === type)?.fingerprint ?? "";
      const name = `[127.0.0.1]:${sshd.port}`;
      for (
        const line of [`${name} ${key}`, `127.0.0.1 ${key}`, `*.?.0.1 ${key}`, `[127.*]:* ${key}`]
      ) {
        await writeFile(file, line);
        await meet(sshd, { userKnownHosts: [file] });
        await meet(sshd, { globalKnownHosts: [file] });
      }

      await writeFile(file, `${name} ${key}\n`);
      assert.equal((await run("ssh-keygen", ["-H", "-f", file])).status, 0);
      assert.match(await readFile(file, "utf8"), /^\|1\|/);
      await meet(sshd, { userKnownHosts: [file] });

      await writeFile(file, `alias ${key}`);
      await meet(sshd, { userKnownHosts: [file], hostKeyAlias: "alias" });
      await refusal(meet(sshd, { userKnownHosts: [file] }), "host-key-unknown");

      await meet(sshd, { hostKeys: key });
      await meet(sshd, { hostKeys: fingerprint });
      await meet(sshd, { hostKeys: [`SHA256:${"A".repeat(43)}`, fingerprint] });
    },
  );
}

test(
  "a fingerprint that no key of the server has is refused, with every key that was shown",
  skip,
  async () => {
    const { message } = await refusal(
      meet(sshd, { hostKeys: `SHA256:${"A".repeat(43)}` }),
      "host-key-changed",
    );
    for (const { fingerprint } of sshd.hostKeys) assert.ok(message.includes(fingerprint), message);
  },
);

test(
  "where the user fixes the algorithms, a fingerprint of another type is refused at once",
  skip,
  async () => {
    const fingerprint = sshd.hostKeys.find((key) => key.type === "rsa")?.fingerprint ?? "";
    const { message } = await refusal(
      meet(sshd, { hostKeys: fingerprint, algorithms: { serverHostKey: "ssh-ed25519" } }),
      "host-key-changed",
    );
    assert.match(message, /is ED25519 SHA256:\S+, but /);
  },
);

test(
  "what is added here, hashed and under an alias, the real ssh knows, and the other way round",
  skip,
  async () => {
    await using folder = await tempDir();
    for (const hashed of [false, true]) {
      for (const alias of [undefined, "Db.Example"]) {
        const ours = join(folder.path, `ours-${hashed}-${alias}`);
        const theirs = join(folder.path, `theirs-${hashed}-${alias}`);
        const given = alias === undefined ? {} : { hostKeyAlias: alias };
        // ssh hashes an alias in lower case and then looks for it as it was written.
        const said = alias === undefined ? [] : [`HostKeyAlias=${alias.toLowerCase()}`];
        await meet(sshd, {
          ...given,
          userKnownHosts: [ours],
          strictHostKeyChecking: "accept-new",
          hashKnownHosts: hashed,
        });
        const text = await readFile(ours, "utf8");
        assert.equal(text.startsWith("|1|"), hashed, text);
        assert.equal(text.startsWith("db.example "), !hashed && alias !== undefined, text);
        const { status, stderr } = await trySsh(sshd, `UserKnownHostsFile=${ours}`, ...said);
        assert.equal(status, 0, stderr);

        const added = await trySsh(
          sshd,
          `UserKnownHostsFile=${theirs}`,
          "StrictHostKeyChecking=accept-new",
          `HashKnownHosts=${hashed ? "yes" : "no"}`,
          ...said,
        );
        assert.equal(added.status, 0, added.stderr);
        await meet(sshd, { ...given, userKnownHosts: [theirs] });
      }
    }
  },
);

test("RevokedHostKeys refuses what the real ssh refuses, and nothing else", skip, async () => {
  await using folder = await tempDir();
  const [ed25519 = "", rsa = ""] = [keyOf(sshd, "ed25519"), keyOf(sshd, "rsa")];
  const cases: [content: string | undefined, code: string | undefined][] = [
    ["", undefined],
    ["# nothing\n\n", undefined],
    [`${publicKey(await makeKey(folder.path))} another\n`, undefined],
    [`${rsa}\n`, undefined],
    [`# stolen\n${rsa}\n  ${ed25519} comment`, "host-key-revoked"],
    [`${ed25519}\r\n`, "host-key-revoked"],
    [`${rsa}\nnonsense\n`, "config-invalid"],
    [`host ${rsa}\n`, "config-invalid"],
    [undefined, "config-invalid"],
  ];
  for (const [index, [content, code]] of cases.entries()) {
    const file = join(folder.path, `revoked${index}`);
    if (content !== undefined) await writeFile(file, content);
    const { status, stderr } = await trySsh(
      sshd,
      `RevokedHostKeys=${file}`,
      "HostKeyAlgorithms=ssh-ed25519",
    );
    assert.equal(status, code === undefined ? 0 : 255, `${JSON.stringify(content)}: ${stderr}`);
    for (const known of [{ userKnownHosts: [sshd.knownHosts] }, { hostKeys: ed25519 }]) {
      const meeting = meet(sshd, {
        ...known,
        revokedHostKeys: file,
        algorithms: { serverHostKey: "ssh-ed25519" },
      });
      if (code === undefined) await meeting;
      else assert.ok((await refusal(meeting, code)).message.includes(file));
    }
  }
});

test(
  "NoHostAuthenticationForLocalhost lets any key pass from loopback, as in ssh",
  skip,
  async () => {
    await using folder = await tempDir();
    const file = join(folder.path, "known_hosts");
    const wrong = publicKey(await makeKey(folder.path));
    const content = `[127.0.0.1]:${sshd.port} ${wrong}\n`;
    await writeFile(file, content);
    const localhost = { userKnownHosts: [file], noHostAuthenticationForLocalhost: true };
    await meet(sshd, localhost);
    await refusal(meet(sshd, { userKnownHosts: [file] }), "host-key-changed");
    const options = [`UserKnownHostsFile=${file}`, "NoHostAuthenticationForLocalhost=yes"];
    assert.equal((await trySsh(sshd, ...options)).status, 0);
    assert.equal((await trySsh(sshd, options[0] ?? "")).status, 255);
    // An alias pins a server behind a forward, and so does a key that was named.
    const alias = "HostKeyAlias=web";
    await writeFile(file, `${content}web ${wrong}\n`);
    await refusal(meet(sshd, { ...localhost, hostKeyAlias: "web" }), "host-key-changed");
    assert.equal((await trySsh(sshd, ...options, alias)).status, 255);
    await writeFile(file, content);
    await refusal(meet(sshd, { ...localhost, hostKeys: wrong }), "host-key-changed");
    assert.equal(await readFile(file, "utf8"), content);
  },
);

test("an RSA host key that is too short is refused, as in ssh", skip, async () => {
  await using server = await startSshd({ hostKeyTypes: ["rsa"] });
  const hostKeys = publicKey(server.hostKeys[0] as KeyPair);
  await meet(server, { hostKeys, requiredRsaSize: 2048 });
  const error = await refusal(
    meet(server, { hostKeys, requiredRsaSize: 2049 }),
    "algorithm-mismatch",
  );
  assert.match(error.message, /is an RSA key of 2048 bits, fewer than 2049$/);
  const known = `UserKnownHostsFile=${server.knownHosts}`;
  assert.equal((await trySsh(server, known, "RequiredRSASize=2049")).status, 255);
});

test("dropbear's keys are known hashed, by an alias and one type alone", {
  ...skipUnlessDropbear(),
}, async () => {
  await using dropbear = await startDropbear({ hostKeyTypes: [...TYPES] });
  await using folder = await tempDir();
  for (const type of TYPES) {
    const file = join(folder.path, type);
    await writeFile(file, `alias ${keyOf(dropbear, type)}\n`);
    await meet(dropbear, { userKnownHosts: [file], hostKeyAlias: "alias" });
    assert.equal((await run("ssh-keygen", ["-H", "-f", file])).status, 0);
    await meet(dropbear, { userKnownHosts: [file], hostKeyAlias: "alias" });
    const list = join(folder.path, `revoked-${type}`);
    await writeFile(list, keyOf(dropbear, type));
    await refusal(
      meet(dropbear, { hostKeys: keyOf(dropbear, type), revokedHostKeys: list }),
      "host-key-revoked",
    );
  }
});
