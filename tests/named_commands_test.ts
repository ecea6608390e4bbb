/** The commands that change named tunnels, as a person sees them, in one process with the tunnels. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { runAdd } from "../lib/cli/add.ts";
import { runDown } from "../lib/cli/down.ts";
import { runRemove } from "../lib/cli/remove.ts";
import { runRestart } from "../lib/cli/restart.ts";
import type { Subcommand } from "../lib/cli/subcommand.ts";
import { runUp } from "../lib/cli/up.ts";
import { defaultsFor } from "./support/named_tunnels.ts";
import { type SshServer, startSshd } from "./support/sshd.ts";
import { echoServer, type Peer, refusingPort, transfer } from "./support/tcp.ts";
import { skipUnless, tempDir, waitFor } from "./support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

let sshd: SshServer;
let echo: Peer;
let folder: Awaited<ReturnType<typeof tempDir>>;
const { XDG_RUNTIME_DIR } = process.env;

before(async () => {
  if (skip.skip !== undefined) return;
  [sshd, echo, folder] = await Promise.all([startSshd(), echoServer(), tempDir()]);
  process.env["XDG_RUNTIME_DIR"] = folder.path;
});
after(async () => {
  if (XDG_RUNTIME_DIR === undefined) delete process.env["XDG_RUNTIME_DIR"];
  else process.env["XDG_RUNTIME_DIR"] = XDG_RUNTIME_DIR;
  // Those that `up` waits for.
  for (const name of SIGNALS) process.removeAllListeners(name);
  await Promise.all([sshd?.stop(), echo?.stop(), folder?.stop()]);
});

/** Runs a command; `lines` grow while it runs. */
function begin(command: Subcommand, ...args: string[]) {
  const lines: string[] = [];
  const line = (words: string) => void lines.push(words.replace(/^fairlead: /, ""));
  const screen = { color: false, out: line, err: line };
  const ended = (async () => await command(args, { screen, trace: undefined, use: () => {} }))();
  return { lines, ended };
}

async function ran(command: Subcommand, ...args: string[]) {
  const { lines, ended } = begin(command, ...args);
  return { status: await ended, lines };
}

test(
  "up --foreground keeps tunnels that other commands see and change, until down",
  skip,
  async () => {
    const file = join(folder.path, "fairlead.yaml");
    const to = `127.0.0.1:${echo.port}`;
    const text = `tunnels:
  mail: { host: 127.0.0.1, groups: dev, forwards: [{ name: pop, local: 0, to: "${to}" }] }
`;
    await writeFile(file, defaultsFor(sshd) + text, { mode: 0o600 });
    const front = begin(runUp, "--foreground", "--config", file);
    await waitFor(() => front.lines.includes("mail: up, 1 forward"), { what: "the tunnel" });
    const listening = front.lines.find((line) => line.startsWith("mail: pop: listening on"));
    assert.match(
      listening ?? "",
      new RegExp(`^mail: pop: listening on 127.0.0.1:\\d+.* to ${to}$`),
    );
    await assert.rejects(ran(runUp, "--foreground", "--config", file), {
      message: "another process keeps your tunnels already",
    });

    // Who asks for what is up already learns its ports as well.
    assert.deepEqual(await ran(runUp, "--config", file), {
      status: 0,
      lines: ["mail: open", listening, "mail: up, 1 forward"],
    });
    // The port of 0 is for who asks, not for the log alone.
    for (let times = 0; times < 2; times++) {
      const { lines } = await ran(runUp, "--config", file, "--metrics", "0");
      const url = lines[0]?.replace(/^metrics at /, "") ?? "";
      assert.match(await (await fetch(url)).text(), /^fairlead_tunnel_up\{tunnel="mail"\} 1$/m);
    }

    const added = await ran(runAdd, "mail", "-L", `web=0:${to}`, "-D", "0");
    assert.equal(added.status, 0);
    const [web = "", socks = ""] = added.lines;
    const [, port] = /^mail: web: listening on 127\.0\.0\.1:(\d+)/.exec(web) ?? [];
    assert.equal((await transfer(Number(port), { send: 1_000 })).bytes, 1_000);
    assert.match(socks, /^mail: listening on 127\.0\.0\.1:\d+.*, for SOCKS clients$/);
    await assert.rejects(ran(runAdd, "mail", "-L", `web=0:${to}`), {
      message: "mail has a forward named web already",
    });
    await assert.rejects(ran(runAdd, "mial", "-D", "0"), { hint: "did you mean mail?" });

    assert.deepEqual(await ran(runRemove, "mail", "web"), {
      status: 0,
      lines: ["mail: web removed"],
    });
    await assert.rejects(transfer(Number(port), { send: 1 }), { code: "ECONNREFUSED" });
    await assert.rejects(ran(runRemove, "mail", "wep"), { message: "mail has no forward wep" });
    await assert.rejects(ran(runRemove, "mail"), { message: "remove: the forward is missing" });

    const [session] = sshd.sessions();
    await assert.rejects(ran(runRestart, "deb"), {
      message: "no tunnel and no group deb is up",
      hint: "did you mean dev?",
    });
    const restarted = await ran(runRestart, "dev");
    assert.equal(restarted.status, 0);
    assert.equal(restarted.lines.at(-1), "mail: up, 2 forwards");
    assert.ok(restarted.lines.includes(listening ?? ""), "the port is the same");
    await waitFor(() => !sshd.sessions().includes(session as number), { what: "the old session" });

    // Nobody but the process itself says so.
    sshd.signalSessions("SIGKILL");
    await waitFor(() => front.lines.at(-1) === "mail: open", { what: "the new link" });
    assert.match(front.lines.at(-2) ?? "", /^mail: connecting again \(.+\)$/);

    const down = await ran(runDown, "--all");
    assert.deepEqual([down.status, down.lines.at(-1)], [0, "down: mail"]);
    assert.equal(await front.ended, 0);
    assert.equal(front.lines.at(-1), "mail: down");
    assert.deepEqual(await ran(runDown, "--all"), { status: 0, lines: ["no tunnel is up"] });
  },
);

test("up --foreground says once why a tunnel is not up, and ends where none is", skip, async () => {
  const file = join(folder.path, "refused.yaml");
  const refusing = await refusingPort();
  const text = `version: 1
tunnels:
  one: { host: 127.0.0.1, port: ${refusing.port}, sshConfig: none }
`;
  await writeFile(file, text, { mode: 0o600 });
  assert.deepEqual(await ran(runUp, "--foreground", "--config", file), {
    status: 255,
    lines: [
      "one: connecting",
      "one: failed",
      `one: 127.0.0.1:${refusing.port} refused the connection; ` +
      "check `port` and that an SSH server is running there",
      "one: down",
    ],
  });
});
