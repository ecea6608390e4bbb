/** What a session leaves behind that loses its server again and again. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { scriptCommand } from "../support/fairlead.ts";
import { faultStage } from "../support/fault_stage.ts";
import { transfer } from "../support/tcp.ts";
import { skipUnless, waitFor } from "../support/tools.ts";

const RESTARTS = 100;
const options = { ...skipUnless("sshd", "ssh-keygen"), timeout: 200_000 };

test("nothing is left behind by 100 restarts in a row", options, async () => {
  await using stage = await faultStage();
  const link = { ...stage.options, port: stage.sshd.port };
  const [program, [...args]] = scriptCommand("tests/support/fixtures/restarts.ts");
  // For an honest look at the memory.
  if ("deno" in process.versions) args.splice(1, 0, "--v8-flags=--expose-gc");
  else if (!("bun" in process.versions)) args.unshift("--expose-gc");
  const child = spawn(program, [...args, JSON.stringify(link), stage.to], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => JSON.parse((await lines.next()).value);
  const ask = (what: string) => {
    child.stdin.write(`${what}\n`);
    return answer();
  };
  try {
    const { port } = await answer();
    const quiet = () =>
      waitFor(async () => {
        const report = await ask("report");
        return report.channels === 0 && report.open === 0 ? report : undefined;
      });
    // A report each time, which collects the garbage: what has gathered of it between two reports
    // decides else how much memory the runtime keeps for the next.
    const restarts = async (count: number) => {
      let report = await quiet();
      for (let done = 0; done < count; done++) {
        await stage.sshd.restart();
        const { bytes } = await transfer(port, { send: 20_000, timeout: 10_000 });
        assert.equal(bytes, 20_000);
        report = await quiet();
      }
      return report;
    };
    const early = await restarts(10);
    const late = await restarts(RESTARTS);
    console.log(`after 10 restarts`, early, `after ${RESTARTS} more`, late);
    for (const name of ["sockets", "timers", "channels", "open", "refused", "parked"] as const) {
      assert.equal(late[name], early[name], name);
    }
    assert.equal(late.state, "open");
    assert.equal(late.total, 10 + RESTARTS);
    assert.ok(late.heapUsed < 1.1 * early.heapUsed, `${early.heapUsed} -> ${late.heapUsed}`);
    assert.ok(late.rss < 1.1 * early.rss, `${early.rss} -> ${late.rss}`);
    const closed = await ask("close");
    assert.deepEqual([closed.timers, closed.channels, closed.open, closed.parked], [0, 0, 0, 0]);
    // It ends by itself: nothing keeps it.
    assert.deepEqual(await exited, [0, null]);
    await waitFor(() => stage.sshd.sessions().length === 0);
  } finally {
    child.kill("SIGKILL");
  }
});
