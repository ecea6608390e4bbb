/** Keys, passwords and passphrases from variables, standard input and a program of the user's. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { skipUnlessAccounts } from "../support/accounts.ts";
import { descriptorsOf, fairlead, programCommand, startFairlead } from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { type KeyPair, makeKey } from "../support/keys.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import {
  descendants,
  processes,
  run,
  type RunResult,
  signalProcess,
  skipUnless,
  start,
  waitFor,
} from "../support/tools.ts";

const sshd = skipUnless("sshd", "ssh-keygen", "setsid");
const withPassword = sshd.skip === undefined ? skipUnlessAccounts({ password: true }) : sshd;
const PASSWORD = "swordfish and chips";
const PASSPHRASE = "open sesame street";

let server: SshServer;
let home: Home;
let encrypted: KeyPair;

before(async () => {
  if (sshd.skip !== undefined) return;
  server = await startSshd(withPassword.skip === undefined ? { password: PASSWORD } : {});
  home = await emptyHome();
  encrypted = await makeKey(server.dir, { passphrase: PASSPHRASE });
  await server.authorize(encrypted.publicLine);
});
after(async () => {
  await home?.stop();
  await server?.stop();
});

/** The options that reach the server, without a key. */
function reach(...more: string[]): string[] {
  return [
    ...["-F", "none", "-p", String(server.port), "-l", server.user],
    ...["-o", `UserKnownHostsFile=${server.knownHosts}`, "-o", "GlobalKnownHostsFile=none"],
    ...[...more, server.host],
  ];
}

interface Given {
  readonly env?: Record<string, string | undefined>;
  readonly stdin?: string;
}

/** Program and arguments; in a session of its own there is no terminal to ask at. */
function command(...args: string[]): [string, string[]] {
  const [program, before] = programCommand();
  return ["setsid", ["--wait", program, ...before, ...args]];
}

/** Runs `true` on the server. */
function login(options: string[], { env = {}, ...more }: Given = {}): Promise<RunResult> {
  const none = { DISPLAY: undefined, WAYLAND_DISPLAY: undefined, SSH_ASKPASS_REQUIRE: undefined };
  return run(...command(...reach(...options), "true"), {
    env: { ...home.env, ...none, ...env },
    ...more,
  });
}

async function succeeds(options: string[], given: Given = {}): Promise<RunResult> {
  const result = await login(options, given);
  assert.equal(result.status, 0, result.stderr);
  assert.equal(result.stderr, "");
  return result;
}

const key = () => readFileSync(server.identity, "utf8");

test("a private key may be in a variable, in any form that CI systems give it", sshd, async () => {
  const text = key();
  const forms = [
    text,
    text.trim(),
    text.replaceAll("\n", "\r\n"),
    text.replaceAll("\n", "\\n"),
    text.replaceAll("\n", "\\r\\n"),
    Buffer.from(text).toString("base64"),
    Buffer.from(text).toString("base64").replace(/.{76}/g, "$&\n"),
  ];
  for (const form of forms) await succeeds(["-i", "env:DEPLOY_KEY"], { env: { DEPLOY_KEY: form } });
  const rsa = await makeKey(server.dir, { type: "rsa", format: "PEM" });
  await server.authorize(rsa.publicLine);
  const pem = await readFile(rsa.path, "utf8");
  await succeeds(["-i", "env:DEPLOY_KEY"], { env: { DEPLOY_KEY: pem.replaceAll("\n", "\\n") } });
});

test("a private key may come from standard input, which is nothing else then", sshd, async () => {
  await succeeds(["-i", "-"], { stdin: key() });
  await succeeds(["-i", "-"], { stdin: Buffer.from(key()).toString("base64") });
  // What follows on stdin is not the command's: it sees the end at once.
  const shown = await fairlead([...reach("-i", "-"), "cat"], { env: home.env, stdin: key() });
  assert.deepEqual([shown.status, shown.stdout], [0, ""]);
});

