/** `fairlead logs`, of a background process that is there, and of one that is dead. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { LogFile, type LogLine } from "../../lib/control/log_file.ts";
import { readLog } from "../../lib/control/log_reader.ts";
import { fairlead, programCommand, scriptCommand } from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { run, start, tempDir, waitFor } from "../support/tools.ts";

let home: Home;
let state: { path: string; stop(): Promise<void> };
let env: Record<string, string | undefined>;
let path: string;

before(async () => {
  home = await emptyHome();
  state = await tempDir("fl-");
  mkdirSync(join(state.path, "run"), { mode: 0o700 });
  env = {
    ...home.env,
    XDG_STATE_HOME: join(state.path, "state"),
    XDG_RUNTIME_DIR: join(state.path, "run"),
    TZ: "UTC",
  };
  path = join(state.path, "state", "fairlead", "fairlead.log");
});
after(async () => {
  await state?.stop();
  await home?.stop();
});

test("logs shows what there is, of the tunnels that are named, and follows it until Ctrl-C", async () => {
  const log = new LogFile(path, 2_000);
  for (let number = 0; number < 60; number++) {
    log.write(line(number, number % 2 === 0 ? "mail" : "db"));
  }
  const shown = async (...args: string[]) => {
    const { status, stdout, stderr } = await fairlead(["logs", ...args], { env });
    assert.deepEqual({ status, stderr }, { status: 0, stderr: "" });
    return stdout.trimEnd().split("\n");
  };
  assert.deepEqual(await shown("-n", "2"), [
    "2026-11-28 03:34:05 mail: line 58",
    "2026-11-28 03:34:05 db: line 59",
  ]);
  const misspelt = await fairlead(["logs", "mial"], { env });
  assert.deepEqual([misspelt.status, misspelt.stdout], [0, ""]);
  assert.match(misspelt.stderr, /nothing is logged of a tunnel mial; did you mean mail\?/);
  const json = await shown("--json", "-n", "all", "db");
  assert.deepEqual(
    json.map((text) => JSON.parse(text)),
    numbers(1, 60, 2).map((n) => line(n, "db")),
  );

  const [command, args] = programCommand();
  await using follower = start(command, [...args, "logs", "-f", "-n", "1", "mail"], { env });
  const lines = () => follower.stdout().trimEnd().split("\n").map((text) => text.slice(20));
  await waitFor(() => lines().includes("mail: line 58"), {
    timeout: 20_000,
    what: "the last line",
  });
  for (let number = 60; number < 100; number++) {
    log.write(line(number, number % 2 === 0 ? "mail" : "db"));
  }
  log.write({ ...line(100, "mail"), message: "\x1b[2Jend" });
  log.close();
  await waitFor(() => lines().includes("mail: ?[2Jend"), { what: "the end" });
  assert.deepEqual(lines(), [
    ...numbers(58, 100, 2).map((number) => `mail: line ${number}`),
    "mail: ?[2Jend",
  ]);
  follower.kill("SIGINT");
  assert.deepEqual(await follower.exited, { status: 0, signal: null });
});

test("a background process that cannot be had says why", async () => {
  await writeFile(join(state.path, "fairlead.yaml"), "version: 1\ntunnels:\n  a: { host: a }\n");
  // A file is no folder for a socket.
  const { status, stderr } = await fairlead(["up"], {
    env: { ...env, XDG_RUNTIME_DIR: path },
    cwd: state.path,
  });
  assert.equal(status, 255);
  assert.match(stderr, /^fairlead: .*\/fairlead, for the control socket: /);
});

test("the last words of a background process that crashes are in the log", async () => {
  const [command, args] = scriptCommand("tests/support/fixtures/crash_in_background.ts");
  for (const kind of ["exception", "rejection"]) {
    const own = { ...env, XDG_STATE_HOME: join(state.path, kind) };
    const { status } = await run(command, [...args, kind], { env: own });
    assert.equal(status, 255);
    const { lines } = readLog(join(state.path, kind, "fairlead", "fairlead.log"));
    const { level, message } = lines.at(-1) as LogLine;
    assert.equal(level, "fatal");
    assert.match(
      message,
      /^this is a mistake in fairlead itself: Error: as a mistake would\n.*:\d/,
    );
  }
});

function line(number: number, tunnel: string): LogLine {
  const time = "2026-11-28T03:34:05.000Z";
  return { time, level: "info", tunnel, message: `line ${number}` };
}

function numbers(from: number, to: number, step: number): number[] {
  return Array.from({ length: Math.ceil((to - from) / step) }, (_, at) => from + at * step);
}
