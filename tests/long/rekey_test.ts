/** What takes minutes: 200 MB each way at once, with new keys every megabyte. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../mod.ts";
import { startSshd } from "../support/sshd.ts";
import { echoServer, patternReceived, transfer } from "../support/tcp.ts";
import { skipUnless } from "../support/tools.ts";

const MB = 1_000_000;

test(
  "200 MB each way at once, with new keys every MB, come back unchanged",
  skipUnless("sshd", "ssh-keygen"),
  async (context) => {
    await using sshd = await startSshd();
    await using echo = await echoServer();
    await using tunnel = await connect({
      host: sshd.host,
      port: sshd.port,
      username: sshd.user,
      identityFiles: [sshd.identity],
      userKnownHosts: [sshd.knownHosts],
      agent: "none",
      rekeyLimit: { bytes: MB },
    });
    await using forward = await tunnel.forwardLocal(`0:${echo.host}:${echo.port}`);
    const { bytes, sha256, milliseconds } = await transfer(forward.port, {
      send: 200 * MB,
      seed: 4,
      timeout: 110_000,
    });
    assert.deepEqual({ bytes, sha256 }, patternReceived(200 * MB, 4));
    const exchanges = sshd.log().split("SSH2_MSG_NEWKEYS received").length - 1;
    context.diagnostic(`${exchanges} exchanges of keys in ${Math.round(milliseconds)} ms`);
    // What is on its way while keys are exchanged belongs to the next MB.
    assert.ok(exchanges >= 120 && exchanges <= 401, `${exchanges} exchanges`);
  },
);
