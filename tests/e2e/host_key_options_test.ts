/** What the command line says of host keys: --host-key, and StrictHostKeyChecking as in ssh. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { skipUnlessDropbear, startDropbear } from "../support/dropbear.ts";
import { fairlead, serverOptions } from "../support/fairlead.ts";
import { publicKey } from "../support/keys.ts";
import { type SshServer, startSshd, trySsh } from "../support/sshd.ts";
import { type RunResult, skipUnless, tempDir } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh", "ssh-keygen");
const TYPES = ["ed25519", "ecdsa", "rsa"] as const;

/** A server with a host key of every type. */
let sshd: SshServer;

before(async () => {
  if (skip.skip === undefined) sshd = await startSshd({ hostKeyTypes: [...TYPES] });
});
after(() => sshd?.stop());

test(
  "StrictHostKeyChecking: off, no, accept-new, ask and yes do with a new key what they do in ssh",
  skip,
  async () => {
    await using folder = await tempDir();
    for (
      const [value, accepted] of [
        ["off", true],
        ["no", true],
        ["accept-new", true],
        ["ask", false],
        ["yes", false],
      ] as const
    ) {
      for (const who of ["ssh", "fairlead"] as const) {
        const file = join(folder.path, `${who}-${value}`);
        await writeFile(file, "");
        const options = [`UserKnownHostsFile=${file}`, `StrictHostKeyChecking=${value}`];
        const { status, stderr } = who === "ssh" ? await trySsh(sshd, ...options) : await fairlead([
          ...options.flatMap((option) => ["-o", option]),
          ...serverOptions(sshd),
          "true",
        ]);
        assert.equal(status, accepted ? 0 : 255, `${who} ${value}: ${stderr}`);
        const text = await readFile(file, "utf8");
        if (accepted) assert.match(text, /^\[127\.0\.0\.1\]:\d+ ssh-ed25519 \S+\n$/);
        else assert.equal(text, "");
      }
    }
  },
);

/** Runs `true` on a server whose key is known by --host-key alone. */
function withHostKeys(
  server: SshServer,
  values: readonly string[],
  env: Record<string, string> = {},
): Promise<RunResult> {
  const keys = values.flatMap((value) => ["--host-key", value]);
  const nothing = ["-o", "UserKnownHostsFile=none"];
  return fairlead([...keys, ...nothing, ...serverOptions(server), "true"], { env });
}

async function takesHostKeys(server: SshServer): Promise<void> {
  const [first, ...others] = server.hostKeys;
  const last = others.at(-1) ?? first;
  const wrong = `SHA256:${"B".repeat(43)}`;
  const variable = `# from the vault\n\n${wrong}\n${publicKey(last)} comment\r\n`;
  const accepted: [string[], Record<string, string>?][] = [
    [[publicKey(first)]],
    [[publicKey(last)]],
    [[first?.fingerprint ?? ""]],
    [[last?.fingerprint ?? ""]],
    [[wrong, publicKey(last)]],
    [["env:FAIRLEAD_TEST_KEYS"], { FAIRLEAD_TEST_KEYS: variable }],
  ];
  for (const [values, env] of accepted) {
    const { status, stderr } = await withHostKeys(server, values, env);
    assert.equal(status, 0, `${values}: ${stderr}`);
    assert.equal(stderr, "");
  }

  const { status, stderr } = await withHostKeys(server, [wrong]);
  assert.equal(status, 255);
  assert.match(stderr, /^fairlead: the host key of \[127\.0\.0\.1\]:\d+ is /);
  assert.ok(stderr.includes(`but ${wrong} was expected; someone may be intercepting`), stderr);
}

test("--host-key in every form stands in for known_hosts, against sshd", skip, async () => {
  await takesHostKeys(sshd);
});

test("--host-key in every form stands in for known_hosts, against dropbear", {
  ...skipUnlessDropbear(),
}, async () => {
  await using dropbear = await startDropbear({ hostKeyTypes: [...TYPES] });
  await takesHostKeys(dropbear);
});

test("a mistake in --host-key is status 2, and the text is not repeated", async () => {
  const secret = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE";
  const { status, stdout, stderr } = await fairlead([
    "--host-key",
    `-----BEGIN OPENSSH PRIVATE KEY-----\n${secret}`,
    "host.invalid",
  ]);
  assert.equal(status, 2);
  assert.match(stderr, /^fairlead: --host-key: .*it is a private key/);
  assert.ok(!(stdout + stderr).includes(secret));
});
