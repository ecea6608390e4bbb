/** Unix sockets on either side: who may use them, what is in their way, what is left of them. */
import assert from "node:assert/strict";
import { existsSync, statSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { connect, ForwardError, type Tunnel } from "../../mod.ts";
import { type SshdOptions, type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, patternReceived, type Peer, transfer } from "../support/tcp.ts";
import { skipUnless, start, tempDir, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const BYTES = 20_000;

let sshd: SshServer;
let echo: Peer;
let destination: string;

before(async () => {
  if (skip.skip !== undefined) return;
  sshd = await startSshd();
  echo = await echoServer();
  destination = `${echo.host}:${echo.port}`;
});
after(async () => {
  await sshd?.stop();
  await echo?.stop();
});

async function through(
  use: (tunnel: Tunnel, folder: string) => Promise<void>,
  options?: SshdOptions,
): Promise<void> {
  await using folder = await tempDir();
  await using own = options === undefined ? undefined : await startSshd(options);
  const server = own ?? sshd;
  await using tunnel = await connect({
    host: server.host,
    port: server.port,
    username: server.user,
    identityFiles: [server.identity],
    identitiesOnly: true,
    agent: "none",
    userKnownHosts: [server.knownHosts],
    globalKnownHosts: [],
  });
  await use(tunnel, folder.path);
}

async function comesBack(path: string): Promise<void> {
  const { bytes, sha256 } = await transfer({ path }, { send: BYTES });
  assert.deepEqual({ bytes, sha256 }, patternReceived(BYTES));
}

async function failsWith(attempt: Promise<unknown>, code: string, words: RegExp): Promise<void> {
  await assert.rejects(attempt, (error) => {
    assert.ok(error instanceof ForwardError, String(error));
    assert.equal(error.code, code);
    assert.match(`${error.message}; ${error.hint}`, words);
    return true;
  });
}

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);

/** A socket file that nobody listens on any more. */
async function leaveStale(path: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${path}.before`, resolve));
  await rename(`${path}.before`, path);
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

test("a socket of -L is for its user alone, from its first moment on", skip, async () => {
  await through(async (tunnel, folder) => {
    const look = `while :; do find '${folder}' -type s -printf '%m\\n'; done`;
    await using watcher = start("sh", ["-c", look]);
    for (let count = 0; count < 200; count++) {
      await tunnel.forwardLocal(`${join(folder, String(count))}:${destination}`);
    }
    await waitFor(() => watcher.stdout().split("\n").length > 1_000);
    const seen = new Set(watcher.stdout().split("\n").slice(0, -1));
    assert.deepEqual([...seen], ["600"]);
    await comesBack(join(folder, "199"));
  });
});

test("StreamLocalBindMask says what is taken away", skip, async () => {
  await through(async (tunnel, folder) => {
    const path = join(folder, "socket");
    await tunnel.forwardLocal(`${path}:${destination}`, { streamLocalBindMask: 0o117 });
    assert.equal(modeOf(path), "660");
  });
});

test("a socket of -L goes when the forward closes", skip, async () => {
  await through(async (tunnel, folder) => {
    const path = join(folder, "socket");
    const forward = await tunnel.forwardLocal(`${path}:${destination}`);
    await comesBack(path);
    await forward.close();
    assert.equal(existsSync(path), false);
  });
});

test("a stale socket is told from a live one, and removed only if asked", skip, async () => {
  await through(async (tunnel, folder) => {
    const path = join(folder, "socket");
    const spec = `${path}:${destination}`;
    await leaveStale(path);
    await failsWith(tunnel.forwardLocal(spec), "address-in-use", /nobody listens.*BindUnlink=yes/);
    assert.ok(existsSync(path));
    await tunnel.forwardLocal(spec, { streamLocalBindUnlink: true });
    await comesBack(path);
    const again = tunnel.forwardLocal(spec, { streamLocalBindUnlink: true });
    await failsWith(again, "address-in-use", /another program listens there/);
    await comesBack(path);
  });
});

test("a plain file in the way of -L is never removed", skip, async () => {
  await through(async (tunnel, folder) => {
    const path = join(folder, "file");
    await writeFile(path, "precious");
    const attempt = tunnel.forwardLocal(`${path}:${destination}`, { streamLocalBindUnlink: true });
    await failsWith(attempt, "address-in-use", /a file of that name exists; it is no socket/);
    assert.equal(await readFile(path, "utf8"), "precious");
  });
});

test("a path that no socket can have is told as such", skip, async () => {
  await through(async (tunnel, folder) => {
    const long = tunnel.forwardLocal(`${join(folder, "x".repeat(120))}:${destination}`);
    await failsWith(long, "address-not-available", /about 100 characters are the limit/);
    const lost = tunnel.forwardLocal(`${join(folder, "none", "socket")}:${destination}`);
    // Node says EACCES for a folder that is not there.
    await failsWith(lost, "address-not-available", /its folder does not exist/);
  });
});

test("a socket of -R is for its user alone, and can be had again", skip, async () => {
  await through(async (tunnel, folder) => {
    const path = join(folder, "socket");
    const forward = await tunnel.forwardRemote(`${path}:${destination}`);
    assert.equal(modeOf(path), "600");
    await comesBack(path);
    await forward.close();
    await assert.rejects(transfer({ path }), "nobody listens there any more");
    const again = tunnel.forwardRemote(`${path}:${destination}`);
    // sshd leaves the file behind, and without StreamLocalBindUnlink it stays in its own way.
    if (existsSync(path)) await failsWith(again, "address-in-use", /StreamLocalBindUnlink yes/);
    else await again;
  });
});

test("a server with StreamLocalBindUnlink yes takes a stale socket's place", skip, async () => {
  await through(async (tunnel, folder) => {
    const path = join(folder, "socket");
    await leaveStale(path);
    await tunnel.forwardRemote(`${path}:${destination}`);
    await comesBack(path);
  }, { config: ["StreamLocalBindUnlink yes"] });
});

test("what is in the way of -R on the server is told", skip, async () => {
  await through(async (tunnel, folder) => {
    const path = join(folder, "file");
    await writeFile(path, "precious");
    const taken = tunnel.forwardRemote(`${path}:${destination}`);
    await failsWith(taken, "address-in-use", /a file of that name may exist there/);
    const lost = tunnel.forwardRemote(`${join(folder, "none", "socket")}:${destination}`);
    await failsWith(lost, "address-in-use", /its folder is missing/);
    assert.equal(await readFile(path, "utf8"), "precious");
  });
});
