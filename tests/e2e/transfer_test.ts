/** What goes through a local forward comes out unchanged. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { type Fairlead, serverOptions, startFairlead } from "../support/fairlead.ts";
import { skipUnlessDropbear, startDropbear } from "../support/dropbear.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import {
  echoServer,
  parseReceipt,
  pattern,
  type Peer,
  questionAnswer,
  serverEndsFirst,
  sinkServer,
  sourceServer,
  transfer,
} from "../support/tcp.ts";
import { skipUnless } from "../support/tools.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZES = [0, 1, 32 * KIB - 1, 32 * KIB, 32 * KIB + 1, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1];
const QUESTION = 2 * MIB;
const ANSWER = 3_000_000;

const servers = [
  { name: "sshd", start: () => startSshd(), skip: skipUnless("sshd", "ssh-keygen"), much: 256 },
  { name: "dropbear", start: () => startDropbear(), skip: skipUnlessDropbear(), much: 64 },
];

for (const { name, start, skip, much } of servers) {
  let server: SshServer;

  const through: Through = (peer, use) => behind(server, peer, use);

  before(async () => {
    if (skip.skip === undefined) server = await start();
  });
  after(() => server?.stop());

  test(`${name}: every size comes back from an echo server byte by byte`, skip, async () => {
    await through(await echoServer(), async (port) => {
      for (const size of SIZES) {
        const { bytes, sha256 } = await transfer(port, { send: size, seed: size + 1 });
        assert.deepEqual({ bytes, sha256 }, expected(size, size + 1));
      }
    });
  });

  test(`${name}: ${much} MiB arrive at the destination unchanged`, skip, async () => {
    await through(await sinkServer(), async (port) => {
      const { head } = await transfer(port, { send: much * MIB, seed: 5, timeout: 120_000 });
      assert.deepEqual(parseReceipt(head), expected(much * MIB, 5));
    });
  });

  test(`${name}: ${much} MiB arrive from the destination unchanged`, skip, async () => {
    await through(await sourceServer(much * MIB, 6), async (port) => {
      const { bytes, sha256 } = await transfer(port, { end: "last", timeout: 120_000 });
      assert.deepEqual({ bytes, sha256 }, expected(much * MIB, 6));
    });
  });

  test(`${name}: a client that ends its side first gets the whole answer`, skip, async () => {
    await through(await questionAnswer({ answerBytes: ANSWER, seed: 7 }), async (port) => {
      const { bytes, sha256 } = await transfer(port, { send: QUESTION });
      assert.deepEqual({ bytes, sha256 }, expected(ANSWER, 7));
    });
  });

  test(`${name}: a destination that ends its side first gets everything`, skip, async () => {
    const peer = await serverEndsFirst({ answerBytes: ANSWER, seed: 8 });
    await through(peer, async (port) => {
      const { bytes, sha256 } = await transfer(port, { send: QUESTION, end: "last" });
      assert.deepEqual({ bytes, sha256 }, expected(ANSWER, 8));
      assert.deepEqual(await peer.received(), expected(QUESTION, 1));
    });
  });
}

type Through = (
  peer: Peer,
  use: (port: number, run: Fairlead) => Promise<void>,
) => Promise<void>;

/** Runs fairlead in front of a peer for the length of one test. */
async function behind(
  server: SshServer,
  peer: Peer,
  use: (port: number, run: Fairlead) => Promise<void>,
): Promise<void> {
  await using _peer = peer;
  await using run = await startFairlead([
    ...["-L", `0:${peer.host}:${peer.port}`],
    ...serverOptions(server),
  ]);
  await use(run.ports[0] as number, run);
  assert.deepEqual(run.lines(), [], "nothing is logged of connections that end well");
  assert.deepEqual(await run.end("SIGTERM"), { status: 143, signal: null });
}

function expected(bytes: number, seed: number): { bytes: number; sha256: string } {
  const hash = createHash("sha256");
  for (const chunk of pattern(bytes, seed)) hash.update(chunk);
  return { bytes, sha256: hash.digest("hex") };
}