test("the background has the key from standard input as well", sshd, async () => {
  const { status, stderr } = await fairlead(
    reach("-f", "-v", "-i", "-", "-L", "0:127.0.0.1:9"),
    { env: home.env, stdin: key() },
  );
  const pid = Number(/in the background, as process (\d+)/.exec(stderr)?.[1]);
  try {
    assert.equal(status, 0, stderr);
    assert.ok(descriptorsOf(pid) > 0);
    // It is neither among its arguments nor in its environment.
    const seen = ["cmdline", "environ"].map((name) => readFileSync(`/proc/${pid}/${name}`, "utf8"));
    assert.doesNotMatch(seen.join(), /PRIVATE KEY/);
  } finally {
    if (pid > 0) signalProcess(pid, "SIGTERM");
  }
  await waitFor(() => !processes().some((one) => one.pid === pid));
});

test("nobody that is asked on the background's behalf sees a secret either", sshd, async () => {
  const seen = join(home.path, "seen-by-foreground");
  const asking = await askpass(`env >'${seen}'; exit 1`);
  const options = ["-f", "-i", encrypted.path, "--password", "env:SECRET", "-L", "0:127.0.0.1:9"];
  const { status } = await login(options, {
    env: { SSH_ASKPASS: asking.path, SSH_ASKPASS_REQUIRE: "force", SECRET: "wrong words" },
  });
  assert.equal(status, 255);
  const environment = await readFile(seen, "utf8");
  assert.match(environment, /^SSH_ASKPASS=/m);
  assert.doesNotMatch(environment, /SECRET|wrong words/);
});

test("a key that cannot be read is called by its place, and never shown", sshd, async () => {
  const cut = key().slice(0, 150);
  const given: [option: string, given: Given, name: string][] = [
    ["env:BAD_KEY", { env: { BAD_KEY: cut } }, "env:BAD_KEY"],
    ["-", { stdin: cut }, "standard input"],
  ];
  for (const [option, more, name] of given) {
    const { status, stderr } = await login(["-vvv", "-i", option], more);
    assert.equal(status, 255);
    assert.match(stderr, new RegExp(`identity ${name} cannot be read: `));
    assert.ok(!stderr.includes(cut.slice(40, 100)), stderr);
  }
});

test(
  "the password may be in a variable, and no output shows it",
  withPassword,
  async () => {
    const { stderr } = await login(["-vvv", "--password", "env:SECRET"], {
      env: { SECRET: PASSWORD },
    });
    assert.match(stderr, /session to .* open/);
    assert.ok(!stderr.includes(PASSWORD));
    await succeeds(["--password=env:SECRET"], { env: { SECRET: PASSWORD } });
    const wrong = await login(["--password", "env:SECRET", "-vvv"], {
      env: { SECRET: "not that" },
    });
    assert.equal(wrong.status, 255);
    assert.match(wrong.stderr, /permission denied .*; offered: password/);
    assert.ok(!wrong.stderr.includes("not that"));
  },
);

test("the passphrase may be in a variable, for keys from anywhere", sshd, async () => {
  const text = await readFile(encrypted.path, "utf8");
  const pass = ["--passphrase", "env:PHRASE"];
  const env = { PHRASE: PASSPHRASE, KEY: text };
  await succeeds([...pass, "-i", encrypted.path], { env });
  await succeeds([...pass, "-i", "env:KEY"], { env });
  await succeeds([...pass, "-i", "-"], { env, stdin: text });
  await succeeds([...pass, "-o", "BatchMode=yes", "-i", encrypted.path], { env });

  const file = await login([...pass, "-i", encrypted.path], { env: { PHRASE: "wrong words" } });
  assert.equal(file.status, 255);
  assert.match(file.stderr, /identity .* is not opened by the passphrase that was given/);
  const variable = await login([...pass, "-i", "env:KEY"], {
    env: { ...env, PHRASE: "wrong words" },
  });
  assert.match(variable.stderr, /identity env:KEY is not opened by the passphrase that was given/);
  const none = await login(["-i", "env:KEY"], { env });
  assert.match(none.stderr, /identity env:KEY is encrypted and no passphrase was given/);
  for (const { stderr } of [file, variable]) assert.ok(!stderr.includes("wrong words"));
});

