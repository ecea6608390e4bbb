/** Reading ssh_config: lines, words, patterns, tokens, conditions, files, and what is wrong with them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import process from "node:process";
import fc from "fast-check";
import { UsageError } from "../lib/errors.ts";
import { hostOptions } from "../lib/ssh_config/connect_options.ts";
import { succeeds } from "../lib/ssh_config/exec.ts";
import { type HostConfig, readHost } from "../lib/ssh_config/host_config.ts";
import { includedFiles } from "../lib/ssh_config/include.ts";
import { applyKeyword } from "../lib/ssh_config/keywords.ts";
import { readLines } from "../lib/ssh_config/lines.ts";
import { match, type MatchSubject } from "../lib/ssh_config/match.ts";
import { isSafeHostName, isSafeUserName } from "../lib/ssh_config/names.ts";
import { chooseAlgorithms, DEFAULT_ALGORITHMS } from "../lib/ssh/algorithms.ts";
import { matchesPattern, matchesPatternList } from "../lib/ssh/patterns.ts";
import { onlyUserWrites } from "../lib/ssh_config/permissions.ts";
import { emptySettings, type Settings } from "../lib/ssh_config/settings.ts";
import {
  expandAll,
  expandCommand,
  expandHome,
  expandTokens,
  expandVariables,
  tokensOf,
} from "../lib/ssh_config/tokens.ts";
import { byteCount, seconds } from "../lib/ssh_config/values.ts";
import { splitWords } from "../lib/ssh_config/words.ts";
import { processes, type Stoppable, tempDir, waitFor } from "./support/tools.ts";

let folder: { path: string } & Stoppable;
before(async () => {
  folder = await tempDir();
});
after(() => folder.stop());

/** Writes files into the test's folder; the first is the one that is read. */
function files(all: Readonly<Record<string, string>>): string {
  for (const [name, text] of Object.entries(all)) {
    const path = join(folder.path, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text, { mode: 0o600 });
  }
  return join(folder.path, Object.keys(all)[0] ?? "");
}

function host(config: string, said: Partial<Settings> = {}): Promise<HostConfig> {
  const configFile = files({ config });
  return readHost({ ...emptySettings(), host: "target", configFile, ...said });
}

async function complaint(config: string, said: Partial<Settings> = {}): Promise<string> {
  try {
    await host(config, said);
  } catch (error) {
    assert.ok(error instanceof UsageError, String(error));
    assert.equal(error.code, "config-invalid");
    assert.ok(!error.message.includes("\n"), error.message);
    return error.message.replaceAll(`${folder.path}/`, "");
  }
  throw new assert.AssertionError({ message: `${JSON.stringify(config)} was not refused` });
}

test("a line is a keyword, a separator and the rest", () => {
  const lines = readLines("Port 22\n# no\n\n  User=me\r\nA = b=c\n\"B\" 'x' # y\nEmpty");
  assert.deepEqual(lines, [
    { number: 1, keyword: "Port", rest: "22" },
    { number: 4, keyword: "User", rest: "me" },
    { number: 5, keyword: "A", rest: "b=c" },
    { number: 6, keyword: "B", rest: "'x' # y" },
    { number: 7, keyword: "Empty", rest: "" },
  ]);
  const long = "x".repeat(1_000_000);
  assert.equal(readLines(`ProxyCommand ${long}`)[0]?.rest, long);
});

test("any text is taken apart into lines without an error", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    for (const { keyword } of readLines(text)) assert.ok(!/^[ \t#]/.test(keyword));
  }));
});

