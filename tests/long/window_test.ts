/** What the server may have under way, over a long way to it. */
import assert from "node:assert/strict";
import { appendFile } from "node:fs/promises";
import { test } from "node:test";
import { connect } from "../../mod.ts";
import { delayedPath } from "../support/delayed_path.ts";
import { knownHostsLine } from "../support/keys.ts";
import { startSshd } from "../support/sshd.ts";
import { patternReceived, sourceServer, transfer } from "../support/tcp.ts";
import { skipUnless } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const MIB = 1024 * 1024;
/** Milliseconds one way. What is under way in 300 ms does not depend on how busy the machine is. */
const FAR = 150;
/** Headers, padding and tags of packets, and what is no channel's data. */
const OVERHEAD = 1.1;

/** Downloads over a long way; tells the most that was under way. */
async function download(bytes: number, windowBudget?: number): Promise<number> {
  await using sshd = await startSshd();
  await using path = await delayedPath(sshd, FAR);
  await using source = await sourceServer(bytes);
  const [key] = sshd.hostKeys;
  assert.ok(key !== undefined);
  await appendFile(sshd.knownHosts, `${knownHostsLine(path.host, path.port, key.publicLine)}\n`);
  await using tunnel = await connect({
    host: path.host,
    port: path.port,
    username: sshd.user,
    identityFiles: [sshd.identity],
    userKnownHosts: [sshd.knownHosts],
    globalKnownHosts: [],
    agent: "none",
    ...(windowBudget === undefined ? {} : { windowBudget }),
  });
  await using forward = await tunnel.forwardLocal(`0:127.0.0.1:${source.port}`);
  const received = await transfer(forward.port, { send: 0, end: "last" });
  const { bytes: count, sha256 } = received;
  assert.deepEqual({ bytes: count, sha256 }, patternReceived(bytes));
  return path.mostUnderWay;
}

test("over a long way the window outgrows the 2 MiB of ssh", skip, async () => {
  assert.ok(await download(32 * MIB) > 4 * MIB);
});

test("within a small budget it does not outgrow that", skip, async () => {
  const budget = 512 * 1024;
  const most = await download(MIB, budget);
  assert.ok(most <= OVERHEAD * budget, `${most} bytes were under way`);
  // Nor is it stuck with what it began with.
  assert.ok(most > budget / 8, `${most} bytes were under way`);
});
