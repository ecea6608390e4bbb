/** Forwards that lead through each other carry a file unchanged: OpenSSH's own regression idea. */
import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { connect, type Tunnel } from "../../mod.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, patternReceived, questionAnswer, transfer } from "../support/tcp.ts";
import { skipUnless, tempDir, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const PAIRS = 9;
const FILE = 3_000_000;
const hasIPv6 = Object.values(networkInterfaces()).flat()
  .some((address) => address?.address === "::1");
const skipIPv6 = hasIPv6 ? skip : { skip: "this machine has no IPv6" };

let sshd: SshServer;

before(async () => {
  if (skip.skip === undefined) sshd = await startSshd({ config: ["AddressFamily any"] });
});
after(() => sshd?.stop());

async function through(use: (tunnel: Tunnel) => Promise<void>): Promise<void> {
  await using tunnel = await connect({
    host: sshd.host,
    port: sshd.port,
    username: sshd.user,
    identityFiles: [sshd.identity],
    identitiesOnly: true,
    agent: "none",
    userKnownHosts: [sshd.knownHosts],
    globalKnownHosts: [],
  });
  await use(tunnel);
  await waitFor(() => tunnel.channelCount === 0, { what: "the last channel's end" });
}

/**
 * Sends a file through, ends that side, and only then gets another one back.
 *
 * @param chain Builds the forwards in front of a destination; returns where they begin.
 */
async function carriesBothWays(
  chain: (tunnel: Tunnel, destination: string) => Promise<Parameters<typeof transfer>[0]>,
): Promise<void> {
  await using peer = await questionAnswer({ answerBytes: FILE, seed: 7 });
  await through(async (tunnel) => {
    const start = await chain(tunnel, `${peer.host}:${peer.port}`);
    const { bytes, sha256 } = await transfer(start, { send: FILE, seed: 5 });
    assert.deepEqual(await peer.received(), patternReceived(FILE, 5));
    assert.deepEqual({ bytes, sha256 }, patternReceived(FILE, 7));
  });
}

test("nine pairs of -L and -R through each other carry a file unchanged", skip, async () => {
  await carriesBothWays(async (tunnel, destination) => {
    let next = destination;
    let port = 0;
    for (let pair = 0; pair < PAIRS; pair++) {
      const local = await tunnel.forwardLocal(`127.0.0.1:0:${next}`);
      ({ port } = await tunnel.forwardRemote(`127.0.0.1:0:127.0.0.1:${local.port}`));
      next = `127.0.0.1:${port}`;
    }
    return port;
  });
});

for (const kind of ["-L", "-R"] as const) {
  test(`the four combinations of TCP and Unix sockets of ${kind} carry a file`, skip, async () => {
    await using folder = await tempDir();
    await carriesBothWays(async (tunnel, destination) => {
      const add = (spec: string) =>
        kind === "-L" ? tunnel.forwardLocal(spec) : tunnel.forwardRemote(spec);
      const [a, b] = [join(folder.path, "a"), join(folder.path, "b")];
      await add(`${a}:${destination}`);
      await add(`${b}:${a}`);
      const tcp = await add(`127.0.0.1:0:${b}`);
      return (await add(`127.0.0.1:0:127.0.0.1:${tcp.port}`)).port;
    });
  });
}

test("-L and -R listen on IPv6 and lead to IPv6", skipIPv6, async () => {
  await using echo = await echoServer({ host: "::1" });
  await through(async (tunnel) => {
    const local = await tunnel.forwardLocal(`[::1]:0:[::1]:${echo.port}`);
    const remote = await tunnel.forwardRemote(`[::1]:0:[::1]:${local.port}`);
    assert.deepEqual(local.addresses, [{ host: "::1", port: local.port }]);
    assert.deepEqual(remote.addresses, [{ host: "::1", port: remote.port }]);
    const { bytes, sha256 } = await transfer({ host: "::1", port: remote.port }, { send: FILE });
    assert.deepEqual({ bytes, sha256 }, patternReceived(FILE));
  });
});
