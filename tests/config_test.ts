/** What a fairlead.yaml that is right means. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ConfigFile, readConfig } from "../lib/config/load.ts";
import { secretsOf } from "../lib/config/secrets.ts";
import { selectTunnels } from "../lib/config/select.ts";
import { settingsOf } from "../lib/config/settings_of.ts";
import type { TunnelConfig } from "../lib/config/tunnel_config.ts";
import { formatForward } from "../lib/forward/spec.ts";

const PIN = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

function read(text: string, environment: Record<string, string> = {}): ConfigFile {
  return readConfig(text, {
    ...{ path: "/p/fairlead.yaml", shown: "fairlead.yaml", home: "/home/u", environment },
  });
}

/** A tunnel of a file with one, from the lines of its keys. */
function tunnel(keys: string, environment: Record<string, string> = {}): TunnelConfig {
  const lines = keys.split("\n").map((line) => `    ${line}\n`).join("");
  const [one] = read(`version: 1\ntunnels:\n  mail:\n    host: h\n${lines}`, environment).tunnels;
  return one as TunnelConfig;
}

/** Its keywords of ssh_config, as -o writes them. */
function keywords({ keywords }: TunnelConfig): string[] {
  return keywords.map(({ keyword, words }) => `${keyword}=${words.join(" ")}`);
}

function forwards(...items: string[]): string[] {
  const text = ["forwards:", ...items.map((item) => `  - ${item}`)].join("\n");
  return tunnel(text).forwards.map(({ kind, spec }) => `${kind} ${formatForward(spec)}`);
}

/** What is wrong with a file. */
function mistakes(text: string, environment: Record<string, string> = {}): string {
  try {
    read(text, environment);
  } catch (error) {
    return (error as Error).message;
  }
  return assert.fail("it was read");
}

test("host is a name, an alias, or a URL, with the user and the port in it or beside it", () => {
  const all = read(`
version: 1
tunnels:
  a: { host: alias }
  b: { host: me@h.example.com, port: 2222 }
  c: { host: "ssh://me@h.example.com:2222" }
  d: { host: "ssh://[2001:db8::1]", user: me }
  e: { host: "me@2001:db8::1" }
  f: { host: "ssh://me@h:22", user: me, port: 22 }
`).tunnels;
  assert.deepEqual(all.map((one) => [one.host, ...keywords(one)]), [
    ["alias"],
    ["h.example.com", "User=me", "Port=2222"],
    ["h.example.com", "User=me", "Port=2222"],
    ["2001:db8::1", "User=me"],
    ["2001:db8::1", "User=me"],
    ["h", "User=me", "Port=22"],
  ]);
});

test("each key has the meaning of its keyword of ssh_config", () => {
  const one = tunnel(`user: me
port: "2222"
jump: [a, "u@b:22"]
identity: [~/.ssh/id, keys/id%h, none]
certificate: id-cert.pub
knownHosts: [./known_hosts, /etc/known]
hostKeyPolicy: accept-new
keepalive: 1500ms
keepaliveCount: 4
connectTimeout: 1m30s
agent: none
identitiesOnly: yes
batchMode: true
sshConfig: ./config
options: { Compression: yes, IPQoS: lowdelay throughput, ConnectionAttempts: 3 }`);
  assert.deepEqual(keywords(one), [
    "User=me",
    "Port=2222",
    "ProxyJump=a,u@b:22",
    "IdentityFile=/home/u/.ssh/id",
    "IdentityFile=/p/keys/id%%h",
    "IdentityFile=none",
    "CertificateFile=/p/id-cert.pub",
    "UserKnownHostsFile=/p/known_hosts /etc/known",
    "StrictHostKeyChecking=accept-new",
    "ServerAliveInterval=2",
    "ConnectTimeout=90",
    "ServerAliveCountMax=4",
    "IdentityAgent=none",
    "IdentitiesOnly=yes",
    "BatchMode=yes",
    ...["Compression=yes", "IPQoS=lowdelay throughput", "ConnectionAttempts=3"],
  ]);
  assert.equal(one.configFile, "/p/config");
  const { port, user, serverAliveInterval, proxyJump } = settingsOf(one);
  assert.deepEqual([port, user, serverAliveInterval, proxyJump], [2222, "me", 2, "a,u@b:22"]);
});

