/** Whatever goes wrong is told in one line: what happened, and what to do about it. */
import assert from "node:assert/strict";
import { chmod, chown, copyFile, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { skipUnlessAccounts } from "../support/accounts.ts";
import {
  fairlead,
  programCommand,
  scriptCommand,
  serverOptions,
  startFairlead,
} from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { knownHostsLine, makeKey } from "../support/keys.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, refusingPort, transfer } from "../support/tcp.ts";
import {
  freePort,
  run,
  type RunResult,
  skipUnless,
  type Stoppable,
  stoppable,
  waitFor,
} from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const ANYWHERE = ["-L", "0:127.0.0.1:9"];
const NOBODY = 65_534;

let home: Home;
let sshd: SshServer;

before(async () => {
  home = await emptyHome();
  if (skip.skip === undefined) sshd = await startSshd();
});
after(async () => {
  await sshd?.stop();
  await home?.stop();
});

/** What a failure is to look like. */
interface Failure {
  /** 255 unless told otherwise. */
  status?: number;
  code: string;
  message: RegExp;
  /** None where the message itself says what to do. */
  hint?: RegExp;
  /** What is said before it, a line each. */
  warnings?: RegExp[];
  /** How it is run; by default as always, in an empty home. */
  start?: (args: string[]) => Promise<RunResult>;
}

/** Runs it once for a person and once for a script. */
async function fails(args: string[], failure: Failure): Promise<{ message: string; hint: string }> {
  const { status = 255, warnings = [], start = (all) => fairlead(all, { env: home.env }) } =
    failure;
  const [shown, json] = [await start(args), await start([...args, "--json"])];

  assert.deepEqual([json.status, json.stdout], [status, ""], json.stderr);
  const objects = json.stderr.trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.equal(objects.length, warnings.length + 1, json.stderr);
  const error = objects.pop();
  const { hint, ...rest } = error;
  assert.deepEqual(Object.keys(rest), ["v", "event", "code", "message", "status"]);
  assert.deepEqual([error.v, error.event, error.status], [1, "error", status]);
  assert.equal(error.code, failure.code);
  assert.match(error.message, failure.message);
  if (failure.hint !== undefined) assert.match(hint, failure.hint);
  objects.forEach((object, index) => assert.match(object.message, warnings[index] as RegExp));

  assert.deepEqual([shown.status, shown.stdout], [status, ""], shown.stderr);
  const words = hint === undefined ? error.message : `${error.message}; ${hint}`;
  const said = [...objects.map(({ message }) => message), words];
  assert.equal(shown.stderr, said.map((line) => `fairlead: ${line}\n`).join(""));
  assertReadable(shown.stderr);
  return error;
}

/** What no line for a person may hold. */
function assertReadable(text: string): void {
  assert.doesNotMatch(text, /^\s+at |\w*Error:|\bundefined\b|\[object|\bE[A-Z]{4,}\b/m);
  assert.doesNotMatch(text, /fairlead: [A-Z][a-z]|\.$/m, "lower-case, and no full stop");
  // deno-lint-ignore no-control-regex -- they are what this is about
  assert.doesNotMatch(text, /[\x00-\x09\x0b-\x1f\x7f]/);
}

/** The options for the server, with some of them changed. */
function changed(changes: Record<string, string>, server = sshd): string[] {
  // As in ssh, the first value counts.
  const first = Object.entries(changes).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  return [...ANYWHERE, ...first, ...serverOptions(server)];
}

/** A server without the options that keep a person out of it, and without the known key. */
function plain(server: SshServer, ...options: string[]): string[] {
  return [
    ...[...ANYWHERE, "-F", "none", "-i", server.identity, "-p", String(server.port)],
    ...[...options, `${server.user}@${server.host}`],
  ];
}

/** Runs it where there is no terminal to ask on, whoever runs the tests. */
function withoutTerminal(args: string[]): Promise<RunResult> {
  const [command, first] = programCommand();
  return run("setsid", ["-w", command, ...first, ...args], { env: home.env });
}

/** A TCP server that is no SSH server. */
async function impostor(serve: (socket: Socket) => void): Promise<{ port: number } & Stoppable> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return stoppable({ port }, async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
}

async function isRefused(port: number): Promise<boolean> {
  return await transfer(port, { timeout: 1_000 }).then(() => false, () => true);
}

test("a port where nothing listens", async () => {
  const nobody = await refusingPort();
  await fails([...ANYWHERE, "-F", "none", "-p", String(nobody.port), "127.0.0.1"], {
    code: "connect-refused",
    message: /^127\.0\.0\.1:\d+ refused the connection$/,
    hint: /check the port \(-p\)/,
  });
});

test("a host whose name does not resolve", async () => {
  await fails([...ANYWHERE, "-F", "none", "no-such-host.invalid"], {
    code: "name-not-found",
    message: /^could not resolve the host name no-such-host\.invalid$/,
    hint: /check the spelling/,
  });
});

test("a key that the server does not accept: which keys were offered is told", skip, async () => {
  const wrong = await makeKey(sshd.dir);
  const other = await makeKey(sshd.dir, { type: "ecdsa" });
  const options = serverOptions(sshd).map((word) => word === sshd.identity ? wrong.path : word);
  const { message } = await fails([...ANYWHERE, "-i", other.path, ...options], {
    code: "auth-failed",
    message: /: permission denied \(publickey\); offered: /,
    hint: /private key with -i.*authorized_keys/,
  });
  assert.ok(message.startsWith(`${sshd.user}@${sshd.host}`), message);
  assert.ok(message.endsWith(`offered: ${other.path}, ${wrong.path}`), message);
});

test(
  "a server that wants a password, where nobody may be asked",
  { ...skip, ...skipUnlessAccounts({ password: true }) },
  async () => {
    await using server = await startSshd({ password: "swordfish" });
    await fails(changed({ PreferredAuthentications: "password" }, server), {
      code: "auth-failed",
      message: /: permission denied \(publickey,password\); nothing was offered$/,
      hint: /nobody could be asked for a password: --password env:NAME /,
    });
  },
);

test(
  "an unknown host key where there is no terminal",
  { ...skip, ...skipUnless("setsid", "ssh-keygen") },
  async () => {
    const { hint } = await fails(plain(sshd), {
      code: "host-key-unknown",
      message: /^the host key of \[127\.0\.0\.1\]:\d+ is not known: it is ED25519 SHA256:\S+$/,
      hint: /check SHA256:\S+ .*connect once from a terminal, or .*accept-new/,
      start: withoutTerminal,
    });
    assert.ok(hint.includes(sshd.hostKeys[0]?.fingerprint ?? "none"), hint);
    // The line that it names is the line that helps.
    const line = /`(.+? .+? .+?)`/.exec(hint)?.[1] ?? "";
    assert.equal(`${line}\n`, await readFile(sshd.knownHosts, "utf8"));
    const file = /add this line to (.+?): /.exec(hint)?.[1] ?? "";
    assert.equal(file, join(home.ssh, "known_hosts"));
  },
);

test(
  "an unknown host key with StrictHostKeyChecking=yes, where nobody is asked",
  skip,
  async () => {
    const { hint } = await fails(changed({ UserKnownHostsFile: join(home.ssh, "none") }), {
      code: "host-key-unknown",
      message: /is not known/,
      hint: /accept-new/,
    });
    assert.doesNotMatch(hint, /terminal/);
  },
);

test("a changed host key: file and line are told, and the command that helps", skip, async () => {
  const old = await makeKey(sshd.dir);
  const file = join(sshd.dir, "known hosts of old");
  const line = knownHostsLine(sshd.host, sshd.port, old.publicLine);
  await writeFile(file, `# a comment\n${line}\n`);
  const args = changed({ UserKnownHostsFile: `"${file}"` });
  const { message, hint } = await fails(args, {
    code: "host-key-changed",
    message: /^the host key of \[127\.0\.0\.1\]:\d+ has changed: it is now ED25519 SHA256:/,
    hint: /someone may be intercepting .*`ssh-keygen -R .*`$/,
  });
  assert.ok(message.includes(`${file} line 2 holds ED25519 ${old.fingerprint}`), message);
  const command = /`(.+)`/.exec(hint)?.[1] ?? "false";
  assert.equal((await run("sh", ["-c", command])).status, 0);
  assert.equal(await readFile(file, "utf8"), "# a comment\n");
});

test("a revoked host key", skip, async () => {
  const file = join(sshd.dir, "revoked");
  await writeFile(file, `@revoked * ${sshd.hostKeys[0]?.publicLine}\n`);
  const { message } = await fails(changed({ UserKnownHostsFile: file }), {
    code: "host-key-revoked",
    message: /^the host key of \[127\.0\.0\.1\]:\d+ is revoked: /,
    hint: /ask the server's administrator/,
  });
  assert.ok(message.includes(`${file} line 1`), message);
});

test("an address in use", skip, async () => {
  await using echo = await echoServer();
  await fails(["-L", `${echo.port}:127.0.0.1:9`, ...serverOptions(sshd)], {
    code: "address-in-use",
    message: new RegExp(`^cannot listen on localhost:${echo.port}: the address is in use$`),
    hint: /another port/,
  });
});

test("a privileged port, for a user who is not root", skip, async () => {
  const [command, first] = scriptCommand("tests/support/fixtures/as_nobody.ts");
  const key = join(home.path, "key");
  await copyFile(sshd.identity, key);
  if (process.getuid?.() === 0) {
    await chmod(home.path, 0o755);
    await chown(key, NOBODY, NOBODY);
  }
  const options = serverOptions(sshd).map((word) => word === sshd.identity ? key : word);
  await fails(["-L", "110:127.0.0.1:9", ...options], {
    code: "privileged-port",
    message: /^cannot listen on localhost:110: ports below 1024 need a privilege$/,
    hint: /another port, such as 8110; .*setcap .*; .*sysctl /,
    start: (args) => run(command, [...first, ...args], { env: home.env }),
  });
});

test("a bind address that this machine does not have", skip, async () => {
  await fails(["-L", "192.0.2.1:0:127.0.0.1:9", ...serverOptions(sshd)], {
    code: "address-not-available",
    message: /^cannot listen on 192\.0\.2\.1:0: this machine has no such address$/,
    hint: /check the bind address/,
  });
});

test("a bind address that does not resolve", skip, async () => {
  await fails(["-L", "no-such-host.invalid:8080:127.0.0.1:9", ...serverOptions(sshd)], {
    code: "name-not-found",
    message: /^cannot listen on no-such-host\.invalid:8080: /,
    hint: /check the bind address/,
  });
});

test("with ExitOnForwardFailure one forward that fails ends the good one too", skip, async () => {
  await using echo = await echoServer();
  const port = await freePort();
  const good = ["-L", `${port}:127.0.0.1:${echo.port}`];
  const bad = ["-L", `${echo.port}:127.0.0.1:9`];
  const args = [...good, ...bad, "-o", "ExitOnForwardFailure=yes", ...serverOptions(sshd)];
  const { status, stderr } = await fairlead(args, { env: home.env });
  assert.equal(status, 255);
  const lines = stderr.trimEnd().split("\n");
  assert.equal(lines.length, 2, stderr);
  assert.match(lines[0] ?? "", /^fairlead: listening on /);
  assert.match(
    lines[1] ?? "",
    /^fairlead: cannot listen on localhost:\d+: the address is in use; /,
  );
  assert.ok(await isRefused(port));
});

test(
  "without ExitOnForwardFailure the good forward listens and the bad one is told",
  skip,
  async () => {
    await using echo = await echoServer();
    const good = ["-L", `0:127.0.0.1:${echo.port}`];
    const bad = ["-L", `${echo.port}:127.0.0.1:9`];
    await using run = await startFairlead([...bad, ...good, ...serverOptions(sshd)], {
      env: home.env,
    });
    assert.equal((await transfer(run.ports[0] ?? 0, { send: 1000 })).bytes, 1000);
    assert.equal(run.lines().length, 1, run.stderr());
    assert.match(run.lines()[0] ?? "", /^fairlead: cannot listen on localhost:\d+: .* in use; /);
    assert.deepEqual(await run.end("SIGTERM"), { status: 143, signal: null });
  },
);

test("a server that says nothing ends in a timeout", async () => {
  await using silent = await impostor((socket) => socket.resume());
  const begun = performance.now();
  await fails(
    [
      ...[...ANYWHERE, "-F", "none", "-o", "ConnectTimeout=1"],
      ...["-p", String(silent.port), "127.0.0.1"],
    ],
    {
      code: "timeout",
      message: /^127\.0\.0\.1:\d+ accepted the connection but did not answer in time$/,
      hint: /belongs to an SSH server/,
    },
  );
  // Twice, and each time within five seconds.
  assert.ok(performance.now() - begun < 10_000);
});

test("a server that echoes, and one that speaks HTTP, are told from an SSH server", async () => {
  const servers = [
    { serve: (socket: Socket) => void socket.pipe(socket), code: "protocol-error" },
    {
      serve: (socket: Socket) => void socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"),
      code: "connection-lost",
    },
  ];
  for (const { serve, code } of servers) {
    await using server = await impostor(serve);
    const address = ["-p", String(server.port), "127.0.0.1"];
    await fails([...ANYWHERE, "-F", "none", ...address], {
      code,
      message: /^127\.0\.0\.1:\d+/,
      hint: /SSH server/,
    });
  }
});

test("a server that closes the connection at once", async () => {
  await using server = await impostor((socket) => socket.end());
  await fails([...ANYWHERE, "-F", "none", "-p", String(server.port), "127.0.0.1"], {
    code: "connection-lost",
    message: /^127\.0\.0\.1:\d+ hung up before the SSH handshake$/,
    hint: /SSH server/,
  });
});

test("a server with no cipher in common", skip, async () => {
  await using server = await startSshd({ config: ["Ciphers aes256-ctr"] });
  await fails([...ANYWHERE, "-c", "aes128-ctr", ...serverOptions(server)], {
    code: "algorithm-mismatch",
    message: /^127\.0\.0\.1:\d+ and fairlead have no cipher algorithm in common: it offers only \S/,
    hint: /-o Ciphers=\+aes256-ctr /,
  });
});

test("an agent that is gone is told only to who asks, unless it was named", skip, async () => {
  const gone = join(sshd.dir, "no-agent");
  const env = { ...home.env, SSH_AUTH_SOCK: gone };
  const options = [
    ...["-F", "none", "-i", sshd.identity, "-p", String(sshd.port)],
    ...["-o", `UserKnownHostsFile=${sshd.knownHosts}`],
  ];
  const login = async (...more: string[]) => {
    const args = [...more, ...options, `${sshd.user}@${sshd.host}`, "true"];
    const { status, stderr } = await fairlead(args, { env });
    assert.equal(status, 0, stderr);
    return stderr;
  };
  assert.equal(await login(), "");
  const told = new RegExp(`^fairlead: the agent at ${gone} gives no keys: .`, "m");
  assert.match(await login("-v"), told);
  assert.match(await login("-o", `IdentityAgent=${gone}`), told);
});

test(
  "a key file that is missing, and one that others can read, are told before",
  skip,
  async () => {
    const open = await makeKey(sshd.dir);
    await chmod(open.path, 0o644);
    const missing = join(sshd.dir, "no-such-key");
    const options = serverOptions(sshd).map((word) => word === sshd.identity ? missing : word);
    await fails([...ANYWHERE, ...options, "-i", open.path], {
      code: "auth-failed",
      message: /permission denied \(publickey\); nothing was offered$/,
      hint: /-i/,
      warnings: [
        /^identity \S+\/no-such-key does not exist$/,
        /^identity \S+ is readable by others \(mode 0644\) and is therefore not used; run: chmod 600 /,
      ],
    });
  },
);

test(
  "destinations that refuse or do not resolve take one line each, and nothing ends",
  skip,
  async () => {
    const nobody = await refusingPort();
    await using run = await startFairlead([
      ...["-L", `refused=0:127.0.0.1:${nobody.port}`, "-L", "unknown=0:no-such-host.invalid:80"],
      ...serverOptions(sshd),
    ], { forwards: 2, env: home.env });
    for (const [index, port] of run.ports.entries()) {
      assert.ok(await isRefused(port));
      await waitFor(() => run.lines().length === index + 1, { what: run.stderr() });
    }
    const [refused = "", unknown = ""] = run.lines();
    assert.match(
      refused,
      /^fairlead: -L refused #1 from 127\.0\.0\.1:\d+: .* refused the connection/,
    );
    assert.match(
      unknown,
      /^fairlead: -L unknown #1 from .*: no-such-host\.invalid:80 could not be/,
    );
    assertReadable(run.stderr());
    assert.deepEqual(await run.end("SIGTERM"), { status: 143, signal: null });
  },
);

test("a server that forbids forwarding is told, and nothing ends", skip, async () => {
  await using server = await startSshd({ config: ["AllowTcpForwarding no"] });
  await using run = await startFairlead([...ANYWHERE, ...serverOptions(server)], {
    env: home.env,
  });
  assert.ok(await isRefused(run.ports[0] ?? 0));
  await waitFor(() => run.lines().length === 1);
  assert.match(run.lines()[0] ?? "", /: the server does not allow forwarding to 127\.0\.0\.1:9/);
  assert.match(run.lines()[0] ?? "", /; ask the server.s administrator for AllowTcpForwarding/);
  assert.ok(run.running());
});

test("a wrong command line ends with status 2, before anything is connected", async () => {
  await fails(["-L", "8080:web", "no-such-host.invalid"], {
    status: 2,
    code: "usage",
    message: /^-L 8080:web: expected \[bind:\]port:host:hostport$/,
  });
});

test("a mistake in the user's ssh_config is told by its line, and -F none passes over it", async () => {
  await using own = await emptyHome();
  await writeFile(join(own.ssh, "config"), "Host *\n  Prot 2222\n", { mode: 0o600 });
  const nobody = await refusingPort();
  const args = [...ANYWHERE, "-p", String(nobody.port), "127.0.0.1"];
  const start = (all: string[]) => fairlead(all, { env: own.env });
  await fails(args, {
    ...{ status: 2, code: "config-invalid", hint: /^did you mean Port\?$/, start },
    message: /\/\.ssh\/config:2: Prot: no such keyword$/,
  });
  const refused = { code: "connect-refused", message: /refused/, hint: /check/, start };
  await fails(["-F", "none", ...args], refused);
});

test("-q says nothing but errors", skip, async () => {
  await using own = await emptyHome();
  await writeFile(join(own.ssh, "config"), "Host *\n");
  const nobody = await refusingPort();
  const refused = ["-q", ...ANYWHERE, "-p", String(nobody.port), "127.0.0.1"];
  const { status, stdout, stderr } = await fairlead(refused, { env: own.env });
  assert.deepEqual([status, stdout], [255, ""]);
  assert.match(stderr, /^fairlead: 127\.0\.0\.1:\d+ refused the connection; .*\n$/);

  await using server = await startSshd({ config: [`Banner ${join(own.ssh, "config")}`] });
  await using echo = await echoServer();
  const port = await freePort();
  const forward = ["-L", `0.0.0.0:${port}:127.0.0.1:${echo.port}`];
  await using run = await startFairlead(["-q", ...forward, ...serverOptions(server)], {
    env: own.env,
    forwards: 0,
  });
  await waitFor(async () => !(await isRefused(port)), { timeout: 10_000 });
  assert.deepEqual(await run.end("SIGTERM"), { status: 143, signal: null });
  assert.deepEqual([run.stdout(), run.stderr()], ["", ""]);
});
