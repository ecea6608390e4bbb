/** docs/ssh_config.md says what the tables in the code say, and names tests that there are. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { RULES } from "../lib/cli/rules.ts";
import { dumpedKeywords } from "../lib/ssh_config/dump.ts";
import { ALIASES, KEYWORDS } from "../lib/ssh_config/keyword_table.ts";
import { LETTERS } from "../lib/ssh_config/letters.ts";
import { ROOT } from "./support/fairlead.ts";

/** The getopt string of OpenSSH's ssh.c. */
const SSH_OPTIONS = "1246ab:c:e:fgi:kl:m:no:p:qstvxAB:CD:E:F:GI:J:KL:MNO:P:Q:R:S:TVw:W:XYy";

/** All that ssh_config(5) lists, from OpenSSH 9.2 to 10. */
const MANUAL = `Host Match Include AddKeysToAgent AddressFamily BatchMode BindAddress BindInterface
CanonicalDomains CanonicalizeFallbackLocal CanonicalizeHostname CanonicalizeMaxDots
CanonicalizePermittedCNAMEs CASignatureAlgorithms CertificateFile ChannelTimeout CheckHostIP Ciphers
ClearAllForwardings Compression ConnectionAttempts ConnectTimeout ControlMaster ControlPath
ControlPersist DynamicForward EnableEscapeCommandline EnableSSHKeysign EscapeChar
ExitOnForwardFailure FingerprintHash ForkAfterAuthentication ForwardAgent ForwardX11
ForwardX11Timeout ForwardX11Trusted GatewayPorts GlobalKnownHostsFile GSSAPIAuthentication
GSSAPIDelegateCredentials HashKnownHosts HostbasedAcceptedAlgorithms HostbasedAuthentication
HostKeyAlgorithms HostKeyAlias HostName IdentitiesOnly IdentityAgent IdentityFile IgnoreUnknown
IPQoS KbdInteractiveAuthentication KbdInteractiveDevices KexAlgorithms KnownHostsCommand
LocalCommand LocalForward LogLevel LogVerbose MACs NoHostAuthenticationForLocalhost
NumberOfPasswordPrompts ObscureKeystrokeTiming PasswordAuthentication PermitLocalCommand
PermitRemoteOpen PKCS11Provider Port PreferredAuthentications ProxyCommand ProxyJump ProxyUseFdpass
PubkeyAcceptedAlgorithms PubkeyAuthentication RefuseConnection RekeyLimit RemoteCommand
RemoteForward RequestTTY RequiredRSASize RevokedHostKeys SecurityKeyProvider SendEnv
ServerAliveCountMax ServerAliveInterval SessionType SetEnv StdinNull StreamLocalBindMask
StreamLocalBindUnlink StrictHostKeyChecking SyslogFacility TCPKeepAlive Tag Tunnel TunnelDevice
UpdateHostKeys User UserKnownHostsFile VerifyHostKeyDNS VersionAddendum VisualHostKey
WarnWeakCrypto XAuthLocation`.split(/\s+/);

/** What shapes a file, and is no value. */
const STRUCTURE = ["Host", "Match", "Include"];
const WORDS = { honoured: "honoured", accepted: "ignored", refused: "refused" };

const PAGE = readFileSync(join(ROOT, "docs", "ssh_config.md"), "utf8");

/** The rows of the table below a heading: name, policy, and the rest. */
function table(heading: string): Map<string, [policy: string, text: string]> {
  const section = PAGE.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("|")).slice(2);
  return new Map(rows.map((row) => {
    const [, name = "", policy = "", text = ""] = row.split(/(?<!\\)\|/).map((cell) => cell.trim());
    return [name.replaceAll("`", ""), [policy, text.replaceAll("\\|", "|")]];
  }));
}

test("every keyword of ssh_config(5) has its policy, in the code as on the page", () => {
  const rows = table("Keywords");
  assert.deepEqual([...rows.keys()].sort(), [...MANUAL].sort());
  assert.deepEqual([...Object.keys(KEYWORDS), ...STRUCTURE].sort(), [...MANUAL].sort());
  for (const [name, { policy, reason }] of Object.entries(KEYWORDS)) {
    const [written, text] = rows.get(name) ?? [];
    assert.equal(written, WORDS[policy], name);
    if (policy === "accepted" || policy === "refused") assert.equal(text, reason, name);
  }
  for (const name of STRUCTURE) assert.equal(rows.get(name)?.[0], "honoured");
  for (const name of Object.values(ALIASES)) assert.ok(name in KEYWORDS, name);
});

test("every test that the page names is in its file", () => {
  let named = 0;
  for (const [keyword, [policy, text]] of table("Keywords")) {
    const [, file, name] = /`(tests\/[\w/]+\.ts)`: (.+)$/.exec(text) ?? [];
    if (policy === "honoured") assert.ok(file !== undefined, `${keyword} names no test`);
    if (file === undefined || name === undefined) continue;
    const source = readFileSync(join(ROOT, file), "utf8");
    const about = name.replace(/^-G agrees with ssh -G: /, "");
    // The corpus names its tests by what each configuration is about.
    const wanted = about === name ? `"${name}"` : `about: "${about}"`;
    assert.ok(source.includes(wanted), `${keyword}: there is no test ${wanted} in ${file}`);
    named++;
  }
  assert.ok(named >= 50);
});

test("-G prints every keyword that is honoured or read, but what is no value", () => {
  const expected = Object.entries(KEYWORDS)
    .filter(([, { policy }]) => policy === "honoured")
    .map(([name]) => name).filter((name) => name !== "RefuseConnection");
  assert.deepEqual(dumpedKeywords().sort(), expected.sort());
});

test("every letter of ssh's has its policy, in the code as on the page", () => {
  const rows = table("Letters");
  const letters = [...SSH_OPTIONS.matchAll(/(\w)(:?)/g)];
  const names = letters.map(([, letter]) => `-${letter}`).sort();
  assert.deepEqual([...rows.keys()].sort(), names);
  assert.deepEqual(Object.keys(LETTERS).sort(), names);
  for (const [, letter, colon] of letters) {
    const { policy, argument, reason, keyword } = LETTERS[`-${letter}`] ?? {};
    const [written, text = ""] = rows.get(`-${letter}`) ?? [];
    assert.equal(written, WORDS[policy ?? "refused"], letter);
    assert.equal(argument !== undefined, colon === ":", `-${letter} takes an argument or none`);
    if (reason !== undefined) assert.equal(text, reason);
    if (keyword !== undefined) {
      assert.ok(text.startsWith(keyword), letter);
      assert.ok(keyword in KEYWORDS);
    }
  }
});

test("the page and README name every long option of our own", () => {
  const [, paragraph = ""] = /^Long options of our own: ([^;]+);/m.exec(PAGE) ?? [];
  const named = [...paragraph.matchAll(/`(--[\w-]+)`/g)].map(([, name]) => name);
  const own = RULES.flatMap(({ flags }) => /^--[\w-]+/.exec(flags) ?? []);
  assert.deepEqual(named, own);
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  const table = readme.split("\n").filter((line) => line.startsWith("| `")).join("\n");
  for (const name of own) assert.match(table, new RegExp(`\`${name}[ \`]`), name);
});
