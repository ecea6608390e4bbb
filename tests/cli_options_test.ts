/** ssh's grammar, letter by letter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Output } from "../lib/cli/output.ts";
import { type CommandLine, conclude, helpText, readCommandLine } from "../lib/cli/options.ts";
import type { Settings } from "../lib/ssh_config/settings.ts";
import { UsageError } from "../lib/errors.ts";
import { fairlead } from "./support/fairlead.ts";
import { emptyHome } from "./support/home.ts";

/** The getopt string of OpenSSH's ssh.c. */
const SSH_OPTIONS = "1246ab:c:e:fgi:kl:m:no:p:qstvxAB:CD:E:F:GI:J:KL:MNO:P:Q:R:S:TVw:W:XYy";

const TO_WEB = { listen: { port: 8080 }, destination: { host: "web", port: 80 } };
const WEB = { kind: "local", spec: TO_WEB } as const;

/** What these arguments ask for, without what they leave as it was. */
function read(...args: string[]): Partial<Settings> {
  const { settings } = readCommandLine(args);
  conclude(settings);
  const before = readCommandLine(["host"]).settings as unknown as Record<string, unknown>;
  const said = Object.entries(settings).filter(([name, value]) =>
    JSON.stringify(value) !== JSON.stringify(before[name])
  );
  return Object.fromEntries(said);
}

function refusal(...args: string[]): { message: string; hint: string } {
  try {
    conclude(readCommandLine(args).settings);
  } catch (error) {
    assert.ok(error instanceof UsageError, `${args.join(" ")}: ${error}`);
    assert.equal(error.code, "usage");
    return { message: error.message, hint: error.hint ?? "" };
  }
  throw new assert.AssertionError({ message: `${args.join(" ")} was not refused` });
}

test("options may stand before and after the destination", () => {
  const expected = { forwards: [WEB], sessionType: "none", port: 2222, logLevel: "debug" };
  assert.deepEqual(read("-N", "-v", "-p", "2222", "-L", "8080:web:80", "host"), expected);
  assert.deepEqual(read("host", "-N", "-v", "-p", "2222", "-L", "8080:web:80"), expected);
  assert.deepEqual(read("-N", "-p", "2222", "host", "-v", "-L", "8080:web:80"), expected);
});

test("options may be bundled, and a value may follow its letter at once", () => {
  assert.deepEqual(read("-NL", "8080:web:80", "host"), { sessionType: "none", forwards: [WEB] });
  assert.deepEqual(read("host", "-NvL8080:web:80", "-p2222"), {
    sessionType: "none",
    logLevel: "debug",
    forwards: [WEB],
    port: 2222,
  });
  assert.deepEqual(read("-vvv", "host"), { logLevel: "debug3" });
  assert.deepEqual(read("-vvvv", "host", "-v"), { logLevel: "debug3" });
  assert.deepEqual(read("-oPort=7", "-lme", "host"), { port: 7, user: "me" });
});

test("after -- nothing is an option, and a host may have any name", () => {
  assert.deepEqual(read("--", "demo"), { host: "demo" });
  assert.deepEqual(read("-N", "--", "demo"), { host: "demo", sessionType: "none" });
  assert.deepEqual(read("--", "host", "-N"), { command: "-N" });
  assert.match(refusal("--", "-N").message, /^"-N" is not a destination/);
});

test("a destination is [user@]host or an ssh URL", () => {
  const destinations: [string, Partial<Settings>][] = [
    ["me@web", { user: "me", host: "web" }],
    ["user@name@web", { user: "user@name", host: "web" }],
    ["::1", { host: "::1" }],
    ["[::1]", { host: "::1" }],
    ["me@fe80::1%eth0", { user: "me", host: "fe80::1%eth0" }],
    ["192.0.2.1", { host: "192.0.2.1" }],
    ["ssh://web", { host: "web" }],
    ["ssh://web/", { host: "web" }],
    ["ssh://me@web:2222", { user: "me", host: "web", port: 2222 }],
    ["ssh://[::1]:22", { host: "::1", port: 22 }],
    ["ssh://a%40b@[fe80::1]", { user: "a@b", host: "fe80::1" }],
  ];
  for (const [text, expected] of destinations) assert.deepEqual(read(text), expected, text);
});

