/** Whom named tunnels ask, and whom they do not. */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { inTurn } from "../lib/control/prompter_in_turn.ts";
import type { Prompter } from "../lib/ssh/prompter.ts";
import { skipUnlessAccounts } from "./support/accounts.ts";
import { type SshServer, startSshd } from "./support/sshd.ts";
import { supervise } from "./support/supervisor.ts";
import { run, skipUnless, waitFor } from "./support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const withOath = {
  ...skipUnless("sshd", "ssh-keygen", "oathtool"),
  ...skipUnlessAccounts({ password: true }),
  ...(hasPamOath() ? {} : { skip: "libpam-oath is not installed" }),
};
const OATH_SECRET = "3132333435363738393031323334353637383930";
let sshd: SshServer;

before(async () => {
  if (skip.skip === undefined) sshd = await startSshd();
});
after(() => sshd?.stop());

function hasPamOath(): boolean {
  if (!existsSync("/lib")) return false;
  return ["", ...readdirSync("/lib")].some((name) =>
    existsSync(join("/lib", name, "security/pam_oath.so"))
  );
}

test("tunnels that come up together ask one thing at a time, and nobody later", skip, async () => {
  const asked: string[] = [];
  let asking = 0;
  const prompter: Prompter = {
    secret: () => Promise.resolve(undefined),
    questions: () => Promise.resolve(undefined),
    confirmHostKey: async ({ host }) => {
      assert.equal(++asking, 1);
      asked.push(host);
      await sleep(50);
      asking--;
      return true;
    },
  };
  await using it = supervise(sshd, prompter);
  const file = (name: string) => join(sshd.dir, `known_hosts_${name}`);
  const ask = (name: string) =>
    `{ host: 127.0.0.1, knownHosts: ${
      file(name)
    }, hostKeyPolicy: ask, options: { BatchMode: false } }`;
  await it.up(`tunnels: { one: ${ask("one")}, two: ${ask("two")} }`);
  assert.deepEqual([it.now("one").state, it.now("two").state], ["open", "open"]);
  const host = `[127.0.0.1]:${sshd.port}`;
  assert.deepEqual(asked, [host, host]);
  await writeFile(file("one"), "");
  sshd.signalSessions("SIGKILL");
  await waitFor(() => it.now("two").reconnects === 1);
  assert.equal(asked.length, 2);
});

test("a question waits for the one before, whatever becomes of that", async () => {
  const answers = [Promise.reject(new Error("no")), Promise.resolve("yes")];
  const prompts: string[] = [];
  const prompter = inTurn({
    secret: (prompt) => {
      prompts.push(prompt);
      return answers[prompts.length - 1] as Promise<string>;
    },
    questions: () => Promise.resolve(undefined),
    confirmHostKey: () => Promise.resolve(false),
  });
  const first = prompter.secret("first");
  const second = prompter.secret("second");
  await assert.rejects(first, /no/);
  assert.equal(await second, "yes");
  assert.deepEqual(prompts, ["first", "second"]);
});

test(
  "who has a tunnel connect anew is asked what its server asks each time",
  withOath,
  async () => {
    await using server = await startSshd({
      password: "correct horse",
      config: ["AuthenticationMethods publickey,keyboard-interactive"],
      pam: [
        "auth required pam_oath.so usersfile=DIR/oath window=20 digits=6",
        "account required pam_permit.so",
        "session required pam_permit.so",
        "",
      ].join("\n"),
    });
    const users = `HOTP ${server.user} - ${OATH_SECRET}\n`;
    await writeFile(join(server.dir, "oath"), users, { mode: 0o600 });
    let codes = 0;
    const holder: Prompter = {
      secret: () => Promise.resolve(undefined),
      questions: async () => {
        const { stdout } = await run("oathtool", ["-c", String(codes++), OATH_SECRET]);
        return [stdout.trim()];
      },
      confirmHostKey: () => Promise.resolve(false),
    };
    await using it = supervise(server, holder);
    await it.up("tunnels: { one: { host: 127.0.0.1, options: { BatchMode: false } } }");
    assert.equal(it.now("one").state, "open");
    const before = server.sessions();
    await it.supervisor.restart({}, it.call);
    assert.equal(codes, 2);
    assert.deepEqual(it.events.filter(({ event }) => event === "failed"), []);
    await waitFor(() => server.sessions().length === 1 && server.sessions()[0] !== before[0]);
    // Nobody is there when a link is lost later.
    const logged = server.log().length;
    server.signalSessions("SIGKILL");
    await waitFor(() => /Partial publickey/.test(server.log().slice(logged)));
    await waitFor(() => server.sessions().length === 0);
    assert.equal(it.now("one").state, "reconnecting");
    assert.equal(codes, 2);
  },
);
