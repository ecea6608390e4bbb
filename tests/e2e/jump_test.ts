/** Jump hosts: three real servers behind each other, each with another user and another key. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, type ConnectOptions, type FairleadError, type Tunnel } from "../../mod.ts";
import { skipUnlessDropbear, startDropbear } from "../support/dropbear.ts";
import { forwardInChild, optionsFor, skipUnlessHops, startHops, through } from "../support/hops.ts";
import { knownHostsLine, makeKey } from "../support/keys.ts";
import { silentPort } from "../support/silent.ts";
import type { SshServer } from "../support/ssh_server.ts";
import { startSshd } from "../support/sshd.ts";
import {
  echoServer,
  patternReceived,
  pausedReader,
  questionAnswer,
  refusingPort,
  transfer,
} from "../support/tcp.ts";
import { tempDir, waitFor } from "../support/tools.ts";

const skip = skipUnlessHops();
const MB = 1_000_000;

let hops: Awaited<ReturnType<typeof startHops>>;

before(async () => {
  if (skip.skip === undefined) hops = await startHops(["alice", "bob", "carol"]);
});
after(() => hops?.stop());

/** What went wrong. */
async function failure(options: ConnectOptions): Promise<FairleadError> {
  try {
    await (await connect(options)).close();
  } catch (error) {
    return error as FairleadError;
  }
  throw new Error("it connected");
}

function address(server: SshServer): string {
  return `${server.host}:${server.port}`;
}

/** No session of any server is left. */
async function nobodyLeft(servers = hops.servers): Promise<void> {
  await waitFor(() => servers.every((server) => server.sessions().length === 0), {
    what: "every session's end",
  });
}

test(
  "three hops carry a transfer byte by byte, and each server's log proves its hop",
  skip,
  async () => {
    const [alice, bob, carol] = hops.servers as [SshServer, SshServer, SshServer];
    await using peer = await questionAnswer({ answerBytes: 3 * MB, seed: 7 });
    {
      await using tunnel = await connect(through(hops.servers));
      const { port } = await tunnel.forwardLocal(`127.0.0.1:0:${peer.host}:${peer.port}`);
      const { bytes, sha256 } = await transfer(port, { send: 2 * MB, seed: 5 });
      assert.deepEqual({ bytes, sha256 }, patternReceived(3 * MB, 7));
      assert.deepEqual(await peer.received(), patternReceived(2 * MB, 5));

      for (const server of hops.servers) {
        const accepted = new RegExp(`Accepted publickey for ${server.user} from`);
        assert.match(server.log(), accepted);
        assert.equal(server.sessions().length, 1);
      }
      assert.match(alice.log(), new RegExp(`target ${bob.host} port ${bob.port}\\b`));
      assert.match(bob.log(), new RegExp(`target ${carol.host} port ${carol.port}\\b`));
      assert.match(carol.log(), new RegExp(`target ${peer.host} port ${peer.port}\\b`));
      for (const [from, to] of [[alice, bob], [bob, carol]] as const) {
        if (!existsSync("/proc/net/tcp")) break;
        const source = Number(
          new RegExp(`Accepted publickey for ${to.user} from \\S+ port (\\d+)`).exec(to.log())?.[1],
        );
        assert.ok(ownsPort(from, source), `${to.user}'s server was connected to by ${from.user}'s`);
      }
    }
    await nobodyLeft();
  },
);

/** Whether a process of the server's holds the near end of a connection from this port. */
function ownsPort(server: SshServer, port: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const inodes = readFileSync("/proc/net/tcp", "utf8").split("\n").map((line) =>
    line.trim().split(/\s+/)
  ).filter(([, local = ""]) => local.endsWith(`:${hex}`)).map((fields) => `socket:[${fields[9]}]`);
  return server.sessions().some((session) => {
    const own = [session, ...childrenOf(session)];
    return own.some((pid) =>
      readdirSync(`/proc/${pid}/fd`).some((name) => {
        try {
          return inodes.includes(readlinkSync(`/proc/${pid}/fd/${name}`));
        } catch {
          return false;
        }
      })
    );
  });
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(/\s+/)
    .filter((word) => word !== "").map(Number);
}

