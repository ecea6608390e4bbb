/** Proxies that lead to a real sshd: ssh -D, fairlead -D, and one that speaks HTTP. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { connect, type ConnectOptions } from "../../mod.ts";
import { fairlead, serverOptions, startFairlead } from "../support/fairlead.ts";
import { optionsFor } from "../support/hops.ts";
import { httpProxy } from "../support/proxies.ts";
import { sshOptions, type SshServer } from "../support/ssh_server.ts";
import { startSshd } from "../support/sshd.ts";
import {
  echoServer,
  patternReceived,
  questionAnswer,
  refusingPort,
  transfer,
} from "../support/tcp.ts";
import { freePort, skipUnless, start, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh", "ssh-keygen");
const MB = 1_000_000;

let sshd: SshServer;
let carrier: SshServer;

before(async () => {
  if (skip.skip === undefined) [sshd, carrier] = await Promise.all([startSshd(), startSshd()]);
});
after(() => Promise.all([sshd?.stop(), carrier?.stop()]));

async function carriesBothWays(options: ConnectOptions): Promise<void> {
  await using peer = await questionAnswer({ answerBytes: 5 * MB, seed: 7 });
  await using tunnel = await connect(options);
  const { port } = await tunnel.forwardLocal(`127.0.0.1:0:${peer.host}:${peer.port}`);
  const { bytes, sha256 } = await transfer(port, { send: 5 * MB, seed: 5 });
  assert.deepEqual({ bytes, sha256 }, patternReceived(5 * MB, 7));
  assert.deepEqual(await peer.received(), patternReceived(5 * MB, 5));
}

/** The real ssh as a SOCKS proxy. */
async function startSshD() {
  const port = await freePort();
  const ssh = start("ssh", [...sshOptions(carrier), "-N", "-v", "-D", `${port}`, carrier.host]);
  await waitFor(() => /Entering interactive session/.test(ssh.stderr()), { timeout: 10_000 });
  return Object.assign(ssh, { port });
}

test("ssh -D as the SOCKS5 proxy leads to the server", skip, async () => {
  await using proxy = await startSshD();
  await carriesBothWays({ ...optionsFor(sshd), proxy: `socks5://127.0.0.1:${proxy.port}` });
  assert.match(carrier.log(), new RegExp(`target ${sshd.host} port ${sshd.port}\\b`));
});

test(
  "fairlead -D as the SOCKS5 proxy leads to the server, and resolves its name",
  skip,
  async () => {
    await using proxy = await startFairlead(["-D", "127.0.0.1:0", ...serverOptions(carrier)]);
    await carriesBothWays({
      ...optionsFor(sshd),
      host: "localhost",
      family: 4,
      hostKeys: sshd.hostKeys.map(({ publicLine }) => publicLine),
      proxy: `socks5h://127.0.0.1:${proxy.ports[0]}`,
    });
    assert.match(carrier.log(), new RegExp(`target localhost port ${sshd.port}\\b`));
  },
);

test(
  "an HTTP proxy leads to the server; what SSH says first comes with the answer",
  skip,
  async () => {
    await using proxy = await httpProxy();
    await carriesBothWays({ ...optionsFor(sshd), proxy: `http://127.0.0.1:${proxy.port}` });
    assert.deepEqual(proxy.requests, [
      `CONNECT ${sshd.host}:${sshd.port} HTTP/1.1\r\nHost: ${sshd.host}:${sshd.port}\r\n\r\n`,
    ]);
  },
);

test("an HTTP proxy is told the user name and the password", skip, async () => {
  await using proxy = await httpProxy("me:pass:word");
  await carriesBothWays({
    ...optionsFor(sshd),
    proxy: `http://me:pass%3Aword@127.0.0.1:${proxy.port}`,
  });
});

test("a proxy is for the first of several servers", skip, async () => {
  await using proxy = await httpProxy();
  await carriesBothWays({
    ...optionsFor(sshd),
    jump: optionsFor(carrier),
    proxy: `http://127.0.0.1:${proxy.port}`,
  });
  assert.deepEqual(proxy.requests.map((request) => request.split("\r\n")[0]), [
    `CONNECT ${carrier.host}:${carrier.port} HTTP/1.1`,
  ]);
});