test("policies have names of their own, and ssh's words for them", () => {
  for (const [policy, word] of [["strict", "yes"], ["ask", "ask"], ["off", "no"]] as const) {
    const one = tunnel(`hostKeyPolicy: ${policy}`);
    assert.deepEqual(keywords(one), [`StrictHostKeyChecking=${word}`]);
  }
});

test("durations and sizes have units, and numbers are seconds and bytes", () => {
  const { session } = tunnel(`wait: true
retry: 7
retryFor: 1h30m
park: 500ms
idleTimeout: 1.5
connections: auto
windowBudget: 64MiB`);
  assert.deepEqual(session, {
    ...{ wait: true, retries: 7, retryFor: 5_400_000, park: 500, idleTimeout: 1_500 },
    ...{ connections: "auto", windowBudget: 64 * 1024 * 1024 },
  });
  const session2 = tunnel("park: 0\nwindowBudget: 4096\nconnections: 16\nwait: no").session;
  assert.deepEqual(session2, { wait: false, park: 0, connections: 16, windowBudget: 4096 });
  assert.deepEqual(keywords(tunnel("keepalive: off")), ["ServerAliveInterval=0"]);
});

test("every kind of forward has the short form of ssh and the long one", () => {
  assert.deepEqual(
    forwards(
      "local: 1100:mail.example.com:110",
      "{ local: 1101, to: 'mail.example.com:110' }",
      "{ name: db, local: 0, to: 'db.internal:5432' }",
      "local: web=0:web.internal:80",
      "{ local: '[::1]:1102', to: '[2001:db8::1]:110' }",
      "{ local: '*:1103', to: 'h:1' }",
      "remote: 8080:localhost:3000",
      "{ remote: 'localhost:8081', to: 'localhost:3000' }",
      "remote: 1080",
      "dynamic: 1080",
      "dynamic: '127.0.0.1:1081'",
      "{ name: socks, dynamic: 0 }",
    ),
    [
      ...["local 1100:mail.example.com:110", "local 1101:mail.example.com:110"],
      ...["local db=0:db.internal:5432", "local web=0:web.internal:80"],
      ...["local [::1]:1102:[2001:db8::1]:110", "local *:1103:h:1"],
      ...["remote 8080:localhost:3000", "remote localhost:8081:localhost:3000", "remote 1080"],
      ...["dynamic 1080", "dynamic 127.0.0.1:1081", "dynamic socks=0"],
    ],
  );
});

test("Unix sockets of this machine are relative to the file, those of the server are not", () => {
  assert.deepEqual(
    forwards(
      "local: /run/a.sock:db:5432",
      "{ local: ./b.sock, to: var/run/docker.sock }",
      "{ local: ~/c.sock, to: /var/run/docker.sock }",
      "{ local: '[/run/d:1.sock]', to: 'db:5432' }",
      "remote: /srv/e.sock:/run/e.sock",
      "{ remote: srv/f.sock, to: ./f.sock }",
    ),
    [
      ...["local /run/a.sock:db:5432", "local /p/b.sock:var/run/docker.sock"],
      ...["local /home/u/c.sock:/var/run/docker.sock", "local [/run/d:1.sock]:db:5432"],
      ...["remote /srv/e.sock:/run/e.sock", "remote srv/f.sock:/p/f.sock"],
    ],
  );
});

test("what ssh_config forwards for the host is not forwarded, but what the file says", () => {
  const { clearAllForwardings, forwards } = settingsOf(tunnel("forwards: [dynamic: 1080]"));
  assert.deepEqual([clearAllForwardings, forwards], [true, []]);
});

