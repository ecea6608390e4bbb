/** The helpers themselves, with the real ssh and curl, so that they are right before fairlead is. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { skipUnlessAccounts } from "./support/accounts.ts";
import { skipUnlessDovecot, startDovecot } from "./support/dovecot.ts";
import { skipUnlessDropbear, startDropbear } from "./support/dropbear.ts";
import { makeKey } from "./support/keys.ts";
import { sshOptions, type SshServer, startSshd } from "./support/sshd.ts";
import {
  digest,
  echoServer,
  parseReceipt,
  pattern,
  patternReceived,
  pausedReader,
  questionAnswer,
  refusingPort,
  resetAfter,
  serverEndsFirst,
  sinkServer,
  slowReader,
  sourceServer,
  transfer,
} from "./support/tcp.ts";
import {
  atRest,
  descendants,
  freePort,
  run,
  type Running,
  skipUnless,
  start,
  tempDir,
  waitFor,
  which,
} from "./support/tools.ts";

const MiB = 1024 * 1024;

test("a program is found where it is, and a missing one is the reason to skip", () => {
  assert.match(which("sh") ?? "", /\/sh$/);
  assert.equal(which("no-such-program"), undefined);
  assert.deepEqual(skipUnless("sh"), {});
  assert.deepEqual(skipUnless("sh", "no-such-program"), {
    skip: "no-such-program is not installed",
  });
});

test("run tells how a program ended and what it said, and gives it stdin and environment", async () => {
  const result = await run("sh", ["-c", 'cat; echo "$WORD" >&2; exit 3'], {
    stdin: "read me",
    env: { WORD: "said" },
  });
  assert.deepEqual(result, { status: 3, signal: null, stdout: "read me", stderr: "said\n" });
  const killed = await run("sh", ["-c", "kill -TERM $$"]);
  assert.equal(killed.signal, "SIGTERM");
  await assert.rejects(run("no-such-program"), { code: "ENOENT" });
});

test("run kills a program that takes too long, also when a child of it holds its output", async () => {
  const begun = performance.now();
  await assert.rejects(
    run("sh", ["-c", "echo begun; sleep 3 & sleep 3"], { timeout: 200 }),
    /did not end in 200 ms\nstdout: begun/,
  );
  assert.ok(performance.now() - begun < 2_000);
});

test("a program in the background is stopped by its pid and its children are known", async () => {
  const program = start("sh", ["-c", "sleep 60 & echo up; wait"]);
  await waitFor(() => program.stdout() === "up\n");
  const [child] = descendants(program.pid);
  assert.equal(child?.name, "sleep");
  process.kill(child.pid, "SIGKILL");
  await program.stop();
  assert.equal(program.running(), false);
  await program.stop();
});

test("atRest waits for what has not begun, and for what goes on", async () => {
  let count = 0;
  const begun = performance.now();
  const counting = sleep(200).then(async () => {
    for (; count < 20; count++) await sleep(10);
  });
  assert.equal(await atRest(() => count), 20);
  assert.ok(performance.now() - begun > 400);
  await counting;
});

test("waitFor names what did not happen", async () => {
  await assert.rejects(
    waitFor(() => false, { timeout: 20, what: "the flood" }),
    /the flood did not happen in 20 ms/,
  );
});

test("keys of each type and format are made, with and without a passphrase", async () => {
  await using folder = await tempDir();
  const [ed25519, ecdsa, rsa, locked] = await Promise.all([
    makeKey(folder.path),
    makeKey(folder.path, { type: "ecdsa", format: "PKCS8" }),
    makeKey(folder.path, { type: "rsa", format: "PEM" }),
    makeKey(folder.path, { passphrase: "open sesame" }),
  ]);
  assert.match(ed25519.publicLine, /^ssh-ed25519 \S+ fairlead test$/);
  const { stdout } = await run("ssh-keygen", ["-l", "-f", ed25519.publicPath]);
  assert.equal(ed25519.fingerprint, stdout.split(" ")[1]);
  assert.match(await readFile(ed25519.path, "utf8"), /BEGIN OPENSSH PRIVATE KEY/);
  assert.match(await readFile(ecdsa.path, "utf8"), /BEGIN PRIVATE KEY/);
  assert.match(await readFile(rsa.path, "utf8"), /BEGIN RSA PRIVATE KEY/);
  const reads = (passphrase: string) =>
    run("ssh-keygen", ["-y", "-P", passphrase, "-f", locked.path]);
  assert.equal((await reads("open sesame")).status, 0);
  assert.notEqual((await reads("")).status, 0);
});

test("the pattern is the same in chunks of any size, and another with another seed", () => {
  const whole = Buffer.concat([...pattern(200_003, 7)]);
  assert.equal(whole.length, 200_003);
  for (const size of [1_000, 4_099, 65_536, 1_000_000]) {
    assert.ok(whole.equals(Buffer.concat([...pattern(200_003, 7, size)])), `chunks of ${size}`);
  }
  assert.deepEqual(patternReceived(200_003, 7), digest(whole));
  assert.notDeepEqual(patternReceived(200_003, 8), digest(whole));
  assert.deepEqual([...pattern(0)], []);
});

test("the TCP peers carry every byte and both ends of a connection", async () => {
  await using echo = await echoServer();
  await using sink = await sinkServer();
  await using source = await sourceServer(3 * MiB, 5);
  await using answerer = await questionAnswer({ answerBytes: 3_000_000, seed: 6 });
  await using early = await serverEndsFirst({ answerBytes: 3_000_000, seed: 6 });
  const sent = { send: 2 * MiB + 1, seed: 9 };
  const expected = patternReceived(sent.send, sent.seed);

  assert.equal((await transfer(echo.port, sent)).sha256, expected.sha256);
  assert.deepEqual(parseReceipt((await transfer(sink.port, sent)).head), expected);
  assert.equal(
    (await transfer(source.port, { end: "last" })).sha256,
    patternReceived(3 * MiB, 5).sha256,
  );
  for (const peer of [answerer, early]) {
    const answer = await transfer(peer.port, sent);
    assert.equal(answer.sha256, patternReceived(3_000_000, 6).sha256);
    assert.deepEqual(await peer.received(), expected);
    assert.equal(peer.connections, 1);
    await waitFor(() => peer.open === 0, { what: "the peer's connection closing" });
    assert.equal(peer.bytes, sent.send);
    assert.deepEqual(peer.errors, []);
  }
  const exactly = new TextEncoder().encode("these bytes");
  assert.equal((await transfer(echo.port, { send: exactly })).head.toString(), "these bytes");
});

test("a peer that resets gives its bytes and then ECONNRESET", async () => {
  await using peer = await resetAfter(1_000);
  await assert.rejects(transfer(peer.port, { end: "last" }), { code: "ECONNRESET" });
  const socket = connect(peer.port, peer.host);
  let bytes = 0;
  socket.on("data", (chunk) => bytes += chunk.length);
  const error = await new Promise<NodeJS.ErrnoException>((done) => socket.once("error", done));
  assert.equal(error.code, "ECONNRESET");
  assert.equal(bytes, 1_000);
});

test("a client that resets is an error of its own connection alone", async () => {
  await using peer = await sinkServer();
  const socket = connect(peer.port, peer.host);
  socket.write("begun");
  await waitFor(() => peer.bytes === 5);
  socket.resetAndDestroy();
  await assert.rejects(peer.received(0), { code: "ECONNRESET" });
  assert.equal(parseReceipt((await transfer(peer.port, { send: 10 })).head).bytes, 10);
  assert.equal(peer.errors.length, 1);
});

test("a refusing port refuses", async () => {
  const refusing = await refusingPort();
  await assert.rejects(transfer(refusing.port), { code: "ECONNREFUSED" });
  await assert.rejects(transfer(refusing.port), { code: "ECONNREFUSED" });
});

test("a paused reader holds the writer, and reads everything when it is resumed", async () => {
  await using peer = await pausedReader();
  let done = false;
  const transferring = transfer(peer.port, { send: 32 * MiB }).then(() => done = true);
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(done, false);
  assert.equal(peer.bytes, 0);
  peer.resume();
  await transferring;
  assert.deepEqual(await peer.received(), patternReceived(32 * MiB));
});

test("slow readers read no faster than they should, on either side", async () => {
  await using peer = await slowReader({ bytesPerSecond: 4 * MiB });
  await using source = await sourceServer(2 * MiB);
  const [sent, got] = await Promise.all([
    transfer(peer.port, { send: 2 * MiB }),
    transfer(source.port, { bytesPerSecond: 4 * MiB, end: "last" }),
  ]);
  for (const { milliseconds } of [sent, got]) {
    assert.ok(milliseconds > 400 && milliseconds < 3_000, `${milliseconds} ms`);
  }
});

/** `ssh -N -L`, up when it listens. */
async function forward(server: SshServer, to: number): Promise<Running & { port: number }> {
  const port = await freePort();
  const ssh = start("ssh", [
    ...["-v", "-N", "-L", `127.0.0.1:${port}:127.0.0.1:${to}`],
    ...sshOptions(server),
    server.host,
  ]);
  await waitFor(() => /Entering interactive session/.test(ssh.stderr()) || !ssh.running(), {
    what: "ssh being up",
  });
  assert.ok(ssh.running(), ssh.stderr() + server.log());
  return Object.assign(ssh, { port });
}

