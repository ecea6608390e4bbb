/** What the background process logs, and who reads it meanwhile. */
import assert from "node:assert/strict";
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { resetSync } from "@logtape/logtape";
import { LogFile, logFilePath, logInto, type LogLine } from "../lib/control/log_file.ts";
import { followLog, readLog } from "../lib/control/log_reader.ts";
import { logger } from "../lib/log.ts";
import { scriptCommand } from "./support/fairlead.ts";
import { start, tempDir, waitFor } from "./support/tools.ts";

const TIME = "2026-11-28T03:34:05.000Z";

test("lines are in the file when write() returns, and only its user can read them", async () => {
  await using folder = await tempDir();
  const path = logFilePath({ XDG_STATE_HOME: join(folder.path, "a", "b") });
  assert.equal(path, join(folder.path, "a", "b", "fairlead", "fairlead.log"));
  const log = new LogFile(path);
  log.write({ time: TIME, level: "info", tunnel: "mail", message: "up" });
  assert.equal(
    readFileSync(path, "utf8"),
    `{"time":"${TIME}","level":"info","tunnel":"mail","message":"up"}\n`,
  );
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(statSync(join(folder.path, "a", "b", "fairlead")).mode & 0o777, 0o700);
  log.close();
});

test("a file that is full becomes an old one, and never more than three old ones are kept", async () => {
  await using folder = await tempDir();
  const path = join(folder.path, "fairlead.log");
  const log = new LogFile(path, 2_000);
  for (let number = 0; number < 300; number++) {
    log.write(line(number));
    assert.ok(readdirSync(folder.path).length <= 4);
  }
  log.close();
  const names = readdirSync(folder.path).sort();
  assert.deepEqual(names, ["", ".1", ".2", ".3"].map((end) => `fairlead.log${end}`));
  for (const name of names) {
    const { size, mode } = statSync(join(folder.path, name));
    assert.ok(size <= 2_000 && (mode & 0o777) === 0o600, `${name}: ${size} bytes`);
  }
  // What is left is the newest of it, in order and without a gap.
  const numbers = readLog(path).lines.map(numberOf);
  const [first = 0] = numbers;
  assert.ok(first >= 190 && first <= 220, `from ${first}`);
  assert.deepEqual(numbers, range(first, 300));
});

test("what a runtime writes to the file it began with is there after any number of files", async () => {
  await using folder = await tempDir();
  const path = join(folder.path, "log");
  const stderr = openSync(path, "a", 0o600);
  const log = new LogFile(path, 400);
  for (const until of [3, 10, 60, 100]) {
    for (let number = 0; number < until; number++) log.write(line(number));
    writeSync(stderr, `last words ${until}\n`);
    const { lines } = readLog(path);
    assert.ok(lines.some(({ message }) => message === `last words ${until}`), String(until));
    assert.equal(numberOf(lines.filter(({ time }) => time !== "").at(-1) as LogLine), until - 1);
  }
  closeSync(stderr);
  log.close();
  assert.ok(readdirSync(folder.path).length <= 4);
});

test("where no new file can be begun no line is lost, and none of the old files", async () => {
  await using folder = await tempDir();
  const path = join(folder.path, "log");
  const log = new LogFile(path, 400);
  const write = (number: number) =>
    log.write({ time: "", level: "info", message: `line ${number}` });
  for (let number = 0; number < 30; number++) write(number);
  mkdirSync(`${path}.new`);
  for (let number = 30; number < 60; number++) write(number);
  const last = readLog(path).lines.slice(-50).map(({ message }) => message);
  assert.deepEqual(last, Array.from({ length: 50 }, (_, at) => `line ${at + 10}`));
  rmdirSync(`${path}.new`);
  write(60);
  assert.deepEqual(readLog(path).lines.at(-1)?.message, "line 60");
  assert.ok(readFileSync(path).length < 400);
  log.close();
});

test("who begins with an old file goes on in it, and counts what it has", async () => {
  await using folder = await tempDir();
  const path = join(folder.path, "fairlead.log");
  for (let number = 0; number < 40; number++) {
    const log = new LogFile(path, 2_000);
    log.write(line(number));
    log.close();
  }
  assert.deepEqual(readLog(path).lines.map(numberOf), range(0, 40));
  assert.ok(existsSync(`${path}.1`));
});

test("a long message is cut, and nothing in one is another line or acts on a terminal", async () => {
  await using folder = await tempDir();
  const path = join(folder.path, "fairlead.log");
  const log = new LogFile(path);
  log.write({ time: TIME, level: "info", message: "x".repeat(1_000_000) });
  log.write({ time: TIME, level: "info", message: 'a\n{"b":1}\r\x1b[2J\0' });
  log.close();
  const bytes = readFileSync(path, "utf8");
  assert.ok(bytes.length < 5_000);
  assert.equal(bytes.split("\n").length, 3);
  // deno-lint-ignore no-control-regex -- they are what this is about
  assert.doesNotMatch(bytes.replaceAll("\n", ""), /[\x00-\x1f]/);
  const [first, second] = readLog(path).lines;
  assert.match(first?.message ?? "", /^x{4000}…$/);
  assert.equal(second?.message, 'a\n{"b":1}\r\x1b[2J\0');
});

