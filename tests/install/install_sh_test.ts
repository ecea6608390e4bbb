/** scripts/install.sh, as the README says it, from an empty home and against a release on loopback. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { copyFile, readFile, symlink } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { builtBinary } from "../support/binary.ts";
import { ROOT, serverOptions, startFairlead } from "../support/fairlead.ts";
import {
  assertTunnel,
  type EmptyPlace,
  emptyPlace,
  follow,
  serveRelease,
} from "../support/install.ts";
import {
  assertRefused,
  type Change,
  fake,
  flip,
  HOME_PAGE,
  install,
  left,
  only,
  release,
  SCRIPT,
  smallRelease,
  withBase,
} from "../support/install_sh.ts";
import { installLine } from "../support/readme.ts";
import { startSshd } from "../support/sshd.ts";
import { echoServer } from "../support/tcp.ts";
import {
  need,
  run,
  skipUnless,
  start,
  type Stoppable,
  tempDir,
  waitFor,
  which,
} from "../support/tools.ts";

/** The README's first line about the binary, and the one after it. */
const INSTALL = installLine("curl ");
const USE = installLine("fairlead ");

let real: { path: string } & Stoppable;
let small: { path: string } & Stoppable;

before(async () => {
  real = await release({ "fairlead-linux-x64": await readFile(await builtBinary()) });
  small = await smallRelease();
});
after(async () => {
  await real.stop();
  await small.stop();
});

