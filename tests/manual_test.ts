/** The manual page has what --help has, and real programs read it without a complaint. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { FIRST_WORDS } from "../lib/cli/commands.ts";
import { manualPage } from "../lib/cli/manual.ts";
import { OPTION_TEXTS } from "../lib/cli/manual_options.ts";
import { helpText } from "../lib/cli/options.ts";
import { entry, paragraphs } from "../lib/cli/roff.ts";
import { SUBCOMMAND_RULES } from "../lib/cli/subcommand_rules.ts";
import { SUBCOMMANDS } from "../lib/cli/subcommands.ts";
import { withHelpText } from "../lib/cli/with_options.ts";
import { CONFIG_NAMES } from "../lib/config/find.ts";
import { logFilePath } from "../lib/control/log_file.ts";
import { controlSocketPath } from "../lib/control/socket_path.ts";
import { need, run, skipUnless, tempDir } from "./support/tools.ts";

/** The names and arguments of options, as --help lists them: `-L <forward>`. */
function listed(help: string): string[] {
  return [...help.matchAll(/^ {2}(-\S+(?:, -\S+)*(?: <\S+>)?) {2,}\S/gm)].map(([, flags]) =>
    flags ?? ""
  );
}

/** The same, as the tags of the page have it. */
function tagged(page: string): string[] {
  return [...page.matchAll(/^\.TP\n(\\fB\\-.*)$/gm)].map(([, tag = ""]) =>
    tag.replaceAll("\\fB", "").replaceAll("\\fI", "<").replaceAll("\\-", "-")
      .replace(/(<[^\\]*)\\fR/g, "$1>").replaceAll("\\fR", "")
  );
}

test("every option of --help is on the page, and no other", () => {
  const [, own = ""] = withHelpText().split("and besides:");
  const all = [...listed(helpText()), ...listed(own)];
  assert.ok(all.includes("-L <forward>") && all.includes("--ready <when>") && all.length > 40);
  assert.deepEqual(tagged(manualPage()), all);
});

test("every option has a text of its own, and every text an option", () => {
  const names = tagged(manualPage()).map((tag) => tag.replace(/[ ,].*/, ""));
  assert.deepEqual(Object.keys(OPTION_TEXTS).sort(), names.sort());
  for (const [name, text] of Object.entries(OPTION_TEXTS)) {
    assert.match(text, /[^\s.]\.$/, `${name} ends in a sentence`);
  }
});

test("every first word is in the synopsis", () => {
  const [, synopsis = ""] = manualPage().split(/^\.SH /m).filter((part) =>
    !part.startsWith('.\\"')
  );
  assert.match(synopsis, /^SYNOPSIS/);
  for (const word of Object.keys(FIRST_WORDS)) {
    assert.match(synopsis, new RegExp(`^\\\\fBfairlead ${word}\\\\fR`, "m"));
  }
});

test("every command has its options on the page, and the files are those of the code", async () => {
  const page = manualPage().replaceAll("\\fB", "").replaceAll("\\-", "-")
    .replace(/ \\fI([^\\]*)\\fR/g, " <$1>").replaceAll("\\fR", "").replaceAll("\\(ti", "~");
  for (const word of Object.keys(SUBCOMMANDS)) {
    const [, text = ""] = new RegExp(`^\\.TP\\n${word}\\n((?!\\.TP)[^]*?)^\\.(?:TP|SH)`, "m")
      .exec(page) ?? [];
    for (const { flags, help } of SUBCOMMAND_RULES[word] ?? []) {
      assert.ok(text.includes(`${flags}: ${help}.`), `${word} ${flags} in ${text}`);
    }
  }
  const [, files = ""] = /^\.SH FILES\n([^]*?)^\.SH/m.exec(page) ?? [];
  await using folder = await tempDir();
  const places = [
    ...CONFIG_NAMES,
    logFilePath({ XDG_STATE_HOME: "$XDG_STATE_HOME" }),
    controlSocketPath({ XDG_RUNTIME_DIR: folder.path }).replace(folder.path, "$XDG_RUNTIME_DIR"),
  ];
  for (const name of places) {
    assert.ok(files.includes(name), `${name} in ${files}`);
  }
});

test("the page is ASCII, and its only requests are those that were meant", () => {
  const page = manualPage();
  assert.match(page, /^[\x20-\x7e\n]*$/);
  assert.doesNotMatch(page, /\\\(ga/, "a mark that ends on another line is none");
  const requests = new Set([...page.matchAll(/^[.'](\S+)/gm)].map(([, request]) => request));
  const known = ['\\"', "TH", "nh", "ad", "SH", "PP", "TP", "IP", "br", "RS", "RE", "EX", "EE"];
  assert.deepEqual([...requests].filter((request) => !known.includes(request ?? "")), []);
});

const viewers = [
  { program: "man", args: ["--warnings", "-E", "UTF-8", "-l"] },
  { program: "groff", args: ["-man", "-ww", "-z"] },
  { program: "mandoc", args: ["-T", "lint", "-W", "warning"] },
];
for (const { program, args } of viewers) {
  test(`${program} reads the page without a warning`, skipUnless(program), async () => {
    await using folder = await tempDir();
    const page = join(folder.path, "fairlead.1");
    await writeFile(page, manualPage());
    const env = { MANWIDTH: "80", MANPAGER: "cat", LC_ALL: "C.UTF-8" };
    const { status, stdout, stderr } = await run(need(program), [...args, page], { env });
    assert.equal(stderr, "");
    assert.equal(status, 0, stdout);
    if (program !== "man") return assert.equal(stdout, "");
    assert.deepEqual(stdout.split("\n").filter((line) => line.length > 80), []);
    assert.match(stdout, /^ +--retry-for time$/m);
    assert.match(stdout, /^ +fairlead -L 0:db\.internal:5432 -L 8080:\[::1\]:80 bastion/m);
  });
}

test("what roff would act on is shown as it was written", skipUnless("mandoc"), async () => {
  const hostile = [".B dot at the beginning", "'apostrophe", "a\\fBb\\*(xx \\n(yr", `"q" ~ ^ -- …`];
  const page = `.TH X 1 2026-01-01\n.SH NAME\nx \\- y\n.SH A\n${
    hostile.map((text) => paragraphs(text, ".PP")).join("")
  }${paragraphs("    .in an example\n    'and \\ here", ".PP")}${
    entry(".tag, so long", "of `-x` <and>")
  }`;
  await using folder = await tempDir();
  await writeFile(join(folder.path, "x.1"), page);
  const { stdout } = await run(need("mandoc"), ["-T", "utf8", join(folder.path, "x.1")]);
  // Bold and underlined by overstriking.
  const overstruck = new RegExp(".\b", "gu");
  const shown = stdout.replace(overstruck, "").split("\n").map((line) => line.trim());
  for (const line of [...hostile, ".in an example", "'and \\ here", ".tag, so long", "of -x and"]) {
    assert.ok(shown.includes(line), `${line} in\n${shown.join("\n")}`);
  }
});
