/** What is wrong with named tunnels, before anybody needs them. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { runCheck } from "../lib/cli/check.ts";
import { checkHost } from "../lib/cli/check_host.ts";
import { checkHostKeys } from "../lib/cli/check_host_key.ts";
import { checkKeys } from "../lib/cli/check_keys.ts";
import { ListenerChecks } from "../lib/cli/check_listeners.ts";
import type { Finding } from "../lib/cli/finding.ts";
import { ownerWords, portOwner } from "../lib/cli/port_owner.ts";
import { readConfig } from "../lib/config/load.ts";
import type { TunnelConfig } from "../lib/config/tunnel_config.ts";
import type { Status } from "../lib/control/status.ts";
import { parseLocalForward } from "../lib/forward/spec.ts";
import type { Prompter } from "../lib/ssh/prompter.ts";
import { emptySettings } from "../lib/ssh_config/settings.ts";
import type { ConnectOptions } from "../lib/tunnel/tunnel.ts";
import { makeAuthority } from "./support/certificates.ts";
import { scriptCommand } from "./support/fairlead.ts";
import { type KeyPair, knownHostsLine, makeKey } from "./support/keys.ts";
import { startAgent } from "./support/ssh_agent.ts";
import { type SshServer, startSshd } from "./support/sshd.ts";
import { echoServer, type Peer, refusingPort } from "./support/tcp.ts";
import { freePort, need, run, skipUnless, start, tempDir, waitFor } from "./support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen", "ssh-agent");
const PERSON: Prompter = {
  secret: () => Promise.resolve(undefined),
  questions: () => Promise.resolve(undefined),
  confirmHostKey: () => Promise.resolve(false),
};

let folder: Awaited<ReturnType<typeof tempDir>>;
let echo: Peer;
let sshd: SshServer;
let key: KeyPair;
let encrypted: KeyPair;

before(async () => {
  folder = await tempDir();
  if (skip.skip !== undefined) return;
  [echo, sshd, key, encrypted] = await Promise.all([
    echoServer(),
    startSshd(),
    makeKey(folder.path),
    makeKey(folder.path, { passphrase: "open sesame" }),
  ]);
});
after(async () => {
  await Promise.all([echo?.stop(), sshd?.stop()]);
  await folder.stop();
});

function tunnelOf(yaml: string): TunnelConfig {
  const place = { path: "/f/fairlead.yaml", shown: "f", home: "/home/me", environment: {} };
  const [tunnel] = readConfig(`version: 1\ntunnels: { t: ${yaml} }`, place).tunnels;
  assert.ok(tunnel !== undefined);
  return tunnel;
}

const PLAIN = () => tunnelOf("{ host: h }");

/** `ok …` or `wrong …; remedy`, a line each. */
function lines(findings: readonly Finding[]): string[] {
  return findings.map(({ ok, detail, remedy }) =>
    `${ok ? "ok" : "wrong"} ${detail}${remedy === undefined ? "" : `; ${remedy}`}`
  );
}

async function keysOf(
  options: Partial<ConnectOptions>,
  { tunnel = PLAIN(), environment = {}, namesAgent = false } = {},
): Promise<string[]> {
  const given = { host: "h", agent: "none", ...options };
  return lines(await checkKeys(tunnel, given, environment, namesAgent));
}

/** What `fairlead check` says of a file, and its status. */
async function checked(yaml: string, ...args: string[]) {
  const file = join(folder.path, "fairlead.yaml");
  writeFileSync(file, yaml, { mode: 0o600 });
  const out: string[] = [];
  const screen = { color: false, out: (line: string) => out.push(line), err: () => {} };
  const surroundings = { screen, trace: undefined, use: () => {} };
  const status = await runCheck(["--config", file, ...args], surroundings);
  return { status, out };
}

/** The keys of a tunnel that reach a server and look at nothing of this machine's user. */
function reach(server: SshServer, identity = server.identity): string {
  return `
    host: ${server.user}@${server.host}
    port: ${server.port}
    identity: ${identity}
    knownHosts: ${server.knownHosts}
    hostKeyPolicy: strict
    agent: none
    batchMode: true
    sshConfig: none`;
}

