import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { demo } from "../lib/cli/demo.ts";
import { fetchMail } from "../lib/cli/demo_fetch.ts";
import { type MailServer, startMailServer } from "../lib/cli/demo_mail.ts";
import { prove } from "../lib/cli/demo_proof.ts";
import { startTap } from "../lib/cli/demo_tap.ts";
import { run, skipUnless, waitFor } from "./support/tools.ts";

const ACCOUNT = { user: "crew", password: "a pass phrase" };
const MAIL = ["Subject: one\n\nFirst.\n.\n..two dots\n", "Subject: two\n\n1\n2\n3\n"];

test("the demo shows every step and proves what the tunnel hides", async () => {
  const lines: string[] = [];
  assert.equal(await demo({ keep: false, print: (line) => lines.push(line) }), 0);
  const text = lines.join("\n");
  const steps = [
    /^1\. A mail server listens on 127\.0\.0\.1:\d+: POP3, without encryption\.$/m,
    /^2\. An SSH server that only forwards listens on 127\.0\.0\.1:\d+\.$/m,
    /^ {5}fairlead -L \d+:127\.0\.0\.1:\d+ -p \d+ demo@127\.0\.0\.1$/m,
    /^4\. The mail, fetched from 127\.0\.0\.1:\d+, through the tunnel:$/m,
    /^ {5}Subject: .+\n\n {5}The pilot boards at the outer buoy, half past eleven\.$/m,
    /^ {5}\.\.\.or so says the leaflet, which begins with three dots\.$/m,
    /^5\. The proof\. \d,\d{3} bytes were captured between client and SSH server:\n {3}no sentence of the messages is in them, nor is the password\.$/m,
    /^ {3}\d{3} bytes were captured: the same search finds every sentence in them,\n {3}and the password\.$/m,
    /^ {3}Protected: the way from the client to the SSH server\.$/m,
    /^ {3}Not protected: the way from the SSH server to the mail server\./m,
    /^ {3}Not protected: the listener\. Any user of this machine can connect/m,
  ];
  let from = 0;
  for (const step of steps) {
    const found = step.exec(text.slice(from));
    assert.ok(found, `${step} in what follows:\n${text.slice(from)}`);
    from += found.index + found[0].length;
  }
  assertFits(lines);
  await assertClosed(text);
});

test("with --keep all goes on until the signal, and curl reads the mail", {
  timeout: 10_000,
  ...skipUnless("curl"),
}, async () => {
  const stop = new AbortController();
  const lines: string[] = [];
  const status = demo({ keep: true, print: (line) => lines.push(line), signal: stop.signal });
  try {
    await waitFor(() => /^(user crew, password |The demo failed)/.test(lines.at(-1) ?? ""));
    assert.match(lines.at(-1) ?? "", /^user crew/);
    assertFits(lines);

    const urls = [...lines.join("\n").matchAll(/^ {2}curl (pop3:\S+)/gm)].map(([, url = ""]) =>
      url
    );
    const [list, tunnelled, direct] = await Promise.all(urls.map(curl));
    assert.match(list ?? "", /^1 \d+\r\n2 \d+\r\n$/);
    assert.match(tunnelled ?? "", /^From: Harbour Office .*\r\n[^]*the starboard side\.\r\n$/);
    assert.equal(direct, tunnelled);
    assert.match(await curl(`${urls[0]}2`), /\r\n\.\.\.or so says the leaflet[^\r]*\r\n$/);
  } finally {
    stop.abort();
  }
  assert.equal(await status, 0);
  await assertClosed(lines.join("\n"));
});

test("a demo that cannot be finished says why, and its status is 1", async () => {
  const lines: string[] = [];
  const status = await demo({
    keep: false,
    print: (line) => lines.push(line),
    signal: AbortSignal.abort(),
  });
  assert.equal(status, 1);
  assert.equal(lines.at(-1), "The demo was ended before it was through.");
  await assertClosed(lines.join("\n"));
});

test("the demo's proof fails for one readable secret, and for a search that finds nothing", () => {
  const secrets = new Map([["the first", "alpha"], ["the second", "beta"]]);
  const plain = Buffer.from("..alpha..beta..");
  prove(Buffer.from("\0\x01\x02"), plain, secrets);
  assert.throws(() => prove(Buffer.from("\0beta\x02"), plain, secrets), {
    message: "the second is readable between client and SSH server",
  });
  assert.throws(() => prove(Buffer.from("\0"), Buffer.from("beta"), secrets), {
    message: "the first is not found where it must be: the search proves nothing",
  });
});

