/** `fairlead alias`, with nothing else said: the user's ssh_config says it. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { dumpedKeywords } from "../../lib/ssh_config/dump.ts";
import { fairlead, startFairlead } from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, type Peer, transfer } from "../support/tcp.ts";
import { skipUnless } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
let home: Home;
let server: SshServer;
let echo: Peer;

before(async () => {
  home = await emptyHome();
  if (skip.skip !== undefined) return;
  server = await startSshd();
  echo = await echoServer();
});
after(async () => {
  await home.stop();
  await server?.stop();
  await echo?.stop();
});

/** Writes ~/.ssh/config; the host `alias` leads to the server. */
async function configure(...lines: string[]): Promise<void> {
  const config = [
    ...["Host alias", ...lines.map((line) => `  ${line}`)],
    ...[`  HostName ${server.host}`, `  Port ${server.port}`, `  User ${server.user}`],
    ...[`  IdentityFile ${server.identity}`, `  UserKnownHostsFile ${server.knownHosts}`],
    ...["Host *", "  IdentityAgent none", "  BatchMode yes", ""],
  ];
  await writeFile(join(home.ssh, "config"), config.join("\n"), { mode: 0o600 });
}

test("an alias of the user's file is connected to, and its forwards listen", skip, async () => {
  await configure(`LocalForward 0 ${echo.host}:${echo.port}`, "ForwardAgent yes", "RequestTTY yes");
  await using run = await startFairlead(["alias"], { env: home.env });
  const [port = 0] = run.ports;
  assert.equal((await transfer(port, { send: 100_000 })).bytes, 100_000);
  assert.deepEqual(run.lines(), []);
  await run.end("SIGTERM");
});

test("what is in the file without effect is told with -vv", skip, async () => {
  await configure(`LocalForward 0 ${echo.host}:${echo.port}`, "ForwardAgent yes");
  await using run = await startFairlead(["alias", "-vv"], { env: home.env });
  const note = run.lines().find((line) => line.includes("ForwardAgent"));
  assert.match(note ?? "", /config:3: ForwardAgent: without effect: fairlead forwards ports, not/);
  await run.end("SIGTERM");
});

test(
  "RemoteCommand is run with its tokens, and not together with another command",
  skip,
  async () => {
    await configure("RemoteCommand echo %n %p 100%%");
    const alone = await fairlead(["alias"], { env: home.env });
    assert.deepEqual([alone.status, alone.stdout], [0, `alias ${server.port} 100%\n`]);
    const both = await fairlead(["alias", "true"], { env: home.env });
    assert.equal(both.status, 2);
    assert.match(both.stderr, /a command and RemoteCommand contradict each other: .*config:2/);
    const none = await fairlead(["-o", "RemoteCommand=none", "alias", "echo it"], {
      env: home.env,
    });
    assert.deepEqual([none.status, none.stdout], [0, "it\n"]);
  },
);

test("ClearAllForwardings leaves the file's forwards out", skip, async () => {
  await configure(`LocalForward 0 ${echo.host}:${echo.port}`);
  const { status, stderr } = await fairlead(["-o", "ClearAllForwardings=yes", "alias"], {
    env: home.env,
  });
  assert.equal(status, 2);
  assert.match(stderr, /nothing to forward/);
});

test("-G prints what is configured, and connects to nothing", skip, async () => {
  await configure("ProxyJump gate");
  const { status, stdout, stderr } = await fairlead(["-G", "alias"], { env: home.env });
  assert.deepEqual([status, stderr], [0, ""]);
  const lines = stdout.trimEnd().split("\n");
  assert.deepEqual(lines.slice(0, 4), [
    "host alias",
    `user ${server.user}`,
    `hostname ${server.host}`,
    `port ${server.port}`,
  ]);
  assert.equal(lines.at(-1), "proxyjump gate");
  const names = ["host", ...dumpedKeywords().map((name) => name.toLowerCase())];
  for (const line of lines) assert.ok(names.includes(line.replace(/ .*/, "")), line);
  assert.match((await fairlead(["-G"], { env: home.env })).stderr, /the destination is missing/);
});

test("-Q lists what there is to choose from", async () => {
  const query = async (name: string) => {
    const { status, stdout } = await fairlead(["-Q", name], { env: home.env });
    assert.equal(status, 0);
    return stdout.trimEnd().split("\n");
  };
  assert.ok((await query("cipher")).includes("aes256-ctr"));
  assert.deepEqual(await query("ciphers"), await query("cipher"));
  assert.ok((await query("kex")).includes("curve25519-sha256"));
  assert.ok((await query("mac")).includes("hmac-sha2-256"));
  assert.ok((await query("key")).includes("ssh-ed25519"));
  assert.ok((await query("HostKeyAlgorithms")).includes("rsa-sha2-512"));
  assert.ok((await query("help")).includes("key-sig"));
  const { status, stderr } = await fairlead(["-Q", "chiper"], { env: home.env });
  assert.deepEqual(
    [status, stderr],
    [2, "fairlead: -Q chiper: there is nothing of that name; did you mean cipher?\n"],
  );
});