test("a malformed destination is refused", () => {
  const malformed = ["", "-", "me@", "a b", "a\nb", "web:22", "[::1]:22", "[web", "ssh://"];
  for (const text of [...malformed, "ssh://web:x", "ssh://web/path", "ssh://::1"]) {
    const { message, hint } = refusal(text);
    assert.equal(message, `${JSON.stringify(text)} is not a destination: expected [user@]host`);
    assert.match(hint, /-p, or as in ssh:\/\/host:22/);
  }
  assert.match(refusal("@web").message, /the user name is empty/);
  assert.match(refusal("ssh://%zz@web").message, /user name/);
  assert.match(refusal("ssh://web:0").message, /port 0: expected a number from 1 to 65535/);
  assert.match(refusal("-N").message, /the destination is missing/);
  assert.match(refusal().message, /the destination is missing/);
});

test("what follows the host is a command, to its end", () => {
  assert.deepEqual(read("host", "uptime", "-p"), { command: "uptime -p" });
  assert.deepEqual(read("host", "-p", "7", "a", "-p  b", ""), { port: 7, command: "a -p  b " });
  assert.deepEqual(read("host", "--", "-x"), { command: "-x" });
  assert.deepEqual(read("-o", "RemoteCommand=a 'b  c' \\d", "host"), {
    remoteCommand: "a 'b  c' \\d",
    command: "a 'b  c' \\d",
  });
  assert.deepEqual(read("-o", "RemoteCommand=none", "host"), { remoteCommand: "none" });
  assert.deepEqual(read("host", ""), {});
  assert.match(refusal("-o", "RemoteCommand=a", "host", "b").message, /contradict/);
});

test("forwards of all kinds stay in their order, whoever asks for them", () => {
  const { forwards } = read(
    ...["-R", "0:web:80", "-D", "1080", "-L", "8080:web:80", "host", "-R", "1080"],
    ...["-o", "RemoteForward=/run/s web:80", "-o", "DynamicForward=*:7"],
  );
  assert.deepEqual(forwards, [
    { kind: "remote", spec: { listen: { port: 0 }, destination: TO_WEB.destination } },
    { kind: "dynamic", spec: { listen: { port: 1080 } } },
    WEB,
    { kind: "remote", spec: { listen: { port: 1080 } } },
    { kind: "remote", spec: { listen: { path: "/run/s" }, destination: TO_WEB.destination } },
    { kind: "dynamic", spec: { listen: { bind: "*", port: 7 } } },
  ]);
  assert.deepEqual(read("-L", "8080:web:80", "host", "-o", "ClearAllForwardings=yes"), {
    clearAllForwardings: true,
  });
});

test("-W means what it implies, unless something else is said", () => {
  const implied = { sessionType: "none", clearAllForwardings: true, exitOnForwardFailure: true };
  const stdioForward = { host: "::1", port: 22 };
  assert.deepEqual(read("-W", "[::1]:22", "-L", "8080:web:80", "host"), {
    stdioForward,
    ...implied,
  });
  assert.deepEqual(
    read("-W", "[::1]:22", "-D", "7", "host", "-o", "ClearAllForwardings=no"),
    {
      ...{ stdioForward, ...implied, clearAllForwardings: false },
      forwards: [{ kind: "dynamic", spec: { listen: { port: 7 } } }],
    },
  );
  assert.match(refusal("-W", "a:1", "-W", "b:2", "host").message, /^-W b:2: .*one -W$/);
  assert.match(refusal("-W", "a", "host").message, /^-W a: expected host:port$/);
  assert.match(refusal("-f", "-W", "a:1", "host").message, /contradict/);
});

