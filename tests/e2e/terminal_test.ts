/** What a person at a terminal is asked, and what becomes of the answers. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { skipUnlessAccounts } from "../support/accounts.ts";
import { programCommand } from "../support/fairlead.ts";
import { emptyHome } from "../support/home.ts";
import { type KeyPair, makeKey } from "../support/keys.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { openTerminal, type Terminal } from "../support/terminal.ts";
import { skipUnless } from "../support/tools.ts";

const skip = skipUnless("tmux", "sshd", "ssh-keygen");
const skipPasswords = { ...skip, ...skipUnlessAccounts({ password: true }) };
const PASSWORD = "swordfish and chips";
const PASSPHRASE = "open sesame street";
const CONFIRM = /Are you sure you want to continue connecting \(yes\/no\/\[fingerprint\]\)\?/;

let sshd: SshServer;
let withPassword: SshServer;
let encrypted: KeyPair;

before(async () => {
  if (skip.skip !== undefined) return;
  sshd = await startSshd();
  encrypted = await makeKey(sshd.dir, { passphrase: PASSPHRASE });
  await sshd.authorize(encrypted.publicLine);
  if (skipPasswords.skip === undefined) withPassword = await startSshd({ password: PASSWORD });
});
after(async () => {
  await sshd?.stop();
  await withPassword?.stop();
});

/** Sits down at a terminal in an empty home. */
async function sitDown(use: (terminal: Terminal, home: string) => Promise<void>): Promise<void> {
  await using home = await emptyHome();
  await using terminal = await openTerminal(home);
  await use(terminal, home.path);
}

/** The command that forwards through the server, by what these options say of keys. */
function command(server: SshServer, ...options: string[]): string[] {
  const [program, first] = programCommand();
  return [
    ...[program, ...first, "-F", "none", "-L", "0:127.0.0.1:9", "-p", String(server.port)],
    ...[...options, `${server.user}@${server.host}`],
  ];
}

const known = (server: SshServer) => ["-o", `UserKnownHostsFile=${server.knownHosts}`];

async function listensUntilInterrupted(terminal: Terminal): Promise<string> {
  await terminal.until(/listening on /);
  await terminal.press("C-c");
  const { status, screen, echo } = await terminal.end();
  assert.equal(status, 130, screen);
  assert.ok(echo, "the terminal's echo is on again");
  return screen;
}

test("an unknown host key is asked about, and no is an answer", skip, async () => {
  await sitDown(async (terminal, home) => {
    await terminal.run(command(sshd, "-i", sshd.identity));
    const asked = await terminal.until(CONFIRM);
    assert.ok(asked.includes(`'[127.0.0.1]:${sshd.port}'`), asked);
    assert.ok(asked.includes(sshd.hostKeys[0]?.fingerprint ?? "none"), asked);
    await terminal.type("no");
    const { status, screen } = await terminal.end();
    assert.equal(status, 255);
    assert.match(screen, /fairlead: host key verification was declined for \[127\.0\.0\.1\]:/);
    await assert.rejects(readFile(join(home, ".ssh", "known_hosts")), { code: "ENOENT" });
  });
});

test("a host key that was accepted is remembered", skip, async () => {
  await sitDown(async (terminal, home) => {
    await terminal.run(command(sshd, "-i", sshd.identity));
    await terminal.until(CONFIRM);
    await terminal.type("perhaps");
    await terminal.until(/Please type 'yes', 'no' or the fingerprint:/);
    await terminal.type("YES");
    await listensUntilInterrupted(terminal);
    const file = await readFile(join(home, ".ssh", "known_hosts"), "utf8");
    assert.equal(file, await readFile(sshd.knownHosts, "utf8"));

    await terminal.run(command(sshd, "-i", sshd.identity));
    assert.doesNotMatch(await listensUntilInterrupted(terminal), CONFIRM);
  });
});

test("a host key is accepted by its fingerprint, and not by another", skip, async () => {
  await sitDown(async (terminal) => {
    await terminal.run(command(sshd, "-i", sshd.identity));
    await terminal.until(CONFIRM);
    await terminal.type(encrypted.fingerprint);
    await terminal.until(/Please type 'yes', 'no' or the fingerprint:/);
    await terminal.type(sshd.hostKeys[0]?.fingerprint ?? "none");
    await listensUntilInterrupted(terminal);
  });
});

test("the terminal is asked whatever stdin is", skip, async () => {
  await sitDown(async (terminal) => {
    await terminal.run(command(sshd, "-i", sshd.identity), { stdin: "/dev/null" });
    await terminal.until(CONFIRM);
    await terminal.type("yes");
    await listensUntilInterrupted(terminal);
  });
});

test("Ctrl-D at a question declines", skip, async () => {
  await sitDown(async (terminal) => {
    await terminal.run(command(sshd, "-i", sshd.identity));
    await terminal.until(CONFIRM);
    await terminal.press("C-d");
    const { status, screen } = await terminal.end();
    assert.equal(status, 255);
    assert.match(screen, /declined/);
  });
});