test("ssh -D, which hangs up where it cannot lead on, is named", skip, async () => {
  await using proxy = await startSshD();
  const none = await refusingPort();
  const options = { ...optionsFor(sshd), port: none.port };
  await assert.rejects(connect({ ...options, proxy: `socks5://127.0.0.1:${proxy.port}` }), {
    code: "connection-lost",
    message: `the proxy socks5://127.0.0.1:${proxy.port} hung up instead of answering`,
    hint: "it may not reach the server",
  });
});

test("a refused destination behind fairlead -D comes back in the proxy's words", skip, async () => {
  await using proxy = await startFairlead(["-D", "127.0.0.1:0", ...serverOptions(carrier)]);
  const none = await refusingPort();
  const options = { ...optionsFor(sshd), port: none.port };
  const url = `socks5://127.0.0.1:${proxy.ports[0]}`;
  await assert.rejects(connect({ ...options, proxy: url }), {
    code: "connect-refused",
    message: `the proxy ${url} could not connect to 127.0.0.1:${none.port}: ` +
      "connection refused (SOCKS reply 5)",
  });
});

test(
  "--proxy takes the URL from the command line, from ALL_PROXY, or from a variable",
  skip,
  async () => {
    await using open = await httpProxy();
    await using closed = await httpProxy("me:hunter2");
    await using echo = await echoServer();
    const forward = ["-L", `0:${echo.host}:${echo.port}`];
    const secret = `http://me:hunter2@127.0.0.1:${closed.port}`;
    const runs: [string, Record<string, string>, () => string[]][] = [
      [`http://127.0.0.1:${open.port}`, {}, () => open.requests],
      ["env", { ALL_PROXY: secret, NO_PROXY: "" }, () => closed.requests],
      ["env:MY_PROXY", { MY_PROXY: secret }, () => closed.requests],
    ];
    for (const [value, env, requests] of runs) {
      const before = requests().length;
      await using run = await startFairlead(
        ["-vvv", "--proxy", value, ...forward, ...serverOptions(sshd)],
        { env },
      );
      const { bytes } = await transfer(run.ports[0] as number, { send: 100 });
      assert.equal(bytes, 100);
      const asked = requests().slice(before).map((request) => request.split("\r\n")[0]);
      assert.deepEqual(asked, [`CONNECT ${sshd.host}:${sshd.port} HTTP/1.1`], value);
      await run.end("SIGTERM");
      assert.ok(!run.stderr().includes("hunter2"));
    }
  },
);

test("ALL_PROXY counts only when asked for, and NO_PROXY then too", skip, async () => {
  await using proxy = await httpProxy();
  const env = { ALL_PROXY: `http://127.0.0.1:${proxy.port}` };
  const command = [...serverOptions(sshd), "true"];
  assert.equal((await fairlead(command, { env })).status, 0);
  const asked = ["--proxy", "env", ...command];
  assert.equal((await fairlead(asked, { env: { ...env, NO_PROXY: "127.0.0.1" } })).status, 0);
  assert.deepEqual(proxy.requests, []);
  assert.equal((await fairlead(asked, { env: { ...env, NO_PROXY: "" } })).status, 0);
  assert.equal(proxy.requests.length, 1);
});

test(
  "a wrong password for the proxy shows in no line, not at -vvv and not in JSON",
  skip,
  async () => {
    await using proxy = await httpProxy("me:right");
    const env = { MY_PROXY: `http://me:hunter2@127.0.0.1:${proxy.port}` };
    for (const more of [["-vvv"], ["--json", "-vvv"]]) {
      const { status, stdout, stderr } = await fairlead(
        [...more, "--proxy", "env:MY_PROXY", ...serverOptions(sshd), "true"],
        { env },
      );
      assert.equal(status, 255);
      assert.match(stderr, /refused the user name and the password/);
      assert.ok(!/hunter2/.test(stdout + stderr));
    }
  },
);