test(
  "a full disk ends nothing",
  existsSync("/dev/full") ? {} : { skip: "this system has no /dev/full" },
  () => {
    const log = new LogFile("/dev/full");
    log.write(line(1));
    log.close();
  },
);

test("what the library logs of a tunnel has its name; what is for -v alone is left out", async () => {
  await using folder = await tempDir();
  const path = join(folder.path, "fairlead.log");
  const log = new LogFile(path);
  try {
    logInto(log);
    logger("session").with({ tunnel: "mail" }).warn("lost the connection ({reason})", {
      reason: "timeout",
    });
    logger("session").debug("details");
  } finally {
    resetSync();
    log.close();
  }
  const lines = readLog(path).lines.map(({ time: _, ...rest }) => rest);
  assert.deepEqual(lines, [
    { level: "warning", tunnel: "mail", message: "lost the connection (timeout)" },
  ]);
});

test("the last words of a runtime that crashed are lines as well", async () => {
  await using folder = await tempDir();
  const path = join(folder.path, "fairlead.log");
  writeFileSync(path, `${JSON.stringify(line(1))}\nFatal error: out of memory\n[1]\nnull\n`);
  assert.deepEqual(readLog(path).lines, [
    line(1),
    ...["Fatal error: out of memory", "[1]", "null"].map((message) => ({
      ...{ time: "", level: "error", message },
    })),
  ]);
  assert.deepEqual(readLog(join(folder.path, "none")), { lines: [], end: undefined });
});

test("who follows gets 20,000 lines in order, none twice, while files are made old", async () => {
  await using folder = await tempDir();
  const path = join(folder.path, "fairlead.log");
  const log = new LogFile(path, 256 * 1024);
  for (let number = 0; number < 1_000; number++) log.write(line(number));
  const { lines, end } = readLog(path);
  const got = lines.map(numberOf);
  // What comes between the two is neither lost nor repeated.
  for (let number = 1_000; number < 1_100; number++) log.write(line(number));
  const stop = new AbortController();
  const following = (async () => {
    for await (const line of followLog(path, stop.signal, end)) got.push(numberOf(line));
  })();
  for (let number = 1_100; number < 21_000; number++) {
    log.write(line(number));
    if (number % 100 === 0) await sleep(5);
  }
  log.close();
  assert.ok(existsSync(`${path}.3`), "else this test shows nothing");
  await waitFor(() => got.length >= 21_000, { timeout: 10_000, what: "all lines" });
  stop.abort();
  await following;
  assert.deepEqual(got, range(0, 21_000));
});

test("who begins to follow while files are made old misses nothing that is there", async () => {
  await using folder = await tempDir();
  const path = join(folder.path, "fairlead.log");
  const [program, args] = scriptCommand("tests/support/fixtures/write_log.ts");
  await using _writer = start(program, [...args, path]);
  await waitFor(() => existsSync(`${path}.3`), { timeout: 20_000, what: "the fourth file" });
  for (let shown = 0; shown < 2_000;) {
    const { lines, end } = readLog(path);
    const expected = numberOf(lines.at(-1) as LogLine) + 1;
    for await (const line of followLog(path, AbortSignal.timeout(1), end)) {
      const isGone = () => readLog(path).lines.every((line) => numberOf(line) !== expected);
      // On a busy machine four files may have been begun meanwhile.
      if (numberOf(line) === expected) shown++;
      else assert.ok(isGone(), `line ${numberOf(line)} in the place of ${expected}`);
      break;
    }
  }
});

test("who follows waits for the first file, and goes over to that of the next process", async () => {
  await using folder = await tempDir();
  const path = join(folder.path, "fairlead.log");
  const stop = new AbortController();
  const got: string[] = [];
  const following = (async () => {
    for await (const { message } of followLog(path, stop.signal)) got.push(message);
  })();
  await sleep(50);
  const first = new LogFile(path);
  first.write(line(1));
  await waitFor(() => got.length === 1);
  first.close();
  const second = new LogFile(path);
  second.write(line(2));
  // Half a line is none yet.
  appendFileSync(path, "half ");
  await waitFor(() => got.length === 2);
  appendFileSync(path, "a line\n");
  await waitFor(() => got.length === 3);
  // Somebody has cleaned up.
  rmSync(path);
  second.close();
  const third = new LogFile(path);
  third.write(line(3));
  third.close();
  await waitFor(() => got.length === 4);
  stop.abort();
  await following;
  assert.deepEqual(got, ["line 1", "line 2", "half a line", "line 3"]);
});

function line(number: number): LogLine {
  return { time: TIME, level: "info", message: `line ${number}` };
}

function numberOf({ message }: LogLine): number {
  return Number(message.split(" ")[1]);
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, at) => from + at);
}
