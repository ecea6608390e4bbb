/** The table of `fairlead status`, and the rates of `--watch`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MOST_SAMPLES, RATE_WIDTH, Rates } from "../lib/cli/rates.ts";
import { age, bytes, statusTable, type TableOptions } from "../lib/cli/status_table.ts";
import type { ForwardStatus, TunnelStatus } from "../lib/control/status.ts";

const NOW = Date.parse("2026-11-28T12:00:00Z");
const STATS = {
  ...{ open: 0, total: 0, refused: 0, gone: 0, failed: 0, lost: 0 },
  ...{ sent: 0, received: 0 },
};

function forward(more: Partial<ForwardStatus> = {}): ForwardStatus {
  return {
    kind: "local",
    forward: "0:db.internal:5432",
    state: "listening",
    addresses: [{ host: "127.0.0.1", port: 40001 }, { host: "::1", port: 40001 }],
    destination: { host: "db.internal", port: 5432 },
    stats: STATS,
    ...more,
  };
}

function tunnel(more: Partial<TunnelStatus> = {}): TunnelStatus {
  return {
    ...{ name: "mail", file: "/p/fairlead.yaml", groups: [], dependsOn: [] },
    ...{ destination: "me@mail.example.com:22", state: "open", reconnects: 0 },
    ...{ since: "2026-11-28T11:55:00Z", sshConnections: 1, parked: 0, forwards: [] },
    ...more,
  };
}

function table(tunnels: readonly TunnelStatus[], more: Partial<TableOptions> = {}): string[] {
  return statusTable(tunnels, { width: 80, color: false, now: NOW, ...more });
}

test("numbers stand beside the longest words, however wide the terminal is", () => {
  const stats = { ...STATS, open: 2, total: 12, sent: 2_000_000, received: 512 };
  const tunnels = [tunnel({
    reconnects: 1,
    parked: 1,
    forwards: [
      forward({ name: "db", stats }),
      forward({ kind: "remote", addresses: [{ host: "localhost", port: 9 }], stats }),
      forward({ kind: "dynamic", destination: undefined as never }),
      forward({ state: "down", addresses: [] }),
    ],
  })];
  const wanted = [
    "TUNNEL                                        OPEN  TOTAL   SENT RECEIVED",
    "mail  open for 5m, reconnected once              4     24   3.8M     1.0K",
    "  me@mail.example.com:22",
    "  1 caller waits for the connection",
    "  -L db: 127.0.0.1:40001 -> db.internal:5432     2     12   1.9M      512",
    "  -R server localhost:9 -> db.internal:5432      2     12   1.9M      512",
    "  -D 127.0.0.1:40001 (SOCKS)                     0      0      0        0",
    "  -L 0:db.internal:5432 (down)                   0      0      0        0",
  ];
  assert.deepEqual(table(tunnels), wanted);
  assert.deepEqual(table(tunnels, { width: 200 }), wanted);
});

test("words that leave no room for numbers have them on the next line, and no line is too wide", () => {
  const host = "a-host-with-quite-a-long-name.internal.example.com";
  const failure = {
    ...{ code: "connection-lost", time: "2026-11-28T11:59:00Z" },
    message: `${host} closed the connection, and ${"a word ".repeat(30)}${"x".repeat(150)}`,
  };
  const tunnels = [tunnel({
    ...{ state: "reconnecting", parked: 3, failure },
    forwards: [
      forward(),
      forward({ destination: { host: host.repeat(3), port: 5432 } }),
      forward({ state: "failed", addresses: [], failure }),
    ],
  })];
  for (const width of [40, 48, 70, 80, 100, 200]) {
    const aside = { title: "BYTES/S", width: 7, of: () => "   1K/s" };
    for (const lines of [table(tunnels, { width }), table(tunnels, { width, aside })]) {
      for (const line of lines) assert.ok(line.length <= width, `${width}: ${line}`);
      const all = lines.map((line) => line.trim()).join(" ");
      assert.match(all, /mail {2}reconnecting for 5m +0 +0 +0 +0/);
      assert.match(all, /3 callers wait for the connection/);
      assert.match(all, /-> db\.internal:5432 +0 +0 +0 +0/);
      assert.match(all, /\(failed\) +0 +0 +0 +0/);
      assert.match(all, /1m ago: a-host/);
      assert.equal(all.replaceAll(" ", "").split("x".repeat(150)).length, 3, all);
    }
  }
});

test("what a server or a file says does not act on the terminal", () => {
  const message = "\x1b[2Jgone\r\nand \x9b31m";
  const failure = { code: "connection-lost", time: "2026-11-28T11:59:00Z", message };
  const tunnels = [tunnel({
    ...{ name: "a\x07b", destination: "me@\x1b[31mhost", failure },
    forwards: [forward({ name: "\x1b]0;x", destination: { host: "\x1b[H", port: 1 } })],
  })];
  const text = table(tunnels).join("");
  // deno-lint-ignore no-control-regex -- they are what this is about
  assert.doesNotMatch(text, /[\x00-\x1f\x7f-\x9f]/);
  assert.match(text, /\?\[2Jgone\?\?and \?31m/);
});

test("states and failures have colours, and what is beside them has none", () => {
  const failure = { code: "timeout", time: "2026-11-28T11:59:00Z", message: "no answer" };
  const lines = table([tunnel(), tunnel({ name: "web", state: "failed", failure })], {
    color: true,
  });
  assert.ok(lines[1]?.startsWith("mail  \x1b[32mopen\x1b[39m for 5m  "), lines[1]);
  assert.ok(lines[3]?.startsWith("web  \x1b[31mfailed\x1b[39m for 5m  "), lines[3]);
  assert.equal(lines.at(-1), "\x1b[31m    1m ago: no answer\x1b[39m");
});

test("tunnels of several files are told apart", () => {
  const lines = table([tunnel(), tunnel({ name: "web", file: "/other/fairlead.yaml" })]);
  assert.ok(lines.includes("  me@mail.example.com:22, of /p/fairlead.yaml"));
  assert.ok(lines.includes("  me@mail.example.com:22, of /other/fairlead.yaml"));
});

test("bytes have two digits at least and five columns at most", () => {
  const cases: [number, string][] = [
    ...[[0, "0"], [999, "999"], [1000, "1.0K"], [1024, "1.0K"], [10_188, "9.9K"]] as const,
    ...[[10_240, "10K"], [1_023_000, "999K"], [1_024_000, "1.0M"], [2 ** 30, "1.0G"]] as const,
    ...[[2 ** 40, "1.0T"], [2 ** 50, "1.0P"], [500 * 2 ** 50, "500P"]] as const,
  ].map(([count, text]) => [count, text]);
  for (const [count, text] of cases) assert.equal(bytes(count), text, String(count));
  for (let count = 1; count < 2 ** 60; count = Math.ceil(count * 1.01)) {
    assert.ok(bytes(count).length <= 5, `${count}: ${bytes(count)}`);
  }
});

test("an age has one unit, the largest", () => {
  const cases = { 0: "0s", 59_999: "59s", 60_000: "1m", 3_599_999: "59m", 3_600_000: "1h" };
  for (const [time, text] of Object.entries(cases)) assert.equal(age(Number(time)), text);
  assert.equal(age(86_399_999), "23h");
  assert.equal(age(9 * 86_400_000), "9d");
  // A clock may have been set back.
  assert.equal(age(-5_000), "0s");
});

/** One forward that has carried so much. */
function carried(sent: number): TunnelStatus {
  return tunnel({ forwards: [forward({ stats: { ...STATS, sent } })] });
}