test("the demo's mail server and client agree on messages with dots", async () => {
  const server = await startMailServer(ACCOUNT, MAIL);
  try {
    assert.deepEqual(await fetchMail(server.port, ACCOUNT), MAIL);
    await assert.rejects(fetchMail(server.port, { ...ACCOUNT, password: "wrong" }), {
      message: `fetching the mail from 127.0.0.1:${server.port} failed: ` +
        "the mail server does not accept PASS",
    });
  } finally {
    await server.close();
  }
  await assert.rejects(fetchMail(server.port, ACCOUNT), /ECONNREFUSED/);
});

test("the demo's mail server speaks POP3", async () => {
  const server = await startMailServer(ACCOUNT, MAIL);
  try {
    const login = ["USER crew", "PASS a pass phrase"];
    assert.deepEqual(await converse(server, ["STAT", "capa", "USER crew", "PASS no", "QUIT"]), [
      "-ERR log in first",
      ...["+OK capabilities follow", "USER", "TOP", "UIDL", "IMPLEMENTATION fairlead-demo", "."],
      "+OK now the password",
      "-ERR wrong user or password",
      "+OK goodbye",
    ]);
    const commands = [
      ...["STAT", "LIST", "LIST 2", "LIST 3", "UIDL", "RETR 1", "TOP 2 1", "TOP 2", "XYZZY"],
      ...["DELE 1", "RETR 1", "STAT", "RSET", "NOOP", "DELE 2", "QUIT"],
    ];
    assert.deepEqual((await converse(server, [...login, ...commands])).slice(2), [
      "+OK 2 64",
      ...["+OK", "1 39", "2 25", "."],
      "+OK 2 25",
      "-ERR no such message",
      ...["+OK", "1 demo-1", "2 demo-2", "."],
      ...["+OK message follows", "Subject: one", "", "First.", "..", "...two dots", "."],
      ...["+OK top follows", "Subject: two", "", "1", "."],
      "-ERR how many lines?",
      "-ERR unknown command",
      "+OK deleted",
      "-ERR no such message",
      "+OK 1 25",
      "+OK nothing is deleted",
      "+OK",
      "+OK deleted",
      "+OK goodbye",
    ]);
    // What was deleted is gone once its session has ended well.
    assert.deepEqual((await converse(server, [...login, "STAT", "QUIT"])).slice(2), [
      "+OK 1 39",
      "+OK goodbye",
    ]);
    assert.deepEqual(await converse(server, ["NOOP".repeat(1000), "QUIT"]), []);
  } finally {
    await server.close();
  }
});

test("the demo's tap records every byte both ways, until it is asked", async () => {
  const server = await startMailServer(ACCOUNT, MAIL);
  const tap = await startTap(server.port);
  try {
    await fetchMail(tap.port, ACCOUNT);
    const { size } = tap;
    const text = tap.captured().toString("latin1");
    assert.equal(text.length, size);
    assert.match(text, /^USER crew\r\nPASS a pass phrase\r\nSTAT\r\n[^]*QUIT\r\n\+OK fairlead/);
    assert.match(text, /\r\nFirst\.\r\n\.\.\r\n\.\.\.two dots\r\n\.\r\n/);
    await fetchMail(tap.port, ACCOUNT);
    assert.equal(tap.captured().length, 0);
  } finally {
    await tap.close();
    await server.close();
  }
});

/** Sends all commands at once, and returns the answer's lines without the greeting. */
async function converse(server: MailServer, commands: readonly string[]): Promise<string[]> {
  const socket = connect(server.port, "127.0.0.1");
  socket.on("error", () => {});
  let answer = "";
  socket.on("data", (chunk) => answer += String(chunk));
  socket.write(commands.map((command) => `${command}\r\n`).join(""));
  await new Promise((resolve) => socket.once("close", resolve));
  return answer.split("\r\n").slice(1, -1);
}

async function curl(url: string): Promise<string> {
  const { status, stdout, stderr } = await run("curl", ["-sS", "--max-time", "5", url]);
  assert.equal(status, 0, stderr);
  return stdout;
}

function assertFits(lines: readonly string[]): void {
  for (const line of lines) assert.ok(line.length <= 80, line);
}

/** Nothing listens any more on any port that was named. */
async function assertClosed(text: string): Promise<void> {
  const ports = new Set([...text.matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port]) => Number(port)));
  assert.ok(ports.size >= 2);
  for (const port of ports) {
    await assert.rejects(once(connect(port, "127.0.0.1"), "connect"), { code: "ECONNREFUSED" });
  }
}