test("-f, -n, -g and -E are keywords as well, as far as ssh has them", () => {
  assert.deepEqual(read("-f", "host"), { forkAfterAuthentication: true, stdinNull: true });
  assert.deepEqual(read("-o", "ForkAfterAuthentication=yes", "host"), {
    forkAfterAuthentication: true,
    stdinNull: true,
  });
  assert.deepEqual(read("-n", "host"), { stdinNull: true });
  assert.deepEqual(read("-o", "StdinNull=yes", "host"), { stdinNull: true });
  assert.deepEqual(read("-g", "host"), { gatewayPorts: true });
  assert.deepEqual(read("-o", "GatewayPorts=yes", "host"), { gatewayPorts: true });
  assert.deepEqual(read("-o", "GatewayPorts=no", "host"), { gatewayPorts: false });
  assert.deepEqual(read("-o", "GatewayPorts=clientspecified", "host"), { gatewayPorts: true });
  assert.deepEqual(read("-E", "a log", "host"), { logFile: "a log" });
  assert.deepEqual(read("-o", "SessionType=none", "host"), { sessionType: "none" });
  assert.deepEqual(read("-o", "SessionType=default", "host"), { sessionType: "default" });
  assert.match(refusal("-o", "SessionType=subsystem", "host").message, /starts no subsystem$/);
});

test("what concerns Unix sockets and reverse SOCKS is read", () => {
  assert.deepEqual(read("-o", "StreamLocalBindMask=0117", "host"), { streamLocalBindMask: 0o117 });
  assert.deepEqual(read("-o", "StreamLocalBindUnlink=yes", "host"), {
    streamLocalBindUnlink: true,
  });
  assert.match(refusal("-o", "StreamLocalBindMask=0199", "host").message, /an octal number/);
  const permit = (value: string) => read("-o", `PermitRemoteOpen=${value}`, "host");
  assert.deepEqual(permit("none"), { permitRemoteOpen: [] });
  assert.deepEqual(permit("any"), { permitRemoteOpen: ["any"] });
  assert.deepEqual(permit("web:80 *:443 [::1]:*"), {
    permitRemoteOpen: ["web:80", "*:443", "[::1]:*"],
  });
  for (const wrong of ["web", "web:http", "web:0", "::1:80"]) {
    assert.match(refusal("-o", `PermitRemoteOpen=${wrong}`, "host").message, /expected /, wrong);
  }
});

test("the first value of a keyword counts", () => {
  assert.deepEqual(read("-p", "1", "-o", "Port=2", "host"), { port: 1 });
  assert.deepEqual(read("-o", "Port=2", "host", "-p", "1"), { port: 2 });
  assert.deepEqual(read("-l", "me", "you@host"), { user: "me" });
  assert.deepEqual(read("you@host", "-l", "me"), { user: "you" });
  assert.deepEqual(read("-o", "BatchMode=no", "-o", "BatchMode=yes", "host"), { batchMode: false });
});

test("identities and forwards add up", () => {
  assert.deepEqual(read("-i", "/a", "-o", "IdentityFile=/b", "host", "-i", "/c"), {
    identityFiles: ["/a", "/b", "/c"],
  });
  const forwards = read("-L", "8080:web:80", "host", "-L", "0:db:1").forwards;
  const db = { listen: { port: 0 }, destination: { host: "db", port: 1 } };
  assert.deepEqual(forwards, [WEB, { kind: "local", spec: db }]);
});

test("-o takes a keyword in any case, and its value in all of ssh's forms", () => {
  for (const text of ["Port=7", "port 7", "PORT = 7", " Port=7 ", 'Port="7"', "Port\t'7'"]) {
    assert.deepEqual(read("-o", text, "host"), { port: 7 }, text);
  }
  assert.deepEqual(read("-o", 'User="a b"', "host"), { user: "a b" });
  assert.deepEqual(read("-o", "User=a\\ b", "host"), { user: "a b" });
  assert.deepEqual(read("-o", `UserKnownHostsFile=/a "/b c" '/d "e"'`, "host"), {
    userKnownHosts: ["/a", "/b c", '/d "e"'],
  });
  assert.deepEqual(read("-o", "UserKnownHostsFile=none", "host"), { userKnownHosts: [] });
  for (const text of ["8080 web:80", "8080:web:80", "8080\t web:80"]) {
    assert.deepEqual(read("-o", `LocalForward=${text}`, "host"), { forwards: [WEB] });
  }
  assert.deepEqual(read("-o", "HostName=10.0.0.1", "web").hostName, "10.0.0.1");
  assert.deepEqual(read("web", "-o", "HostName=10.0.0.1").hostName, "10.0.0.1");
});