test("a rate is what came between two looks, and its bars are for the highest of them", () => {
  const rates = new Rates(true);
  const shown = (one: TunnelStatus, samples: number) =>
    rates.of(one, one.forwards[0] as ForwardStatus, samples);
  assert.equal(shown(carried(5_000), 3), "      0/s".padStart(3 + RATE_WIDTH));
  rates.take([carried(5_000)], 1_000);
  assert.equal(shown(carried(5_000), 3), "0/s".padStart(3 + RATE_WIDTH));
  rates.take([carried(7_000)], 3_000);
  rates.take([carried(7_001)], 4_000);
  rates.take([carried(7_501)], 5_000);
  assert.equal(shown(carried(0), 3), "█▂▅  500/s");
  // A counter that began again is no negative rate.
  rates.take([carried(10)], 6_000);
  assert.equal(shown(carried(0), 4), "█▂▅▁    0/s");
  assert.equal(shown(carried(0), 0), "    0/s");
});

test("a terminal that becomes wider shows what was seen before, and so much is kept", () => {
  const rates = new Rates(false);
  for (let look = 0; look <= 100; look++) rates.take([carried(look * 1_000)], look * 1_000);
  const one = carried(0);
  const bars = (samples: number) => rates.of(one, one.forwards[0] as ForwardStatus, samples);
  assert.equal(bars(9), `${"#".repeat(9)} 1.0K/s`);
  assert.equal(bars(MOST_SAMPLES), `${"#".repeat(MOST_SAMPLES)} 1.0K/s`);
});
