/** From ssh_config to what connect() takes, jump hosts included. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import process from "node:process";
import { readCommandLine } from "../lib/cli/options.ts";
import type { Prompter } from "../lib/ssh/prompter.ts";
import type { ConnectOptions } from "../lib/ssh/connect_options.ts";
import { dumpConfig } from "../lib/ssh_config/dump.ts";
import { readHost } from "../lib/ssh_config/host_config.ts";
import { connectOptions } from "../lib/ssh_config/jump.ts";
import { sessionOptions } from "../lib/ssh_config/session_options.ts";
import { emptySettings } from "../lib/ssh_config/settings.ts";
import { sshConfig } from "../lib/ssh_config/ssh_config.ts";
import type { SessionOptions } from "../lib/session/options.ts";
import { currentUser, type Stoppable, tempDir } from "./support/tools.ts";

let folder: { path: string } & Stoppable;
before(async () => {
  folder = await tempDir();
});
after(() => folder.stop());

/** What a configuration and a command line come to, without what is said of every host. */
async function options(config: string, ...args: string[]): Promise<Partial<ConnectOptions>> {
  return stripped(
    await connectOptions(await readHost(readCommandLine(argsFor(config, args)).settings)),
  );
}

function argsFor(config: string, args: string[]): string[] {
  const file = join(folder.path, "config");
  writeFileSync(file, config);
  return ["-F", file, ...(args.length === 0 ? ["target"] : args)];
}

/** Leaves out the defaults. */
function stripped(options: ConnectOptions): Partial<ConnectOptions> {
  const { algorithms, userKnownHosts, globalKnownHosts, jump, port, username, ...rest } = options;
  const own = [".ssh/known_hosts", ".ssh/known_hosts2"].map((name) => join(homedir(), name));
  const system = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];
  const same = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other);
  return {
    ...rest,
    ...(same(algorithms, {}) ? {} : { algorithms }),
    ...(same(userKnownHosts, own) ? {} : { userKnownHosts }),
    ...(same(globalKnownHosts, system) ? {} : { globalKnownHosts }),
    ...(port === 22 ? {} : { port }),
    ...(username === currentUser().name ? {} : { username }),
    ...(jump === undefined ? {} : { jump: stripped(jump) as ConnectOptions }),
  };
}

test("without a word in any file there are only defaults", async () => {
  assert.deepEqual(await options(""), { host: "target" });
});

test("every keyword that is honoured reaches the connection", async () => {
  const config = [
    ...["HostName web", "Port 7", "User me", "AddressFamily inet6", "BindAddress ::1"],
    ...["ConnectTimeout 5", "ConnectionAttempts 3", "TCPKeepAlive no", "RekeyLimit 1M 1h"],
    ...["IdentityFile ~/%r/a", "IdentityFile none", "CertificateFile %d/c-cert.pub"],
    ...["IdentitiesOnly yes", "IdentityAgent /run/%h", "NumberOfPasswordPrompts 1"],
    ...["PreferredAuthentications password,gssapi-with-mic,publickey", "RequiredRSASize 3072"],
    ...["PubkeyAcceptedAlgorithms -ssh-rsa", "HostKeyAlias alias", "HashKnownHosts yes"],
    ...["RevokedHostKeys /r/%k", "NoHostAuthenticationForLocalhost yes", "Ciphers aes256-ctr"],
    "CASignatureAlgorithms -rsa*",
    ...["StrictHostKeyChecking accept-new", "UserKnownHostsFile /u", "GlobalKnownHostsFile none"],
    ...["MACs hmac-sha2-512", "KexAlgorithms ^ecdh-sha2-nistp256", "HostKeyAlgorithms -ssh-rsa"],
    "ProxyCommand nc -- %h %p %r %n %%",
  ];
  assert.deepEqual(await options(config.join("\n")), {
    host: "web",
    port: 7,
    username: "me",
    family: 6,
    bindAddress: "::1",
    connectTimeout: 5000,
    connectionAttempts: 3,
    tcpKeepAlive: false,
    rekeyLimit: { bytes: 1_048_576, seconds: 3600 },
    identityFiles: [join(homedir(), "me/a")],
    certificateFiles: [`${homedir()}/c-cert.pub`],
    identitiesOnly: true,
    agent: "/run/web",
    passwordPrompts: 1,
    authMethods: ["password", "publickey"],
    requiredRsaSize: 3072,
    pubkeyAcceptedAlgorithms: "-ssh-rsa",
    hostKeyAlias: "alias",
    hashKnownHosts: true,
    revokedHostKeys: "/r/alias",
    noHostAuthenticationForLocalhost: true,
    caSignatureAlgorithms: "-rsa*",
    strictHostKeyChecking: "accept-new",
    userKnownHosts: ["/u"],
    globalKnownHosts: [],
    algorithms: {
      kex: "^ecdh-sha2-nistp256",
      cipher: "aes256-ctr",
      hmac: "hmac-sha2-512",
      serverHostKey: "-ssh-rsa",
    },
    proxyCommand: "nc -- web 7 me target %",
  });
});