test(
  "50 MB go through three hops unchanged, and one that does not read costs no memory",
  { ...skip, timeout: 110_000 },
  async () => {
    await using sink = await questionAnswer({ answerBytes: 50 * MB, seed: 3 });
    await using stuck = await pausedReader();
    await using run = await forwardInChild(through(hops.servers), [sink, stuck]);
    const [toSink, toStuck] = run.ports as [number, number];
    const { bytes, sha256, milliseconds } = await transfer(toSink, { send: 50 * MB, seed: 4 });
    assert.deepEqual({ bytes, sha256 }, patternReceived(50 * MB, 3));
    assert.deepEqual(await sink.received(), patternReceived(50 * MB, 4));

    // What the runtime takes for any traffic at all is not what this is about.
    const before = run.memory();
    const sending = transfer(toStuck, { send: 200 * MB, seed: 6, timeout: 100_000 });
    sending.catch(() => {});
    let most = 0;
    // As long as the 100 MB took, which would be here by then were nothing holding them up.
    for (const end = performance.now() + milliseconds; performance.now() < end;) {
      await sleep(50);
      most = Math.max(most, run.memory() - before);
    }
    assert.ok(most < 64 * MB, `memory grew by ${most} bytes`);
    stuck.resume();
    await sending;
    assert.deepEqual(await stuck.received(), patternReceived(200 * MB, 6));
  },
);

test("keys that change at every hop, once a megabyte, lose no byte", skip, async () => {
  await using rekeying = await startHops(["erin", "frank"], { config: ["RekeyLimit 1M"] });
  await using peer = await questionAnswer({ answerBytes: 20 * MB, seed: 7 });
  {
    await using tunnel = await connect(through(rekeying.servers));
    const { port } = await tunnel.forwardLocal(`127.0.0.1:0:${peer.host}:${peer.port}`);
    const { bytes, sha256 } = await transfer(port, { send: 20 * MB, seed: 5 });
    assert.deepEqual({ bytes, sha256 }, patternReceived(20 * MB, 7));
    assert.deepEqual(await peer.received(), patternReceived(20 * MB, 5));
  }
  for (const server of rekeying.servers) {
    const rekeyed = server.log().match(/SSH2_MSG_NEWKEYS received/g)?.length ?? 0;
    assert.ok(rekeyed >= 15, `${server.user}: ${rekeyed}`);
  }
});

test("dropbear is a jump host as well", { ...skip, ...skipUnlessDropbear() }, async () => {
  await using dropbear = await startDropbear();
  const [, , carol] = hops.servers as [SshServer, SshServer, SshServer];
  await using peer = await questionAnswer({ answerBytes: 3 * MB, seed: 7 });
  await using tunnel = await connect(through([dropbear, carol]));
  const { port } = await tunnel.forwardLocal(`127.0.0.1:0:${peer.host}:${peer.port}`);
  const { bytes, sha256 } = await transfer(port, { send: 2 * MB, seed: 5 });
  assert.deepEqual({ bytes, sha256 }, patternReceived(3 * MB, 7));
  assert.deepEqual(await peer.received(), patternReceived(2 * MB, 5));
});

test("a wrong host key at the second hop is refused, and the hop is named", skip, async () => {
  const [, bob] = hops.servers as [SshServer, SshServer];
  await using folder = await tempDir();
  const other = await makeKey(folder.path);
  const wrong = join(folder.path, "known_hosts");
  await writeFile(wrong, `${knownHostsLine(bob.host, bob.port, other.publicLine)}\n`);
  const before = hops.servers[2]?.log().length;

  const error = await failure(through(hops.servers, { 1: { userKnownHosts: [wrong] } }));
  assert.equal(error.code, "host-key-changed");
  assert.match(error.message, new RegExp(`^jump host 2 of 2 \\(bob@${address(bob)}\\): .*changed`));
  assert.match(error.message, new RegExp(wrong));
  assert.equal(hops.servers[2]?.log().length, before, "the third server saw nothing of it");
  await nobodyLeft();
});

