/** The README's least permissions: enough for each kind of use, and none too many. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { SocksClient } from "socks";
import { BUNDLE, makeBundle } from "../../scripts/build/bundle.ts";
import { ROOT, scriptCommand, startFairlead } from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { makeKey } from "../support/keys.ts";
import { defaultsFor } from "../support/named_tunnels.ts";
import { portOf } from "../support/named_tunnels_stage.ts";
import { startAgent } from "../support/ssh_agent.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, patternReceived, type Peer, transfer } from "../support/tcp.ts";
import { openTerminal } from "../support/terminal.ts";
import { freePort, run, signalProcess, skipUnless, start, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen", "ssh-agent", "tmux");
const BYTES = 100_003;

let sshd: SshServer;
let peer: Peer;
let home: Home;
/** Deno by another name: child_process on Deno would give one that it knows all permissions. */
let deno: string;

before(async () => {
  if (skip.skip !== undefined) return;
  await makeBundle();
  sshd = await startSshd();
  peer = await echoServer();
  home = await emptyHome();
  // By a name, as the README's server is.
  const known = await readFile(sshd.knownHosts, "utf8");
  await writeFile(join(home.ssh, "known_hosts"), known.replaceAll(`[${sshd.host}]`, "[localhost]"));
  // What scripts/test.ts has everything traced in may not be written to.
  home.env["FAIRLEAD_TRACE"] = undefined;
  deno = join(home.path, "runtime");
  await writeFile(deno, `#!/bin/sh\nexec '${process.execPath}' "$@"\n`, { mode: 0o755 });
  await writeFile(join(home.ssh, "id_ed25519"), await readFile(sshd.identity), { mode: 0o600 });
});
after(async () => {
  await sshd?.stop();
  await peer?.stop();
  await home?.stop();
});