test(
  "sshd carries a half-closing transfer for the real ssh -L",
  skipUnless("sshd", "ssh"),
  async () => {
    await using server = await startSshd({ hostKeyTypes: ["ed25519", "ecdsa", "rsa"] });
    await using sink = await sinkServer();
    await using answerer = await questionAnswer({ answerBytes: 3_000_000 });
    const sent = { send: 2 * MiB, seed: 3 };
    {
      await using ssh = await forward(server, sink.port);
      const { head } = await transfer(ssh.port, sent);
      assert.deepEqual(parseReceipt(head), patternReceived(sent.send, sent.seed));
      assert.equal(server.sessions().length, 1);
    }
    await using ssh = await forward(server, answerer.port);
    const { sha256 } = await transfer(ssh.port, sent);
    assert.equal(sha256, patternReceived(3_000_000).sha256);
    assert.match(server.log(), /Accepted publickey for/);
    assert.equal(server.hostKeys.length, 3);
  },
);

test(
  "sshd obeys the configuration and the keys it is given",
  skipUnless("sshd", "ssh"),
  async () => {
    await using folder = await tempDir();
    const other = await makeKey(folder.path);
    await using server = await startSshd({
      config: ["AllowTcpForwarding no", "Match User nobody-at-all", "  PermitTTY no"],
      authorizedKeys: [`command="echo forced" ${other.publicLine}`],
    });
    const plain = await run("ssh", [...sshOptions(server), server.host, "echo", "free"]);
    assert.equal(plain.stdout, "free\n", plain.stderr);
    const forced = await run("ssh", [
      "-i",
      other.path,
      ...sshOptions({ ...server, identity: other.path }),
      server.host,
      "echo",
      "free",
    ]);
    assert.equal(forced.stdout, "forced\n", forced.stderr);
    const refused = await run("ssh", [
      ...["-W", "127.0.0.1:1", ...sshOptions(server)],
      server.host,
    ]);
    assert.match(refused.stderr, /administratively prohibited/);
  },
);

