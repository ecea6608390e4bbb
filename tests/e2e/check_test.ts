/** The way from an ssh command line to tunnels that are known to work. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fairlead } from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { defaultsFor } from "../support/named_tunnels.ts";
import { sshOptions, type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, type Peer } from "../support/tcp.ts";
import { freePort, skipUnless } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
let home: Home;
let sshd: SshServer;
let echo: Peer;

before(async () => {
  home = await emptyHome();
  if (skip.skip === undefined) [sshd, echo] = await Promise.all([startSshd(), echoServer()]);
});
after(async () => {
  await Promise.all([sshd?.stop(), echo?.stop()]);
  await home.stop();
});

test("what import makes of a command line of ssh is found to work by check", skip, async () => {
  const file = join(home.path, "imported.yaml");
  const port = await freePort();
  const at = { cwd: home.path, env: home.env };
  const forward = `${port}:127.0.0.1:${echo.port}`;
  const command = ["ssh", "-N", "-L", forward, ...sshOptions(sshd), sshd.host];
  const imported = await fairlead(["import", "-w", file, "--", ...command], at);
  assert.deepEqual([imported.status, imported.stdout], [0, ""], imported.stderr);
  assert.match(imported.stderr, /left out -N: .*\n.*wrote .*imported\.yaml: 1 tunnel\n$/);

  const checked = await fairlead(["check", "--config", file, "--connect"], at);
  assert.deepEqual([checked.status, checked.stderr], [0, ""], checked.stdout);
  assert.deepEqual(
    checked.stdout.split("\n").map((line) => line.replace(/ \(.* line \d+\)$/, "")),
    [
      "-          ok     imported.yaml can be used: 1 tunnel, 1 forward",
      "127.0.0.1  ok     host 127.0.0.1 is an address",
      `127.0.0.1  ok     key ${sshd.identity} can be used`,
      `127.0.0.1  ok     host key of [127.0.0.1]:${sshd.port} is known: ED25519`,
      `127.0.0.1  ok     port ${port} is free`,
      `127.0.0.1  ok     login as ${sshd.user} at 127.0.0.1 works`,
      `127.0.0.1  ok     127.0.0.1:${echo.port} answers, seen from the server`,
      "7 checks, all ok",
      "",
    ],
  );
});

test("what is wrong gives status 1, and a file that cannot be used gives 2", async () => {
  const at = { cwd: home.path, env: home.env };
  const made = await fairlead(["init"], at);
  assert.equal(made.status, 0, made.stderr);
  assert.match(made.stdout, /^Next:\n/);
  const checked = await fairlead(["check", "mail"], at);
  assert.equal(checked.status, 1, checked.stdout);
  assert.match(checked.stdout, /^mail {2}wrong {2}there is nothing to log in with: .*; name a/m);

  writeFileSync(join(home.path, "bad.yaml"), "version: 1\ntunnels: { a: { hots: b }, c: 1 }\n");
  const { status, stdout, stderr } = await fairlead(["check", "--config", "bad.yaml"], at);
  assert.deepEqual([status, stdout], [2, ""]);
  assert.match(stderr, /tunnels\.a\.hots: unknown key; did you mean host\?\n/);
  assert.match(stderr, /tunnels\.c: /);
});

test("a tunnel that is up holds its own ports; another one's are taken", skip, async () => {
  const [port, remote] = [await freePort(), await freePort()];
  const at = { cwd: home.path, env: { ...home.env, XDG_RUNTIME_DIR: join(home.path, "run") } };
  const forwards = `
    forwards:
      - local: ${port}:127.0.0.1:${echo.port}
      - remote: ${remote}:127.0.0.1:${echo.port}
`;
  const [own, other] = [join(home.path, "own.yaml"), join(home.path, "other.yaml")];
  writeFileSync(own, `${defaultsFor(sshd)}tunnels:\n  a:\n    host: 127.0.0.1${forwards}`);
  writeFileSync(other, `${defaultsFor(sshd)}tunnels:\n  b:\n    host: 127.0.0.1${forwards}`);
  const up = await fairlead(["up", "--config", own], at);
  try {
    assert.equal(up.status, 0, up.stderr);
    const same = await fairlead(["check", "--config", own, "--connect"], at);
    assert.equal(same.status, 0, same.stdout);
    assert.ok(same.stdout.includes(`port ${port} is held by the tunnel itself, which is up\n`));
    assert.ok(same.stdout.includes(`${remote} on the server is held by the tunnel itself`));
    const others = await fairlead(["check", "-q", "--config", other], at);
    assert.equal(others.status, 1);
    assert.equal(
      others.stdout,
      `b  wrong  port ${port} is taken by the tunnel a of ${own}, which is up; choose another, or ` +
        "end that one with fairlead down\n",
    );
  } finally {
    const down = await fairlead(["down", "--all"], at);
    assert.equal(down.stderr.includes("down: a"), true, down.stderr);
  }
});