test(
  "a wrong key at the third server is refused there, and the server is named",
  skip,
  async () => {
    const [, , carol] = hops.servers as [SshServer, SshServer, SshServer];
    await using folder = await tempDir();
    const other = await makeKey(folder.path);
    const error = await failure(through(hops.servers, { 2: { identityFiles: [other.path] } }));
    assert.equal(error.code, "auth-failed");
    assert.match(error.message, /^carol@127\.0\.0\.1: permission denied .*offered: /);
    assert.match(
      carol.log(),
      /Failed publickey for carol|Connection closed by authenticating user carol/,
    );
    await nobodyLeft();
  },
);

test("a wrong key at the second hop names the hop and what was offered", skip, async () => {
  const [, bob] = hops.servers as [SshServer, SshServer];
  await using folder = await tempDir();
  const other = await makeKey(folder.path);
  const error = await failure(through(hops.servers, { 1: { identityFiles: [other.path] } }));
  assert.equal(error.code, "auth-failed");
  assert.match(error.message, new RegExp(`^jump host 2 of 2 \\(bob@${address(bob)}\\): bob@`));
  assert.ok(error.message.includes(`offered: ${other.path}`), error.message);
  await nobodyLeft();
});

test("a jump host that may not forward is named, with what to change there", skip, async () => {
  await using closed = await startSshd({ user: "dave", config: ["AllowTcpForwarding no"] });
  const [, bob] = hops.servers as [SshServer, SshServer];
  const error = await failure(through([closed, bob]));
  assert.equal(error.code, "forwarding-prohibited");
  assert.match(
    error.message,
    new RegExp(
      `^jump host \\(dave@${address(closed)}\\): the server does not allow forwarding to ${
        address(bob)
      }`,
    ),
  );
  assert.match(error.hint ?? "", /AllowTcpForwarding/);
  await nobodyLeft([closed]);
});

test("a server that a jump host cannot reach is named with the jump host", skip, async () => {
  const [alice] = hops.servers as [SshServer];
  const hop = { jump: optionsFor(alice) };
  const named = `jump host (alice@${address(alice)}): `;

  const none = await refusingPort();
  const refused = await failure({ ...optionsFor(alice), ...none, ...hop });
  assert.equal(refused.code, "connect-refused");
  assert.ok(refused.message.startsWith(`${named}127.0.0.1:${none.port} refused`), refused.message);

  const unknown = await failure({ ...optionsFor(alice), host: "no-such-host.invalid", ...hop });
  assert.equal(unknown.code, "name-not-found");
  assert.ok(unknown.message.startsWith(`${named}no-such-host.invalid:`), unknown.message);

  await using silent = await silentPort();
  const begun = performance.now();
  const late = await failure({ ...optionsFor(alice), ...silent, ...hop, connectTimeout: 700 });
  assert.equal(late.code, "timeout");
  assert.ok(late.message.startsWith(`${named}127.0.0.2:${silent.port} did not answer`));
  assert.ok(performance.now() - begun < 3_000);
  await nobodyLeft();
});

test("a jump host that cannot be reached itself is named", skip, async () => {
  const [alice, bob] = hops.servers as [SshServer, SshServer];
  const none = await refusingPort();
  const error = await failure(through([alice, bob], { 0: { port: none.port } }));
  assert.equal(error.code, "connect-refused");
  assert.equal(
    error.message,
    `jump host (alice@127.0.0.1:${none.port}): 127.0.0.1:${none.port} refused the connection`,
  );
});

/** Ends one server's sessions while something is open through all of them. */
async function loseHop(lost: number): Promise<{ reason: FairleadError | undefined }> {
  await using peer = await echoServer();
  const tunnel = await connect({ ...through(hops.servers), retries: 0 });
  try {
    const { port } = await tunnel.forwardLocal(`127.0.0.1:0:${peer.host}:${peer.port}`);
    const running = transfer(port, { send: 500 * MB });
    running.catch(() => {});
    await waitFor(() => peer.bytes > MB);
    hops.servers[lost]?.signalSessions("SIGKILL");
    const reason = await Promise.race([tunnel.closed, sleep(5_000)]);
    await assert.rejects(running, "a cut connection does not end as a whole one");
    return { reason: reason as FairleadError | undefined };
  } finally {
    await tunnel.close({ force: true });
    await nobodyLeft();
  }
}

