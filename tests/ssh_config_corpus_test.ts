/** `-G` says what the real `ssh -G` says, option by option, for each of these configurations. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import process from "node:process";
import { conclude, readCommandLine } from "../lib/cli/options.ts";
import { dumpConfig, dumpedKeywords } from "../lib/ssh_config/dump.ts";
import { readHost } from "../lib/ssh_config/host_config.ts";
import { withAccounts } from "./support/accounts.ts";
import { fairlead } from "./support/fairlead.ts";
import { emptyHome } from "./support/home.ts";
import { currentUser, need, run, skipUnless, type Stoppable, tempDir } from "./support/tools.ts";
import { skipUnlessAccounts } from "./support/accounts.ts";

/** One configuration; DIR in any of its texts is the test's own folder. */
interface Case {
  /** What it is about. */
  readonly about: string;
  readonly config: string;
  /** More files, by their names in the folder. */
  readonly files?: Readonly<Record<string, string>>;
  /** The arguments after -F; `target` when missing. */
  readonly args?: readonly string[];
}

const AES = "aes256-ctr,aes128-ctr";

const CORPUS: readonly Case[] = [
  { about: "an empty file", config: "" },
  { about: "comments and empty lines", config: "# a\n\n   # b\n\t\nPort 7 # c\n" },
  { about: "the first value", config: "Port 1\nPort 2\nUser a\nUser b\n" },
  { about: "keywords in any case", config: "pOrT 7\nUSER me\nhostname Web.Example.COM\n" },
  { about: "an equals sign", config: "Port=7\nUser = me\nHostName =web\nBatchMode= yes\n" },
  { about: "CRLF", config: "Host target\r\n  Port 7\r\n\r\n  User me\r\n" },
  { about: "no newline at the end", config: "Port 7\nUser me" },
  { about: "tabs and form feeds", config: "\tPort\t7\f\n\tUser\t \tme\f\n" },
  { about: "double quotes", config: 'User "a b"\nIdentityFile "/k/a b"\n"Port" 7\n' },
  { about: "single quotes", config: "User 'a b'\nIdentityFile '/k/a \"b\"'\n" },
  { about: "backslashes", config: 'User a\\ b\nIdentityFile /k/\\"a\\"\nHostKeyAlias a\\\\b\n' },
  { about: "a quote inside a word", config: 'User a"b c"d\nIdentityFile /k/"a b"/c\n' },
  { about: "a # inside a word, and after one", config: "User a#b\nHostKeyAlias x #y\n" },
  { about: "Host", config: "Host other\n  Port 1\nHost target\n  Port 2\nHost *\n  User me\n" },
  { about: "Host with wildcards", config: "Host ta??et\n  Port 2\nHost t*t\n  User me\n" },
  {
    about: "Host that is negated",
    config: "Host * !target\n  Port 1\nHost !other *\n  Port 2\nHost !other\n  User me\n",
  },
  { about: "several patterns", config: "Host a b target\n  Port 2\nHost a b\n  Port 3\n" },
  { about: "a Host in quotes", config: 'Host "target" "a b"\n  Port 2\n' },
  { about: "Host in another case", config: "Host TARGET\n  Port 2\nHost Target\n  Port 3\n" },
  {
    about: "Host after HostName",
    config: "Host target\n  HostName web\nHost web\n  Port 2\n",
  },
  { about: "HostName with %h", config: "HostName %h.example.com\nUser me\n" },
  { about: "HostName with %%", config: "HostName fe80::1%%eth0\n" },
  { about: "an IPv6 address", config: "HostName 2001:DB8:0::1\nAddressFamily inet6\n" },
  { about: "an address on the command line", config: "Host ::1\n  Port 7\n", args: ["::1"] },
  { about: "capitals on the command line", config: "Host Web\n  Port 7\n", args: ["Web"] },
  { about: "Match all", config: "Match all\n  Port 7\nMatch !all\n  User me\n" },
  {
    about: "Match host and originalhost",
    config: "HostName web\nMatch host WEB\n  Port 2\nMatch originalhost Target host w?b\n" +
      "  User me\nMatch host target\n  BatchMode yes\nMatch !host web\n  TCPKeepAlive no\n",
  },
  {
    about: "Match user and localuser",
    config: "Match user me\n  Port 2\nMatch localuser LOCALUSER\n  BatchMode yes\n" +
      "Match !user other,me\n  HashKnownHosts yes\nMatch localuser !LOCALUSER,*\n  TCPKeepAlive no\n",
    args: ["me@target"],
  },
  {
    about: "Match user that a file set",
    config: "User me\nMatch user m?\n  Port 2\nMatch user other,!me\n  Port 3\n",
  },
  {
    about: "Match exec",
    config:
      "Match exec true\n  Port 2\nMatch exec false\n  Port 3\nMatch !exec false\n  User me\n" +
      'Match exec "test %h = target -a %p = 2 -a %r = me -a %n = target"\n  BatchMode yes\n',
  },
  {
    about: "Match exec after what does not hold",
    config: 'Match host other exec "touch DIR/ran"\n  Port 2\n',
  },
  {
    about: "Match final",
    config: "HostName web\nHost web\n  Port 2\nMatch final host web\n  User me\n" +
      "Match !final\n  BatchMode yes\nMatch final all\n  TCPKeepAlive no\n" +
      "Match canonical\n  HashKnownHosts yes\n",
  },
  {
    about: "Match !final, which asks for a second pass as well",
    config: "HostName web\nMatch !final\n  BatchMode yes\nHost web\n  Port 2\n",
  },
  {
    about: "a second pass, which finds everything again",
    config: "Match final\n  User me\nHost *\n  IdentityFile /a\n  LocalForward 1 a:1\n" +
      "  RemoteForward 2 b:2\n  DynamicForward 3\n  CertificateFile /c\n",
  },
  {
    about: "several conditions",
    config: "Match host target user me\n  Port 2\n",
    args: ["target"],
  },
  {
    about: "Include",
    config: "Include DIR/a.conf\nPort 3\n",
    files: { "a.conf": "Port 2\nUser me\n" },
  },
  {
    about: "Include with wildcards, sorted",
    config: "Include DIR/conf.d/*.conf DIR/none/*\n",
    files: {
      "conf.d/20.conf": "Port 20\nUser b\n",
      "conf.d/10.conf": "Port 10\n",
      "conf.d/5.txt": "Port 5\n",
      "conf.d/.hidden.conf": "User hidden\n",
    },
  },
  {
    about: "Include in a Host",
    config:
      "Host other\n  Include DIR/a.conf\nHost target\n  Include DIR/b.conf\n  BatchMode yes\n",
    files: {
      "a.conf": "Port 2\nHost *\n  Port 3\nMatch exec true\n  User no\n",
      "b.conf": "User me\nHost other\n  Port 4\n",
    },
  },
  {
    about: "Include in Include",
    config: "Include DIR/a.conf\n",
    files: { "a.conf": 'Include "DIR/b c.conf"\nPort 1\n', "b c.conf": "Port 2\n" },
  },
  { about: "identities", config: "IdentityFile ~/a\nIdentityFile %d/b\nIdentityFile ~/a\n" },
  { about: "no identity", config: "IdentityFile none\nIdentitiesOnly yes\nCertificateFile /c\n" },
  {
    about: "identities of the command line",
    config: "IdentityFile /b\n",
    args: ["-i", "DIR/config", "target"],
  },
  { about: "an agent with tokens", config: "IdentityAgent ~/%h/%r/%p/${CORPUS_VARIABLE}\n" },
  { about: "no agent", config: "IdentityAgent none\n" },
  { about: "an agent of a variable", config: "IdentityAgent $CORPUS_VARIABLE\n" },
  {
    about: "known_hosts files with tokens",
    config: "Port 7\nUserKnownHostsFile ~/k_%h /k/%p_%n_%k ${CORPUS_VARIABLE}/%C /k/%%/%u/%i/%L\n" +
      "GlobalKnownHostsFile /a ~/b\n",
  },
  { about: "no known_hosts files", config: "UserKnownHostsFile none\nGlobalKnownHostsFile none\n" },
  {
    about: "host keys",
    config: "StrictHostKeyChecking accept-new\nHostKeyAlias WEB\nHashKnownHosts yes\n" +
      "RevokedHostKeys /revoked\nNoHostAuthenticationForLocalhost yes\n",
  },
  { about: "a file of revoked keys with tokens", config: "RevokedHostKeys ~/%h/%p\n" },
  { about: "StrictHostKeyChecking off", config: "StrictHostKeyChecking off\n" },
  { about: "StrictHostKeyChecking yes", config: "StrictHostKeyChecking yes\n" },
  {
    about: "authentication",
    config: "PasswordAuthentication no\nKbdInteractiveAuthentication no\nRequiredRSASize 3072\n" +
      "NumberOfPasswordPrompts 1\nPreferredAuthentications publickey,password\n",
  },
  { about: "no keys", config: "PubkeyAuthentication no\nChallengeResponseAuthentication no\n" },
  {
    about: "local forwards in all forms",
    config: "LocalForward 1080 web:80\nLocalForward 127.0.0.1:1081 [::1]:81\n" +
      "LocalForward [::1]:1082 web:82\nLocalForward *:1083 web:83\nLocalForward /run/a /run/b\n" +
      "LocalForward 1084 /run/%h\nLocalForward /run/${CORPUS_VARIABLE} web:85\n",
  },
  {
    about: "remote forwards in all forms",
    config: "RemoteForward 1080 web:80\nRemoteForward 0 web:81\nRemoteForward 1082\n" +
      "RemoteForward [::1]:1083\nRemoteForward /run/%p /run/%r\nRemoteForward *:1084 [::1]:84\n",
  },
  {
    about: "dynamic forwards, once each",
    config: "DynamicForward 1080\nDynamicForward localhost:1081\nDynamicForward 1080\n",
    args: ["-D", "1079", "-L", "1:a:1", "-D", "1080", "target"],
  },
  {
    about: "no forwards",
    config: "LocalForward 1 a:1\nClearAllForwardings yes\n",
    args: ["-R", "1:b:1", "target"],
  },
  { about: "-W", config: "LocalForward 1 a:1\n", args: ["-W", "web:1", "target"] },
  {
    about: "what concerns listeners",
    config: "GatewayPorts yes\nExitOnForwardFailure yes\nStreamLocalBindUnlink yes\n" +
      "StreamLocalBindMask 0117\nPermitRemoteOpen web:80 [::1]:* *:443\n",
  },
  { about: "PermitRemoteOpen none", config: "PermitRemoteOpen none\n" },
  { about: "ProxyJump", config: "ProxyJump a,me@b:23,ssh://you@c:24\n" },
  { about: "ProxyJump to addresses", config: "ProxyJump a,[2001:db8::1]:23\nProxyCommand x\n" },
  { about: "ProxyJump none, then ProxyCommand", config: "ProxyJump none\nProxyCommand nc %h %p\n" },
  { about: "ProxyCommand, then ProxyJump", config: "ProxyCommand nc '%h'  %p\nProxyJump a\n" },
  { about: "ProxyCommand none, then ProxyJump", config: "ProxyCommand none\nProxyJump a\n" },
  {
    about: "-J before ProxyCommand",
    config: "ProxyCommand x\n",
    args: ["-J", "a,10.0.0.1", "target"],
  },
  {
    about: "a jump host of the same name, where the name is another's alias",
    config: "Host target\n  HostName web\n",
    args: ["-J", "target,target", "target"],
  },
  { about: "a way that ends where it began", config: "", args: ["-J", "target,gate", "target"] },
  { about: "a ProxyCommand with an equals sign", config: "ProxyCommand=x --y=z\n" },
  {
    about: "equals signs and carriage returns where nobody expects them",
    config: "RemoteCommand ==a\nProxyCommand = \r=b\nUser\r=\r me\nIdentityAgent =\r/x\n",
  },
  {
    about: "Include that finds a folder",
    config: "Include DIR/folders/*\nInclude DIR/folders\nPort 7\n",
    files: { "folders/a/b": "Port 8\n", "folders/c": "User me\n" },
  },
  { about: "Match with equals signs", config: "Match host=target user=*\n  Port 7\n" },
  {
    about: "what concerns the connection",
    config: "AddressFamily inet\nBindAddress 127.0.0.1\nConnectTimeout 1m30s\n" +
      "ConnectionAttempts 3\nTCPKeepAlive no\n",
  },
  { about: "a timeout of 0", config: "ConnectTimeout 0\n" },
  { about: "a timeout longer than a timer", config: "ConnectTimeout 30d\n" },
  { about: "a name to connect from", config: "BindAddress localhost\n" },
  { about: "a port by its service's name", config: "Port ssh\n" },
  { about: "another port by its service's name", config: "", args: ["-p", "domain", "target"] },
  { about: "an unknown method", config: "PreferredAuthentications publickey,foo\n" },
  { about: "no timeout", config: "ConnectTimeout none\nRekeyLimit default none\n" },
  {
    about: "RekeyLimit",
    config: "RekeyLimit 1G 1h\nServerAliveInterval 1m\nServerAliveCountMax 7\n",
  },
  { about: "RekeyLimit in kilobytes", config: "RekeyLimit 512K\n" },
  {
    about: "algorithms in full",
    config: `Ciphers ${AES}\nMACs hmac-sha2-512\nKexAlgorithms ecdh-sha2-nistp256\n` +
      "HostKeyAlgorithms rsa-sha2-512,ssh-ed25519\n" +
      "CASignatureAlgorithms ssh-ed25519,rsa-sha2-512\n",
  },
  {
    about: "algorithms of the command line",
    config: "Ciphers aes192-ctr\nMACs hmac-sha2-256\n",
    args: ["-c", AES, "-m", "hmac-sha2-512,hmac-sha2-256", "target"],
  },
  {
    about: "the session",
    config: "SessionType none\nStdinNull yes\nForkAfterAuthentication no\nLogLevel verbose\n",
  },
  { about: "LogLevel DEBUG1", config: "LogLevel DEBUG1\n" },
  { about: "LogLevel QUIET", config: "LogLevel QUIET\nRemoteCommand none\n" },
  { about: "RemoteCommand", config: "RemoteCommand run 'a  b' %h %r@%n:%p %%\n" },
  {
    about: "sharing of a connection",
    config: "ControlMaster auto\nControlPath ~/.ssh/%r@%h:%p-%C\nControlPersist 10m\n",
  },
  { about: "sharing for good", config: "ControlMaster no\nControlPersist yes\nControlPath none\n" },
  {
    about: "keywords that nobody knows",
    config: "IgnoreUnknown Use*,My?ption\nUseKeychain yes\nMyOption 1 2\nPort 7\n",
  },
  {
    about: "what only a shell needs",
    config: "ForwardAgent yes\nForwardX11 yes\nSendEnv LANG LC_*\nSetEnv A=b\nRequestTTY yes\n" +
      "PermitLocalCommand yes\nLocalCommand echo %n\nEscapeChar none\nVisualHostKey yes\n" +
      "GSSAPIAuthentication yes\nCompression yes\nUpdateHostKeys no\nIPQoS af21\nPort 7\n",
  },
  {
    about: "the command line before the file",
    config: "Port 2\nUser a\nBatchMode yes\n",
    args: ["-p", "1", "-o", "BatchMode=no", "-l", "me", "target"],
  },
  {
    about: "letters that win over -o",
    config: "",
    args: ["-o", "AddressFamily=inet6", "-4", "-o", "BindAddress=127.0.0.1", "-b", "127.0.0.2"]
      .concat(["-o", "Ciphers=aes128-ctr", "-c", AES, "-o", "GatewayPorts=no", "-g", "target"]),
  },
  {
    about: "the last of several letters",
    config: "",
    args: ["-6", "-4", "-b", "::1", "-b", "127.0.0.1", "-m", "hmac-sha2-256"]
      .concat(["-m", "hmac-sha2-512", "-o", "AddressFamily=inet6", "target"]),
  },
  { about: "a URL", config: "Port 2\nUser a\n", args: ["ssh://me@target:3"] },
  { about: "-4, -g, -n, -N and -v", config: "", args: ["-4", "-g", "-n", "-N", "-v", "target"] },
];