test("a malformed -o is refused with what was expected", () => {
  const refusals: [string, RegExp][] = [
    ["Port", /^-o Port: expected Keyword=value$/],
    ["Port=", /^-o Port=: the value is missing$/],
    ["HostName = ", /^-o HostName = : the value is missing$/],
    ["=7", /^-o =7: expected Keyword=value$/],
    ['User=""', /^-o User="": the value is missing$/],
    ['User="a', /^-o User="a: the quote " is not closed$/],
    ["User=a b", /^-o User=a b: expected one value; one with spaces needs quotes$/],
    ["LocalForward=1 a:1 b:1", /expected \[bind:\]port host:hostport$/],
    ["Port=web", /^-o Port=web: expected a number from 1 to 65535$/],
    ["ConnectTimeout=soon", /expected a time, such as 30 or 1h30m$/],
    ["BatchMode=perhaps", /expected one of yes, no, true, false$/],
    ["StrictHostKeyChecking=maybe", /expected one of yes, ask, accept-new, no$/],
    ["AddressFamily=ipx", /expected one of any, inet, inet6$/],
    ["LogLevel=loud", /expected one of quiet, /],
    ["Ciphers=rot13", /unknown cipher algorithm "rot13"$/],
    ["BindAddress=$(id)", /expected an address of this machine, or a name of it$/],
    ["ForwardAgent=yes", /forwards ports, not the agent$/],
    ["RequestTTY=force", /opens no terminal$/],
    ["KnownHostsCommand=/bin/x", /^-o KnownHostsCommand=.*: fairlead takes host keys from files/],
    ["CanonicalizeHostname=yes", /canonical form/],
    ["Host=a", /^-o Host: it has a meaning in a file alone$/],
  ];
  for (const [text, message] of refusals) {
    assert.match(refusal("-o", text, "host").message, message);
  }
  assert.deepEqual(refusal("-o", "Prot=22", "host"), {
    message: "-o Prot: no such option",
    hint: "did you mean Port?",
  });
  assert.match(refusal("-o", "Nonsense=1", "host").hint, /ssh_config\(5\)/);
});

test("-4, -6, -b, -c and -m set what the connection uses", () => {
  assert.deepEqual(read("-4", "host"), { addressFamily: "inet" });
  assert.deepEqual(read("host", "-6"), { addressFamily: "inet6" });
  assert.deepEqual(read("-b", "127.0.0.2", "host"), { bindAddress: "127.0.0.2" });
  assert.deepEqual(read("-c", "aes128-ctr,aes256-ctr", "-m", "+hmac-sha1", "host"), {
    ciphers: "aes128-ctr,aes256-ctr",
    macs: "+hmac-sha1",
  });
  assert.match(refusal("-c", "rot13", "host").message, /^-c rot13: unknown cipher algorithm/);
  assert.match(refusal("-m", "crc", "host").hint, /^choose among .*hmac-sha2-256/);
  assert.match(refusal("-b", "-x", "host").message, /^-b -x: expected an address of this/);
});