test("words are split and unquoted, and a comment ends them", () => {
  assert.deepEqual(splitWords(`a "b c" d\\ e f"g h"i '' # j`), ["a", "b c", "d e", "fg hi", ""]);
  assert.deepEqual(splitWords(`"\\"" '\\'' "a\\ b" \\n a#b`), ['"', "'", "a\\ b", "\\n", "a#b"]);
  assert.throws(() => splitWords('a "b'), /the quote " is not closed/);
});

test("words that are quoted are read back", () => {
  const word = fc.string({ unit: fc.constantFrom("a", " ", "#", "\\", '"', "'", "\t", "é") });
  fc.assert(fc.property(fc.array(word), (words) => {
    const quoted = words.map((one) => `"${one.replace(/["\\]/g, "\\$&")}"`);
    assert.deepEqual(splitWords(quoted.join(" ")), words);
  }));
});

test("a pattern fits as its regular expression does, in a time that stays small", () => {
  const letters = fc.string({ unit: fc.constantFrom("a", "b", "."), maxLength: 12 });
  const pattern = fc.string({ unit: fc.constantFrom("a", "b", ".", "*", "?"), maxLength: 8 });
  fc.assert(fc.property(letters, pattern, (text, pattern) => {
    const source = pattern.replaceAll(".", "\\.").replaceAll("*", ".*").replaceAll("?", ".");
    assert.equal(matchesPattern(text, pattern), new RegExp(`^${source}$`).test(text));
  }));
  assert.equal(matchesPattern("a".repeat(5_000), `${"*a".repeat(500)}b`), false);
  assert.ok(matchesPatternList("web", "!db,w*"));
  assert.ok(!matchesPatternList("web", "w*,!web"));
  assert.ok(!matchesPatternList("web", "!db"));
});

test("times and numbers of bytes are read as ssh does", () => {
  assert.deepEqual(["0", "90", "1m30s", "1H", "2d", "1w"].map(seconds), [
    ...[0, 90, 90, 3600, 172_800, 604_800],
  ]);
  for (const wrong of ["", "m", "1x", "-1", "1 m", "9999999999"]) {
    assert.throws(() => seconds(wrong), SyntaxError, wrong);
  }
  assert.deepEqual(["16", "1K", "1.5k", "2M", "1G"].map(byteCount), [
    ...[16, 1024, 1536, 2_097_152, 1_073_741_824],
  ]);
  for (const wrong of ["", "K", "1X", "-1"]) assert.throws(() => byteCount(wrong), SyntaxError);
});

test("tokens are expanded where they may be, and others are refused", () => {
  const tokens = tokensOf({ host: "web", originalHost: "w", port: 7, user: "me", jump: "j" });
  assert.equal(expandTokens("%h %n %p %r %j %k %%", tokens), "web w 7 me j w %");
  assert.equal(expandTokens("%h", tokens, "h"), "web");
  for (const wrong of ["%z", "a%", "%", "%T"]) assert.throws(() => expandTokens(wrong, tokens));
  assert.throws(() => expandTokens("%p", tokens, "h"), /"%p" is not a token here/);
  process.env["FAIRLEAD_TEST"] = "100%h";
  assert.equal(expandVariables("a${FAIRLEAD_TEST}b$HOME"), "a100%hb$HOME");
  assert.equal(expandAll("%h${FAIRLEAD_TEST}", tokens), "web100%h");
  assert.throws(() => expandVariables("${FAIRLEAD_UNSET}"), /\$\{FAIRLEAD_UNSET\}: the .* not set/);
  for (const wrong of ["${", "${}", "${A"]) {
    assert.throws(() => expandVariables(wrong), SyntaxError);
  }
  assert.throws(() => expandHome("~other/x"), /another user's home/);
});

test("%C is ssh's hash", { skip: spawnSync("ssh", ["-V"]).status !== 0 }, async () => {
  const config = "UserKnownHostsFile /%C\nPort 7\nUser me\n";
  const { stdout } = spawnSync("ssh", ["-G", "-F", files({ config }), "target"], {
    encoding: "utf8",
  });
  const { settings } = await host(config);
  assert.match(settings.userKnownHosts?.[0] ?? "", /^\/[0-9a-f]{40}$/);
  assert.ok(stdout.includes(`userknownhostsfile ${settings.userKnownHosts?.[0]}\n`), stdout);
});

test("names that a shell acts on are told from others", () => {
  for (const name of ["web", "::1", "fe80::1%eth0", "a-b.example.com", "münchen.de", "a_b"]) {
    assert.ok(isSafeHostName(name), name);
  }
  for (const name of ["-oX", "a b", "a;b", "$(id)", "`id`", "a|b", "a'b", "a\nb", "{a,b}", "a\\"]) {
    assert.ok(!isSafeHostName(name), name);
  }
  for (const name of ["me", "DOMAIN\\me", "a b", "me@realm"]) assert.ok(isSafeUserName(name), name);
  for (const name of ["-me", "a;b", "a -b", "me\\", "a'b", "$(a)"]) {
    assert.ok(!isSafeUserName(name), name);
  }
});

test("a name that a shell would act on reaches no command line", async () => {
  const tokens = tokensOf({ host: "a;id", originalHost: "a", port: 1, user: "me;id" });
  assert.throws(() => expandCommand("nc %h", tokens), /"a;id" \(%h\) cannot stand in a command/);
  assert.throws(() => expandCommand("nc %r", tokens), /"me;id" \(%r\)/);
  assert.equal(expandCommand("nc %n %%h", tokens), "nc a %h");
  const ran = join(folder.path, "ran");
  const config = `Match exec "echo %h > ${ran}"\n  Port 7\n`;
  await assert.rejects(host(config, { host: `$(touch ${ran})` }), /the host name holds/);
  await assert.rejects(host(config, { user: "a;b" }), /the user name holds/);
  await complaint(`HostName "a;touch ${ran}"\n${config}`);
  await complaint(`User "a;b"\nMatch exec "touch ${ran}_%r"\n`);
  await complaint("HostName 'a b'\n");
  assert.ok(!existsSync(ran));
});

test("every mistake is one line that names file, line, keyword and what is wrong", async () => {
  const complaints: [string, string][] = [
    ["# one\nPort web", "config:2: Port: expected a number from 1 to 65535"],
    ["User 'a", "config:1: User: the quote ' is not closed"],
    ["User a b", "config:1: User: expected one value; one with spaces needs quotes"],
    ["user", "config:1: User: the value is missing"],
    ["Host a\n  LocalForward 1 x:y", 'config:2: LocalForward: "y" is not a destination port'],
    ["Match hots x", 'config:1: Match: "hots" is no condition; did you mean host?'],
    ["Match host", "config:1: Match: the value of host is missing"],
    ["Match host a all b", "config:1: Match: all stands alone, or after final or canonical"],
    ["Match localnetwork 10.0.0.0/33", 'config:1: Match: "10.0.0.0/33" is no network'],
    ["Match exec '%z'", 'config:1: Match: "%z" is not a token here'],
    ["Host", "config:1: Host: the patterns are missing"],
    ["Include", "config:1: Include: the value is missing"],
    ["HostName %p", 'config:1: HostName: "%p" is not a token here'],
    ["HostName %p\nMatch host a", 'config:1: HostName: "%p" is not a token here'],
    ["HostName %p\nInclude /no/%h", 'config:1: HostName: "%p" is not a token here'],
    ["HostName %p\nMatch exec true", 'config:1: HostName: "%p" is not a token here'],
    ["Port 7\nIdentityAgent /${NOT_SET}", "config:2: IdentityAgent: ${NOT_SET}: the environment"],
    ["RemoteCommand %z", 'config:1: RemoteCommand: "%z" is not a token here'],
    ["UserKnownHostsFile none a", "config:1: UserKnownHostsFile: none must stand alone"],
    ["ProxyJump a:b", 'config:1: ProxyJump: "a:b" is no jump host'],
    ["Ciphers rot13", 'config:1: Ciphers: unknown cipher algorithm "rot13"'],
    [
      "MACs umac-64@openssh.com",
      "config:1: MACs: fairlead cannot do the MAC algorithm umac-64@openssh.com",
    ],
    ["RefuseConnection 'out of order'", "config:1: RefuseConnection: out of order"],
    ["ProxyCommand -", "config:1: ProxyCommand: fairlead's stdin and stdout are no way"],
    ["Prot 1", "config:1: Prot: no such keyword"],
  ];
  for (const [config, expected] of complaints) {
    const message = await complaint(config);
    assert.ok(message.startsWith(expected), message);
  }
  await assert.rejects(host("Prot 1"), { hint: "did you mean Port?" });
  await assert.rejects(host("Nonsense 1"), { hint: /ssh_config\(5\); IgnoreUnknown passes over/ });
});

test("what cannot be honoured is refused by name, for the host that it is meant for", async () => {
  const refused = [
    ...[
      "CanonicalizeHostname yes",
      "KnownHostsCommand /bin/x",
      "Tunnel yes",
      "SessionType subsystem",
    ],
    ...["PKCS11Provider /lib/x.so", "SecurityKeyProvider /lib/x.so", "ProxyUseFdpass yes"],
    "CanonicalizePermittedCNAMEs *:*",
  ];
  for (const line of refused) {
    const [keyword = ""] = line.split(" ");
    const message = await complaint(`Port 7\n${line}\n`);
    assert.ok(message.startsWith(`config:2: ${keyword}: `), message);
    await assert.rejects(host(line), { hint: /^-o \w+=(no|none) goes on without it$/ });
    const { port } = await host(
      `Host other\n  ${line}\nHost *\n  ${keyword} no\n`.replace(
        "SessionType no",
        "SessionType none",
      ) + `  ${line}\n  Port 7\n`,
    );
    assert.equal(port, 7, "elsewhere, or after the first value, it does no harm");
    const settings = emptySettings();
    applyKeyword(settings, keyword, keyword === "SessionType" ? "none" : "no", "-o");
    await host(line, settings);
  }
});

test("what only a shell needs does no harm in a file, and is refused on the command line", async () => {
  const lines = [
    ...["ForwardAgent yes", "ForwardAgent /run/agent", "ForwardX11 yes", "RequestTTY force"],
    ...["GSSAPIAuthentication yes", "HostbasedAuthentication yes"],
  ];
  for (const line of lines) {
    await host(line);
    const [keyword = "", value = ""] = line.split(" ");
    assert.throws(() => applyKeyword(emptySettings(), keyword, value, "-o"), UsageError);
  }
});

test("algorithms that only OpenSSH has are left out of a list", async () => {
  const config = await host(
    "MACs umac-64-etm@openssh.com,hmac-sha2-512\nCiphers +rijndael-cbc@lysator.liu.se\n" +
      "HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com,rsa-sha2-*\nKexAlgorithms -diffie*\n",
  );
  const { algorithms } = await hostOptions(config);
  const { hmac, cipher, serverHostKey, kex } = chooseAlgorithms(algorithms);
  assert.deepEqual(hmac, ["hmac-sha2-512"]);
  assert.deepEqual(cipher, DEFAULT_ALGORITHMS.cipher);
  assert.deepEqual(serverHostKey, ["rsa-sha2-512", "rsa-sha2-256"]);
  assert.deepEqual(kex, DEFAULT_ALGORITHMS.kex.filter((name) => !name.startsWith("diffie")));
});

test("IgnoreUnknown passes over keywords, Host and Match over what is not for them", async () => {
  const { port } = await host("IgnoreUnknown Foo,X-*\nFoo 1\nx-Bar 2\nPort 7\n");
  assert.equal(port, 7);
  await complaint("Foo 1\nIgnoreUnknown Foo\n");
  await complaint("Host other\n  Port x\n");
});

test("conditions are about the host, the users, the tag, the command and the network", async () => {
  const subject: MatchSubject = {
    ...{ host: "web.example.com", originalHost: "web", user: "me", localUser: "i", tag: "work" },
    ...{ command: "run it", sessionType: "exec", finalPass: false },
    exec: (command) => Promise.resolve(command === "yes"),
  };
  const holds: [string, boolean][] = [
    ["all", true],
    ["!all", false],
    ["host *.example.com", true],
    ["HOST=*.EXAMPLE.com", true],
    ["originalhost web user me localuser i", true],
    ["originalhost web user other", false],
    ["!user other", true],
    ["tagged work", true],
    ["tagged wo*,x", true],
    ["!tagged work", false],
    ["command 'run *'", true],
    ["sessiontype exec", true],
    ["sessiontype shell", false],
    ["exec yes", true],
    ["exec no", false],
    ["!exec no", true],
    ["final", false],
    ["!final", true],
    ["!canonical all", true],
    ["localnetwork 127.0.0.0/8", true],
    ["localnetwork 203.0.113.0/24", false],
    ["!localnetwork 203.0.113.0/24,2001:db8::/32", true],
    ["version OpenSSH_9.*", false],
    ["!version OpenSSH_9.*", true],
  ];
  for (const [line, expected] of holds) {
    assert.equal((await match(splitWords(line), subject)).holds, expected, line);
  }
  const none = { ...subject, tag: "", command: "" };
  assert.ok((await match(["tagged", "", "command", ""], none)).holds);
  assert.ok(!(await match(["tagged", "*"], none)).holds);
  assert.ok((await match(["final"], subject)).wantsFinal);
  assert.ok((await match(["!final"], subject)).wantsFinal);
  let asked = 0;
  const exec = () => Promise.resolve(++asked > 0);
  await match(splitWords("host other exec x"), { ...subject, exec });
  assert.equal(asked, 0, "nothing is run where the answer is known");
});

test("a tag is set by a file or by -P, and picks what is meant", async () => {
  const config =
    "Host target\n  Tag work\nMatch tagged work\n  Port 7\nMatch tagged home\n  Port 8\n";
  assert.equal((await host(config)).port, 7);
  assert.equal((await host(config, { tag: "home" })).port, 8);
});

test("a command of Match exec that does not end is ended with all it started", async () => {
  const mark = `${process.pid % 10_000 + 10_000}`;
  const begin = performance.now();
  const late = succeeds(`sleep ${mark} & sleep ${mark}; true`, { deadline: 300 });
  await assert.rejects(late, /it takes more than 0.3 s/);
  assert.ok(performance.now() - begin < 5_000);
  const left = () =>
    processes().filter(({ name }) => name === "sleep").filter(({ pid }) =>
      spawnSync("ps", ["-o", "args=", "-p", String(pid)], { encoding: "utf8" }).stdout.includes(
        mark,
      )
    );
  await waitFor(() => left().length === 0);
  const stop = new AbortController();
  const aborted = succeeds("sleep 60", { signal: stop.signal });
  stop.abort();
  await assert.rejects(aborted, /it was given up/);
  await assert.rejects(succeeds("kill -TERM $$"), /it was ended by SIGTERM/);
});

test("Match exec uses the user's shell", async () => {
  const { SHELL } = process.env;
  try {
    process.env["SHELL"] = "/bin/false";
    assert.equal(await succeeds("true"), false);
    process.env["SHELL"] = "";
    assert.equal(await succeeds("true"), true);
    process.env["SHELL"] = "/no/shell";
    await assert.rejects(succeeds("true"), /\/no\/shell/);
  } finally {
    if (SHELL === undefined) delete process.env["SHELL"];
    else process.env["SHELL"] = SHELL;
  }
});

test("Include finds what a shell would", () => {
  files({ "d/a1": "", "d/a2": "", "d/b[1]": "", "d/.a3": "", "e/a1": "" });
  const found = (path: string) =>
    includedFiles(join(folder.path, path), true).map((file) => file.slice(folder.path.length + 1));
  assert.deepEqual(found("d/a*"), ["d/a1", "d/a2"]);
  assert.deepEqual(found("?/a1"), ["d/a1", "e/a1"]);
  assert.deepEqual(found("d/a[!1]"), ["d/a2"]);
  assert.deepEqual(found("d/[ab]*"), ["d/a1", "d/a2", "d/b[1]"]);
  assert.deepEqual(found("d/.a*"), ["d/.a3"]);
  assert.deepEqual(found("none*/x"), []);
  assert.throws(() => includedFiles("~/x", false), /a system file cannot include/);
});

test("Include goes 16 deep, and a file that includes itself is told", async () => {
  const chain = Object.fromEntries(Array.from({ length: 17 }, (_, depth) => [
    `chain${depth}`,
    depth === 16 ? "Port 7\n" : `Include ${folder.path}/chain${depth + 1}\n`,
  ]));
  const read = (configFile: string) => readHost({ ...emptySettings(), host: "a", configFile });
  assert.equal((await read(files(chain))).port, 7);
  const loop = files({ loop: `Include ${folder.path}/loop\n` });
  await assert.rejects(read(loop), /loop:1: Include: files include each other more than 16 deep$/);
});

test("a file that is too large, a folder and a missing -F are told", async () => {
  const read = (configFile: string) => readHost({ ...emptySettings(), host: "a", configFile });
  const large = files({ large: `# ${"x".repeat(5_000_000)}\n` });
  await assert.rejects(read(large), /large: it is too large for a configuration$/);
  await assert.rejects(read(folder.path), /: it is a folder$/);
  await assert.rejects(
    read(join(folder.path, "no")),
    /^UsageError: -F .*\/no: there is no such file/,
  );
});

test("included files that others can write are refused", async () => {
  const configFile = files({ config: `Include ${folder.path}/open\n`, open: "Port 7\n" });
  const read = () => readHost({ ...emptySettings(), host: "a", configFile });
  assert.equal((await read()).port, 7);
  chmodSync(join(folder.path, "open"), 0o646);
  await assert.rejects(read(), {
    message: /open: bad owner or permissions$/,
    hint: /^nobody else may be able to write it: chmod go-w '.*open'$/,
  });
});

const root = process.getuid?.() === 0 ? {} : { skip: "only root gives files away" };

test("who includes a file of another user is told to take it over", root, async () => {
  const configFile = files({ config: `Include ${folder.path}/theirs\n`, theirs: "Port 7\n" });
  chownSync(join(folder.path, "theirs"), 65_534, 65_534);
  await assert.rejects(readHost({ ...emptySettings(), host: "a", configFile }), {
    message: /theirs: bad owner or permissions$/,
    hint: /^it must belong to you or to root: chown \S+ '.*theirs'$/,
  });
});

test("a file of another user is refused, and one of a group that holds others", root, () => {
  const path = files({ owned: "" });
  chownSync(path, 65_534, 65_534);
  assert.ok(!onlyUserWrites(statSync(path)));
  chownSync(path, 0, 1);
  assert.ok(onlyUserWrites(statSync(path)));
  chmodSync(path, 0o660);
  assert.ok(!onlyUserWrites(statSync(path)), "daemon's group holds daemon");
  chownSync(path, 0, 0);
  assert.ok(onlyUserWrites(statSync(path)), "root is alone in its group");
});