/** They differ on purpose where nothing is said: each has what it supports, in its own order. */
const OWN_DEFAULTS = [
  ...["ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms"],
  "casignaturealgorithms",
  "identityfile",
  // ssh does not ask by itself; Debian's does, with BatchMode.
  "serveraliveinterval",
];

let folder: { path: string } & Stoppable;
const ssh = skipUnless("ssh");

before(async () => {
  folder = await tempDir();
  process.env["CORPUS_VARIABLE"] = "/variable";
  // ssh takes the home folder from the system, whatever the variable says.
  process.env["HOME"] = spawnSync("sh", ["-c", "eval echo ~$(id -un)"], { encoding: "utf8" })
    .stdout.trim();
});
after(() => folder.stop());

test("the corpus has at least 40 configurations", () => {
  assert.ok(CORPUS.length >= 40);
  assert.equal(new Set(CORPUS.map(({ about }) => about)).size, CORPUS.length);
});

for (const { about, config, files = {}, args = ["target"] } of CORPUS) {
  test(`-G agrees with ssh -G: ${about}`, ssh, async () => {
    const own = (text: string) =>
      text.replaceAll("DIR", folder.path).replaceAll("LOCALUSER", currentUser().name);
    for (const [name, text] of Object.entries(files)) write(join(folder.path, name), own(text));
    const file = join(folder.path, "config");
    write(file, own(config));
    const all = ["-F", file, ...args.map(own)];
    const asked = await run("ssh", ["-G", ...all]);
    assert.equal(asked.status, 0, asked.stderr);
    const said = `${config} ${args.join(" ")}`;
    assert.deepEqual(comparable(await dump(all), said), comparable(asked.stdout, said));
  });
}