/** A program that keeps what it is asked, and answers with this. */
async function askpass(script: string): Promise<{ path: string; asked: () => string[] }> {
  const path = join(home.path, "askpass");
  const log = `${path}.log`;
  await writeFile(log, "");
  await writeFile(path, `#!/bin/sh\nprintf '%s\\n' "$1" >>'${log}'\n${script}\n`, { mode: 0o700 });
  return { path, asked: () => readFileSync(log, "utf8").split("\n").filter((line) => line !== "") };
}

async function logsIn(options: string[], env: Given["env"] = {}): Promise<void> {
  const { status, stderr } = await login(options, { env });
  assert.equal(status, 0, stderr);
}

test("SSH_ASKPASS answers where there is a display and no terminal", sshd, async () => {
  const options = ["-i", encrypted.path];
  const question = `Enter passphrase for key '${encrypted.path}': `;
  const program = await askpass(`echo '${PASSPHRASE}'; echo 'a second line'`);
  const env = { SSH_ASKPASS: program.path, DISPLAY: ":0" };
  await logsIn(options, env);
  assert.deepEqual(program.asked(), [question]);
  await logsIn(options, { ...env, DISPLAY: undefined, WAYLAND_DISPLAY: "wayland-0" });
  await logsIn(options, { ...env, DISPLAY: undefined, SSH_ASKPASS_REQUIRE: "force" });
  await logsIn(options, { ...env, SSH_ASKPASS_REQUIRE: "prefer" });
  assert.equal(program.asked().length, 4);
  for (
    const nobody of [
      { ...env, DISPLAY: undefined },
      { ...env, DISPLAY: "", SSH_ASKPASS_REQUIRE: "prefer" },
      { ...env, SSH_ASKPASS_REQUIRE: "never" },
    ]
  ) {
    assert.equal((await login(options, { env: nobody })).status, 255);
  }
  assert.equal((await login(["-o", "BatchMode=yes", ...options], { env })).status, 255);
  assert.equal(program.asked().length, 4);
});

test("SSH_ASKPASS is asked for passwords, again after a wrong one", withPassword, async () => {
  const program = await askpass(`[ -e ~/second ] && echo '${PASSWORD}' || echo no; touch ~/second`);
  const env = { SSH_ASKPASS: program.path, SSH_ASKPASS_REQUIRE: "force" };
  await logsIn([], env);
  const question = `${server.user}@${server.host}'s password: `;
  assert.deepEqual(program.asked(), [question, question]);
});

test("a program that fails, says too much or is not there gives no answer", sshd, async () => {
  const options = ["-i", encrypted.path];
  const force = { SSH_ASKPASS_REQUIRE: "force" };
  const fails = await askpass(`echo '${PASSPHRASE}'; exit 1`);
  const failed = await login(options, { env: { ...force, SSH_ASKPASS: fails.path } });
  assert.equal(failed.status, 255);
  assert.equal(fails.asked().length, withPassword.skip === undefined ? 2 : 1);
  const endless = await askpass("exec yes");
  const ended = await login(options, { env: { ...force, SSH_ASKPASS: endless.path } });
  assert.equal(ended.status, 255);
  assert.match(ended.stderr, /askpass gives more than an answer, and is ended/);
  const nowhere = join(home.path, "no-such-program");
  const missing = await login(options, { env: { ...force, SSH_ASKPASS: nowhere } });
  assert.equal(missing.status, 255);
  assert.match(missing.stderr, /no-such-program \(SSH_ASKPASS\) does not start: /);
});

test(
  "a host key is trusted by a program that says yes, not by one that knows only a password",
  sshd,
  async () => {
    const known = join(home.path, "known");
    const options = ["-o", `UserKnownHostsFile=${known}`, "-i", server.identity];
    const reached = (env: Record<string, string>) =>
      fairlead([...options, ...reach().slice(0, 6), server.host, "true"], {
        env: { ...home.env, SSH_ASKPASS_REQUIRE: "force", ...env },
      });
    const dumb = await askpass(`echo '${PASSWORD}'`);
    const refused = await reached({ SSH_ASKPASS: dumb.path });
    assert.equal(refused.status, 255, refused.stderr);
    assert.match(dumb.asked().join("\n"), /The authenticity of host .*\n.*SHA256:.*\nAre you sure/);
    const yes = await askpass("echo yes");
    assert.equal((await reached({ SSH_ASKPASS: yes.path })).status, 0);
    assert.match(await readFile(known, "utf8"), /ssh-ed25519/);
  },
);