test("a key is missing, readable by others, no key, or can be used", skip, async () => {
  const missing = join(folder.path, "none");
  const garbage = join(folder.path, "garbage");
  writeFileSync(garbage, "no key", { mode: 0o600 });
  const open = await makeKey(folder.path);
  chmodSync(open.path, 0o640);
  const files = [key.path, missing, garbage, open.path];
  const found = await keysOf({ identityFiles: files });
  assert.deepEqual(found.slice(0, 2), [
    `ok key ${key.path} can be used`,
    `wrong identity ${missing} does not exist; name the right file as identity, or make a key ` +
    "with ssh-keygen",
  ]);
  assert.match(found[2] ?? "", /^wrong identity .*garbage is not a private key that .*; name the/);
  assert.equal(
    found[3],
    `wrong identity ${open.path} is readable by others (mode 0640) and is therefore not used; ` +
      `run: chmod 600 '${open.path}'`,
  );
  assert.deepEqual(await keysOf({ jump: { host: "j", identityFiles: [key.path] } }), [
    `ok key ${key.path} can be used`,
  ]);
});

test("an encrypted key needs its passphrase, an agent, or a person", skip, async () => {
  const identityFiles = [encrypted.path];
  const [alone] = await keysOf({ identityFiles });
  assert.match(alone ?? "", /^wrong key .* is encrypted, and nobody can be asked .*; `ssh-add /);
  assert.deepEqual(await keysOf({ identityFiles, passphrase: "open sesame" }), [
    `ok key ${encrypted.path} is opened by the passphrase`,
  ]);
  const [unopened] = await keysOf({ identityFiles, passphrase: "other" });
  assert.match(unopened ?? "", /^wrong key .* is not opened by the passphrase; /);
  assert.deepEqual(await keysOf({ identityFiles, prompter: PERSON }), [
    `ok key ${encrypted.path} is encrypted: you will be asked for its passphrase`,
  ]);
});

test("an agent may hold the key, be empty, or not answer", skip, async () => {
  await using agent = await startAgent([key]);
  const identityFiles = [key.publicPath];
  assert.deepEqual(await keysOf({ identityFiles, agent: agent.socket }, { namesAgent: true }), [
    `ok key ${key.publicPath} is only a public key, and the agent holds it`,
    `ok agent ${agent.socket} holds 1 key`,
  ]);
  const [lonely] = await keysOf({ identityFiles });
  assert.match(lonely ?? "", /^wrong key .* is only a public key, and no agent holds it; `ssh-add/);
  const nowhere = join(folder.path, "no-agent");
  const silent = await keysOf({ identityFiles: [key.path], agent: nowhere }, { namesAgent: true });
  assert.match(silent[1] ?? "", /^wrong agent .*no-agent does not answer: .*; start it, or leave/);
  // What nobody named, and nobody needs, is not told of.
  assert.equal((await keysOf({ identityFiles: [key.path], agent: nowhere })).length, 1);
});

test("secrets in variables are told of by the variable's name, never by their value", async () => {
  const tunnel = tunnelOf("{ host: h, password: env:P, passphrase: env:Q, identity: env:K }");
  const environment = { P: "hunter2", K: "" };
  const found = await keysOf({ privateKeys: [] }, { tunnel, environment });
  assert.deepEqual(found, [
    "ok password env:P is set",
    "wrong passphrase env:Q: the variable Q is not set; set Q",
    "wrong identity env:K: the variable K is empty; set K",
  ]);
  const privateKeys = [{ name: "env:K", text: "garbage" }];
  const bad = await keysOf({ privateKeys }, { tunnel: PLAIN() });
  assert.match(bad[0] ?? "", /^wrong identity env:K cannot be read: .*; the variable must hold/);
});