test("a command of Match exec is not run after what does not hold", ssh, async () => {
  const { status } = await run("test", ["-e", join(folder.path, "ran")]);
  assert.equal(status, 1);
});

test("both refuse these", ssh, async () => {
  const file = join(folder.path, "config");
  const wrong = [
    ...[
      "Prot 7",
      "Port",
      "Port web",
      "Port 1 2",
      "User",
      'User "a',
      "Host",
      "Match",
      "Host *\nBad 1",
    ],
    ...["Match nonsense x", "Match host", "Match host a all b", "BatchMode perhaps", "Port 70000"],
    ...[
      "LocalForward 1",
      "LocalForward 1 a",
      "DynamicForward x",
      "RekeyLimit 3",
      "ConnectTimeout x",
    ],
    ...["IdentityAgent ${NOT_SET_AT_ALL}", "UserKnownHostsFile none /a", "Ciphers rot13"],
    ...[
      "HostName %x",
      "UserKnownHostsFile %x",
      "ProxyJump a:x",
      "LogLevel loud",
      "Host other\nPort x",
    ],
    ...[`Include ${folder.path}/config`, "Include", "StreamLocalBindMask 999", "HostName 'a b"],
    ...["PermitRemoteOpen web", "Match exec"],
  ];
  for (const config of wrong) {
    write(file, config);
    assert.equal((await run("ssh", ["-G", "-F", file, "target"])).status, 255, config);
    await assert.rejects(dump(["-F", file, "target"]), { code: "config-invalid" }, config);
  }
});