test("methods that are switched off are left out, in whichever order", async () => {
  const methods = async (config: string) => (await options(config)).authMethods;
  assert.deepEqual(await methods("PasswordAuthentication no"), [
    "publickey",
    "keyboard-interactive",
  ]);
  assert.deepEqual(
    await methods("PubkeyAuthentication no\nPreferredAuthentications password,publickey"),
    [
      "password",
    ],
  );
  assert.deepEqual(await methods("PubkeyAuthentication host-bound"), undefined);
});

test("an agent is named by a path, a variable, none, or left as it is", async () => {
  process.env["FAIRLEAD_AGENT"] = "/run/agent";
  const agent = async (value: string) => (await options(`IdentityAgent ${value}`)).agent;
  assert.equal(await agent("none"), "none");
  assert.equal(await agent("SSH_AUTH_SOCK"), undefined);
  assert.equal(await agent("$FAIRLEAD_AGENT"), "/run/agent");
  assert.equal(await agent("${FAIRLEAD_AGENT}.%p"), "/run/agent.22");
  assert.equal(await agent("$FAIRLEAD_UNSET"), "none");
});

test("none says that there is none", async () => {
  const none = "ProxyCommand none\nProxyJump none\nRevokedHostKeys none\nIdentityFile none\n";
  assert.deepEqual(await options(`${none}ConnectTimeout none\nProxyCommand x\nProxyJump y\n`), {
    host: "target",
    identityFiles: [],
  });
});

test("an interface is the address to connect from", async () => {
  assert.equal((await options("", "-B", "lo", "127.0.0.1")).bindAddress, "127.0.0.1");
  assert.equal((await options("AddressFamily inet6", "-B", "lo", "target")).bindAddress, "::1");
  await assert.rejects(options("", "-B", "no0", "target"), /^UsageError: -B: no0 is no interface/);
});

test("a name to connect from becomes its address, and a long timeout what a timer holds", async () => {
  const bound = async (...args: string[]) => (await options("", ...args, "target")).bindAddress;
  assert.equal(await bound("-4", "-b", "localhost"), "127.0.0.1");
  assert.equal(await bound("-b", "127.0.0.2"), "127.0.0.2");
  assert.equal(await bound("-b", "nothing.invalid", "-J", "gate"), undefined);
  await assert.rejects(options("Port 7\nBindAddress nothing.invalid\n"), {
    code: "config-invalid",
    message: /config:2: BindAddress: nothing\.invalid has no address: /,
  });
  assert.equal((await options("ConnectTimeout 30d\n")).connectTimeout, 2_147_483_647);
  assert.equal((await options("ConnectTimeout 0\n")).connectTimeout, undefined);
  assert.equal((await options("ConnectTimeout none\n")).connectTimeout, undefined);
  const methods = (await options("PreferredAuthentications foo,password,publickey\n")).authMethods;
  assert.deepEqual(methods, ["password", "publickey"]);
});

