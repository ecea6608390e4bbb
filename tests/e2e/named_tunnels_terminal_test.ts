/** What a person sees of named tunnels at a terminal: `up` on its way, and `status --watch`. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { programCommand } from "../support/fairlead.ts";
import { namedTunnelsStage, portOf, type Stage } from "../support/named_tunnels_stage.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, type Peer, transfer } from "../support/tcp.ts";
import { openTerminal } from "../support/terminal.ts";
import { skipUnless } from "../support/tools.ts";

const skip = skipUnless("tmux", "sshd", "ssh-keygen");

let sshd: SshServer;
let echo: Peer;
let stage: Stage;

before(async () => {
  if (skip.skip !== undefined) return;
  [sshd, echo] = await Promise.all([startSshd(), echoServer()]);
  stage = await namedTunnelsStage(sshd);
  const to = `127.0.0.1:${echo.port}`;
  stage.write(`tunnels:
  mail:
    host: 127.0.0.1
    forwards: [{ name: pop, local: 0, to: "${to}" }, dynamic: 0]
  web: { host: 127.0.0.1, forwards: [remote: "0:${to}"] }
`);
});
after(async () => {
  await stage?.stop();
  await Promise.all([sshd?.stop(), echo?.stop()]);
});

for (const columns of [80, 200]) {
  for (const color of [true, false]) {
    const how = `${columns} columns ${color ? "with" : "without"} colour`;
    test(`up and status --watch can be read at ${how}`, skip, async () => {
      const env = { ...stage.home.env, ...(color ? {} : { NO_COLOR: "1" }), LC_ALL: "C.UTF-8" };
      await using terminal = await openTerminal({ ...stage.home, env }, columns);
      const [program, first] = programCommand();
      const at = ["env", "-C", stage.home.path, program, ...first];

      await terminal.run([...at, "up"]);
      const up = await terminal.end();
      assert.equal(up.status, 0, up.screen);
      assert.match(up.screen, /^fairlead: mail: pop: listening on 127\.0\.0\.1:\d+/m);
      assert.match(up.screen, /^fairlead: mail: up, 2 forwards$/m);
      assert.match(up.screen, /^fairlead: web: up, 1 forward$/m);
      // What was drawn in place is gone.
      assert.doesNotMatch(up.screen, /connecting|waiting/);

      const { tunnels } = await stage.status();
      await terminal.run([...at, "status", "--watch"]);
      await terminal.until(/^ {2}-L pop: /m);
      await transfer(portOf(tunnels, "mail"), { send: 2_000_000 });
      const seen = await terminal.until(columns < 100 ? /1\.9M +1\.9M/ : /1\.9M +1\.9M.*█/);
      const watched = seen.split("\n");
      assert.ok(watched.every((line) => line.length <= columns), seen);
      assert.match(seen, /^TUNNEL +OPEN +TOTAL +SENT +RECEIVED +BYTES PER SECOND$/m);
      assert.match(seen, /^mail {2}open for \d+s/m);
      // Drawn over itself, not below.
      assert.equal(watched.filter((line) => line.startsWith("TUNNEL")).length, 1, seen);
      await terminal.until(/█/);
      const painted = await terminal.painted();
      assert.equal(painted.includes("\x1b[32mopen"), color, painted);

      await terminal.press("C-c");
      const { status, screen } = await terminal.end();
      assert.equal(status, 0, screen);
      // The screen that was there is back.
      assert.doesNotMatch(screen, /^TUNNEL/m);
      assert.equal((await stage.run("down", "--all")).status, 0);
    });
  }
}

test(
  "Ctrl-C during up gives up what is not up yet, and what was up before goes on",
  skip,
  async () => {
    assert.equal((await stage.run("up", "web")).status, 0);
    await using terminal = await openTerminal(stage.home, 80);
    const [program, first] = programCommand();
    sshd.kill("SIGSTOP");
    try {
      await terminal.run(["env", "-C", stage.home.path, program, ...first, "up"]);
      const seen = await terminal.until(/^fairlead: mail: connecting …$/m);
      assert.match(seen, /^fairlead: web: open$/m);
      await terminal.press("C-c");
      const { status, screen } = await terminal.end();
      assert.equal(status, 130, screen);
      assert.doesNotMatch(screen, /connecting|error/);
      const { tunnels } = await stage.status();
      assert.deepEqual(tunnels.map(({ name, state }) => [name, state]), [["web", "open"]]);
    } finally {
      sshd.kill("SIGCONT");
    }
  },
);
