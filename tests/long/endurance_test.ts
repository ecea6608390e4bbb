/** What takes minutes: gigabytes through one forward, and thousands of connections through it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { serverOptions, startFairlead } from "../support/fairlead.ts";
import { startSshd } from "../support/sshd.ts";
import { echoServer, parseReceipt, patternReceived, sinkServer, transfer } from "../support/tcp.ts";
import { skipUnless, waitFor } from "../support/tools.ts";

const MIB = 1024 * 1024;
const skip = skipUnless("sshd", "ssh-keygen");

test(
  "2 GiB go through unchanged, while the server asks for new keys every 64 MiB",
  skip,
  async () => {
    await using sshd = await startSshd({ config: ["RekeyLimit 64M"] });
    await using sink = await sinkServer();
    await using run = await startFairlead([
      ...["-L", `0:${sink.host}:${sink.port}`],
      ...serverOptions(sshd),
    ]);
    const bytes = 2048 * MIB;
    const { head } = await transfer(run.ports[0] as number, { send: bytes, timeout: 300_000 });
    assert.deepEqual(parseReceipt(head), patternReceived(bytes, 1));
    assert.deepEqual(run.lines(), []);
  },
);

test(
  "20,000 connections later the process is no bigger and holds no descriptor more",
  skip,
  async () => {
    await using sshd = await startSshd();
    await using echo = await echoServer();
    await using run = await startFairlead([
      ...["-L", `0:${echo.host}:${echo.port}`],
      ...serverOptions(sshd),
    ]);
    const port = run.ports[0] as number;
    const connections = async (count: number) => {
      for (let done = 0; done < count; done += 20) {
        const sizes = Array.from({ length: 20 }, (_, index) => 1 + (done + index) % 5_000);
        const got = await Promise.all(sizes.map((send) => transfer(port, { send })));
        assert.deepEqual(got.map(({ bytes }) => bytes), sizes);
      }
    };
    // What the runtime takes for its own sake it has taken after this.
    await connections(5_000);
    const before = { memory: run.memory(), descriptors: run.descriptors() };
    await connections(20_000);
    await waitFor(() => run.descriptors() <= before.descriptors, { what: "the last socket's end" });
    const grown = (run.memory() - before.memory) / MIB;
    assert.ok(grown < 32, `grew by ${grown} MiB`);
    assert.deepEqual(run.lines(), []);
  },
);