/** The README's table, by the beginning of a row. */
function permissionsFor(use: string): string[] {
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  const rows = readme.split("\n").filter((line) =>
    line.startsWith("|") && line.includes("--allow-")
  )
    .map((line) => line.split("|").map((cell) => cell.trim()));
  const flagsOf = (text: string) => text.match(/--allow-[^\s`]+/g) ?? [];
  const [, , first = ""] = rows[0] ?? [];
  const [, , wanted] = rows.find(([, name = ""]) => name.startsWith(use)) ?? [];
  assert.ok(wanted !== undefined, `no row of the README's permissions begins with "${use}"`);
  return [...(wanted.startsWith("the first") ? flagsOf(first) : []), ...flagsOf(wanted)];
}

/** What the README's names stand for here. */
function here(flags: readonly string[], names: Record<string, string> = {}): string[] {
  const all = { "bastion.example.com:22": `localhost:${sshd.port}`, $HOME: home.path, ...names };
  return flags.map((flag) =>
    Object.entries(all).reduce((text, [name, value]) => text.replaceAll(name, value), flag)
  );
}

/** The words that run fairlead with no other permissions, and with nobody to ask for more. */
function command(flags: readonly string[]): [string, string[]] {
  return [deno, ["run", "--no-prompt", ...flags, BUNDLE]];
}

/** Starts fairlead with these permissions, listening; ends it when `use` is through. */
async function listening(
  flags: readonly string[],
  args: readonly string[],
  use: (ports: readonly number[]) => Promise<void>,
  { env = {}, forwards = 1 }: { env?: Record<string, string>; forwards?: number } = {},
): Promise<void> {
  await using program = await startFairlead(args, {
    command: command(flags),
    env: { ...home.env, ...env },
    cwd: home.path,
    forwards,
  });
  await use(program.ports);
  assert.equal((await program.end("SIGTERM")).status, 143);
  assert.doesNotMatch(program.stderr(), /--allow-/);
}

/** That it does not come up where one of the flags is left out, and that it says which. */
async function eachIsNeeded(
  flags: readonly string[],
  args: readonly string[],
  { env = {}, only = /./ }: { env?: Record<string, string>; only?: RegExp } = {},
): Promise<void> {
  for (const flag of flags.filter((one) => only.test(one))) {
    const [name = ""] = flag.split("=");
    const [program, before] = command(flags.filter((other) => other !== flag));
    // One that works does not end by itself, and fails the test by that.
    const { status, stderr } = await run(program, [...before, ...args], {
      env: { ...home.env, ...env },
      cwd: home.path,
      timeout: 10_000,
    });
    assert.notEqual(status, 0, `it works without ${flag}`);
    // The hint names all flags that forwarding takes at least.
    const said = stderr.replaceAll(/; forwarding takes at least .*/g, "");
    assert.match(said, new RegExp(`${name}(?![a-z])`), `what it says without ${flag}`);
    assert.doesNotMatch(stderr, /^\s+at |a mistake in fairlead/m);
  }
}

async function comesBack(target: number | { path: string }): Promise<void> {
  const { bytes, sha256 } = await transfer(target, { send: BYTES, seed: 3 });
  assert.deepEqual({ bytes, sha256 }, patternReceived(BYTES, 3));
}

const options = () => ["-p", String(sshd.port), "-l", sshd.user, "-o", "IdentityAgent=none"];
const toPeer = () => `${peer.host}:${peer.port}`;

test("forwards of all kinds work with the first row, and not with less", skip, async () => {
  const flags = here(permissionsFor("`-L`, `-D`, `-R`"));
  const kinds = ["-L", `0:${toPeer()}`, "-R", `0:${toPeer()}`, "-D", "0"];
  const metrics = await freePort();
  const all = [...kinds, "--metrics", String(metrics), ...options(), "localhost"];
  await listening(flags, all, async ([local, remote, socks]) => {
    await comesBack(local ?? 0);
    const figures = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
    assert.match(figures, new RegExp(`^fairlead_forward_sent_bytes_total\\{.*\\} ${BYTES}$`, "m"));
    await comesBack(remote ?? 0);
    const { socket } = await SocksClient.createConnection({
      command: "connect",
      proxy: { host: "127.0.0.1", port: socks ?? 0, type: 5 },
      destination: { host: sshd.host, port: sshd.port },
    });
    const [greeting] = await once(socket, "data");
    assert.match(String(greeting), /^SSH-2\.0-/);
    socket.destroy();
  }, { forwards: 3 });
  await eachIsNeeded(flags, ["-L", `0:${toPeer()}`, ...options(), "localhost"]);
  const [program, before] = command(flags);
  const args = [...before, "-W", `${sshd.host}:${sshd.port}`, ...options(), "localhost"];
  const { stdout } = await run(program, args, { env: home.env, stdin: "bye\n" });
  assert.match(stdout, /^SSH-2\.0-/);
});

test("one server by its name and one port are enough, and any other is refused", skip, async () => {
  const port = await freePort();
  const flags = here(permissionsFor("the same, this server"), {
    "127.0.0.1:1100": `127.0.0.1:${port}`,
  });
  const forward = ["-L", `${port}:${toPeer()}`];
  await listening(flags, [...forward, ...options(), "localhost"], async () => {
    await comesBack(port);
  });
  await eachIsNeeded(flags, [...forward, ...options(), "localhost"]);
  const [program, before] = command(flags);
  const refused = async (...args: string[]) =>
    (await run(program, [...before, ...args, ...options()], { env: home.env })).stderr;
  const other = await freePort();
  assert.match(
    await refused("-L", `${other}:${toPeer()}`, "localhost"),
    new RegExp(
      `cannot listen on 127.0.0.1:${other}: Deno's --allow-net does not name it; add it: `,
    ),
  );
  assert.match(
    await refused(...forward, "-o", "Hostname=127.0.0.1", "localhost"),
    new RegExp(`could not be connected to: .*"127.0.0.1:${sshd.port}".*--allow-net`),
  );
});

test("with key and host key in variables no file is read", skip, async () => {
  const flags = here(permissionsFor("`-F none`"));
  const env = {
    KEY: await readFile(sshd.identity, "utf8"),
    HOST_KEY: sshd.hostKeys[0]?.publicLine ?? "",
  };
  const secrets = ["-F", "none", "-i", "env:KEY", "--host-key", "env:HOST_KEY"];
  const args = [...secrets, "-L", `0:${toPeer()}`, ...options(), "localhost"];
  await listening(flags, args, ([port]) => comesBack(port ?? 0), { env });
  await eachIsNeeded(flags, args, { env });
});

test("an agent needs its socket to be written to", skip, async () => {
  await using other = await emptyHome();
  const key = await makeKey(other.path);
  await sshd.authorize(key.publicLine);
  await using agent = await startAgent([key]);
  const env = { SSH_AUTH_SOCK: agent.socket };
  const flags = here(permissionsFor("an agent"), { "$SSH_AUTH_SOCK": agent.socket });
  const args = [
    ...["-F", "none", "-i", "none", "-p", String(sshd.port), "-l", sshd.user],
    ...["-L", `0:${toPeer()}`, "localhost"],
  ];
  await listening(flags, args, ([port]) => comesBack(port ?? 0), { env });
  await eachIsNeeded(flags, args, { env, only: /write/ });
});

test("a Unix socket needs its folder to be written to", skip, async () => {
  await mkdir(join(home.path, "sockets"));
  const flags = here(permissionsFor("a forward's Unix socket"));
  const [program, before] = command(flags);
  const args = ["-L", `sockets/mail:${toPeer()}`, ...options(), "localhost"];
  await using running = start(program, [...before, ...args], { env: home.env, cwd: home.path });
  const path = join(home.path, "sockets", "mail");
  await waitFor(() => existsSync(path), { what: `a socket (${running.stderr()})` });
  await comesBack({ path });
  await running.stop();
  await eachIsNeeded(flags, args, { only: /write/ });

  const control = ["-S", "sockets/control"];
  const master = [...control, "-M", "-N", ...options(), "localhost"];
  await using sharing = start(program, [...before, ...master], { env: home.env, cwd: home.path });
  const socket = join(home.path, "sockets", "control");
  await waitFor(() => existsSync(socket), { what: `a socket (${sharing.stderr()})` });
  const asked = [...before, ...control, "-O", "check", ...options(), "localhost"];
  const { status, stderr } = await run(program, asked, { env: home.env, cwd: home.path });
  assert.match(stderr, /^Master running/);
  assert.equal(status, 0);
});

test("a host key is accepted at the terminal, and remembered", skip, async () => {
  await using stranger = await emptyHome();
  stranger.env["FAIRLEAD_TRACE"] = undefined;
  await writeFile(join(stranger.ssh, "id_ed25519"), await readFile(sshd.identity), { mode: 0o600 });
  const flags = permissionsFor("new host keys").map((flag) => flag.replace("$HOME", stranger.path));
  const [program, before] = command(flags);
  await using terminal = await openTerminal(stranger);
  await terminal.run([program, ...before, "-L", `0:${toPeer()}`, ...options(), "localhost"]);
  await terminal.until(/Are you sure you want to continue connecting/);
  await terminal.type("yes");
  await terminal.until(/listening on /);
  await terminal.press("C-c");
  assert.equal((await terminal.end()).status, 130);
  assert.match(await readFile(join(stranger.ssh, "known_hosts"), "utf8"), /ssh-ed25519/);
});

test("a passphrase is asked for at the terminal, and not shown", skip, async () => {
  const key = await makeKey(home.path, { passphrase: "open sesame street" });
  await sshd.authorize(key.publicLine);
  const flags = here(permissionsFor("passphrases"));
  await using terminal = await openTerminal(home);
  const type = async (flags: readonly string[]) => {
    const [program, before] = command(flags);
    const args = ["-i", key.path, "-o", "IdentitiesOnly=yes", "-L", `0:${toPeer()}`, ...options()];
    await terminal.run([program, ...before, ...args, "localhost"]);
  };
  await type(flags);
  await terminal.until(/Enter passphrase/);
  await terminal.type("open sesame street");
  await terminal.until(/listening on /);
  await terminal.press("C-c");
  const { status, screen } = await terminal.end();
  assert.equal(status, 130);
  assert.doesNotMatch(screen, /sesame/);
  await type(flags.filter((flag) => !flag.startsWith("--allow-run")));
  assert.match((await terminal.end()).screen, /no secret is asked for: .*--allow-run/);
});

test("what starts programs needs --allow-run: ProxyCommand, with and -f", skip, async () => {
  const flags = here(permissionsFor("ProxyCommand"));
  const forward = ["-L", `db=0:${toPeer()}`, ...options()];
  const pipe = scriptCommand("tests/support/fixtures/pipe_to.ts").flat().join(" ");
  const proxy = [...forward, "-o", `ProxyCommand=${pipe} %h ${sshd.port}`, "localhost"];
  await listening(flags, proxy, ([port]) => comesBack(port ?? 0));
  const only = { only: /run/ };
  await eachIsNeeded(flags, proxy, only);

  const local = ["with", ...forward, "localhost", "--", "sh", "-c", "echo got $FAIRLEAD_DB_PORT"];
  const [program, before] = command(flags);
  const { status, stdout, stderr } = await run(program, [...before, ...local], { env: home.env });
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^got \d+$/m);
  await eachIsNeeded(flags, local, only);

  const behind = ["-f", "-N", ...forward, "localhost"];
  const { stderr: said } = await run(program, [...before, ...behind], { env: home.env });
  const pid = Number(/in the background, as process (\d+)/.exec(said)?.[1]);
  assert.ok(pid > 0, said);
  signalProcess(pid, "SIGTERM");
  await eachIsNeeded(flags, behind, only);
});

test("what goes to the background has no permission that was taken away", skip, async () => {
  const flags = [...here(permissionsFor("ProxyCommand")), "--deny-net=192.0.2.1"];
  const [program, before] = command(flags);
  const args = [...before, "-f", "-N", "-L", `0:${toPeer()}`, ...options(), "localhost"];
  const { status, stderr } = await run(program, args, { env: home.env, timeout: 10_000 });
  assert.equal(status, 255, stderr);
  assert.match(stderr, /--allow-net/);
});

test(
  "named tunnels need the control socket's folder, and the background process more",
  skip,
  async () => {
    const own = join(home.path, "runtime-folder");
    await mkdir(own, { mode: 0o700 });
    const env = { ...home.env, XDG_RUNTIME_DIR: own, XDG_STATE_HOME: join(home.path, "state") };
    const tunnel = `tunnels: { mail: { host: 127.0.0.1, forwards: [local: "0:${toPeer()}"] } }\n`;
    const file = defaultsFor(sshd) + tunnel;
    await writeFile(join(home.path, "fairlead.yaml"), file, { mode: 0o600 });
    const used = here(permissionsFor("`up --foreground`"), { $XDG_RUNTIME_DIR: own });
    const ask = async (flags: readonly string[], ...args: string[]) => {
      const [program, before] = command(flags);
      const { status, stdout, stderr } = await run(program, [...before, ...args], {
        env,
        cwd: home.path,
        timeout: 20_000,
      });
      return { status, stdout, stderr };
    };
    await eachIsNeeded(used, ["up", "--foreground"], { env, only: /write/ });
    await listening(used, ["up", "--foreground"], ([port]) => comesBack(port ?? 0), { env });

    const whole = here(permissionsFor("`up`"));
    await eachIsNeeded(whole, ["up"], { env, only: /write|run/ });
    const partly = await ask([...used, "--allow-run", `--allow-write=${home.path}`], "up");
    assert.equal(partly.status, 255);
    assert.match(
      partly.stderr,
      /no write access to .*; .* not --allow-write=… but --allow-write; /,
    );

    const up = await ask(whole, "up");
    assert.equal(up.status, 0, up.stderr);
    try {
      const { tunnels } = JSON.parse((await ask(used, "status", "--json")).stdout);
      await comesBack(portOf(tunnels, "mail"));
    } finally {
      const down = await ask(used, "down");
      assert.equal(down.status, 0, down.stderr);
    }
    const logs = await ask(here(permissionsFor("`-L`, `-D`, `-R`")), "logs");
    assert.match(logs.stdout, /mail: .*listening on /);
  },
);
