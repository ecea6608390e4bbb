/** The option --connections, against the real sshd. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { holdOpen } from "../support/callers.ts";
import { serverOptions, startFairlead } from "../support/fairlead.ts";
import { startSshd } from "../support/sshd.ts";
import { echoServer } from "../support/tcp.ts";
import { killSession, skipUnless, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");

test(
  "the command line spreads, tells of one that is lost, and drains all of them",
  skip,
  async () => {
    await using server = await startSshd();
    await using echo = await echoServer();
    const options = ["--connections", "3", "--json", "-L", `0:127.0.0.1:${echo.port}`];
    await using run = await startFairlead([...options, ...serverOptions(server)], { forwards: 0 });
    const events = () =>
      run.stdout().split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
    const port = await waitFor(() => events().find(({ event }) => event === "listening")?.port);
    await waitFor(() => events().filter(({ event }) => event === "connections").length === 2);
    assert.deepEqual(events().filter(({ event }) => event === "connections"), [
      { v: 1, event: "connections", open: 2, wanted: 3 },
      { v: 1, event: "connections", open: 3, wanted: 3 },
    ]);
    await using held = await holdOpen(port, 3);
    killSession(server.sessions()[1]);
    const loss = await waitFor(() => events().find(({ gone }) => gone > 0));
    assert.deepEqual([loss.open, loss.wanted, loss.gone, loss.lost], [2, 3, 1, 1]);
    assert.match(loss.reason, new RegExp(`127\\.0\\.0\\.1:${server.port}`));
    await waitFor(() => events().filter(({ open }) => open === 3).length === 2);
    assert.ok(!events().some(({ event }) => event === "lost"));
    assert.equal(held.open, 2);
    run.kill("SIGTERM");
    await waitFor(() =>
      events().some(({ event, connections }) => {
        return event === "draining" && connections === 2;
      })
    );
    await held.stop();
    assert.equal((await run.exited).status, 143);
  },
);