test("the file of revoked keys is found by its tokens, which -G leaves as they are", async () => {
  const { revokedHostKeys } = await options("RevokedHostKeys ~/%h-%n\nHostName web\n");
  assert.equal(revokedHostKeys, join(homedir(), "web-target"));
  await assert.rejects(options("RevokedHostKeys /a%z\n"), {
    code: "config-invalid",
    message: /config:1: RevokedHostKeys: "%z" is not a token here/,
  });
});

test("BatchMode asks nobody", async () => {
  const prompter = {} as Prompter;
  const ask = async (config: string) => {
    const host = await readHost(readCommandLine(argsFor(config, [])).settings);
    return (await connectOptions(host, { prompter })).prompter;
  };
  assert.equal(await ask(""), prompter);
  assert.equal(await ask("BatchMode yes"), undefined);
});

test("each jump host has its own name, user, port and keys; the command line is not meant for it", async () => {
  const config = `
    Host target
      ProxyJump a,you@b:23,ssh://c
      User me
    Host a
      HostName 10.0.0.1
      IdentityFile /keys/a
    Host b
      Port 99
      User nobody
      IdentityFile /keys/b
      ProxyJump wrong
      ProxyCommand wrong
    Host c
      User carol
      StrictHostKeyChecking yes
    Host *
      ConnectTimeout 9
  `;
  const all = { connectTimeout: 9000 };
  assert.deepEqual(
    await options(
      config,
      "-i",
      "/keys/mine",
      "-p",
      "7",
      "-o",
      "StrictHostKeyChecking=no",
      "target",
    ),
    {
      ...{ host: "target", port: 7, username: "me", identityFiles: ["/keys/mine"], ...all },
      strictHostKeyChecking: "no",
      jump: {
        ...{ host: "c", username: "carol", strictHostKeyChecking: "yes", ...all },
        jump: {
          ...{ host: "b", port: 23, username: "you", identityFiles: ["/keys/b"], ...all },
          jump: { host: "10.0.0.1", identityFiles: ["/keys/a"], ...all },
        },
      },
    },
  );
});

test("the first jump host's own ProxyJump or ProxyCommand counts", async () => {
  const config =
    "Host target\n  ProxyJump a\nHost a\n  ProxyJump b\nHost b\n  ProxyCommand nc %h\n";
  assert.deepEqual(await options(config), {
    host: "target",
    jump: { host: "a", jump: { host: "b", proxyCommand: "nc b" } },
  });
  assert.deepEqual(await options(config, "-J", "none", "target"), { host: "target" });
  assert.deepEqual(await options(config, "-J", "c,[::1]:7", "target"), {
    host: "target",
    jump: { host: "::1", port: 7, jump: { host: "c" } },
  });
});

test("whichever of ProxyJump and ProxyCommand comes first is the one", async () => {
  const jump = { host: "target", jump: { host: "a" } };
  const command = { host: "target", proxyCommand: "x" };
  const only = (text: string) => `Host target\n${text}`;
  assert.deepEqual(await options(only("ProxyJump a\nProxyCommand x")), jump);
  assert.deepEqual(await options(only("ProxyCommand x\nProxyJump a")), command);
  assert.deepEqual(await options(only("ProxyJump none\nProxyCommand x")), command);
  assert.deepEqual(await options(only("ProxyCommand x"), "-J", "a", "target"), jump);
  assert.deepEqual(await options(only("ProxyJump a"), "-o", "ProxyCommand=x", "target"), command);
});

test("tokens stand in ProxyJump, too", async () => {
  const { jump } = await options("Host target\n  User me\n  ProxyJump %r@gate.%h:23\n");
  assert.deepEqual(jump, { host: "gate.target", port: 23, username: "me" });
});

