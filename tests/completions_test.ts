/** What Tab offers, as far as no shell has to be asked; tests/e2e/completions_test.ts asks them. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { SHELLS } from "../lib/cli/commands.ts";
import { answer, readQuestion } from "../lib/cli/complete.ts";
import { splitLine } from "../lib/cli/complete_words.ts";
import { completionScript } from "../lib/cli/completion_scripts.ts";
import { RULES } from "../lib/cli/rules.ts";
import { COMMON_RULES } from "../lib/cli/subcommand.ts";
import { SUBCOMMAND_RULES } from "../lib/cli/subcommand_rules.ts";
import { SUBCOMMANDS } from "../lib/cli/subcommands.ts";
import { KEYWORDS } from "../lib/ssh_config/keyword_table.ts";
import { knownNames } from "../lib/ssh_config/known_names.ts";
import { emptySettings } from "../lib/ssh_config/settings.ts";
import { need, run, skipUnless, type Stoppable, tempDir } from "./support/tools.ts";

let folder: { path: string } & Stoppable;
/** A file that names hosts and a known_hosts file. */
let config: string;

before(async () => {
  folder = await tempDir();
  config = join(folder.path, "config");
  const at = (name: string) => join(folder.path, name);
  await mkdir(at("inc"));
  await writeFile(at("inc/one"), "Host one\nHost two.example.com\n");
  await writeFile(at("inc/cycle"), `Host cycle\nInclude ${at("inc/*")}\nInclude ${at("inc/*")}\n`);
  await writeFile(at("open"), "Host open\n");
  await chmod(at("open"), 0o666);
  await writeFile(at("only"), "Host only-this\nHost never\n");
  const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFtZ";
  const names = [
    ...["known.example.com,192.0.2.7", "198.51.100.4", "[port.example.com]:2222", "*.wild.example"],
    ...["|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg=", "# comment"],
    ...[
      "@revoked revoked.example.com",
      "@cert-authority *.ca.example,ca.example",
      "bücher.example",
    ],
    ...[
      "$(touch${IFS}x)",
      "`x`",
      "a;b",
      "a|b",
      "-oProxyCommand=x",
      "a\x1b[31m",
      "a'b",
      'q"r',
      "<x>",
    ],
    ...["tab\tafter", "a!b", "a{b,c}", "~root", "a=b", "\u202eevil"],
  ];
  await writeFile(at("known"), names.map((name) => `${name} ${key}\n`).join(""));
  await writeFile(
    config,
    [
      "Host alias *.example.com !not.this",
      `UserKnownHostsFile ${at("known")}`,
      `Match exec "touch ${at("ran")}"`,
      `Include ${at("inc")}/*`,
      `Include ${at("open")} ${at("missing")} %h/x \${NOT_SET}/x`,
      "Host only-*",
      `Include ${at("only")}`,
      'Host "spa ce" unclosed"',
      'Host "quoted" $(touch) `x`',
      "NoSuchKeyword at all",
      "Host last",
      "",
    ].join("\n"),
  );
});
after(() => folder.stop());

/** The words that are offered; in a shell that filters by itself with all of their descriptions. */
function offered(shell: string, current: string, ...words: string[]): string[] {
  const text = answer(readQuestion(["--shell", shell, `--word=${current}`, "--", ...words]));
  const [action, ...lines] = text.trimEnd().split("\n");
  return action === "words" ? lines : [action ?? ""];
}

/** The words that go on with what is written. */
const words = (current: string, ...before: string[]) =>
  offered("powershell", current, ...before).map((line) => line.replace(/\t.*/, ""));

test("options are offered by their names, with what --help says of them", () => {
  const lines = offered("zsh", "-");
  const helped = RULES.filter(({ help }) => help !== undefined);
  const names = helped.flatMap(({ flags }) => flags.replace(/ <.*/, "").split(", "));
  assert.deepEqual(lines.map((line) => line.replace(/\t.*/, "")), names);
  assert.ok(lines.includes("-p\tthe server's port (22)"), "with a description");
  assert.deepEqual(words("--ready"), []);
  assert.deepEqual(words("--ready", "with"), ["--ready", "--ready-timeout"]);
  assert.deepEqual(words("--id", "host"), ["--idle-timeout"], "also after the host");
  assert.deepEqual(words("--id", "host", "command"), [], "but not in a command");
  assert.deepEqual(words("--id", "--"), []);
});

