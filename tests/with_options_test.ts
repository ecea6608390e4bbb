/** The command line of `fairlead with`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readCommandLine } from "../lib/cli/options.ts";
import { readWithLine, withHelpText, type WithLine } from "../lib/cli/with_options.ts";
import { UsageError } from "../lib/errors.ts";
import { fairlead } from "./support/fairlead.ts";
import { emptyHome } from "./support/home.ts";

function refusal(...args: string[]): string {
  return refusalOf(readWithLine, args);
}

function refusalOf(read: (args: readonly string[]) => unknown, args: string[]): string {
  try {
    read(args);
  } catch (error) {
    assert.ok(error instanceof UsageError, `${args.join(" ")}: ${error}`);
    return error.hint === undefined ? error.message : `${error.message}; ${error.hint}`;
  }
  throw new assert.AssertionError({ message: `${args.join(" ")} was not refused` });
}

function commandOf({ task }: WithLine): string[] {
  return task === undefined ? [] : [task.command.program, ...task.command.args];
}

test("what follows -- is the command, word by word", () => {
  const line = readWithLine(["-L", "0:h:1", "me@host", "--", "sh", "-c", "a b", "--", "-v", ""]);
  assert.deepEqual(commandOf(line), ["sh", "-c", "a b", "--", "-v", ""]);
  assert.equal(line.settings.host, "host");
  assert.equal(line.settings.user, "me");
  assert.equal(line.settings.logLevel, undefined);
  assert.equal(line.settings.command, undefined, "nothing is for the server");
});

test("options stand before and after the host", () => {
  const line = readWithLine(["-v", "host", "-L0:h:1", "--wait", "--", "run"]);
  assert.deepEqual(commandOf(line), ["run"]);
  assert.deepEqual([line.settings.forwards.length, line.settings.wait], [1, true]);
});

test("a host may have any name where -- stands before it", () => {
  const line = readWithLine(["-v", "--", "demo", "--", "run", "-x"]);
  assert.deepEqual([line.settings.host, ...commandOf(line)], ["demo", "run", "-x"]);
});

test("when a forward is ready is bind and 60 seconds, unless something is said", () => {
  const readiness = (...args: string[]) => readWithLine([...args, "h", "--", "x"]).task?.readiness;
  assert.deepEqual(readiness(), { ready: "bind", readyTimeout: 60_000 });
  assert.deepEqual(readiness("--ready=dial", "--ready-timeout", "1m30s"), {
    ready: "dial",
    readyTimeout: 90_000,
  });
  assert.match(refusal("--ready=up", "h", "--", "x"), /^--ready up: expected one of bind, dial/);
  assert.match(refusal("--ready-timeout=soon", "h", "--", "x"), /expected a time/);
  assert.equal(
    refusal("--redy=dial", "h", "--", "x"),
    "unknown option --redy; did you mean --ready?",
  );
});

test("every forward must be had, and nothing is run on the server", () => {
  const { settings } = readWithLine(["-o", "ExitOnForwardFailure=no", "h", "--", "x"]);
  assert.equal(settings.exitOnForwardFailure, true);
  assert.equal(settings.remoteCommand, "none");
  assert.equal(settings.sessionType, "none");
});

test("what is missing is told with the whole form", () => {
  const FORM = "fairlead with [options] [user@]host -- command...";
  assert.equal(refusal(), `with: the host is missing: ${FORM}`);
  for (
    const args of [["--", "true"], ["-L", "0:h:1", "--", "h", "run"], [
      "--",
      "npm",
      "test",
      "--",
      "-x",
    ]]
  ) {
    assert.equal(refusal(...args), `with: the host is missing: ${FORM}`, args.join(" "));
  }
  for (const args of [["h"], ["h", "--"], ["h", "-v", "--"], ["h", "--", ""], ["--", "h", "--"]]) {
    assert.equal(refusal(...args), `with: the command is missing: ${FORM}`, args.join(" "));
  }
  for (const args of [["h", "run"], ["h", "run", "--", "x"]]) {
    assert.equal(refusal(...args), `with: -- is missing before the command: ${FORM}`);
  }
});

test("what takes the command's place or its stdin contradicts it", () => {
  const cases = [
    ["-W", "-W", "h:1"],
    ["-f", "-f"],
    ["-O", "-O", "check"],
    ["-f", "-o", "ForkAfterAuthentication=yes"],
    ["-n", "-n"],
    ["--idle-timeout", "--idle-timeout", "90"],
    ["RemoteCommand", "-o", "RemoteCommand=uptime"],
  ] as const;
  for (const [name, ...options] of cases) {
    const said = refusal(...options, "h", "--", "x");
    assert.ok(said.startsWith(`with and ${name} contradict each other: `), said);
  }
  assert.deepEqual(commandOf(readWithLine(["-N", "-T", "h", "--", "x"])), ["x"]);
});

test("where with is not the first word, it is said that it must be", () => {
  const form = "fairlead with [options] [user@]host -- command...";
  const said = (...args: string[]) => refusalOf(readCommandLine, args);
  for (const option of ["--ready=dial", "--ready-timeout=5"]) {
    const [name] = option.split("=");
    assert.equal(
      said(option, "with", "h", "--", "x"),
      `unknown option ${name}; with has it, as the first word: ${form}`,
    );
  }
  for (const args of [["-v", "with", "h", "--", "x"], ["-v", "with", "-L0:h:1", "h", "--", "x"]]) {
    assert.equal(
      said(...args),
      `with must be the first word: ${form}; fairlead -- with leads to a host of that name`,
    );
  }
  const { settings } = readCommandLine(["-v", "--", "with", "h", "--", "x"]);
  assert.deepEqual([settings.host, settings.command], ["with", "h -- x"]);
  assert.equal(readCommandLine(["-v", "with", "uptime"]).settings.command, "uptime");
});

test("--help has at most 80 columns", () => {
  assert.deepEqual(withHelpText().split("\n").filter((line) => line.length > 80), []);
  assert.doesNotMatch(withHelpText(), /^OPTIONS$/m);
});

test("with is a subcommand as the first argument alone, and needs something to forward", async () => {
  await using home = await emptyHome();
  const help = await fairlead(["with", "--help"], { env: home.env });
  assert.deepEqual([help.status, help.stdout], [0, withHelpText()]);
  const nothing = await fairlead(["with", "-F", "none", "host", "--", "x"], { env: home.env });
  assert.equal(nothing.status, 2);
  assert.match(nothing.stderr, /^fairlead: with: nothing to forward; give at least one of/);
  const misspelt = ["-L", "db=0:h:1", "host", "--", "psql", "-p", "{DB.port}"];
  const wrong = await fairlead(["with", "-F", "none", ...misspelt], { env: home.env });
  assert.equal(wrong.status, 2);
  assert.equal(wrong.stderr, "fairlead: no forward is named DB; did you mean db?\n");
  // A host of that name, for which nothing is configured.
  const host = await fairlead(["-G", "-F", "none", "with"], { env: home.env });
  assert.match(host.stdout, /^hostname with$/m);
});