test("a way that leads back is refused", async () => {
  const loops = [
    "ProxyJump target",
    "Host *\n  ProxyJump gate",
    "Host target\n  ProxyJump a\nHost a\n  ProxyJump b\nHost b\n  ProxyJump a",
    "ProxyJump x%h",
  ];
  for (const config of loops) {
    await assert.rejects(options(config), { code: "config-invalid", message: /again and again$/ });
  }
  // Another user or another port of the same host is another server.
  assert.deepEqual(await options("Host target\n  ProxyJump you@%n-gate\nHost *\n  HostName one"), {
    host: "one",
    jump: { host: "one", username: "you" },
  });
});

test("the same name may stand on the way more than once, as in ssh", async () => {
  const alias = "Host a\n  HostName a.example.com\n";
  const a = { host: "a.example.com" };
  assert.deepEqual(await options(alias, "-J", "a", "a"), { ...a, jump: a });
  assert.deepEqual(await options(alias, "-J", "a,a", "a"), { ...a, jump: { ...a, jump: a } });
  // A chain that ends where it began: from the inside, the name means another server.
  assert.deepEqual(await options("", "-J", "a,b", "a"), {
    host: "a",
    jump: { host: "b", jump: { host: "a" } },
  });
  const networks = "Host inner outer\n  HostName 10.0.0.1\nHost inner\n  ProxyJump outer\n";
  assert.deepEqual(await options(networks, "inner"), {
    host: "10.0.0.1",
    jump: { host: "10.0.0.1" },
  });
  // Neither is this one a way to itself, for the port differs.
  assert.deepEqual(await options("", "-p", "2222", "-J", "a", "a"), {
    host: "a",
    port: 2222,
    jump: { host: "a" },
  });
});

test("ServerAliveInterval 0 is never, and what is not said is left to the session", async () => {
  const session = (config: string, ...args: string[]) =>
    readHost(readCommandLine(argsFor(config, args)).settings)
      .then(({ settings }) => sessionOptions(settings));
  const cases: [string, SessionOptions][] = [
    ["", {}],
    ["ServerAliveInterval 0\n", { serverAliveInterval: 0 }],
    ["ServerAliveInterval none\n", { serverAliveInterval: 0 }],
    ["ServerAliveInterval 1m\n", { serverAliveInterval: 60_000 }],
    ["ServerAliveInterval 30d\n", { serverAliveInterval: 2 ** 31 - 1 }],
    ["ServerAliveCountMax 0\n", { serverAliveCountMax: 0 }],
    ["ServerAliveInterval 5\nServerAliveInterval 6\nServerAliveCountMax 7\n", {
      serverAliveInterval: 5_000,
      serverAliveCountMax: 7,
    }],
  ];
  for (const [config, expected] of cases) assert.deepEqual(await session(config), expected);
});

test("-G prints the interval that is in effect, where nothing was said as well", async () => {
  const printed = async (config: string) => {
    const host = await readHost(readCommandLine(argsFor(config, [])).settings);
    return /^serveraliveinterval .*$/m.exec(dumpConfig(host))?.[0];
  };
  assert.equal(await printed(""), "serveraliveinterval 15");
  assert.equal(await printed("ServerAliveInterval 0\n"), "serveraliveinterval 0");
});

test("what is said of a lost link reaches the session as it is", () => {
  const said = {
    ...{ wait: true, retries: 0, retryFor: 60_000, park: 0, idleTimeout: 1_000 },
    connections: "auto" as const,
  };
  assert.deepEqual(sessionOptions({ ...emptySettings(), ...said }), said);
  assert.deepEqual(sessionOptions({ ...emptySettings(), wait: false }), { wait: false });
});

test("--window-budget reaches the library", async () => {
  const { settings } = readCommandLine(["-F", "none", "--window-budget", "128k", "target"]);
  const { windowBudget } = await connectOptions(await readHost(settings));
  assert.equal(windowBudget, 131_072);
});

