/** A tunnel across connections, with a real server: what the library promises. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { after, before, test } from "node:test";
import type { StateChange } from "../lib/session/options.ts";
import type { Prompter } from "../lib/ssh/prompter.ts";
import { connect, type Tunnel, type TunnelOptions } from "../lib/tunnel/tunnel.ts";
import { connectOptions } from "./support/fairlead.ts";
import { makeKey } from "./support/keys.ts";
import { type SshServer, startSshd } from "./support/sshd.ts";
import { echoServer, type Peer } from "./support/tcp.ts";
import { skipUnless, waitFor } from "./support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
let echo: Peer;

before(async () => {
  echo = await echoServer();
});
after(() => echo.stop());

function tunnelTo(server: SshServer, options: Partial<TunnelOptions> = {}): Promise<Tunnel> {
  return connect({
    ...connectOptions(server),
    ...options,
  });
}

/** Sends a word through and waits for it to come back. */
async function says(stream: Socket | Awaited<ReturnType<Tunnel["dial"]>>, word: string) {
  stream.write(word);
  const [answer] = await once(stream, "data");
  assert.equal(String(answer), word);
}

async function called(port: number): Promise<Socket> {
  const socket = connectTcp(port, "127.0.0.1");
  await says(socket, "hello");
  return socket;
}

test("a port that was chosen is kept, here and on the server, over a lost link", skip, async () => {
  await using server = await startSshd();
  const changes: StateChange[] = [];
  await using tunnel = await tunnelTo(server, { onState: (change) => changes.push(change) });
  const local = await tunnel.forwardLocal(`0:127.0.0.1:${echo.port}`);
  const remote = await tunnel.forwardRemote(`0:127.0.0.1:${echo.port}`);
  const ports = [local.port, remote.port];
  const open = await called(local.port);
  const reset = once(open, "error");
  server.signalSessions("SIGKILL");
  assert.equal((await reset)[0].code, "ECONNRESET");
  (await called(local.port)).destroy();
  await waitFor(async () => {
    const socket = await called(remote.port).catch(() => undefined);
    socket?.destroy();
    return socket !== undefined;
  });
  assert.deepEqual([local.port, remote.port], ports);
  const [, , lost, back] = changes;
  assert.deepEqual([lost?.to, lost?.lost, back?.to], ["reconnecting", 1, "open"]);
});

test("what a person has answered is not asked again for a lost link", skip, async () => {
  await using server = await startSshd();
  const key = await makeKey(server.dir, { passphrase: "correct horse battery" });
  await server.authorize(key.publicLine);
  let asked = 0;
  const prompter: Prompter = {
    // The first answer is wrong: it must not be the one that is kept.
    secret: () => Promise.resolve(++asked === 1 ? "wrong" : key.passphrase),
    questions: () => Promise.resolve(undefined),
    confirmHostKey: () => Promise.resolve(false),
  };
  await using tunnel = await tunnelTo(server, { identityFiles: [key.path], prompter });
  assert.equal(asked, 2);
  for (let times = 0; times < 2; times++) {
    server.signalSessions("SIGKILL");
    await waitFor(() => tunnel.state === "reconnecting");
    const stream = await tunnel.dial(echo);
    await says(stream, "still here");
    stream.destroy();
  }
  assert.equal(asked, 2);
});

test("reload is gapless, and what is open finishes on the old connection", skip, async () => {
  await using server = await startSshd();
  await using tunnel = await tunnelTo(server);
  const local = await tunnel.forwardLocal(`0:127.0.0.1:${echo.port}`);
  const remote = await tunnel.forwardRemote(`0:127.0.0.1:${echo.port}`);
  const open = await called(local.port);
  assert.equal(server.sessions().length, 1);
  let calling = true;
  const callers = (async () => {
    let served = 0;
    for (; calling; served++) (await called(local.port)).destroy();
    return served;
  })();
  await tunnel.reload();
  (await called(remote.port)).destroy();
  calling = false;
  assert.ok(await callers > 0);
  assert.equal(server.sessions().length, 2);
  await says(open, "on the old one");
  open.destroy();
  await waitFor(() => server.sessions().length === 1);
  (await called(local.port)).destroy();
  assert.equal(local.stats.refused, 0);
  assert.equal(local.stats.failed, 0);
});

test("a first connection that is waited for comes when the server does", skip, async () => {
  await using server = await startSshd();
  await server.down();
  await assert.rejects(tunnelTo(server), { code: "connect-refused" });
  const waiting = tunnelTo(server, { wait: true });
  await server.up();
  await using tunnel = await waiting;
  const stream = await tunnel.dial(echo);
  await says(stream, "at last");
  stream.destroy();
});

