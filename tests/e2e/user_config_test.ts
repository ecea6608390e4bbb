/** A user's ssh_config leads fairlead to where it leads ssh. */
import assert from "node:assert/strict";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fairlead, programCommand, startFairlead } from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { makeKey, publicKey } from "../support/keys.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, type Peer, transfer } from "../support/tcp.ts";
import { run, skipUnless } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const skipSsh = skipUnless("sshd", "ssh-keygen", "ssh");
const BYTES = 300_000;

let home: Home;
/** The first hop, the second, and the server. */
let servers: SshServer[] = [];
let echo: Peer;

before(async () => {
  home = await emptyHome();
  if (skip.skip !== undefined) return;
  servers = await Promise.all([startSshd(), startSshd(), startSshd()]);
  echo = await echoServer();
});
after(async () => {
  for (const server of servers) await server.stop();
  await echo?.stop();
  await home?.stop();
});

/** The lines that lead to a server under another name. */
function host(alias: string, server: SshServer, ...more: string[]): string[] {
  return [
    `Host ${alias}`,
    `  HostName ${server.host}`,
    `  Port ${server.port}`,
    `  User ${server.user}`,
    `  IdentityFile ${server.identity}`,
    `  UserKnownHostsFile "${server.knownHosts}"`,
    "  StrictHostKeyChecking yes",
    ...more.map((line) => `  ${line}`),
  ];
}

/** Writes `~/.ssh/config` of the test's home; other files lie beside it. */
async function config(lines: string[], others: Record<string, string[]> = {}): Promise<void> {
  await writeFile(join(home.ssh, "config"), `${lines.join("\n")}\n`, { mode: 0o600 });
  for (const [name, text] of Object.entries(others)) {
    await mkdir(join(home.ssh, "config.d"), { recursive: true });
    await writeFile(join(home.ssh, name), `${text.join("\n")}\n`, { mode: 0o600 });
  }
}

/** Whether a run with these arguments carries bytes to the echo server. */
async function carries(...args: string[]): Promise<string> {
  await using tunnel = await startFairlead(args, { env: home.env });
  const { bytes } = await transfer(tunnel.ports[0] ?? 0, { send: BYTES });
  assert.equal(bytes, BYTES);
  return tunnel.stderr();
}

const toEcho = () => ["-L", `0:127.0.0.1:${echo.port}`];

/** How many logins a server has seen. */
const logins = (server: SshServer) => server.log().match(/Accepted publickey for /g)?.length ?? 0;

test("an alias of ~/.ssh/config is enough, with what is included there", skip, async () => {
  const [server] = servers as [SshServer];
  await config(["Include config.d/*.conf", "Host *", "  ConnectTimeout 20"], {
    "config.d/work.conf": host("work", server, `LocalForward 0 127.0.0.1:${echo.port}`),
  });
  await carries("-N", "work");
});

test("-F names another file, and -F none none", skip, async () => {
  const [server] = servers as [SshServer];
  await config(["Host *", "  Port 1"]);
  const other = join(home.path, "other.conf");
  await writeFile(other, host("elsewhere", server).join("\n"));
  await carries("-F", other, ...toEcho(), "elsewhere");
  const none = await fairlead(["-F", "none", "-N", "-p", "1", "elsewhere.invalid"], {
    env: home.env,
  });
  assert.equal(none.status, 255);
  assert.match(none.stderr, /could not resolve the host name elsewhere\.invalid/);
});

test("the command line wins over the file", skip, async () => {
  const [server] = servers as [SshServer];
  await config(host("work", server).map((line) => line.replace(/Port .*/, "Port 1")));
  await carries("-p", `${server.port}`, ...toEcho(), "work");
});

test("Match exec decides by the user's own command", skip, async () => {
  const [server] = servers as [SshServer];
  await config([
    'Match originalhost work exec "test %n = work"',
    ...host("ignored", server).slice(1),
    "Host *",
    "  Port 1",
  ]);
  await carries(...toEcho(), "work");
});

test("ProxyJump leads through every hop, each by its own lines", skip, async () => {
  const [first, second, last] = servers as [SshServer, SshServer, SshServer];
  await config([
    ...host("one", first),
    ...host("two", second, "ProxyJump one"),
    ...host("three", last, "ProxyJump two"),
  ]);
  const before = servers.map(logins);
  await carries(...toEcho(), "three");
  assert.deepEqual(servers.map(logins), before.map((count) => count + 1));
});

test("-J does the same, and wins over what the file says", skip, async () => {
  const [first, second, last] = servers as [SshServer, SshServer, SshServer];
  await config([
    ...host("one", first),
    ...host("two", second),
    ...host("three", last, "ProxyCommand false"),
  ]);
  const before = servers.map(logins);
  await carries("-J", "one,two", ...toEcho(), "three");
  assert.deepEqual(servers.map(logins), before.map((count) => count + 1));
});