for (const shell of ["dash", "bash", "busybox"]) {
  test(`with ${shell} the README's lines end in a working tunnel`, skipUnless(shell), async () => {
    const place = shell === "busybox"
      ? await busyboxPlace()
      : await emptyPlace({ sh: need(shell) });
    await using _ = place;
    await using server = await serveRelease(real.path);
    const line = INSTALL.replace(HOME_PAGE, server.url)
      // There is no curl where busybox is all that there is.
      .replace("curl -fsSL", shell === "busybox" ? "wget -qO-" : "curl -fsSL");
    const { status, stdout, stderr } = await follow(line, withBase(place, server));
    assert.equal(status, 0, stderr);
    assert.equal(stderr, "");
    const program = join(place.home, ".local/bin/fairlead");
    assert.match(
      stdout,
      new RegExp(`installed as ${program}: fairlead ${version()} \\(.+, on deno .+\\)\n`),
    );
    assert.match(stdout, /bin is not on PATH; add this line to ~\/\.profile: export PATH="/);
    const manual = join(place.home, ".local/share/man/man1/fairlead.1");
    assert.equal(
      await readFile(manual, "utf8"),
      await readFile(join(real.path, "fairlead.1"), "utf8"),
    );
    assert.deepEqual(left(place), [
      ".local/bin/fairlead",
      ".local/share/man/man1/fairlead.1",
    ]);

    const env = { ...place.env, PATH: [dirname(program), process.env["PATH"]].join(delimiter) };
    await assertTunnel(USE, { ...place, env });
  });
}

test("a program that runs is replaced, and goes on as it was", skipUnless("sshd"), async () => {
  await using place = await emptyPlace();
  await using server = await serveRelease(real.path);
  const program = join(place.home, ".local/bin/fairlead");
  assert.equal((await install(place, server)).status, 0);
  await using sshd = await startSshd();
  await using peer = await echoServer();
  const forward = `0:${peer.host}:${peer.port}`;
  await using running = await startFairlead(["-L", forward, ...serverOptions(sshd)], {
    command: [program, []],
    env: place.env,
  });
  const before = statSync(program).ino;
  const { status, stderr } = await install(place, server);
  assert.equal(status, 0, stderr);
  assert.notEqual(statSync(program).ino, before);
  assert.equal(running.running(), true);
  assert.deepEqual(await running.end("SIGTERM"), { status: 143, signal: null });
});

const REFUSED: [string, Change, RegExp][] = [
  [
    "a program with one wrong bit",
    only(/linux-x64/, flip),
    /fairlead-linux-x64 is not what SHA256SUMS says \([0-9a-f]{64} instead of [0-9a-f]{64}\)/,
  ],
  [
    "a program that was cut off",
    only(/linux-x64/, (content) => content.subarray(0, -1)),
    /fairlead-linux-x64 is not what SHA256SUMS says/,
  ],
  [
    "a manual page with one wrong bit",
    only(/\.1$/, flip),
    /fairlead\.1 is not what SHA256SUMS says/,
  ],
  [
    "a list of sums without the program",
    only(/SUMS/, (content) => Buffer.from(String(content).replace(/.*linux-x64\n/, ""))),
    /SHA256SUMS has no sum for fairlead-linux-x64: nothing was installed/,
  ],
  [
    "a list of sums that is a page of HTML",
    only(/SUMS/, () => Buffer.from("<!doctype html>\n<title>Sign in</title>\n")),
    /SHA256SUMS has no sum for fairlead-linux-x64/,
  ],
  [
    "a list of sums that is empty",
    only(/SUMS/, () => Buffer.alloc(0)),
    /SHA256SUMS has no sum for fairlead-linux-x64/,
  ],
  [
    "a sum that was cut off",
    only(/SUMS/, (content) => Buffer.from(String(content).replace(/^[0-9a-f]{4}/gm, ""))),
    /SHA256SUMS has no sum for fairlead-linux-x64/,
  ],
];

for (const [what, change, message] of REFUSED) {
  test(`${what} is refused, and nothing is left behind`, async () => {
    await using place = await emptyPlace();
    await using server = await serveRelease(small.path, change);
    assertRefused(await install(place, server), message);
    assert.deepEqual(left(place), []);
    assert.equal(existsSync(join(place.home, ".local")), false);
  });
}

test("a program with one wrong bit does not replace the one that is there", async () => {
  await using place = await emptyPlace();
  await using good = await serveRelease(small.path);
  await using bad = await serveRelease(small.path, only(/linux-x64/, flip));
  assert.equal((await install(place, good)).status, 0);
  assertRefused(await install(place, bad), /is not what SHA256SUMS says/);
  const program = join(place.home, ".local/bin/fairlead");
  assert.equal((await run(program)).stdout, "this is fairlead-linux-x64\n");
  assert.deepEqual(left(place), [".local/bin/fairlead", ".local/share/man/man1/fairlead.1"]);
});

test("a program that does not run here does not replace one that does", async () => {
  await using place = await emptyPlace();
  await using good = await serveRelease(small.path);
  await using broken = await release({
    "fairlead-linux-x64": Buffer.from("#!/bin/sh\necho version GLIBC_2.99 not found >&2\nexit 1\n"),
  });
  await using bad = await serveRelease(broken.path);
  assert.equal((await install(place, good)).status, 0);
  assertRefused(
    await install(place, bad),
    /fairlead-linux-x64 does not run on this machine: version GLIBC_2\.99 not found/,
  );
  const program = join(place.home, ".local/bin/fairlead");
  assert.equal((await run(program)).stdout, "this is fairlead-linux-x64\n");
});

test("a file that is not there is named, with what the server said", async () => {
  await using place = await emptyPlace();
  await using server = await serveRelease(small.path);
  const missing = `${server.url}/releases/nothing`;
  assertRefused(
    await install(place, server, { FAIRLEAD_BASE_URL: missing }),
    new RegExp(`cannot download ${missing}/SHA256SUMS: curl: .*404`),
  );
  await using without = await tempDir();
  await copyFile(join(small.path, "SHA256SUMS"), join(without.path, "SHA256SUMS"));
  await using half = await serveRelease(without.path);
  assertRefused(await install(place, half), /cannot download .*fairlead-linux-x64: curl: .*404/);
  assert.deepEqual(left(place), []);
});

test("a script that was cut off anywhere does nothing", async () => {
  const script = await readFile(SCRIPT);
  const call = script.lastIndexOf("\nmain") + "\nmain".length;
  await using place = await emptyPlace();
  await using server = await serveRelease(small.path);
  const cuts = Array.from({ length: 120 }, (_, at) => Math.floor((at * (call - 8)) / 119));
  for (let cut = call - 8; cut < call; cut++) cuts.push(cut);
  await Promise.all(
    ["dash", "bash"].filter(which).map(async (shell) => {
      for (const cut of cuts) {
        const { stdout } = await run(shell, [], {
          stdin: script.subarray(0, cut),
          env: withBase(place, server).env,
        });
        assert.equal(stdout, "", `after ${cut} bytes`);
      }
    }),
  );
  assert.deepEqual(server.requests, []);
  assert.deepEqual(left(place), []);
  assert.equal((await install(place, server, {}, script.subarray(0, call))).status, 0);
});

test("a script that is told to end takes away what it had begun", async () => {
  await using place = await emptyPlace();
  const sum = "0".repeat(64);
  fake(
    place,
    "curl",
    `case "$*" in *SUMS) echo "${sum}  fairlead-linux-x64";; *) : >"$HOME/begun"; sleep 1;; esac`,
  );
  const running = start(need("sh"), [SCRIPT], { env: place.env });
  await using _ = running;
  await waitFor(() => existsSync(join(place.home, "begun")), { what: "the download" });
  assert.equal(existsSync(join(place.home, ".local/bin")), true);
  running.kill("SIGTERM");
  assert.deepEqual(await running.closed, { status: 143, signal: null });
  assert.equal(existsSync(join(place.home, ".local")), false);
});

test("shellcheck has nothing to say about any shell script", skipUnless("shellcheck"), async () => {
  const files = spawnSync("git", ["ls-files"], { cwd: ROOT, encoding: "utf8" }).stdout.trim();
  const scripts = files.split("\n").filter((file) =>
    existsSync(join(ROOT, file)) && statSync(join(ROOT, file)).isFile() &&
    /^#!.*\b(?:ba|da|)sh\b/.test(readFileSync(join(ROOT, file), "latin1").slice(0, 80))
  );
  assert.ok(scripts.includes("scripts/install.sh") && scripts.includes(".ci/run"), files);
  // Functions that are called by their names in variables.
  const { status, stdout } = await run("shellcheck", ["--exclude=SC2317,SC2329", ...scripts], {
    cwd: ROOT,
  });
  assert.equal(status, 0, stdout);
});

function version(): string {
  return JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8")).version;
}

/** A place with busybox and nothing else, as in small containers. */
async function busyboxPlace(): Promise<EmptyPlace> {
  const { stdout } = await run("busybox", ["--list"]);
  const place = await emptyPlace();
  const [bin = ""] = (place.env["PATH"] ?? "").split(delimiter);
  for (const applet of stdout.trim().split("\n")) await symlink(need("busybox"), join(bin, applet));
  return { ...place, env: { ...place.env, PATH: bin } };
}
