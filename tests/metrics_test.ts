/** Prometheus metrics and health: what is served, and that its figures are right. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { get } from "node:http";
import { connect as connectTcp } from "node:net";
import { after, before, test } from "node:test";
import { metricsUrl, notReady, prometheusText } from "../lib/control/metrics.ts";
import { serveMetrics } from "../lib/control/metrics_server.ts";
import type { Status } from "../lib/control/status.ts";
import { Supervisor } from "../lib/control/supervisor.ts";
import { tunnelsOf } from "./support/named_tunnels.ts";
import { type SshServer, startSshd } from "./support/sshd.ts";
import { echoServer, type Peer, transfer } from "./support/tcp.ts";
import { skipUnless, waitFor } from "./support/tools.ts";

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

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

function fetched(url: string, path = "/metrics", method = "GET"): Promise<Answer> {
  return new Promise((resolve, reject) => {
    get(url.replace("/metrics", path), { method, agent: false }, (response) => {
      let text = "";
      response.on("data", (chunk) => text += String(chunk));
      response.on("end", () => {
        const { statusCode = 0, headers } = response;
        resolve({ status: statusCode, type: headers["content-type"] ?? "", text });
      });
    }).once("error", reject);
  });
}

/** One figure of a text; its labels in the order in which they are written. */
function figure(text: string, name: string, labels = ""): number {
  const line = text.split("\n").find((line) => line.startsWith(`${name}${labels} `));
  assert.ok(line, `${name}${labels} is not in\n${text}`);
  return Number(line.slice(line.lastIndexOf(" ") + 1));
}

const NOTHING = { total: 0, refused: 0, gone: 0, failed: 0, lost: 0 };

/** A status with names that need escaping. */
const ODD: Status = {
  version: "1.2.3",
  pid: 1,
  since: "2026-11-28T00:00:00.000Z",
  tunnels: [{
    name: "odd",
    file: "/x",
    groups: [],
    dependsOn: [],
    destination: "me@host:22",
    state: "reconnecting",
    since: "2026-11-28T00:00:00.000Z",
    reconnects: 3,
    sshConnections: 0,
    parked: 2,
    forwards: [{
      kind: "local",
      forward: '/tmp/a"b\\c\n:80',
      state: "failed",
      addresses: [],
      stats: { ...NOTHING, open: 1, sent: 2 ** 40, received: 7 },
    }],
  }],
};

test("labels are escaped, and large numbers whole", () => {
  const text = prometheusText(ODD);
  const labels = '{tunnel="odd",forward="/tmp/a\\"b\\\\c\\n:80",kind="local"}';
  assert.equal(figure(text, "fairlead_forward_sent_bytes_total", labels), 1_099_511_627_776);
  assert.equal(figure(text, "fairlead_tunnel_reconnects_total", '{tunnel="odd"}'), 3);
  assert.equal(figure(text, "process_start_time_seconds"), Date.parse(ODD.since) / 1000);
  assert.equal(figure(text, "fairlead_build_info", '{version="1.2.3"}'), 1);
  assert.deepEqual(notReady(ODD), ["odd: reconnecting", 'odd: /tmp/a"b\\c\n:80: failed']);
});

test("promtool accepts the text", skipUnless("promtool"), () => {
  const checked = spawnSync("promtool", ["check", "metrics"], {
    input: prometheusText(ODD),
    encoding: "utf8",
  });
  assert.equal(checked.stdout + checked.stderr, "");
  assert.equal(checked.status, 0);
});

test(
  "the figures are those of what was transferred, byte for byte, over a lost link",
  skip,
  async () => {
    const supervisor = new Supervisor({ version: "1.2.3" });
    await using server = {
      ...await serveMetrics("0", () => supervisor.status()),
      async [Symbol.asyncDispose]() {
        await this.close();
        await supervisor.close({ force: true });
      },
    };
    const url = metricsUrl(server.address);
    assert.equal(server.address.host, "127.0.0.1");
    const { tunnels: [tunnel] } = await supervisor.up(
      {
        tunnels: tunnelsOf(
          sshd,
          `tunnels: { one: { host: 127.0.0.1, forwards: [{ name: db, local: 0, to: "127.0.0.1:${echo.port}" }] } }`,
        ),
        secrets: {},
      },
      { signal: new AbortController().signal, event: () => {} },
    );
    const [address] = tunnel?.forwards[0]?.addresses ?? [];
    const port = address !== undefined && "port" in address ? address.port : 0;
    const labels = '{tunnel="one",forward="db",kind="local"}';
    const of = async (name: string) =>
      figure((await fetched(url)).text, `fairlead_forward_${name}`, labels);

    await transfer(port, { send: 123_457 });
    assert.equal(await of("sent_bytes_total"), 123_457);
    assert.equal(await of("received_bytes_total"), 123_457);
    // While one is open, too.
    const socket = connectTcp(port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write("hello");
    await once(socket, "data");
    assert.equal(await of("sent_bytes_total"), 123_462);
    assert.equal(await of("open_connections"), 1);

    sshd.signalSessions("SIGKILL");
    await waitFor(async () => {
      const { text } = await fetched(url);
      return figure(text, "fairlead_tunnel_reconnects_total", '{tunnel="one"}') === 1;
    });
    await transfer(port, { send: 1_000 });
    assert.equal(await of("sent_bytes_total"), 124_462);
    assert.equal(await of("connections_total"), 3);
    assert.equal(await of("lost_connections_total"), 1);
    const ready = await fetched(url, "/readyz");
    assert.deepEqual([ready.status, ready.text], [200, "ok\n"]);
    await sshd.down();
    await waitFor(async () => (await fetched(url, "/readyz")).status === 503);
    assert.equal((await fetched(url, "/readyz")).text, "one: reconnecting\n");
    assert.equal((await fetched(url, "/healthz")).status, 200);
    await sshd.up();
  },
);

test("it answers GET and HEAD for what there is, and nothing else", async () => {
  await using server = {
    ...await serveMetrics("127.0.0.1:0", () => ODD),
    async [Symbol.asyncDispose]() {
      await this.close();
    },
  };
  const url = metricsUrl(server.address);
  const { status, type, text } = await fetched(url);
  assert.deepEqual([status, type], [200, "text/plain; version=0.0.4; charset=utf-8"]);
  assert.equal(text, prometheusText(ODD));
  assert.deepEqual((await fetched(url, "/metrics", "HEAD")).text, "");
  assert.equal((await fetched(url, "/metrics", "POST")).status, 405);
  assert.equal((await fetched(url, "/../etc/passwd")).status, 404);
  const taken = `127.0.0.1:${server.address.port}`;
  await assert.rejects(serveMetrics(taken, () => ODD), {
    name: "UsageError",
    message: `--metrics ${taken}: another program listens there`,
  });
  await assert.rejects(serveMetrics("nonsense", () => ODD), /^UsageError: --metrics nonsense: /);
});