test("a wrong host key at the second hop is refused and named", skip, async () => {
  const [first, second, last] = servers as [SshServer, SshServer, SshServer];
  const other = await makeKey(home.path);
  const wrong = join(home.path, "wrong_hosts");
  const name = `[${second.host}]:${second.port}`;
  await writeFile(wrong, `${name} ${publicKey(other)}\n`);
  await config([
    ...host("one", first),
    ...host("two", second).map((line) => line.replace(second.knownHosts, wrong)),
    ...host("three", last),
  ]);
  const before = servers.map(logins);
  const { status, stderr } = await fairlead(["-J", "one,two", ...toEcho(), "three"], {
    env: home.env,
  });
  assert.equal(status, 255);
  assert.match(
    stderr,
    new RegExp(`^fairlead: .*host key of \\[127\\.0\\.0\\.1\\]:${second.port} has`),
  );
  assert.match(stderr, /wrong_hosts line 1 holds /);
  assert.equal(stderr.trimEnd().split("\n").length, 1, stderr);
  assert.equal(logins(second), before[1], "nobody has logged in there");
  assert.equal(logins(last), before[2]);
});

test("ProxyCommand carries the connection, with its tokens", skipSsh, async () => {
  const [first, , last] = servers as [SshServer, SshServer, SshServer];
  const through = [
    ...["ssh", "-F", "none", "-i", first.identity, "-p", `${first.port}`, "-l", first.user],
    ...["-o", `UserKnownHostsFile=${first.knownHosts}`, "-W", "%h:%p", first.host],
  ].join(" ");
  await config(host("work", last, `ProxyCommand ${through}`));
  const before = logins(first);
  await carries(...toEcho(), "work");
  assert.equal(logins(first), before + 1);
});

test("fairlead -W is a ProxyCommand of ssh and of fairlead", skipSsh, async () => {
  const [first, , last] = servers as [SshServer, SshServer, SshServer];
  const [program, args] = programCommand();
  const command = [program, ...args, "-W", "%h:%p", "one"].map((word) => `'${word}'`).join(" ");
  await config([...host("one", first), ...host("work", last, `ProxyCommand ${command}`)]);
  await carries(...toEcho(), "work");
  const ssh = ["-F", join(home.ssh, "config"), "-o", "BatchMode=yes", "work", "echo through"];
  const { status, stdout, stderr } = await run("ssh", ssh, { env: home.env });
  assert.deepEqual([status, stdout], [0, "through\n"], stderr);
});

test("-f, a command and -W go through a jump as well", skip, async () => {
  const [first, , last] = servers as [SshServer, SshServer, SshServer];
  await config([...host("one", first), ...host("two", last, "ProxyJump one")]);
  const command = await fairlead(["two", "echo", "said", "there"], { env: home.env });
  assert.deepEqual([command.status, command.stdout], [0, "said there\n"], command.stderr);
  const stdio = await fairlead(["-W", `127.0.0.1:${echo.port}`, "two"], {
    env: home.env,
    stdin: "there and back",
  });
  assert.deepEqual([stdio.status, stdio.stdout], [0, "there and back"], stdio.stderr);
});

test("a key is found by a name with tokens", skip, async () => {
  const [server] = servers as [SshServer];
  const key = await makeKey(home.path, { type: "ecdsa" });
  await server.authorize(key.publicLine);
  await config([
    ...host("work", server).map((line) => line.replace(server.identity, "%d/.ssh/id_%r_%n")),
  ]);
  const named = join(home.ssh, `id_${server.user}_work`);
  await writeFile(named, await readFile(key.path), { mode: 0o600 });
  await carries(...toEcho(), "work");
});

test("every mistake in a file is one line that names it", skip, async () => {
  const mistakes: [string[], RegExp][] = [
    [["Host work", "  Prot 22"], /^fairlead: \S*\/\.ssh\/config:2: Prot: .*did you mean Port\?\n$/],
    [["Port zero"], /^fairlead: \S*\/\.ssh\/config:1: Port.*expected a number from 1 to 65535\n$/],
    [['User "me'], /^fairlead: \S*\/\.ssh\/config:1: .*quote.*\n$/],
    [["Match color red"], /^fairlead: \S*\/\.ssh\/config:1: .*color.*\n$/],
    [["LocalForward 80"], /^fairlead: \S*\/\.ssh\/config:1: LocalForward.*\n$/],
  ];
  for (const [lines, message] of mistakes) {
    await config(lines);
    const { status, stderr } = await fairlead([...toEcho(), "work"], { env: home.env });
    assert.equal(status, 2, stderr);
    assert.match(stderr, message);
  }
});

test("a file that others can write is refused", skip, async () => {
  await config(["Host *"]);
  await chmod(join(home.ssh, "config"), 0o666);
  const { status, stderr } = await fairlead([...toEcho(), "work"], { env: home.env });
  assert.equal(status, 2);
  assert.match(
    stderr,
    /^fairlead: \S*\/\.ssh\/config: bad owner or permissions; .*chmod go-w.*\n$/,
  );
});
