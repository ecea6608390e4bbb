/** What a server forbids is refused, and the reason names the setting that forbids it. */
import assert from "node:assert/strict";
import { chmod } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { configureSync, resetSync } from "@logtape/logtape";
import { connect, ConnectionError, FairleadError, ForwardError, type Tunnel } from "../../mod.ts";
import { skipUnlessAccounts } from "../support/accounts.ts";
import { skipUnlessDropbear, startDropbear } from "../support/dropbear.ts";
import { type SshdOptions, type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, patternReceived, type Peer, transfer } from "../support/tcp.ts";
import { currentUser, freePort, skipUnless, tempDir, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const BYTES = 20_000;

const ADMINISTRATOR = "ask the server's administrator for ";
const SERVER_LOCAL = `${ADMINISTRATOR}AllowTcpForwarding yes or local, and for this destination ` +
  "in PermitOpen; DisableForwarding must be no";
const SERVER_REMOTE = `${ADMINISTRATOR}AllowTcpForwarding yes or remote; DisableForwarding must ` +
  "be no";
const SERVER_LISTEN = `${ADMINISTRATOR}localhost:0 in PermitListen, spelled like this`;
const SERVER_SOCKET_LOCAL = "check that the socket exists there and that the user may use it; or " +
  `${ADMINISTRATOR}yes or local in both AllowStreamLocalForwarding and AllowTcpForwarding, and ` +
  "for no PermitOpen: it leaves no Unix socket; DisableForwarding must be no";
const SERVER_SOCKET_REMOTE = `${ADMINISTRATOR}AllowStreamLocalForwarding yes or remote; ` +
  "DisableForwarding must be no";
const SERVER_SOCKET_TCP = `${ADMINISTRATOR}AllowTcpForwarding yes or remote: sshd wants it for ` +
  "Unix sockets, too";
const KEY_MAY_NOT = "this key may not forward: its line in authorized_keys on the server has " +
  "restrict or no-port-forwarding; ask for port-forwarding there";
const KEY_LOCAL = "this key may connect only to what the permitopen of its line in " +
  "authorized_keys on the server names; ask to add it (where it is there, PermitOpen or " +
  "DisableForwarding in sshd_config forbids it)";
const KEY_SOCKET = "this key may connect to no Unix socket: its line in authorized_keys on the " +
  "server has permitopen; ask for a key without it";
const KEY_REMOTE = "this key may listen only on what the permitlisten of its line in " +
  "authorized_keys on the server names (or PermitListen in sshd_config is narrower still); ask " +
  "to add localhost:0, spelled like this";

let echo: Peer;
let folder: Awaited<ReturnType<typeof tempDir>>;
let socketServer: Server;
let socketPath: string;

before(async () => {
  echo = await echoServer();
  folder = await tempDir();
  socketPath = join(folder.path, "echo.sock");
  socketServer = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => socketServer.listen(socketPath, resolve));
});
after(async () => {
  await echo?.stop();
  socketServer?.close();
  await folder?.stop();
});

/** What is to become of one kind of forward: it works, or this is the hint. */
type Outcome = "works" | { readonly hint: string };

const refused = (hint: string): Outcome => ({ hint });

/** Opens a tunnel for the length of one test. */
async function through(
  server: SshServer,
  use: (tunnel: Tunnel) => Promise<void>,
  login: { username?: string; password?: string } = {},
): Promise<void> {
  await using tunnel = await connect({
    host: server.host,
    port: server.port,
    username: server.user,
    identityFiles: login.password === undefined ? [server.identity] : [],
    identitiesOnly: true,
    agent: "none",
    userKnownHosts: [server.knownHosts],
    globalKnownHosts: [],
    ...login,
  });
  await use(tunnel);
}

async function failureOf(attempt: Promise<unknown>): Promise<unknown> {
  return await attempt.then(() => assert.fail("it was allowed"), (error) => error);
}