test(
  "sshd goes down with its connections and comes back on the same port",
  skipUnless("sshd", "ssh"),
  async () => {
    await using server = await startSshd();
    await using ssh = await forward(server, 1);
    const { pid } = server;
    await server.down();
    assert.equal((await ssh.exited).status, 255);
    await assert.rejects(transfer(server.port), { code: "ECONNREFUSED" });
    await server.up();
    assert.notEqual(server.pid, pid);

    await using again = await forward(server, 1);
    server.kill();
    await waitFor(() => server.pid !== -1 && descendants(server.pid).length === 0);
    assert.ok(again.running(), "an open connection outlives the listener");
    assert.equal(server.sessions().length, 1);
    await server.restart();
    assert.equal((await again.exited).status, 255);
    assert.deepEqual(server.sessions(), []);
  },
);

/** Answers ssh's question for a password, which needs no terminal that way. */
async function withPassword(server: SshServer, password: string) {
  await using folder = await tempDir();
  const askpass = `${folder.path}/askpass`;
  await run("sh", [
    "-c",
    `printf '#!/bin/sh\\necho "$ANSWER"\\n' > ${askpass}; chmod 700 ${askpass}`,
  ]);
  return await run("ssh", [
    ...["-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1", "-o", "BatchMode=no"],
    ...sshOptions(server),
    ...[server.host, "echo", "in"],
  ], { env: { SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: "force", ANSWER: password } });
}

for (const [name, startServer] of [["sshd", startSshd], ["dropbear", startDropbear]] as const) {
  const { skip } = skipUnless(name, "ssh");
  const options = skip === undefined ? skipUnlessAccounts({ password: true }) : { skip };
  test(`${name} accepts the password it was given and no other`, options, async () => {
    await using server = await startServer({ password: "correct horse" });
    const right = await withPassword(server, "correct horse");
    assert.equal(right.stdout, "in\n", right.stderr);
    const wrong = await withPassword(server, "battery staple");
    assert.equal(wrong.status, 255);
    assert.match(wrong.stderr, /Permission denied/);
  });
}

test("dropbear answers the real ssh, and carries a half-closing transfer", {
  ...skipUnless("ssh"),
  ...skipUnlessDropbear(),
}, async () => {
  await using server = await startDropbear();
  const said = await run("ssh", [...sshOptions(server), server.host, "echo", "$HOME"]);
  assert.equal(said.stdout, `${server.dir}\n`, said.stderr + server.log());
  await using sink = await sinkServer();
  await using ssh = await forward(server, sink.port);
  const { head } = await transfer(ssh.port, { send: MiB, seed: 4 });
  assert.deepEqual(parseReceipt(head), patternReceived(MiB, 4));
  await server.restart();
  assert.equal((await ssh.exited).status, 255);
});

test("dovecot gives its messages to curl", {
  ...skipUnless("curl"),
  ...skipUnlessDovecot(),
}, async () => {
  const messages = ["Subject: one\n\nThe first.\n", "Subject: two\n\nThe second.\n"];
  await using server = await startDovecot({ messages });
  const curl = (path: string) =>
    run("curl", [
      ...["-sS", "--max-time", "10", "--user", `${server.user}:${server.password}`],
      `pop3://${server.host}:${server.port}/${path}`,
    ]);
  assert.match((await curl("")).stdout, /^1 \d+\r\n2 \d+\r\n$/);
  assert.equal((await curl("2")).stdout, "Subject: two\r\n\r\nThe second.\r\n");
  const wrong = await run("curl", [
    "-sS",
    "--user",
    "mary:wrong",
    `pop3://127.0.0.1:${server.port}/`,
  ]);
  assert.equal(wrong.status, 67);
});