test("-4, -6, -b, -B, -c, -m and -g win over -o, and the last one counts", () => {
  const winning: [string[], object][] = [
    [["-4", "-6"], { addressFamily: "inet6" }],
    [["-o", "AddressFamily=inet6", "-4"], { addressFamily: "inet" }],
    [["-4", "-o", "AddressFamily=inet6"], { addressFamily: "inet" }],
    [["-b", "127.0.0.1", "-b", "127.0.0.2"], { bindAddress: "127.0.0.2" }],
    [["-o", "BindAddress=127.0.0.1", "-b", "127.0.0.2"], { bindAddress: "127.0.0.2" }],
    [["-o", "BindInterface=x", "-B", "lo"], { bindInterface: "lo" }],
    [["-o", "Ciphers=aes128-ctr", "-c", "aes256-ctr"], { ciphers: "aes256-ctr" }],
    [["-m", "hmac-sha2-256", "-m", "hmac-sha2-512"], { macs: "hmac-sha2-512" }],
    [["-o", "GatewayPorts=no", "-g"], { gatewayPorts: true }],
  ];
  for (const [args, expected] of winning) assert.deepEqual(read(...args, "host"), expected);
});

test("-v and -q say how much is said, and the later one counts", () => {
  assert.deepEqual(read("-q", "host"), { logLevel: "quiet" });
  assert.deepEqual(read("-qv", "host"), { logLevel: "debug" });
  assert.deepEqual(read("-v", "host", "-q"), { logLevel: "quiet" });
});

test("--help, --version and --json are known by their names", () => {
  const show = (...args: string[]): CommandLine["show"] => readCommandLine(args).show;
  assert.equal(show("--help"), "help");
  assert.equal(show("-V"), "version");
  assert.equal(show("--version"), "version");
  assert.equal(show("host", "-h"), "help");
  assert.deepEqual(read("--json", "host"), { json: true });
});

test("--help has at most 80 columns", () => {
  const long = helpText().split("\n").filter((line) => line.length > 80);
  assert.deepEqual(long, []);
});

test("every letter of ssh's is honoured, accepted, or refused with the reason", () => {
  const honoured = "46bBcDEfFGgiJLlMmNnOopPqQRSvVW";
  const accepted = "2aCekTx";
  const policies: string[] = [];
  for (const [, letter = "", colon] of SSH_OPTIONS.matchAll(/([A-Za-z0-9])(:?)/g)) {
    policies.push(letter);
    const values: Record<string, string> = {
      ...{ b: "127.0.0.1", c: "aes128-ctr", F: "none", L: "8080:web:80" },
      ...{
        B: "lo",
        J: "jump",
        O: "check",
        P: "tag",
        Q: "kex",
        m: "hmac-sha2-256",
        o: "Port=7",
        p: "7",
        D: "7",
        R: "7:web:80",
        W: "web:80",
      },
    };
    const args = colon === ":" ? [`-${letter}`, values[letter] ?? "value"] : [`-${letter}`];
    if (honoured.includes(letter)) {
      const { show } = readCommandLine([...args, "host"]);
      assert.ok(show !== undefined || Object.keys(read(...args, "host")).length > 0, letter);
    } else if (accepted.includes(letter)) {
      assert.deepEqual(read(...args, "host"), {}, letter);
    } else {
      const { message } = refusal(...args, "host");
      assert.match(message, new RegExp(`^-${letter}: .{15}`));
      assert.doesNotMatch(message, /unknown/);
    }
  }
  assert.equal(policies.length, SSH_OPTIONS.replaceAll(":", "").length);
  assert.match(refusal("-1", "host").message, /^-1: .*no longer supported$/);
  assert.match(refusal("-NA", "host").message, /^-A: .*not the agent$/);
  assert.match(refusal("host", "-O", "chek").message, /^-O chek: Invalid multiplex command$/);
});

test("an option that nobody knows is refused with a suggestion", () => {
  assert.deepEqual(refusal("-Z", "host"), {
    message: "unknown option -Z",
    hint: "fairlead --help lists what there is",
  });
  assert.equal(refusal("host", "-vZ").message, "unknown option -Z");
  assert.deepEqual(refusal("--jsno", "host"), {
    message: "unknown option --jsno",
    hint: "did you mean --json?",
  });
  assert.equal(refusal("--versoin").hint, "did you mean --version?");
  assert.equal(refusal("--json=yes", "host").message, "--json takes no value");
  assert.match(refusal("--local-forward", "host").hint, /--help/);
});

