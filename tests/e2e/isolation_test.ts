/** One connection's failure ends that connection alone, and leaves one line. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { type Fairlead, serverOptions, startFairlead } from "../support/fairlead.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import {
  echoServer,
  type Peer,
  questionAnswer,
  refusingPort,
  resetAfter,
  transfer,
} from "../support/tcp.ts";
import { skipUnless, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");

let sshd: SshServer;
let echo: Peer;

before(async () => {
  if (skip.skip !== undefined) return;
  sshd = await startSshd();
  echo = await echoServer();
});
after(async () => {
  await sshd?.stop();
  await echo?.stop();
});

/** Forwards to the destination and to the echo server, whose connection must not notice. */
async function beside(
  destination: string,
  use: (run: Fairlead, port: number) => Promise<void>,
): Promise<string[]> {
  await using run = await startFairlead([
    ...["-v", "-L", `bad=0:${destination}`, "-L", `good=0:${echo.host}:${echo.port}`],
    ...serverOptions(sshd),
  ], { forwards: 2 });
  const [bad, good] = run.ports as [number, number];
  const other = connect({ port: good, host: "127.0.0.1" });
  await once(other, "connect");
  assert.equal(await ask(other, "before"), "before");
  await use(run, bad);
  assert.equal(await ask(other, "after"), "after");
  other.destroy();
  assert.equal((await transfer(good, { send: 100_000 })).bytes, 100_000);
  assert.ok(run.running());
  return run.lines().filter((line) => line.includes("-L bad"));
}

async function ask(socket: Socket, text: string): Promise<string> {
  socket.write(text);
  const [answer] = await once(socket, "data");
  return String(answer);
}

/** Connects, and tells how the connection ended. */
async function endOf(port: number, use: (socket: Socket) => void = () => {}): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  let end = "closed";
  socket.on("error", (error) => end = "code" in error ? String(error.code) : error.message);
  socket.on("end", () => {
    end = "ended";
    socket.end();
  });
  socket.resume();
  use(socket);
  // Not events.once(): it would reject at the error that this is about.
  return await new Promise((resolve) => socket.once("close", () => resolve(end)));
}

test("a destination that refuses resets its caller alone", skip, async () => {
  const nobody = await refusingPort();
  const lines = await beside(`${nobody.host}:${nobody.port}`, async (_run, port) => {
    assert.equal(await endOf(port), "ECONNRESET");
  });
  assert.equal(lines.length, 1, lines.join("\n"));
  assert.match(
    lines[0] ?? "",
    /^fairlead: -L bad #1 from 127\.0\.0\.1:\d+: 127\.0\.0\.1:\d+ refused the connection, seen from the server/,
  );
});

test("a destination that does not resolve resets its caller alone", skip, async () => {
  const lines = await beside("no-such-host.invalid:80", async (_run, port) => {
    assert.equal(await endOf(port), "ECONNRESET");
  });
  assert.equal(lines.length, 1, lines.join("\n"));
  assert.match(
    lines[0] ?? "",
    /no-such-host\.invalid:80 could not be resolved, seen from the server/,
  );
});

test("a destination that resets in mid-stream ends its connection alone", skip, async () => {
  await using peer = await resetAfter(100_000);
  const lines = await beside(`${peer.host}:${peer.port}`, async (run, port) => {
    // sshd tells a reset only when it writes; a client that goes on sending will hear of it.
    const end = await endOf(port, (socket) => {
      const timer = setInterval(() => socket.write("more"), 20);
      socket.once("close", () => clearInterval(timer));
    });
    assert.match(end, /ended|ECONNRESET|EPIPE/);
    await waitFor(() => run.lines().some((line) => /-L bad #1 .*(closed|ended)/.test(line)));
  });
  assert.equal(lines.length, 1, lines.join("\n"));
  assert.match(lines[0] ?? "", /-L bad #1 from .*: (closed|ended by .*); .* 100000 received$/);
});

test("a client that resets ends its connection alone", skip, async () => {
  await using peer = await questionAnswer({ answerBytes: 10 });
  const lines = await beside(`${peer.host}:${peer.port}`, async (run, port) => {
    const socket = connect({ port, host: "127.0.0.1" });
    await once(socket, "connect");
    socket.write("question");
    await waitFor(() => peer.bytes === 8);
    socket.resetAndDestroy();
    await waitFor(() => run.lines().some((line) => line.includes("-L bad #1")));
    await waitFor(() => peer.open === 0, { what: "the destination's end of the connection" });
  });
  assert.equal(lines.length, 1, lines.join("\n"));
  assert.match(
    lines[0] ?? "",
    /-L bad #1 from .*: ended by the client: .*ECONNRESET; 8 bytes sent, 0 received$/,
  );
});

test(
  "a client that leaves before it was connected leaves one line and no channel",
  skip,
  async () => {
    // A destination that accepts nothing more: its backlog is full, so the dial stays pending.
    await using peer = await echoServer();
    const lines = await beside(`${peer.host}:${peer.port}`, async (run, port) => {
      sshd.signalSessions("SIGSTOP");
      const socket = connect({ port, host: "127.0.0.1" });
      await once(socket, "connect");
      socket.resetAndDestroy();
      await waitFor(() => run.lines().some((line) => line.includes("-L bad #1")));
      sshd.signalSessions("SIGCONT");
      await waitFor(() => peer.connections === 1 && peer.open === 0, {
        what: "the channel that came too late being closed",
      });
    });
    assert.equal(lines.length, 1, lines.join("\n"));
    assert.match(lines[0] ?? "", /left before it was connected/);
  },
);