test("the values of options are offered, in the next word and in the same one", () => {
  assert.deepEqual(words("Stri", "-o"), ["StrictHostKeyChecking="]);
  assert.deepEqual(words("-oStri"), ["-oStrictHostKeyChecking="]);
  assert.deepEqual(words("-voStri"), ["-voStrictHostKeyChecking="]);
  assert.deepEqual(words("stricthostkeychecking=A", "-o"), [
    "stricthostkeychecking=Ask",
    "stricthostkeychecking=Accept-new",
  ]);
  assert.deepEqual(words("BatchMode=", "-o"), ["BatchMode=yes", "BatchMode=no"]);
  assert.deepEqual(words("ForwardAgent", "-o"), [], "what has no effect is not offered");
  assert.deepEqual(words("aes128-gcm@openssh.com,aes256-g", "-c"), [
    "aes128-gcm@openssh.com,aes256-gcm@openssh.com",
  ]);
  assert.deepEqual(words("^hmac-sha2-512-e", "-m"), ["^hmac-sha2-512-etm@openssh.com"]);
  assert.deepEqual(words("KexAlgorithms=+curve25519-sha256@", "-o"), [
    "KexAlgorithms=+curve25519-sha256@libssh.org",
  ]);
  assert.deepEqual(words("key-p", "-Q"), ["key-plain"]);
  assert.deepEqual(words("c", "-O"), ["check", "cancel", "conninfo", "channels"]);
  assert.deepEqual(words("-S/tmp"), ["files 2"]);
  assert.deepEqual(words("--connections=a"), ["--connections=auto"]);
  assert.deepEqual(words("", "with", "--ready"), ["bind", "dial"]);
  assert.deepEqual(words("", "--password"), ["env:"]);
  process.env["FAIRLEAD_TEST_VARIABLE"] = "x";
  assert.deepEqual(words("env:FAIRLEAD_TEST_V", "--password"), ["env:FAIRLEAD_TEST_VARIABLE"]);
  assert.deepEqual(words("env:FAIRLEAD_TEST_V", "-i"), ["env:FAIRLEAD_TEST_VARIABLE"]);
  delete process.env["FAIRLEAD_TEST_VARIABLE"];
  assert.deepEqual(words("socks", "--proxy"), ["socks5://"]);
  assert.deepEqual(words("80", "-L"), []);
  assert.deepEqual(words("127.0.0.1", "-b"), ["127.0.0.1"]);
});

test("files and commands are left to the shell, which is told where they begin", () => {
  assert.deepEqual(words("", "-i"), ["files 0"]);
  assert.deepEqual(words("-vi/etc"), ["files 3"]);
  assert.deepEqual(words("IdentityFile=~/x", "-o"), ["files 13"]);
  assert.deepEqual(words("x", "with", "host", "--"), ["command 1"]);
  assert.deepEqual(words("x", "with", "--", "host", "--", "a", "--"), ["command 2"]);
  assert.deepEqual(words("", "with", "-l", "--", "host", "-v"), ["--"]);
  assert.deepEqual(words("x", "host", "--"), [], "what runs on the server is not known here");
});

test("first words are offered as the first word alone", () => {
  assert.deepEqual(words("com"), ["completions"]);
  assert.deepEqual(words("com", "-v"), []);
  assert.deepEqual(words("f", "completions"), ["fish"]);
  assert.deepEqual(words("--k", "demo"), ["--keep"]);
});

test("each command of named tunnels offers the options that it reads, and their values", () => {
  for (const word of Object.keys(SUBCOMMANDS)) {
    const rules = [...SUBCOMMAND_RULES[word] ?? [], ...COMMON_RULES];
    const names = rules.flatMap(({ flags }) => flags.replace(/ <.*/, "").split(", "));
    assert.deepEqual(words("-", word), names, word);
  }
  assert.deepEqual(words("--fo", "up", "mail", "--metrics", "0"), ["--foreground"]);
  assert.deepEqual(words("", "up", "--metrics"), [], "an address is no tunnel");
  assert.deepEqual(words("", "add", "mail", "-L"), []);
  assert.deepEqual(words("~/x", "up", "--config"), ["files 0"]);
  assert.deepEqual(words("--config=~/x", "reload"), ["files 9"]);
  assert.deepEqual(words("", "init"), ["files 0"]);
  assert.deepEqual(words("la", "import", "-F", config), ["last"]);
  assert.deepEqual(words("-", "import", "--", "ssh"), ["command 1"]);
  assert.deepEqual(words("", "up", "--"), []);
  for (const shell of SHELLS) assert.deepEqual(offered(shell, "m", "restart"), [], shell);
});

test("hosts are those of ssh_config and known_hosts, of -F's file where it is given", () => {
  const hosts = ["alias", "cycle", "one", "two.example.com", "only-this", "quoted", "last"];
  const known = ["known.example.com", "port.example.com", "ca.example", "bücher.example"];
  const found = words("", "-F", config);
  assert.deepEqual(found.slice(0, hosts.length), hosts);
  assert.deepEqual(known.filter((name) => !found.includes(name)), []);
  assert.deepEqual(words("me@la", "-F", config), ["me@last"]);
  assert.deepEqual(words("ssh://me@la", `-F${config}`), ["ssh://me@last"]);
  assert.deepEqual(words("me@one,la", "-F", config, "-J"), ["me@one,last"]);
  assert.deepEqual(words("ProxyJump=la", "-F", config, "-o"), ["ProxyJump=last"]);
  assert.deepEqual(words("198.", "-F", config), ["198.51.100.4"], "an address once it is begun");
  assert.ok(!found.some((name) => name.startsWith("198.")));
  assert.ok(!existsSync(join(folder.path, "ran")), "Match exec is not run");
  assert.ok(!words("last", "-F", "none").includes("last"));
});