/** What holds of every refusal, beside its own hint. */
function assertRefusal(error: unknown, kind: "-L" | "-R", { hint }: { hint: string }): void {
  assert.ok(error instanceof FairleadError, String(error));
  assert.ok(error instanceof (kind === "-L" ? ConnectionError : ForwardError), error.name);
  assert.equal(error.hint, hint);
  const words = `${error.message}; ${error.hint}`;
  const foreign = kind === "-L"
    ? /permitlisten|gatewayports|or remote\b/i
    : /permitopen|or local\b/i;
  assert.doesNotMatch(words, foreign, "the other direction's settings are named");
  assert.doesNotMatch(words, /\bundefined\b|\[object|^[A-Z]|\.$/);
}

async function localTcp(tunnel: Tunnel, outcome: Outcome): Promise<void> {
  await using forward = await tunnel.forwardLocal(`0:${echo.host}:${echo.port}`);
  if (outcome === "works") {
    assert.deepEqual(await comesBack(forward.port), patternReceived(BYTES));
    return;
  }
  const error = await failureOf(tunnel.dial({ host: echo.host, port: echo.port }));
  assertRefusal(error, "-L", outcome);
  assert.ok(error instanceof ConnectionError);
  assert.equal(error.code, "forwarding-prohibited");
  assert.equal(
    error.message.replace(" (open failed)", ""),
    `the server does not allow forwarding to ${echo.host}:${echo.port}`,
  );
  await assert.rejects(comesBack(forward.port));
  await waitFor(() => forward.stats.open === 0);
  assert.equal(forward.stats.refused, 1);
}

async function remoteTcp(tunnel: Tunnel, outcome: Outcome): Promise<void> {
  const asked = tunnel.forwardRemote(`0:${echo.host}:${echo.port}`);
  if (outcome === "works") {
    await using forward = await asked;
    assert.deepEqual(await comesBack(forward.port), patternReceived(BYTES));
    return;
  }
  const error = await failureOf(asked);
  assertRefusal(error, "-R", outcome);
  assert.ok(error instanceof ForwardError);
  assert.equal(error.code, "forwarding-prohibited");
  assert.equal(error.message, "the server does not allow listening on localhost:0");
}

async function localSocket(tunnel: Tunnel, outcome: Outcome): Promise<void> {
  await using forward = await tunnel.forwardLocal(`0:${socketPath}`);
  if (outcome === "works") {
    assert.deepEqual(await comesBack(forward.port), patternReceived(BYTES));
    return;
  }
  const error = await failureOf(tunnel.dial({ path: socketPath }));
  assertRefusal(error, "-L", outcome);
  assert.ok(error instanceof ConnectionError);
  // sshd gives one answer to all of this; only a key's rights are known beforehand.
  const known = outcome.hint === KEY_MAY_NOT || outcome.hint === KEY_SOCKET;
  assert.equal(error.code, known ? "forwarding-prohibited" : "connect-failed");
  assert.equal(
    error.message,
    known
      ? `the server does not allow forwarding to ${socketPath}`
      : `the server does not connect to ${socketPath}`,
  );
  await assert.rejects(comesBack(forward.port));
}

async function remoteSocket(tunnel: Tunnel, outcome: Outcome): Promise<void> {
  const path = join(folder.path, `remote-${++sockets}.sock`);
  const asked = tunnel.forwardRemote(`${path}:${echo.host}:${echo.port}`);
  if (outcome === "works") {
    await using _forward = await asked;
    assert.deepEqual(await comesBack({ path }), patternReceived(BYTES));
    return;
  }
  const error = await failureOf(asked);
  assertRefusal(error, "-R", outcome);
  assert.ok(error instanceof ForwardError);
  assert.equal(error.code, "forwarding-prohibited");
  assert.equal(error.message, `the server does not allow listening on ${path}`);
}

let sockets = 0;

async function comesBack(target: Parameters<typeof transfer>[0]) {
  const { bytes, sha256 } = await transfer(target, { send: BYTES, timeout: 10_000 });
  return { bytes, sha256 };
}

/** One row of the table: a configuration, and what becomes of each kind of forward. */
function row(
  name: string,
  server: () => SshdOptions,
  outcomes: { "-L"?: Outcome; "-R"?: Outcome; "-L socket"?: Outcome; "-R socket"?: Outcome },
): void {
  const cells = Object.entries(outcomes)
    .map(([kind, outcome]) => `${kind} ${outcome === "works" ? "works" : "is refused"}`);
  test(`${name}: ${cells.join(", ")}`, skip, async () => {
    await using sshd = await startSshd(server());
    await through(sshd, async (tunnel) => {
      if (outcomes["-L"]) await localTcp(tunnel, outcomes["-L"]);
      if (outcomes["-R"]) await remoteTcp(tunnel, outcomes["-R"]);
      if (outcomes["-L socket"]) await localSocket(tunnel, outcomes["-L socket"]);
      if (outcomes["-R socket"]) await remoteSocket(tunnel, outcomes["-R socket"]);
      await waitFor(() => tunnel.channelCount === 0, { what: "the last channel's end" });
    });
  });
}

const configured = (...config: string[]) => () => ({ config });
const keyed = (identityOptions: () => string) => () => ({ identityOptions: identityOptions() });
const matching = () => `127.0.0.1:${echo.port}`;

for (const allowed of ["yes", "local", "remote", "no"]) {
  const local = allowed === "yes" || allowed === "local" ? "works" : refused(SERVER_LOCAL);
  const remote = allowed === "yes" || allowed === "remote" ? "works" : refused(SERVER_REMOTE);
  const setting = `AllowTcpForwarding ${allowed}`;
  row(setting, configured(setting), { "-L": local, "-R": remote });
  row(
    `${setting}, PermitOpen matching`,
    () => ({ config: [setting, `PermitOpen 127.0.0.1:1 ${matching()}`] }),
    { "-L": local, "-R": remote },
  );
  row(
    `${setting}, PermitOpen not matching`,
    configured(setting, "PermitOpen 127.0.0.1:1"),
    { "-L": refused(SERVER_LOCAL), "-R": remote },
  );
  row(
    `${setting}, PermitListen matching`,
    configured(setting, "PermitListen localhost:*"),
    { "-L": local, "-R": remote },
  );
  row(`${setting}, PermitListen not matching`, configured(setting, "PermitListen 127.0.0.1:1"), {
    "-L": local,
    "-R": remote === "works" ? refused(SERVER_LISTEN) : remote,
  });
}

row("PermitOpen none, PermitListen none", configured("PermitOpen none", "PermitListen none"), {
  "-L": refused(SERVER_LOCAL),
  "-R": refused(SERVER_LISTEN),
  "-L socket": refused(SERVER_SOCKET_LOCAL),
  "-R socket": "works",
});
row("PermitOpen, for Unix sockets", configured("PermitOpen 127.0.0.1:1"), {
  "-L socket": refused(SERVER_SOCKET_LOCAL),
});
row("PermitListen not matching, for Unix sockets", configured("PermitListen 127.0.0.1:1"), {
  "-R socket": "works",
});
row("a key with permitopen, for Unix sockets", keyed(() => 'permitopen="127.0.0.1:1"'), {
  "-L socket": refused(KEY_SOCKET),
  "-R socket": "works",
});

row("DisableForwarding yes", configured("DisableForwarding yes"), {
  "-L": refused(SERVER_LOCAL),
  "-R": refused(SERVER_REMOTE),
  "-L socket": refused(SERVER_SOCKET_LOCAL),
  "-R socket": refused(SERVER_SOCKET_REMOTE),
});

for (const allowed of ["yes", "local", "remote", "no"]) {
  const local = allowed === "yes" || allowed === "local";
  const remote = allowed === "yes" || allowed === "remote";
  const setting = `AllowStreamLocalForwarding ${allowed}`;
  row(setting, configured(setting), {
    "-L": "works",
    "-R": "works",
    "-L socket": local ? "works" : refused(SERVER_SOCKET_LOCAL),
    "-R socket": remote ? "works" : refused(SERVER_SOCKET_REMOTE),
  });
}

// sshd wants AllowTcpForwarding for Unix sockets as well; its manual does not say so.
row("AllowTcpForwarding no, for Unix sockets", configured("AllowTcpForwarding no"), {
  "-L socket": refused(SERVER_SOCKET_LOCAL),
  "-R socket": refused(SERVER_SOCKET_TCP),
});
row("AllowTcpForwarding local, for Unix sockets", configured("AllowTcpForwarding local"), {
  "-L socket": "works",
  "-R socket": refused(SERVER_SOCKET_TCP),
});
row("AllowTcpForwarding remote, for Unix sockets", configured("AllowTcpForwarding remote"), {
  "-L socket": refused(SERVER_SOCKET_LOCAL),
  "-R socket": "works",
});

for (const options of ["restrict", "no-port-forwarding"]) {
  row(`a key with ${options}`, keyed(() => options), {
    "-L": refused(KEY_MAY_NOT),
    "-R": refused(KEY_MAY_NOT),
    "-L socket": refused(KEY_MAY_NOT),
    "-R socket": refused(KEY_MAY_NOT),
  });
}

row("a key with restrict,port-forwarding", keyed(() => "restrict,port-forwarding"), {
  "-L": "works",
  "-R": "works",
  "-L socket": "works",
  "-R socket": "works",
});

row("a key with permitopen matching", keyed(() => `permitopen="${matching()}"`), {
  "-L": "works",
  "-R": "works",
});

row("a key with permitopen not matching", keyed(() => 'permitopen="127.0.0.1:1"'), {
  "-L": refused(KEY_LOCAL),
  "-R": "works",
});

row("a key with permitlisten matching", keyed(() => 'permitlisten="localhost:*"'), {
  "-L": "works",
  "-R": "works",
});

row("a key with permitlisten not matching", keyed(() => 'permitlisten="127.0.0.1:1"'), {
  "-L": "works",
  "-R": refused(KEY_REMOTE),
});

row(
  "a key with permitopen and permitlisten, AllowTcpForwarding no",
  () => ({
    identityOptions: `permitopen="${matching()}",permitlisten="localhost:*"`,
    config: ["AllowTcpForwarding no"],
  }),
  { "-L": refused(SERVER_LOCAL), "-R": refused(SERVER_REMOTE) },
);

row(
  "a key with permitopen matching, PermitOpen not matching",
  () => ({ ...keyed(() => `permitopen="${matching()}"`)(), config: ["PermitOpen 127.0.0.1:1"] }),
  { "-L": refused(KEY_LOCAL), "-R": "works" },
);

test(
  "a password login, of which no key's rights are known, is told the server's settings",
  { ...skip, ...skipUnlessAccounts({ password: true }) },
  async () => {
    const password = "swordfish";
    await using sshd = await startSshd({ password, config: ["AllowTcpForwarding no"] });
    await through(sshd, async (tunnel) => {
      await localTcp(tunnel, refused(`${SERVER_LOCAL}; dropbear must run without -j`));
      await remoteTcp(tunnel, refused(SERVER_REMOTE));
    }, { password });
  },
);

test(
  "dropbear that forwards nothing is told from a port in use",
  skipUnlessDropbear(),
  async () => {
    await using dropbear = await startDropbear({ args: ["-j", "-k"] });
    await through(dropbear, async (tunnel) => {
      await localTcp(tunnel, refused(`${SERVER_LOCAL}; dropbear must run without -j`));
      const free = await failureOf(tunnel.forwardRemote(`0:${echo.host}:${echo.port}`));
      assert.ok(free instanceof ForwardError);
      assert.deepEqual(
        [free.code, free.message, free.hint],
        [
          "forwarding-prohibited",
          "the server could not listen on localhost:0",
          "the server does not say why: it may not allow it at all (dropbear must run without -k)",
        ],
      );
      const fixed = await failureOf(
        tunnel.forwardRemote(`${await freePort()}:${echo.host}:${echo.port}`),
      );
      assert.ok(fixed instanceof ForwardError);
      assert.match(fixed.hint ?? "", /probably in use.*; .*it may not allow it at all/);
      const socket = await failureOf(tunnel.dial({ path: socketPath }));
      assert.ok(socket instanceof ConnectionError);
      assert.equal(socket.code, "not-supported");
      assert.match(socket.message, /^the server does not know how to forward to a Unix socket: \//);
    });
  },
);

test("a port that is taken on the server is told from one that is forbidden", skip, async () => {
  await using sshd = await startSshd();
  await through(sshd, async (tunnel) => {
    // Not localhost: sshd is content with ::1 where 127.0.0.1 is taken.
    const error = await failureOf(tunnel.forwardRemote(`127.0.0.1:${echo.port}:127.0.0.1:1`));
    assert.ok(error instanceof ForwardError);
    assert.deepEqual(
      [error.code, error.message, error.hint],
      [
        "address-in-use",
        `the server could not listen on 127.0.0.1:${echo.port}`,
        "the port is probably in use there: choose another, or 0 for a free one",
      ],
    );
  });
});

test("of requests in flight, each is told its own reason", skip, async () => {
  await using sshd = await startSshd({ config: [`PermitListen 127.0.0.1:${echo.port}`] });
  await through(sshd, async (tunnel) => {
    const errors = await Promise.all(
      [1, echo.port, 2, 0, echo.port]
        .map((port) => failureOf(tunnel.forwardRemote(`127.0.0.1:${port}:127.0.0.1:1`))),
    );
    assert.deepEqual(errors.map((error) => error instanceof ForwardError && error.code), [
      "forwarding-prohibited",
      "address-in-use",
      "forwarding-prohibited",
      "forwarding-prohibited",
      "address-in-use",
    ]);
  });
});

test(
  "an address that the server does not have is told from one that is forbidden",
  skip,
  async () => {
    await using sshd = await startSshd({ config: ["GatewayPorts clientspecified"] });
    await through(sshd, async (tunnel) => {
      const error = await failureOf(tunnel.forwardRemote("203.0.113.7:0:127.0.0.1:1"));
      assert.ok(error instanceof ForwardError);
      assert.deepEqual(
        [error.code, error.message, error.hint],
        [
          "address-not-available",
          "the server could not listen on 203.0.113.7:0",
          "check that 203.0.113.7 is an address of the server",
        ],
      );
    });
  },
);

test("a port below 1024 is told as such to a user who is not root", skip, async () => {
  await using sshd = await startSshd();
  const isRoot = currentUser().uid === 0;
  // A server of root's lets in others as well, where they may read the file.
  if (isRoot) await chmod(join(sshd.dir, "authorized_keys"), 0o644);
  const username = isRoot ? "nobody" : sshd.user;
  await through(sshd, async (tunnel) => {
    const error = await failureOf(tunnel.forwardRemote("99:127.0.0.1:1"));
    assertRefusal(error, "-R", {
      hint: "only root may listen below 1024 there: choose another port; for root, it is in use",
    });
    assert.ok(error instanceof ForwardError);
    assert.equal(error.code, "privileged-port");
    assert.equal(error.message, "the server could not listen on localhost:99");
    await remoteTcp(tunnel, "works");
  }, { username });
});

test("all interfaces with GatewayPorts no are loopback alone", skip, async () => {
  await using sshd = await startSshd({ config: ["GatewayPorts no"] });
  await through(sshd, async (tunnel) => {
    for (const bind of ["", "*", "0.0.0.0"]) {
      await using forward = await tunnel.forwardRemote(`${bind}:0:${echo.host}:${echo.port}`);
      assert.deepEqual(await comesBack(forward.port), patternReceived(BYTES), bind);
      await assert.rejects(comesBack({ port: forward.port, host: "127.0.0.2" }), {
        code: "ECONNREFUSED",
      });
    }
  });
});

test("all interfaces with GatewayPorts clientspecified are all, and one is one", skip, async () => {
  await using sshd = await startSshd({ config: ["GatewayPorts clientspecified"] });
  await through(sshd, async (tunnel) => {
    await using all = await tunnel.forwardRemote(`*:0:${echo.host}:${echo.port}`);
    await using one = await tunnel.forwardRemote(`127.0.0.2:0:${echo.host}:${echo.port}`);
    await using none = await tunnel.forwardRemote(`0:${echo.host}:${echo.port}`);
    const [here, there] = ["127.0.0.1", "127.0.0.2"];
    assert.deepEqual(await comesBack({ port: all.port, host: there }), patternReceived(BYTES));
    assert.deepEqual(await comesBack({ port: one.port, host: there }), patternReceived(BYTES));
    assert.deepEqual(await comesBack({ port: none.port, host: here }), patternReceived(BYTES));
    await assert.rejects(comesBack({ port: one.port, host: here }), { code: "ECONNREFUSED" });
    await assert.rejects(comesBack({ port: none.port, host: there }), { code: "ECONNREFUSED" });
  });
});

test(
  "a server with GatewayPorts yes listens more widely than asked, and we say so",
  skip,
  async () => {
    await using sshd = await startSshd({ config: ["GatewayPorts yes"] });
    await through(sshd, async (tunnel) => {
      const warnings = await logged("warning", async () => {
        await using forward = await tunnel.forwardRemote(`127.0.0.1:0:${echo.host}:${echo.port}`);
        const wide = await comesBack({ port: forward.port, host: "127.0.0.2" });
        assert.deepEqual(wide, patternReceived(BYTES));
        await using _asked = await tunnel.forwardRemote(`*:0:${echo.host}:${echo.port}`);
      });
      assert.deepEqual(warnings, [
        "the server listens on all its interfaces, not on 127.0.0.1:0 as asked: its GatewayPorts " +
        "is yes; with clientspecified it would do as asked",
      ]);
    });
  },
);

test("a refused local forward says so at every connection, and what to do once", skip, async () => {
  await using sshd = await startSshd({ config: ["AllowTcpForwarding no"] });
  await through(sshd, async (tunnel) => {
    const spec = `web=0:${echo.host}:${echo.port}`;
    // At normal verbosity the command line shows warnings.
    const warnings = await logged("warning", async () => {
      await using forward = await tunnel.forwardLocal(spec);
      for (let count = 1; count <= 3; count++) {
        await assert.rejects(comesBack(forward.port));
        await waitFor(() => forward.stats.refused === count);
      }
    });
    const said = warnings.map((line) => line.replace(/ from 127\.0\.0\.1:\d+:/, ":"));
    const message = `the server does not allow forwarding to ${echo.host}:${echo.port} ` +
      "(open failed)";
    assert.deepEqual(said, [
      `-L web #1: ${message}; ${SERVER_LOCAL}`,
      `-L web #2: ${message}`,
      `-L web #3: ${message}`,
    ]);
  });
});

/** What was logged meanwhile at one level. */
async function logged(level: string, during: () => Promise<void>): Promise<string[]> {
  const lines: string[] = [];
  configureSync({
    reset: true,
    sinks: {
      lines: (record) => {
        if (record.level === level) lines.push(record.message.map(String).join(""));
      },
    },
    loggers: [
      { category: "fairlead", sinks: ["lines"], lowestLevel: "debug" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "error" },
    ],
  });
  try {
    await during();
  } finally {
    resetSync();
  }
  return lines;
}