test("a value that is missing is told by its option", () => {
  for (const letter of ["L", "p", "l", "i", "o", "F", "b", "c", "m", "e", "J"]) {
    assert.match(
      refusal("host", `-${letter}`).message,
      new RegExp(`^-${letter} <\\w+>: the value`),
    );
  }
  for (const letter of ["L", "p", "l", "i", "b", "c", "m"]) {
    assert.equal(refusal(`-${letter}`, "", "host").message, `-${letter}: the value is missing`);
  }
});

/** Each with the part of the message that tells what is wrong with it. */
const MALFORMED: [text: string, message: string][] = [
  ["8080", "expected [bind:]port:host:hostport"],
  ["8080:", "expected [bind:]port:host:hostport"],
  ["8080:web", "expected [bind:]port:host:hostport"],
  ["web:80", "expected [bind:]port:host:hostport"],
  [":::", "the listen port is missing"],
  ["::80", "the listen port is missing"],
  [":web:80", "the listen port is missing"],
  ["8080::80", "the host is missing"],
  ["8080:web:", "the destination port is missing"],
  ["web:80:8080", '"web" is not a listen port'],
  ["80x:web:80", '"80x" is not a listen port'],
  ["-1:web:80", '"-1" is not a listen port'],
  ["+80:web:80", '"+80" is not a listen port'],
  [" 80:web:80", '" 80" is not a listen port'],
  ["0x50:web:80", '"0x50" is not a listen port'],
  ["1e3:web:80", '"1e3" is not a listen port'],
  ["80.0:web:80", '"80.0" is not a listen port'],
  ["65536:web:80", '"65536" is not a listen port: expected a number from 0 to 65535'],
  ["8080:web:65536", '"65536" is not a destination port: expected a number from 1 to 65535'],
  ["8080:web:0", '"0" is not a destination port'],
  ["8080:web:http", '"http" is not a destination port'],
  ["8080:web:80 ", '"80 " is not a destination port'],
  ["8080:my web:80", '"my web" is not a host'],
  ["8080:-web:80", '"-web" is not a host'],
  ["8080:me@web:80", '"me@web" is not a host'],
  ["a,b:8080:web:80", '"a,b" is not a bind address'],
  ["8080:*:80", '"*" is not a host'],
  ["8080:::1:80", "an IPv6 address needs brackets, as in [::1]"],
  ["::1:8080:web:80", "an IPv6 address needs brackets, as in [::1]"],
  ["a:b:8080:web:80", "an IPv6 address needs brackets, as in [::1]"],
  ["8080:[::1:80", '"[" without "]"'],
  ["8080:[::1]x:80", 'text after "]"'],
  ["8080:[]:80", "empty brackets"],
  ["[]:8080:web:80", "empty brackets"],
  ["8080:[::1]", "expected [bind:]port:host:hostport"],
  ["8080:/tmp/socket:80", '"/tmp/socket" is not a host'],
  ["8080 web:80", "expected [bind:]port:host:hostport"],
  ["8080:w\x1bb:80", "is not a host"],
  ["my name=8080:web:80", '"my name=8080" is not a listen port'],
];

test("a malformed -L is refused with what is wrong with which part", () => {
  for (const [text, expected] of MALFORMED) {
    const { message } = refusal("-L", text, "host");
    assert.ok(message.startsWith(`-L ${text}: `), message);
    assert.ok(message.includes(expected), message);
  }
});

test("a malformed -L ends with status 2 and one line", async () => {
  await using home = await emptyHome();
  const named = ["8080:web", "8080:::1:80", ":::", "8080:w\x1bb:80"];
  const chosen = MALFORMED.filter(([text]) => named.includes(text));
  assert.equal(chosen.length, named.length);
  for (const [text, expected] of chosen) {
    const { status, stdout, stderr } = await fairlead(["-L", text, "host"], { env: home.env });
    assert.deepEqual([status, stdout], [2, ""]);
    assert.match(stderr, /^fairlead: -L [\x20-\x7e]*\n$/);
    assert.ok(stderr.includes(expected), stderr);
  }
});