test("ChannelTimeout counts in milliseconds, with the first of the same pattern", async () => {
  const config = "ChannelTimeout direct-*=5m session=0 direct-*=1 *=1h30m\n";
  const { channelTimeouts } = await options(config);
  assert.deepEqual(Object.entries(channelTimeouts ?? {}), [
    ["direct-*", 300_000],
    ["session", 0],
    ["*", 5_400_000],
  ]);
  assert.deepEqual(await options("ChannelTimeout none\n"), { host: "target" });
  const config2 = "ChannelTimeout global=1\nChannelTimeout *=2\n";
  assert.deepEqual((await options(config2)).channelTimeouts, { global: 1_000 });
});

test("a malformed -J is refused", () => {
  const refused: [string[], RegExp][] = [
    [["-J", "a:b", "h"], /^-J a:b: "a:b" is no jump host: expected \[user@\]host\[:port\]$/],
    [["-J", "a,,b", "h"], /"" is no jump host/],
    [["-J", "@a", "h"], /"@a" is no jump host/],
    [["-J", "a:0", "h"], /expected a number from 1 to 65535/],
    [["-J", "$(id)", "h"], /^-J \$\(id\): a name holds what a shell acts on$/],
    [["-J", "-oX", "h"], /^-J -oX: "-oX": a name must not begin with a dash$/],
    [["-J", "me@-x", "h"], /^-J me@-x: "me@-x": a name must not begin with a dash$/],
    [["-J", "a, b", "h"], /^-J a, b: " b": a name must not hold a space$/],
    [["-J", "a;b@c", "h"], /a name holds/],
    [["-J", "a", "-J", "b", "h"], /^-J b: give it once, with commas between the hosts$/],
    [["-o", "ProxyCommand=x", "-J", "b", "h"], /contradict each other$/],
    [["-J", Array(33).fill("a").join(","), "h"], /more than 32 jump hosts$/],
  ];
  for (const [args, message] of refused) {
    assert.throws(() => readCommandLine(args), { code: "usage", message }, args.join(" "));
  }
});

test("a mistake in what is meant for a jump host is told as well", async () => {
  await assert.rejects(options("Host target\n  ProxyJump a\nHost a\n  Tunnel yes\n"), {
    code: "config-invalid",
    message: /config:4: Tunnel: /,
  });
});

test("a program gets the same, and keywords of its own win", async () => {
  const file = join(folder.path, "config");
  writeFileSync(file, "Host alias\n  HostName web\n  Port 7\n  LocalForward 0 db:5432\n");
  const { connect, forwards } = await sshConfig("alias", { file, keywords: { Port: "8" } });
  assert.deepEqual([connect.host, connect.port], ["web", 8]);
  assert.deepEqual(forwards, [{
    kind: "local",
    spec: { listen: { port: 0 }, destination: { host: "db", port: 5432 } },
  }]);
  const cleared = { file, keywords: { ClearAllForwardings: "yes" } };
  assert.deepEqual((await sshConfig("alias", cleared)).forwards, []);
  const alive = { ServerAliveInterval: "7", ServerAliveCountMax: "2", ChannelTimeout: "*=1h" };
  const session = (await sshConfig("alias", { file, keywords: alive })).connect;
  assert.deepEqual(
    [session.serverAliveInterval, session.serverAliveCountMax, session.channelTimeouts],
    [7_000, 2, { "*": 3_600_000 }],
  );
  await assert.rejects(sshConfig("-oProxyCommand=x", { file }), /the host name holds/);
  await assert.rejects(sshConfig("alias", { file, keywords: { Prot: "8" } }), { code: "usage" });
  assert.equal((await sshConfig("alias", { file: "none" })).connect.host, "alias");
  assert.equal((await sshConfig("alias", { file: "none" })).connect.username, currentUser().name);
});