test("a name that a shell would act on is never offered", () => {
  for (const shell of SHELLS) {
    for (const line of offered(shell, "", "-F", config)) {
      assert.match(line.replace(/\t.*/, ""), /^[\p{L}\p{N}][\p{L}\p{N}._-]*$/u, shell);
    }
  }
  for (const begun of ["a", "$", "`", "-o", "~", "q", "sp"]) {
    const [first = "", ...more] = words(begun, "-F", config, "-J");
    assert.deepEqual(more, [], begun);
    assert.ok(["", "alias"].includes(first) || first === "quoted", first);
  }
  assert.deepEqual(words("a\nb@la", "-F", config, "-J"), [], "nor is a line broken in two");
  assert.deepEqual(words("$(id),la", "-F", config, "-J"), [], "nor does a quoted word lose quotes");
});

test("names are found wherever files can lie, and mistakes in them are passed over", () => {
  assert.deepEqual(knownNames(join(folder.path, "missing")), { aliases: [], knownHostsFiles: [] });
  assert.deepEqual(knownNames(folder.path), { aliases: [], knownHostsFiles: [] });
  const { aliases } = knownNames(config);
  assert.ok(!aliases.includes("open"), "what others can write is not trusted");
  assert.ok(!aliases.includes("never"), "an Include for other hosts");
});

test("bash's line is split as bash would, and only the piece that it replaces is answered", () => {
  assert.deepEqual(splitLine('a  b\'c d\'"e \\" f"\\ g'), ["a", `bc de " f g`]);
  assert.deepEqual(splitLine("a "), ["a", ""]);
  assert.deepEqual(splitLine(`a "$(b) \\x`), ["a", "$(b) \\x"]);
  assert.deepEqual(splitLine("a ''"), ["a", ""]);
  const bash = (line: string, piece: string) =>
    answer(readQuestion(["--shell", "bash", `--word=${piece}`, `--line=${line}`]));
  assert.equal(bash("fairlead -o BatchMode=", ""), "words\nyes\nno\n");
  assert.equal(bash("fairlead -o BatchMode=y", "y"), "words\nyes\n");
  assert.equal(bash(`fairlead -F '${config}' me@la`, "la"), "words\nlast\n");
  assert.equal(bash(`fairlead -F '${config}' "me@la`, "me@la"), "words\nme@last\n");
  assert.equal(bash("fairlead -o IdentityFile=~/x", "~/x"), "files 0\n");
  assert.equal(bash("fairlead -i~/x", "-i~/x"), "files 2\n");
});

test("every value that is offered for a keyword is one that it takes, and none is missing", () => {
  let enumerated = 0;
  for (const [name, { choices, apply }] of Object.entries(KEYWORDS)) {
    const take = (word: string) =>
      apply(emptySettings(), [word], { inFile: false, note: () => {} });
    for (const choice of choices ?? []) {
      assert.doesNotThrow(() => take(choice), `${name} ${choice}`);
    }
    let complaint = "";
    try {
      take("no-such-word");
    } catch (error) {
      complaint = String(error);
    }
    if (!complaint.includes("expected one of")) continue;
    enumerated++;
    assert.ok(choices !== undefined, `${name} has words to choose from`);
    for (const word of complaint.replace(/^.*expected one of /, "").split(", ")) {
      const same = { true: "yes", false: "no", subsystem: "default" }[word] ?? word;
      assert.ok(choices.some((choice) => choice.toLowerCase() === same), `${name} ${word}`);
    }
  }
  const all = Object.values(KEYWORDS).filter(({ choices }) => choices !== undefined);
  assert.equal(enumerated, all.length);
});

for (const shell of ["bash", "zsh", "fish"] as const) {
  test(`${shell} reads its script`, skipUnless(shell), async () => {
    const script = join(folder.path, shell);
    await writeFile(script, completionScript(shell));
    const { status, stderr } = await run(need(shell), ["-n", script]);
    assert.equal(stderr, "");
    assert.equal(status, 0);
  });
}

test("shellcheck has nothing to say of bash's script", skipUnless("shellcheck"), async () => {
  const script = completionScript("bash");
  const { status, stdout } = await run(need("shellcheck"), ["-s", "bash", "-"], { stdin: script });
  assert.equal(status, 0, stdout);
});