test("variables are put in, with defaults, and $${ is no variable", () => {
  const one = tunnel(
    "user: ${NAME}\nport: ${PORT:-2222}\ngroups: ['${EMPTY:-a}.${EMPTY}.${SET:-x}${NONE:-}']\noptions:\n  RemoteCommand: $${NAME}",
    { NAME: "me", EMPTY: "", SET: "1" },
  );
  assert.deepEqual(keywords(one), ["User=me", "Port=2222", "RemoteCommand=${NAME}"]);
  assert.deepEqual(one.groups, ["a..1"]);
});

test("what a variable holds is text: it cannot become YAML, nor another variable", () => {
  const evil = "x\n    port: 99\n    password: env:P # ${OTHER} *a &b !c {d: e} [f]";
  const one = tunnel("user: ${EVIL}\nidentity: ${EVIL2}", {
    EVIL: evil,
    EVIL2: "[a, b]",
    OTHER: "o",
  });
  assert.deepEqual(keywords(one), [`User=${evil}`, "IdentityFile=/p/[a, b]"]);
  assert.deepEqual(one.secrets, {});
  assert.match(
    mistakes("version: 1\ntunnels: { a: { host: h, port: '${P}' } }", { P: "22, user: x" }),
    /^fairlead\.yaml:2: tunnels\.a\.port: found "22, user: x": expected a number/,
  );
});

test("keys are no place for variables", () => {
  const text = "version: 1\ntunnels: { a: { host: h, '${KEY}': 22 } }";
  assert.match(mistakes(text, { KEY: "port" }), /tunnels\.a\.\$\{KEY\}: unknown key/);
});

test("a tunnel's own word counts, and not the defaults", () => {
  const [a, b, c, d] = read(`
version: 1
defaults:
  user: me
  port: 22
  knownHosts: ./known_hosts
  keepalive: 15s
  options: { Compression: no, TCPKeepAlive: no }
tunnels:
  a: { host: h }
  b: { host: "ssh://you@h:23", hostKey: "${PIN}" }
  c: { host: h, port: 24, options: { compression: yes, ServerAliveInterval: 3 } }
  d: { host: you@h, options: { Port: 25 } }
`).tunnels as [TunnelConfig, TunnelConfig, TunnelConfig, TunnelConfig];
  const files = "UserKnownHostsFile=/p/known_hosts";
  const rest = ["Compression=no", "TCPKeepAlive=no"];
  const alive = "ServerAliveInterval=15";
  assert.deepEqual(keywords(a), ["User=me", "Port=22", files, alive, ...rest]);
  assert.deepEqual(keywords(b), ["User=you", "Port=23", alive, ...rest]);
  assert.deepEqual(b.session, { hostKeys: [PIN] });
  assert.deepEqual(keywords(c), [
    ...["User=me", "Port=24", files, "compression=yes", "ServerAliveInterval=3", "TCPKeepAlive=no"],
  ]);
  assert.equal(settingsOf(d).port, 25);
  assert.equal(settingsOf(d).user, "you");
});

test("known_hosts files of a tunnel take the place of a host key of the defaults", () => {
  const [one] = read(
    `version: 1\ndefaults: { hostKey: "${PIN}" }\ntunnels: { a: { host: h, knownHosts: k } }`,
  ).tunnels;
  assert.deepEqual(one?.session, {});
  assert.deepEqual(keywords(one as TunnelConfig), ["UserKnownHostsFile=/p/k"]);
});

test("a jump that is a tunnel of the file leads through it, any other is a host", () => {
  const [bastion, a, b, c] = read(`
version: 1
tunnels:
  bastion: { host: b }
  a: { host: h, jump: bastion }
  b: { host: h, jump: [bastion], dependsOn: [a, bastion] }
  c: { host: h, jump: bastion.example.com }
`).tunnels;
  assert.deepEqual([bastion, a, b, c].map((one) => one?.via), [
    ...[undefined, "bastion", "bastion", undefined],
  ]);
  assert.deepEqual(a?.dependsOn, ["bastion"]);
  assert.deepEqual(b?.dependsOn, ["bastion", "a"]);
  // What ssh_config says of a jump host is not meant then.
  assert.deepEqual(keywords(a as TunnelConfig), ["ProxyJump=none"]);
  assert.deepEqual(keywords(c as TunnelConfig), ["ProxyJump=bastion.example.com"]);
});

