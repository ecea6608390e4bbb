/** RevokedHostKeys: what the file lists is refused, and so is everything when it cannot be used. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { spawnSync } from "node:child_process";
import { mkdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { SessionError } from "../lib/errors.ts";
import { knownHostsVerifier } from "../lib/ssh/host_keys.ts";
import { fingerprint } from "../lib/ssh/known_hosts.ts";
import { pinnedVerifier } from "../lib/ssh/pinned_keys.ts";
import { withRevokedKeys } from "../lib/ssh/revoked_keys.ts";
import { skipUnless, tempDir } from "./support/tools.ts";

const ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHufyW64DBPHyC2kAlC6B2n+F67oc5WoOloQ1I4p0tBU";
const SECOND = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINj3KJCpDuDVCc23bmyRuDmtIa5edMUl/PT3sjp4L+MR";
const [KEY, SECOND_KEY] = [ED25519, SECOND].map((text) =>
  Buffer.from(text.split(" ")[1] ?? "", "base64")
) as [Buffer, Buffer];

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

/** Runs with a list of this content, over a verifier that accepts both keys. */
async function withList(
  content: string | Buffer,
  run: (verifier: ReturnType<typeof withRevokedKeys>, file: string) => Promise<void>,
): Promise<void> {
  await using folder = await tempDir();
  const file = join(folder.path, "revoked");
  await writeFile(file, content);
  await run(withRevokedKeys(pinnedVerifier([ED25519, SECOND]), file), file);
}

test("a listed key is refused with its place, and another one goes on to be judged", async () => {
  const list = `# stolen\n\n  \t\r\n  # again\r\n ${ED25519} old server\r\n`;
  await withList(list, async (verifier, file) => {
    const { hint, message } = await refusal(verifier.verify("[a]:2222", KEY), "host-key-revoked");
    assert.equal(
      message,
      `the host key of [a]:2222 is revoked: ${file} line 5 lists ` +
        `ED25519 ${fingerprint(KEY)} (RevokedHostKeys)`,
    );
    assert.match(hint ?? "", /administrator/);
    await verifier.verify("a", SECOND_KEY);
    assert.deepEqual(await verifier.preferredAlgorithms("a"), ["ssh-ed25519"]);
  });
});

test("a revoked key is refused even where known_hosts has it, and from loopback", async () => {
  await withList(ED25519, async (_, file) => {
    const knownHosts = `${file}_known`;
    await writeFile(knownHosts, `a ${ED25519}\n`);
    const verifier = knownHostsVerifier({
      userFiles: [knownHosts],
      globalFiles: [],
      strict: "no",
      noHostAuthenticationForLocalhost: true,
    });
    await verifier.verify("a", KEY, "127.0.0.1");
    await refusal(
      withRevokedKeys(verifier, file).verify("a", KEY, "127.0.0.1"),
      "host-key-revoked",
    );
  });
});

test("an empty list, and one of comments, revokes nothing", async () => {
  for (const list of ["", "\n\n", "# none\n"]) {
    await withList(list, (verifier) => verifier.verify("a", KEY));
  }
});

test("a key that is added to the list later is refused from then on", async () => {
  await withList("", async (verifier, file) => {
    await verifier.verify("a", KEY);
    await writeFile(file, ED25519);
    await refusal(verifier.verify("a", KEY), "host-key-revoked");
  });
});

test("a file that is missing, unreadable or too large refuses every host", async () => {
  await using folder = await tempDir();
  const [missing, unreadable, large] = ["missing", "folder", "large"].map((name) =>
    join(folder.path, name)
  ) as [string, string, string];
  await mkdir(unreadable);
  await writeFile(large, "");
  await truncate(large, 64 * 1024 * 1024 + 1);
  for (const file of [missing, unreadable, large]) {
    const verifier = withRevokedKeys(pinnedVerifier(ED25519), file);
    const { hint, message } = await refusal(verifier.verify("a", KEY), "config-invalid");
    assert.ok(message.includes(file), message);
    assert.ok(hint);
  }
});

test("a broken line refuses every host and is named, but not repeated", async () => {
  for (const broken of ["hunter2", `a ${ED25519}`, "ssh-ed25519 AAAA", ED25519.slice(0, -6)]) {
    await withList(`${SECOND}\n${broken}\n`, async (verifier, file) => {
      const { message } = await refusal(verifier.verify("a", KEY), "config-invalid");
      assert.ok(message.startsWith(`${file}:2 (RevokedHostKeys): `), message);
      assert.ok(!message.includes("hunter2"), message);
    });
  }
});

test("a key revocation list as ssh-keygen -k makes it is refused with what to do instead", {
  ...skipUnless("ssh-keygen"),
}, async () => {
  await withList(SECOND, async (_, file) => {
    const krl = `${file}.krl`;
    assert.equal(spawnSync("ssh-keygen", ["-k", "-f", krl, file]).status, 0);
    const verifier = withRevokedKeys(pinnedVerifier(ED25519), krl);
    const { hint, message } = await refusal(verifier.verify("a", KEY), "config-invalid");
    assert.match(message, /KRL/);
    assert.match(hint ?? "", /text file/);
  });
});
