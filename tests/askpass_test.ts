/** Whom to ask: the terminal or a program. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { personPrompter } from "../lib/cli/askpass.ts";
import type { Prompter } from "../lib/ssh/prompter.ts";
import { skipUnless, tempDir } from "./support/tools.ts";

const TERMINAL: Prompter = {
  secret: () => Promise.resolve("typed"),
  questions: () => Promise.resolve(["typed"]),
  confirmHostKey: () => Promise.resolve(true),
};

test("the terminal is asked before the program, unless a variable says otherwise", () => {
  const program = { SSH_ASKPASS: "/bin/true" };
  const display = { ...program, DISPLAY: ":0" };
  const require = (SSH_ASKPASS_REQUIRE: string) => ({ SSH_ASKPASS_REQUIRE });
  // ssh(1), SSH_ASKPASS_REQUIRE: what is asked with a terminal, and without.
  const cases: [env: Record<string, string>, at: string, without: string][] = [
    [{}, "terminal", "nobody"],
    [program, "terminal", "nobody"],
    [display, "terminal", "program"],
    [{ ...program, WAYLAND_DISPLAY: "wayland-0" }, "terminal", "program"],
    [{ ...program, DISPLAY: "" }, "terminal", "nobody"],
    [{ ...display, ...require("never") }, "terminal", "nobody"],
    [{ ...display, ...require("prefer") }, "program", "program"],
    [{ ...program, ...require("prefer") }, "terminal", "nobody"],
    [{ ...program, ...require("force") }, "program", "program"],
    [{ ...program, ...require("FORCE") }, "program", "program"],
    [{ ...display, ...require("sometimes") }, "terminal", "program"],
  ];
  const who = (prompter: Prompter | undefined) =>
    prompter === undefined ? "nobody" : prompter === TERMINAL ? "terminal" : "program";
  for (const [env, at, without] of cases) {
    assert.equal(who(personPrompter(env, () => TERMINAL)), at, JSON.stringify(env));
    assert.equal(who(personPrompter(env, () => undefined)), without, JSON.stringify(env));
  }
});

test(
  "a program answers a server's questions one by one, and sees no control characters",
  skipUnless("sh"),
  async () => {
    await using folder = await tempDir();
    const path = join(folder.path, "askpass");
    const log = join(folder.path, "log");
    await writeFile(path, `#!/bin/sh\nprintf '[%s]' "$1" >>'${log}'\necho "$(wc -c <'${log}')"\n`, {
      mode: 0o700,
    });
    const prompter = personPrompter({ SSH_ASKPASS: path, SSH_ASKPASS_REQUIRE: "force" });
    const answers = await prompter?.questions("Factor", "Look\x1b[2J", [
      { prompt: "User: ", echo: true },
      { prompt: `Co\0de ${"x".repeat(20_000)}`, echo: false },
    ]);
    const asked = await readFile(log, "utf8");
    const [first = "", second = ""] = asked.split(/(?<=\])(?=\[)/);
    assert.equal(first, "[Factor\nLook?[2J\nUser: ]");
    assert.match(second, /^\[Co\?de x+\]$/);
    assert.equal(second.length, 8 * 1024 + 2);
    assert.deepEqual(answers, [String(first.length), String(asked.length)]);
  },
);