test("a certificate is valid, over, or none", skip, async () => {
  const authority = await makeAuthority(folder.path);
  const [good, old] = [await makeKey(folder.path), await makeKey(folder.path)];
  const certificateFiles = [
    await authority.certify(good.publicPath, "me"),
    await authority.certify(old.publicPath, "me", { validity: "-2h:-1h" }),
    good.publicPath,
    join(folder.path, "nothing-cert.pub"),
  ];
  const [, ...found] = await keysOf({ identityFiles: [good.path], certificateFiles });
  assert.match(found[0] ?? "", /^ok certificate .* is valid$/);
  assert.match(found[1] ?? "", /^wrong certificate .*; have a new one signed$/);
  assert.match(found[2] ?? "", /^wrong certificate .* is no certificate; name the file that ends/);
  assert.match(found[3] ?? "", /^wrong certificate .*: it does not exist; name the file/);
});

test("a host key is known, pinned, or not, by the policy", skip, async () => {
  const file = join(folder.path, "known");
  const other = await makeKey(folder.path, { type: "ecdsa" });
  writeFileSync(
    file,
    [
      knownHostsLine("here.example", 2222, key.publicLine),
      knownHostsLine("here.example", 2222, other.publicLine),
      `@revoked gone.example ${key.publicLine}`,
      `@cert-authority *.example.org ${key.publicLine}`,
      "",
    ].join("\n"),
  );
  const of = async (options: Partial<ConnectOptions>, reachable = true) =>
    lines(
      await checkHostKeys({
        ...{ host: "here.example", port: 2222, userKnownHosts: [file], globalKnownHosts: [] },
        ...options,
      }, reachable),
    );
  const known = `ok host key of [here.example]:2222 is known: ED25519, ECDSA (${file} line 1)`;
  assert.deepEqual(await of({}), [known]);
  assert.deepEqual(await of({ hostKeys: ["SHA256:x"] }), [
    "ok host key of [here.example]:2222 is pinned",
  ]);
  assert.deepEqual(await of({ host: "a.example.org" }), [
    `ok host key of [a.example.org]:2222 is known: by an authority (${file} line 4)`,
  ]);
  const strict = { host: "gone.example", port: 22, strictHostKeyChecking: "yes" } as const;
  assert.deepEqual(await of(strict), [
    "wrong host key of gone.example is not known; `ssh-keyscan gone.example >new`, check what " +
    "`ssh-keygen -lf new` shows with the server's administrator, then `cat new >>" + file + "`",
  ]);
  assert.match((await of(strict, false))[0] ?? "", /; add its line to .*, or its fingerprint as/);
  const said = async (options: Partial<ConnectOptions>) =>
    (await of({ host: "new.example", ...options }))[0] ?? "";
  assert.match(await said({ prompter: PERSON }), /^ok .* you will be asked about it$/);
  assert.match(await said({}), /^wrong .* is not known; `ssh-keyscan -p 2222 new\.example >/);
  assert.match(await said({ strictHostKeyChecking: "accept-new" }), /^ok .*\(accept-new\)$/);
  assert.match(await said({ strictHostKeyChecking: "no" }), /^ok .*\(hostKeyPolicy off\)$/);
  assert.deepEqual(
    await of({ jump: { host: "j.example.org", port: 22, userKnownHosts: [file] } }),
    [
      `ok host key of j.example.org is known: by an authority (${file} line 4)`,
      known,
    ],
  );
});

test("only what this machine resolves itself is resolved", async () => {
  const of = async (options: Partial<ConnectOptions>, tunnel = PLAIN()) =>
    lines(await checkHost(tunnel, { host: "127.0.0.1", ...options }));
  assert.deepEqual(await of({}), ["ok host 127.0.0.1 is an address"]);
  assert.match((await of({ host: "localhost" }))[0] ?? "", /^ok host localhost resolves to [\d:]/);
  const [bad = ""] = await of({ host: "nowhere.invalid" });
  assert.match(bad, /^wrong host nowhere\.invalid (?:does not resolve|: the resolver).*; check/);
  assert.deepEqual(await of({ host: "inner", jump: { host: "127.0.0.1" } }), [
    "ok jump host 127.0.0.1 is an address",
    "ok host inner is resolved by the jump host 127.0.0.1",
  ]);
  assert.deepEqual(await of({ host: "inner", proxyCommand: "nc" }), [
    "ok host inner is reached by its ProxyCommand",
  ]);
  assert.deepEqual(await of({ host: "inner", proxy: "env" }), [
    "ok host inner is resolved by the proxy",
  ]);
  assert.deepEqual(await of({ host: "inner" }, { ...PLAIN(), via: "vpn" }), [
    "ok host inner is resolved by the server of the tunnel vpn",
  ]);
});

test("a taken port has the name and the process of who has it", skipUnless("python3"), async () => {
  const port = await freePort();
  const script = `import socket,time
s=socket.socket(); s.bind(("127.0.0.1",${port})); s.listen(); print("up",flush=True); time.sleep(60)`;
  const holder = start(need("python3"), ["-c", script]);
  try {
    await waitFor(() => holder.stdout() === "up\n");
    const checks = new ListenerChecks(() => Promise.resolve(undefined));
    const tunnel = tunnelOf(`{ host: h, forwards: [{ local: "${port}:a:1" }] }`);
    const [found] = lines(await checks.check(tunnel, emptySettings()));
    const { name, pid } = await portOwner(port) ?? {};
    assert.equal(pid, holder.pid);
    assert.match(name ?? "", /python/i);
    assert.equal(
      found,
      `wrong port ${port} is taken by ${name} (process ${pid}); choose another, or 0 for a free one`,
    );
  } finally {
    await holder.stop();
  }
  assert.equal(await portOwner(port), undefined);
});

test(
  "without privileges there is no port 80, and others' processes have no names",
  onlyRoot(),
  async () => {
    const file = join(folder.path, "nobody.yaml");
    // Nobody else's files are in it.
    chmodSync(folder.path, 0o755);
    writeFileSync(
      file,
      `version: 1\ntunnels: { t: { host: 127.0.0.1, sshConfig: none, forwards: [
      { local: "80:a:1" }, { local: "127.0.0.1:${echo.port}:a:1" }] } }`,
      { mode: 0o644 },
    );
    const [command, before] = scriptCommand("tests/support/fixtures/as_nobody.ts");
    const env = { HOME: folder.path, SSH_AUTH_SOCK: undefined };
    const args = [...before, "check", "-q", "--config", file];
    const { stdout, stderr } = await run(command, args, { env });
    assert.ok(
      stdout.includes(
        "t  wrong  port 80: this user may not listen below 1024; choose another, such as",
      ),
      stdout + stderr,
    );
    const taken =
      `t  wrong  port 127.0.0.1:${echo.port} is taken by a process of the user root; choose`;
    assert.ok(stdout.includes(taken), stdout + stderr);
  },
);

/** Who is nobody has no privileges; only root can become nobody, and only Linux tells the limit. */
function onlyRoot(): { skip?: string } {
  if (skip.skip !== undefined) return skip;
  if (process.platform !== "linux" || process.getuid?.() !== 0) {
    return { skip: "not root on Linux" };
  }
  const first = readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8");
  return Number(first) > 80 ? {} : { skip: "anybody may listen on port 80 here" };
}

test("who has a port is said as far as the system tells", () => {
  assert.equal(ownerWords({ pid: 812, name: "nginx" }), "nginx (process 812)");
  assert.equal(ownerWords({ user: "postgres" }), "a process of the user postgres");
  assert.equal(ownerWords(undefined), "another program");
});

test("listeners are tried one by one, and leave nothing behind", async () => {
  const taken = join(folder.path, "taken.sock");
  const file = join(folder.path, "file");
  writeFileSync(file, "");
  const server = createServer().listen(taken);
  const port = await freePort();
  const checks = new ListenerChecks(() => Promise.resolve(undefined));
  const first = tunnelOf(`{ host: h, forwards: [
    { local: "${port}:a:1" }, { local: "0:a:1" }, { local: "${folder.path}/new.sock:/a" },
    { local: "${taken}:/a" }, { local: "${file}:/a" }, { local: "/nowhere/x:/a" },
    { remote: "80:a:1" } ] }`);
  const second = tunnelOf(`{ host: h, forwards: [{ dynamic: "127.0.0.1:${port}" }] }`);
  const found = lines(await checks.check(first, emptySettings()));
  assert.deepEqual(found, [
    `ok port ${port} is free`,
    "ok port 0: a free one will be taken",
    `ok socket ${folder.path}/new.sock can be made`,
    `wrong cannot listen on ${taken}: another program listens there; choose another path`,
    `wrong cannot listen on ${file}: a file of that name exists; it is no socket; choose another ` +
    "path",
    "wrong cannot listen on /nowhere/x: its folder does not exist; choose another path",
  ]);
  const [twice = ""] = lines(await checks.check(second, emptySettings()));
  if (process.platform === "linux") assert.match(twice, /is wanted by the tunnel t, too; choose/);
  await checks.close();
  assert.equal(existsSync(join(folder.path, "new.sock")), false);
  assert.deepEqual(lines(await checks.check(second, emptySettings())), [
    `ok port 127.0.0.1:${port} is free`,
  ]);
  await checks.close();
  await new Promise((resolve) => server.close(resolve));
});

test("a port that the tunnel itself has, or another one that is up, is told as such", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await waitFor(() => server.listening);
  const { port } = server.address() as { port: number };
  const status = {
    tunnels: [{
      name: "t",
      file: "/f/fairlead.yaml",
      forwards: [{
        kind: "local",
        forward: `${port}:a:1`,
        state: "listening",
        addresses: [{ host: "127.0.0.1", port }],
      }],
    }],
  } as unknown as Status;
  const checks = new ListenerChecks(() => Promise.resolve(status));
  const spec = parseLocalForward(`${port}:a:1`);
  const own = { ...PLAIN(), forwards: [{ kind: "local" as const, spec }] };
  assert.deepEqual(lines(await checks.check(own, emptySettings())), [
    `ok port ${port} is held by the tunnel itself, which is up`,
  ]);
  assert.deepEqual(lines(await checks.check({ ...own, name: "u" }, emptySettings())), [
    `wrong port ${port} is taken by the tunnel t of /f/fairlead.yaml, which is up; choose another, ` +
    "or end that one with fairlead down",
  ]);
  assert.equal(await checks.isUp(own, { kind: "local", spec }), true);
  assert.equal(await checks.isUp(own, { kind: "remote", spec }), false);
  await new Promise((resolve) => server.close(resolve));
});

test("what the servers allow and what answers is tried with --connect", skip, async () => {
  const refusing = await refusingPort();
  await using closed = await startSshd({ config: ["AllowTcpForwarding no"] });
  await using narrow = await startSshd({ config: [`PermitOpen 127.0.0.1:${echo.port}`] });
  const good = `127.0.0.1:${echo.port}`;
  const port = await freePort();
  const yaml = `version: 1
tunnels:
  open:${reach(sshd)}
    forwards:
      - local: 0:${good}
      - local: 0:127.0.0.1:${refusing.port}
      - local: 0:nowhere.invalid:1
      - remote: ${port}:${good}
      - remote: ${echo.port}:127.0.0.1:${refusing.port}
      - dynamic: 0
  closed:${reach(closed)}
    forwards: [{ local: "0:${good}" }, { remote: 0 }]
  narrow:${reach(narrow)}
    forwards: [{ local: "0:${good}" }, { local: "0:127.0.0.1:1" }]
  stranger:${reach(sshd, key.path)}
    forwards: [{ local: "0:${good}" }]
  inner:${reach(closed)}
    jump: open
  behind:${reach(closed)}
    jump: stranger
`;
  const { status, out } = await checked(yaml, "--connect");
  assert.equal(status, 1);
  const of = (tunnel: string) =>
    out.filter((line) => line.startsWith(`${tunnel} `)).map((line) => line.slice(10))
      .filter((line) => !/^\S+ +(?:host|key|host key|port) /.test(line));
  const [login, ...open] = of("open");
  assert.equal(login, `ok     login as ${sshd.user} at 127.0.0.1 works`);
  assert.deepEqual(open.slice(0, 1), [`ok     ${good} answers, seen from the server`]);
  assert.match(
    open[1] ?? "",
    /^wrong {2}127\.0\.0\.1:\d+ refused the connection, seen from the server.*; check the port, and/,
  );
  assert.match(open[2] ?? "", /^wrong {2}nowhere\.invalid:1 .*; check the spelling/);
  assert.deepEqual(open.slice(3, 5), [
    `ok     the server listens on ${port}`,
    `ok     ${good} answers here`,
  ]);
  assert.match(open[5] ?? "", /^wrong {2}the server could not listen on .*; the port is probably/);
  assert.match(open[6] ?? "", /^wrong {2}127\.0\.0\.1:\d+ refused the connection; check the port/);
  assert.equal(open.length, 7);
  assert.match(of("closed")[1] ?? "", /^wrong .*does not allow forwarding to .*AllowTcpForwarding/);
  assert.match(of("closed")[2] ?? "", /^wrong .*does not allow listening on .*AllowTcpForwarding/);
  assert.match(of("narrow")[1] ?? "", /^ok/);
  assert.match(of("narrow")[2] ?? "", /^wrong .*does not allow forwarding to .*PermitOpen/);
  const [stranger = "", ...more] = of("stranger");
  assert.match(stranger, /^wrong .*; name the right private key as `identity`/);
  assert.deepEqual(more, []);
  assert.equal(of("inner").at(-1), `ok     login as ${closed.user} at 127.0.0.1 works`);
  assert.equal(
    of("behind").at(-1),
    "wrong  the tunnel stranger, which it leads through, could not be had; see what is wrong with " +
      "that one",
  );
  assert.match(out.at(-1) ?? "", /^\d+ checks, 9 wrong$/);
});

test("as JSON each check is an object, and the last one counts them", skip, async () => {
  const yaml = `version: 1
tunnels:
  a:${reach(sshd)}
    groups: dev
    forwards: [{ local: "0:x:1" }]
  b:${reach(sshd, join(folder.path, "none"))}
`;
  const { status, out } = await checked(yaml, "--json", "dev");
  assert.equal(status, 0);
  const events = out.map((line) => JSON.parse(line));
  assert.deepEqual(events.map(({ event, tunnel, what, ok }) => [event, tunnel, what, ok]), [
    ["check", undefined, "file", true],
    ["check", "a", "host", true],
    ["check", "a", "key", true],
    ["check", "a", "host-key", true],
    ["check", "a", "listener", true],
    ["checked", undefined, undefined, undefined],
  ]);
  assert.deepEqual(events.at(-1), { v: 1, event: "checked", checks: 5, wrong: 0 });
  const all = await checked(yaml, "--json");
  assert.equal(all.status, 1);
  const bad = all.out.map((line) => JSON.parse(line)).filter(({ ok }) => ok === false);
  assert.deepEqual(bad.map(({ tunnel, what }) => [tunnel, what]), [["b", "key"]]);
  assert.match(bad[0].remedy, /^name the right file/);
  // With -q only what is wrong is said.
  assert.equal((await checked(yaml, "-q")).out.length, 1);
  await assert.rejects(checked(yaml, "nobody"), { code: "usage", message: /"nobody"/ });
  await assert.rejects(checked("version: 2\ntunnels: {}"), { code: "config-invalid" });
});

test(
  "without --connect nothing connects, and a tunnel's own ssh_config is read",
  skip,
  async () => {
    const { connections } = echo;
    const config = join(folder.path, "ssh_config");
    const mistaken = join(folder.path, "mistaken");
    writeFileSync(config, `Host web\n  HostName 127.0.0.1\n  Port ${echo.port}\n`);
    writeFileSync(mistaken, "Prot 22\n");
    const rest = `identity: ${key.path}\n    hostKeyPolicy: accept-new\n    agent: none`;
    const { out, status } = await checked(`version: 1
tunnels:
  web:
    host: web
    sshConfig: ${config}
    ${rest}
    forwards: [{ remote: "1:127.0.0.1:${echo.port}" }]
  bad:
    host: web
    sshConfig: ${mistaken}
    ${rest}
`);
    assert.equal(status, 1);
    assert.ok(out.includes("web  ok     host 127.0.0.1 is an address"), out.join("\n"));
    assert.match(out.at(-2) ?? "", /^bad {2}wrong {2}.*mistaken:1: Prot: no such keyword; did you/);
    assert.equal(echo.connections, connections);
  },
);