test(
  "without -F both read the user's file and what it includes from there, then the system's",
  { ...skipUnlessAccounts(), ...(ssh.skip === undefined ? {} : ssh) },
  async () => {
    await using home = await emptyHome();
    write(join(home.ssh, "config"), "Include conf.d/* other.conf\nHost *\n  Port 3\n");
    write(join(home.ssh, "conf.d", "10"), "Host target\n  User me\n");
    write(join(home.ssh, "other.conf"), "HostName web\nIdentityFile ~/.ssh/key\nInclude ~/more\n");
    write(join(home.path, "more"), "BatchMode yes\n");
    const accounts = { dir: folder.path, home: home.path };
    const [program = "", ...args] = await withAccounts([need("ssh"), "-G", "target"], accounts);
    // A ~ in an Include is looked up in the environment, even by ssh.
    const asked = await run(program, args, { env: home.env });
    assert.equal(asked.status, 0, asked.stderr);
    const told = await fairlead(["-G", "target"], { env: home.env });
    assert.equal(told.status, 0, told.stderr);
    const said = "IdentityFile";
    assert.deepEqual(comparable(told.stdout, said), comparable(asked.stdout, said));
    assert.match(told.stdout, /^user me\nhostname web\nport 3$/m);
  },
);

test(
  "both refuse a user's file that others can write",
  { ...skipUnlessAccounts(), ...(ssh.skip === undefined ? {} : ssh) },
  async () => {
    await using home = await emptyHome();
    const file = join(home.ssh, "config");
    write(file, "Port 3\n");
    chmodSync(file, 0o666);
    const accounts = { dir: folder.path, home: home.path };
    const [program = "", ...args] = await withAccounts([need("ssh"), "-G", "target"], accounts);
    const asked = await run(program, args);
    assert.match(asked.stderr, /Bad owner or permissions/);
    const told = await fairlead(["-G", "target"], { env: home.env });
    assert.equal(told.status, 2);
    assert.match(
      told.stderr,
      /^fairlead: .*\.ssh\/config: bad owner or permissions; .*chmod go-w '[^']*'\n$/,
    );
  },
);

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text, { mode: 0o600 });
}