test("a first hop that dies ends the session with an error that names the hop", skip, async () => {
  const [alice] = hops.servers as [SshServer];
  const { reason } = await loseHop(0);
  assert.equal(reason?.code, "connection-lost");
  assert.ok(
    reason?.message.startsWith(`jump host 1 of 2 (alice@${address(alice)}): `),
    reason?.message,
  );
});

test("a target that dies is not taken for a jump host", skip, async () => {
  const [, , carol] = hops.servers as [SshServer, SshServer, SshServer];
  const { reason } = await loseHop(2);
  assert.equal(reason?.code, "connection-lost");
  assert.ok(!/jump host/.test(reason?.message ?? ""), reason?.message);
  assert.ok(reason?.message.includes(address(carol)), reason?.message);
});

test("an abort gives up whatever hop it is at, and leaves no session", skip, async () => {
  const [alice, bob] = hops.servers as [SshServer, SshServer];
  await using silent = await silentPort();
  const steps: [string, ConnectOptions][] = [
    ["the first hop", through([alice, bob], { 0: { ...silent } })],
    ["the target", through([alice, bob], { 1: { ...silent } })],
  ];
  for (const [step, options] of steps) {
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 300);
    const begun = performance.now();
    const error = await failure({ ...options, signal: stop.signal });
    assert.equal(error.code, "cancelled", step);
    assert.ok(performance.now() - begun < 2_000, step);
    await nobodyLeft();
  }
});

test("closing the target closes its hops, also when one of them has stopped", skip, async () => {
  const tunnel: Tunnel = await connect(through(hops.servers));
  const [alice] = hops.servers as [SshServer];
  alice.signalSessions("SIGSTOP");
  const begun = performance.now();
  await tunnel.close();
  const took = performance.now() - begun;
  alice.signalSessions("SIGCONT");
  assert.ok(took < 4_000, `${took} ms`);
  await nobodyLeft();
});

test("a jump host with batchMode asks nobody, whoever the target may ask", skip, async () => {
  const [alice, bob] = hops.servers as [SshServer, SshServer];
  const options = through([alice, bob], {
    0: { userKnownHosts: [], strictHostKeyChecking: "ask", batchMode: true },
  });
  const prompter = {
    secret: () => Promise.resolve(undefined),
    questions: () => Promise.resolve(undefined),
    confirmHostKey: () => Promise.resolve(true),
  };
  await assert.rejects(connect({ ...options, prompter }), {
    code: "host-key-unknown",
    message: /^jump host/,
    hint:
      /use `StrictHostKeyChecking accept-new` \(in the jump host's own Host block of ssh_config\)$/,
  });
});

test("prompts name the host that asks", skip, async () => {
  const [alice, bob] = hops.servers as [SshServer, SshServer];
  const asked: string[] = [];
  const options = through([alice, bob], {
    0: { userKnownHosts: [], strictHostKeyChecking: "ask" },
    1: { userKnownHosts: [], strictHostKeyChecking: "ask" },
  });
  const tunnel = await connect({
    ...options,
    prompter: {
      secret: () => Promise.resolve(undefined),
      questions: () => Promise.resolve(undefined),
      confirmHostKey: ({ host }) => {
        asked.push(host);
        return Promise.resolve(true);
      },
    },
  });
  await tunnel.close();
  assert.deepEqual(asked, [alice, bob].map(({ host, port }) => `[${host}]:${port}`));
});

test("a list of jump hosts without an end is refused", async () => {
  const loop: { host: string; jump?: ConnectOptions } = { host: "a.example.com" };
  loop.jump = loop;
  await assert.rejects(connect(loop), { name: "TypeError", message: /more than 32 servers/ });
});