test("Ctrl-C at a question ends with 130 and nothing more", skip, async () => {
  await sitDown(async (terminal) => {
    await terminal.run(command(sshd, "-i", sshd.identity));
    await terminal.until(CONFIRM);
    await terminal.press("C-c");
    const { status, screen } = await terminal.end();
    assert.equal(status, 130);
    assert.doesNotMatch(screen, /fairlead:/);
  });
});

test("a passphrase is asked for, not shown, and may be wrong once", skip, async () => {
  await sitDown(async (terminal) => {
    await terminal.run(command(sshd, "-vvv", ...known(sshd), "-i", encrypted.path));
    await terminal.until(/nter passphrase for key '/);
    await terminal.type("sesame street is closed");
    await terminal.until(/nter passphrase for key '/, 2);
    await terminal.type(PASSPHRASE);
    const screen = await listensUntilInterrupted(terminal);
    assert.ok(screen.includes(`nter passphrase for key '${encrypted.path}':`), screen);
    assert.doesNotMatch(screen, /sesame/);
  });
});

test("Ctrl-C at a passphrase turns the echo on again", skip, async () => {
  await sitDown(async (terminal) => {
    await terminal.run(command(sshd, ...known(sshd), "-i", encrypted.path));
    await terminal.until(/nter passphrase for key '/);
    await terminal.press("C-c");
    const { status, echo, screen } = await terminal.end();
    assert.deepEqual({ status, echo }, { status: 130, echo: true });
    assert.doesNotMatch(screen, /fairlead:/);
    // What follows begins on a line of its own, and that is the next one.
    assert.match(screen, /nter passphrase for key '[^\n]*': ?(\^C)?\nspeed /);
  });
});

test("a server that hangs up while somebody is asked ends the run", skip, async () => {
  await sitDown(async (terminal) => {
    await terminal.run(command(sshd, ...known(sshd), "-i", encrypted.path));
    await terminal.until(/nter passphrase for key '/);
    sshd.signalSessions("SIGKILL");
    const { status, echo, screen } = await terminal.end();
    assert.deepEqual({ status, echo }, { status: 255, echo: true });
    assert.match(screen, /fairlead: .*127\.0\.0\.1:\d+/);
  });
});

test("Ctrl-Z at a passphrase turns the echo on, and fg off again", skip, async () => {
  await sitDown(async (terminal) => {
    await terminal.run(command(sshd, ...known(sshd), "-i", encrypted.path));
    await terminal.until(/nter passphrase for key '/);
    await terminal.press("C-z");
    const { echo } = await terminal.end();
    assert.ok(echo);
    await terminal.type("fg");
    await terminal.until(/nter passphrase for key '/, 2);
    await terminal.type(PASSPHRASE);
    await terminal.until(/listening on /);
    assert.doesNotMatch(await terminal.screen(), /sesame/);
    await terminal.press("C-c");
  });
});

test("Ctrl-D at a passphrase goes on without the key", skip, async () => {
  await sitDown(async (terminal) => {
    await terminal.run(command(sshd, ...known(sshd), "-i", encrypted.path));
    await terminal.until(/nter passphrase for key '/);
    await terminal.press("C-d");
    const { status, echo, screen } = await terminal.end();
    assert.deepEqual({ status, echo }, { status: 255, echo: true });
    assert.match(screen, /permission denied \(publickey\)/);
  });
});

test("a password is asked for, not shown, and may be wrong", skipPasswords, async () => {
  const { user, host } = withPassword;
  await sitDown(async (terminal) => {
    await terminal.run(command(withPassword, "-vvv", ...known(withPassword)));
    await terminal.until(/'s password:/);
    await terminal.type("catfish");
    await terminal.until(/'s password:/, 2);
    await terminal.type(PASSWORD);
    const screen = await listensUntilInterrupted(terminal);
    assert.match(screen, new RegExp(`^${user}@${host}'s password: ?$`, "m"));
    const again = `password: ?\\nfairlead: permission denied, please try again\\n${user}@`;
    assert.match(screen.replace(/^fairlead: debug.*\n/gm, ""), new RegExp(again));
    assert.doesNotMatch(screen, /fish|chips/);
  });
});

test("three wrong passwords are enough", skipPasswords, async () => {
  const { user, host } = withPassword;
  await sitDown(async (terminal) => {
    await terminal.run(command(withPassword, ...known(withPassword)));
    for (let tries = 1; tries <= 3; tries++) {
      await terminal.until(/'s password:/, tries);
      await terminal.type("catfish");
    }
    const { status, screen, echo } = await terminal.end();
    assert.deepEqual({ status, echo }, { status: 255, echo: true });
    assert.ok(screen.includes(`fairlead: ${user}@${host}: permission denied (`), screen);
    assert.doesNotMatch(screen, /fish/);
  });
});