test("-vvv shows where the program failed, and not where it found a mistake in what was written", () => {
  const lines: string[] = [];
  const err = (line: string) => void lines.push(line);
  const output = new Output({ verbosity: 3, json: false }, { color: false, out: err, err });
  output.error(new UsageError("-p x: no port"), 2);
  assert.deepEqual(lines, ["fairlead: -p x: no port"]);
  output.error(new Error("broken"), 255);
  assert.ok(lines.some((line) => /^\s+at /.test(line)), lines.join("\n"));
  new Output({ verbosity: -1, json: false }, { color: false, out: err, err });
});

test("what happens to a lost link is said in numbers and in times of ssh_config", () => {
  assert.deepEqual(
    read("--wait", "--retry", "7", "--retry-for", "1h30m", "host", "--park=0", "--idle-timeout=5m"),
    { wait: true, retries: 7, retryFor: 5_400_000, park: 0, idleTimeout: 300_000 },
  );
  assert.deepEqual(read("--retry=0", "--retry-for", "90s", "--park", "45", "host"), {
    retries: 0,
    retryFor: 90_000,
    park: 45_000,
  });
  assert.deepEqual(
    read("--retry", "1", "host", "--retry", "2"),
    { retries: 1 },
    "the first counts",
  );
});

test("--no-system-crypto leaves the system's libcrypto alone", () => {
  assert.deepEqual(read("--no-system-crypto", "host"), { systemCrypto: false });
  assert.deepEqual(read("host"), {});
  assert.equal(refusal("--no-system-cryto", "host").hint, "did you mean --no-system-crypto?");
});

test("a number or a time that is none is refused with what was expected", () => {
  const TIME = "expected a time, such as 30 or 1h30m";
  assert.equal(refusal("--park", "soon", "host").message, `--park soon: ${TIME}`);
  assert.equal(refusal("--retry-for", "-1", "host").message, `--retry-for -1: ${TIME}`);
  assert.equal(refusal("--idle-timeout", "1y", "host").message, `--idle-timeout 1y: ${TIME}`);
  assert.equal(refusal("--park", "", "host").message, "--park: the value is missing");
  assert.equal(refusal("--park", "9999w", "host").message.includes("at most 2147483647"), true);
  for (const wrong of ["-1", "1.5", "many", "2147483648", "99999999999"]) {
    const { message } = refusal("--retry", wrong, "host");
    assert.equal(message, `--retry ${wrong}: expected a number from 0 to 2147483647`);
  }
  assert.equal(refusal("--wait=1", "host").message, "--wait takes no value");
  assert.equal(refusal("host", "--retry").message, "--retry <n>: the value is missing");
});

test("a budget for windows is a number of bytes, large enough to work with", () => {
  assert.deepEqual(read("--window-budget", "16M", "host", "--window-budget=1G"), {
    windowBudget: 16 * 1024 * 1024,
  });
  const { message } = refusal("--window-budget", "much", "host");
  assert.equal(message, "--window-budget much: expected a number of bytes, such as 512M");
  assert.equal(
    refusal("--window-budget", "64", "host").message,
    "--window-budget 64: at least 65536 bytes are expected, not 64",
  );
});

test("connections are a number from 1 to 16, or auto", () => {
  assert.deepEqual(read("--connections", "3", "host"), { connections: 3 });
  assert.deepEqual(read("host", "--connections=auto", "--connections=2"), { connections: "auto" });
  for (const wrong of ["0", "17", "-1", "1.5", "many", "AUTO"]) {
    const { message } = refusal("--connections", wrong, "host");
    assert.equal(message, `--connections ${wrong}: expected a number from 1 to 16, or auto`);
  }
  assert.equal(refusal("--connections", "", "host").message, "--connections: the value is missing");
});

test("a misspelt option about lost links is guessed", () => {
  assert.equal(refusal("--parc", "1", "host").hint, "did you mean --park?");
  assert.equal(refusal("--retryfor", "1", "host").hint, "did you mean --retry-for?");
  assert.equal(refusal("--idle-timout=1", "host").hint, "did you mean --idle-timeout?");
});