test("a tunnel that nobody uses for its idle timeout ends, listeners and all", skip, async () => {
  await using server = await startSshd();
  const tunnel = await tunnelTo(server, { idleTimeout: 300 });
  const { port } = await tunnel.forwardLocal(`0:127.0.0.1:${echo.port}`);
  const open = await called(port);
  await says(open, "busy");
  assert.equal(tunnel.state, "open");
  open.destroy();
  assert.equal(await tunnel.closed, undefined);
  await assert.rejects(called(port), { code: "ECONNREFUSED" });
  await waitFor(() => server.sessions().length === 0);
});

test(
  "more callers than are parked wait in the backlog, and are served in order",
  skip,
  async () => {
    await using server = await startSshd();
    await using tunnel = await tunnelTo(server, { maxParked: 5 });
    const { port, stats } = await tunnel.forwardLocal(`0:127.0.0.1:${echo.port}`);
    assert.equal(stats.total, 0);
    await server.down();
    await waitFor(() => tunnel.state === "reconnecting");
    const order: number[] = [];
    const callers = [];
    for (let number = 0; number < 20; number++) {
      const socket = connectTcp(port, "127.0.0.1");
      await once(socket, "connect");
      callers.push(
        says(socket, `caller ${number}`).then(() => {
          order.push(number);
          socket.destroy();
        }),
      );
    }
    assert.equal(tunnel.parked, 5);
    await server.up();
    await Promise.all(callers);
    assert.deepEqual(order.toSorted((one, other) => one - other), [...callers.keys()]);
    assert.deepEqual(
      order.slice(0, 5).toSorted(),
      [0, 1, 2, 3, 4],
      "who came first is served first",
    );
  },
);

test("close() does not hang on a server that is silent", skip, async () => {
  await using server = await startSshd();
  const tunnel = await tunnelTo(server);
  const local = await tunnel.forwardLocal(`0:127.0.0.1:${echo.port}`);
  const remote = await tunnel.forwardRemote(`0:127.0.0.1:${echo.port}`);
  const open = await called(local.port);
  const reset = once(open, "error");
  server.signalSessions("SIGSTOP");
  const began = performance.now();
  await tunnel.close({ force: true });
  assert.ok(performance.now() - began < 8_000);
  await reset;
  assert.equal(tunnel.channelCount, 0);
  assert.equal(remote.stats.open, 0);
  server.signalSessions("SIGKILL");
});

test("numbers that make no sense are refused at once", async () => {
  for (const name of ["retries", "park", "idleTimeout", "serverAliveInterval"]) {
    await assert.rejects(connect({ host: "other.example.com", [name]: -1 }), RangeError);
    await assert.rejects(connect({ host: "other.example.com", [name]: NaN }), RangeError);
  }
});

test("an option of the wrong type, or with a number that will not do, is refused by name", async () => {
  const refused = async (options: Record<string, unknown>, name: string, message: string) => {
    const attempt = connect({ host: "other.example.com", ...options });
    await assert.rejects(attempt, { name, message });
  };
  const number = "windowBudget: a number of bytes is expected, not";
  await refused({ windowBudget: 2n ** 20n }, "TypeError", `${number} 1048576n`);
  await refused({ windowBudget: "1048576" }, "TypeError", `${number} "1048576"`);
  await refused({ windowBudget: null }, "TypeError", `${number} null`);
  await refused({ windowBudget: {} }, "TypeError", `${number} an object`);
  const whole = "windowBudget: a whole number of bytes up to 9007199254740991 is expected, not";
  for (const wrong of [65536.5, Infinity, NaN]) {
    await refused({ windowBudget: wrong }, "RangeError", `${whole} ${wrong}`);
  }
  const least = "windowBudget: at least 65536 bytes are expected, not";
  await refused({ windowBudget: 65_535 }, "RangeError", `${least} 65535`);
  const connections = `connections must be "auto" or a number`;
  await refused({ connections: "3" }, "TypeError", `${connections}, not "3"`);
  await refused({ connections: 3n }, "TypeError", `${connections}, not 3n`);
  for (const wrong of [0, 17, 1.5, NaN]) {
    await refused(
      { connections: wrong },
      "RangeError",
      `${connections} from 1 to 16, not ${wrong}`,
    );
  }
  const boolean = "systemCrypto must be true or false, not";
  await refused({ systemCrypto: "no" }, "TypeError", `${boolean} "no"`);
  await refused({ systemCrypto: 0 }, "TypeError", `${boolean} 0`);
  const jump = { host: "jump.example.com", systemCrypto: "no" };
  await refused({ jump }, "TypeError", `${boolean} "no"`);
});