async function dump(args: readonly string[]): Promise<string> {
  const { settings } = readCommandLine(args);
  const host = await readHost(settings);
  conclude(settings);
  return dumpConfig(host);
}

/** The lines that fairlead prints as well, and that the configuration decides. */
function comparable(text: string, said: string): string[] {
  const names = ["host", ...dumpedKeywords().map((name) => name.toLowerCase())];
  const letters: Record<string, string> = { ciphers: "-c ", macs: "-m ", identityfile: "-i " };
  const lower = said.toLowerCase();
  const decided = (name: string) =>
    !OWN_DEFAULTS.includes(name) || lower.includes(name) ||
    (letters[name] !== undefined && said.includes(letters[name]));
  // Keywords that this ssh does not know yet.
  const known = sshKnows();
  const lines = text.split("\n").filter((line) => {
    const [name = "", listen] = line.split(" ");
    // ssh prints local forwards to a Unix socket a second time, as dynamic ones.
    if (name === "dynamicforward" && text.includes(`\nlocalforward ${listen} /`)) return false;
    return names.includes(name) && known.has(name) && decided(name);
  });
  // The only one that has moved since OpenSSH 9.2.
  const moved = (line: string) => line.startsWith("revokedhostkeys ");
  return [...lines.filter((line) => !moved(line)), ...lines.filter(moved)];
}

let knownToSsh: ReadonlySet<string> | undefined;

function sshKnows(): ReadonlySet<string> {
  return knownToSsh ??= new Set(
    ["host", ...dumpedKeywords().map((name) => name.toLowerCase())].filter((name) => {
      const { stderr } = spawnSync("ssh", ["-G", "-F", "none", "-o", `${name}=none`, "h"], {
        encoding: "utf8",
      });
      return !/Bad configuration option/.test(stderr);
    }),
  );
}