test("the program that asks does not see the secrets, and ends with us", sshd, async () => {
  const seen = join(home.path, "seen");
  const asking = await askpass(`env >'${seen}'; echo $$ >>'${seen}'; exec sleep 60`);
  const options = ["--password", "env:SECRET", "-i", encrypted.path, "-i", "env:OTHER"];
  const [program, before] = programCommand();
  await using running = start(program, [...before, ...reach(...options), "true"], {
    env: {
      ...home.env,
      SSH_ASKPASS: asking.path,
      SSH_ASKPASS_REQUIRE: "force",
      SECRET: PASSWORD,
      OTHER: await readFile((await makeKey(server.dir)).path, "utf8"),
    },
  });
  const pid = await waitFor(async () => {
    const text = await readFile(seen, "utf8").catch(() => "");
    return Number(/^(\d+)\n$/m.exec(text)?.[1] ?? 0);
  }, { timeout: 10_000 });
  const environment = await readFile(seen, "utf8");
  assert.match(environment, /^SSH_ASKPASS=/m);
  assert.doesNotMatch(environment, /SECRET|OTHER|swordfish|PRIVATE KEY/);
  running.kill("SIGINT");
  assert.equal((await running.exited).status, 130, running.stderr());
  await waitFor(() => !processes().some((one) => one.pid === pid), { what: "the program's end" });
  assert.deepEqual(descendants(running.pid), []);
});

test("neither Match exec nor what it starts sees the secrets", sshd, async () => {
  const seen = join(home.path, "seen-by-match");
  const config = join(home.path, "match-config");
  await writeFile(config, `Match exec "env >'${seen}'"\n`);
  const options = ["-F", config, "--password", "env:SECRET", "--proxy", "env:MY_PROXY", "-G"];
  const { status, stderr } = await fairlead([...options, "host"], {
    env: { ...home.env, SECRET: PASSWORD, MY_PROXY: `socks5://me:${PASSWORD}@127.0.0.1:1` },
  });
  assert.equal(status, 0, stderr);
  const environment = await readFile(seen, "utf8");
  assert.match(environment, /^HOME=/m);
  assert.ok(!environment.includes(PASSWORD));
});

test("a forward with a password from a variable stays up", withPassword, async () => {
  await using running = await startFairlead(
    reach("--password", "env:SECRET", "-L", "0:127.0.0.1:9"),
    { env: { ...home.env, SECRET: PASSWORD } },
  );
  assert.equal(running.ports.length, 1);
  assert.equal((await running.end("SIGINT")).status, 130);
});

test("a variable that is not there, or a secret itself, is wrong usage and not repeated", async () => {
  const cases: [args: string[], message: RegExp][] = [
    [["--password", "env:NO_SUCH"], /--password env:NO_SUCH: the variable NO_SUCH is not set/],
    [["--passphrase", "env:EMPTY"], /--passphrase env:EMPTY: the variable EMPTY is empty/],
    [["-i", "env:NO_SUCH"], /-i env:NO_SUCH: the variable NO_SUCH is not set/],
    [["--password", "hunter2"], /--password: expected env:NAME, where the variable NAME holds it/],
    [["--passphrase=hunter2"], /--passphrase: expected env:NAME/],
    [["-i", "env:hunter2!"], /-i: expected env:NAME/],
    [["-i", "-", "-i", "-"], /-i -: there is one stdin, so one -i -/],
    [["-i", "-", "-W", "host:1"], /-i - and -W contradict each other: there is one stdin/],
    [["-i", "-"], /-i -: standard input is empty/],
  ];
  for (const [args, message] of cases) {
    const { status, stderr } = await run(...command("-F", "none", "-N", ...args, "127.0.0.1"), {
      env: { NO_SUCH: undefined, EMPTY: "" },
      stdin: " \n",
    });
    assert.equal(status, 2, stderr);
    assert.match(stderr, message);
    assert.ok(!stderr.includes("hunter2"), stderr);
  }
});
