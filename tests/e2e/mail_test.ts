/** The story this project grew out of: reading mail with POP3 through SSH. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Dovecot, skipUnlessDovecot, startDovecot } from "../support/dovecot.ts";
import { serverOptions, startFairlead } from "../support/fairlead.ts";
import { startSshd } from "../support/sshd.ts";
import { run, skipUnless } from "../support/tools.ts";

const MESSAGES = [
  "From: alice@example.com\nSubject: first\n\nThe ring leads the line.\n",
  "From: bob@example.com\nSubject: second\n\nWithout chafing.\n",
];

const skip = { ...skipUnless("sshd", "ssh-keygen", "curl"), ...skipUnlessDovecot() };

test("a POP3 client reads its mail through the mail host's own SSH server", skip, async () => {
  await using mail = await startDovecot({ messages: MESSAGES });
  await using sshd = await startSshd();
  await using tunnel = await startFairlead([
    ...["-L", `0:localhost:${mail.port}`],
    ...serverOptions(sshd),
  ]);
  await readMail(mail, tunnel.ports[0] as number);
  assert.deepEqual(tunnel.lines(), []);
});

test("a POP3 client reads its mail through another machine's SSH server", skip, async () => {
  // The mail host has an address of its own; the SSH server reaches it over the network.
  await using mail = await startDovecot({ messages: MESSAGES, address: "127.0.0.2" });
  await using other = await startSshd({ address: "127.0.0.3" });
  await using tunnel = await startFairlead([
    ...["-L", `0:127.0.0.2:${mail.port}`],
    ...serverOptions(other),
  ]);
  await readMail(mail, tunnel.ports[0] as number);
  assert.match(mail.log(), /rip=127\.0\.0\.2|Login: user=/, "the server connects, not the client");
});

async function readMail(mail: Dovecot, port: number): Promise<void> {
  const user = ["--user", `${mail.user}:${mail.password}`];
  const at = `pop3://localhost:${port}`;
  const list = await run("curl", ["-sS", ...user, `${at}/`]);
  assert.equal(list.status, 0, list.stderr);
  assert.deepEqual(list.stdout.trim().split("\r\n").map((line) => line.split(" ")[0]), ["1", "2"]);
  for (const [index, message] of MESSAGES.entries()) {
    const fetched = await run("curl", ["-sS", ...user, `${at}/${index + 1}`]);
    assert.equal(fetched.status, 0, fetched.stderr);
    assert.equal(fetched.stdout.replaceAll("\r\n", "\n").trim(), message.trim());
  }
}