test("the tunnel that the defaults lead all others through goes through none", () => {
  const [bastion, a] = read(
    "version: 1\ndefaults: { jump: bastion }\ntunnels: { bastion: { host: b }, a: { host: h } }",
  ).tunnels;
  assert.deepEqual([bastion?.via, a?.via], [undefined, "bastion"]);
});

test("host keys may stand in a variable, several of them, one a line", () => {
  const { session } = tunnel("hostKey: [env:KEYS]", { KEYS: `# ours\n${PIN}\r\n\n${PIN}\n` });
  assert.deepEqual(session.hostKeys, [PIN, PIN]);
});

test("a proxy with a password comes from a variable", () => {
  const { session } = tunnel("proxy: env:P", { P: "socks5://u:hunter2@h:1080" });
  assert.equal(session.proxy, "socks5://u:hunter2@h:1080");
  assert.equal(tunnel("proxy: env").session.proxy, "env");
});

test("each keyword knows the line that it is from, in the defaults as well", () => {
  const [one] = read(
    "version: 1\ndefaults:\n  port: 23\ntunnels:\n  a:\n    host: h\n    user: u\n",
  ).tunnels;
  assert.deepEqual(one?.keywords.map(({ where }) => where), [
    "fairlead.yaml:7: tunnels.a.user",
    "fairlead.yaml:3: defaults.port",
  ]);
  assert.equal(one?.where, "fairlead.yaml:5: tunnels.a");
});

test("what is read is plain JSON, and holds no secret's value", () => {
  const secrets = { PASSWORD: "hunter2", PHRASE: "hunter2", KEY: "hunter2" };
  const one = tunnel("password: env:PASSWORD\npassphrase: env:PHRASE\nidentity: env:KEY", secrets);
  assert.deepEqual(JSON.parse(JSON.stringify(one)), one);
  assert.ok(!JSON.stringify(one).includes("hunter2"));
  assert.deepEqual(one.secrets, {
    ...{ password: "PASSWORD", passphrase: "PHRASE", identities: ["KEY"] },
  });
});

test("secrets are looked up apart, with the agent of who asks", () => {
  const one = tunnel("password: env:A\npassphrase: env:B\nidentity: [env:C, file]");
  const environment = { A: "a", B: "", C: "c", SSH_AUTH_SOCK: "/agent" };
  assert.deepEqual(secretsOf(one, environment), {
    ...{ password: "a", passphrase: "", privateKeys: [{ name: "env:C", text: "c" }] },
    agent: "/agent",
  });
  assert.deepEqual(secretsOf(tunnel("port: 22"), { SSH_AUTH_SOCK: "" }), {});
  assert.throws(() => secretsOf(one, { A: "a", B: "b" }), {
    code: "config-invalid",
    message: "fairlead.yaml:3: tunnels.mail: the variable C is not set",
  });
});

const PROJECT = read(`
version: 1
tunnels:
  web: { host: h, dependsOn: [db, vpn], groups: [dev] }
  db: { host: h, jump: vpn, groups: [dev, data] }
  vpn: { host: h }
  mail: { host: h, groups: all }
`);
const selected = (...names: string[]) => selectTunnels(PROJECT, names).map(({ name }) => name);

test("names and groups choose tunnels, each once, after those that it depends on", () => {
  assert.deepEqual(selected(), ["vpn", "db", "web", "mail"]);
  assert.deepEqual(selected("web"), ["vpn", "db", "web"]);
  assert.deepEqual(selected("mail", "data", "vpn", "mail"), ["mail", "vpn", "db"]);
  assert.deepEqual(selected("dev"), ["vpn", "db", "web"]);
});

test("a name that is neither a tunnel nor a group is refused with the nearest", () => {
  assert.throws(() => selected("mial"), {
    message: 'fairlead.yaml has no tunnel and no group "mial"',
    hint: "did you mean mail?",
  });
  assert.throws(() => selected("zzzzzzz"), { hint: "it has web, db, vpn, mail" });
});
