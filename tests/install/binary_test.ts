/** The binaries: built, checked and run, by Deno and by Bun, each alone in an empty folder. */
import assert from "node:assert/strict";
import { copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { makeBinaries } from "../../scripts/build/binary.ts";
import type { Engine } from "../../scripts/build/binary_options.ts";
import { LICENCES_FILE } from "../../scripts/build/licences.ts";
import { commit, VERSION } from "../../scripts/build/project.ts";
import { sha256 } from "../../scripts/build/sums.ts";
import { ROOT, serverOptions } from "../support/fairlead.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, patternReceived, type Peer, transfer } from "../support/tcp.ts";
import { processes, run, skipUnless, type Stoppable, tempDir, waitFor } from "../support/tools.ts";

const ENGINES: readonly Engine[] = ["deno", "bun"];
/** What a build lays beside its binaries, in whatever folder. */
const BESIDE = ["SHA256SUMS", LICENCES_FILE];
const skip = skipUnless("sshd", "ssh-keygen");

let dir: { path: string } & Stoppable;
let sshd: SshServer;
let echo: Peer;
const built = new Map<Engine, string>();

before(async () => {
  dir = await tempDir();
  echo = await echoServer();
  if (skip.skip === undefined) sshd = await startSshd();
  for (const engine of ENGINES) {
    const [binary = ""] = await makeBinaries({ engine, out: join(dir.path, "dist") });
    // Nothing else lies in its folder.
    const alone = join(dir.path, `alone-${engine}`);
    await mkdir(alone);
    await copyFile(binary, join(alone, basename(binary)));
    built.set(engine, join(alone, basename(binary)));
  }
});
after(async () => {
  await sshd?.stop();
  await echo?.stop();
  await dir?.stop();
});

/** Runs one with an empty environment, in its own folder. */
function runBinary(engine: Engine, ...args: string[]) {
  const binary = built.get(engine) ?? "";
  const env = Object.fromEntries(Object.keys(process.env).map((name) => [name, undefined]));
  return run(binary, args, { cwd: join(binary, ".."), env });
}

for (const engine of ENGINES) {
  test(`${engine}: the binary says its version, its commit and what runs it`, async () => {
    const { status, stdout, stderr } = await runBinary(engine, "--version");
    assert.deepEqual([status, stderr], [0, ""]);
    const start = `fairlead ${VERSION} (${commit()}, on ${engine} `;
    assert.equal(stdout.slice(0, start.length), start);
    assert.match(stdout.slice(start.length), /^[\d.]+\)\n$/);
  });

  test(`${engine}: the binary goes to the background and forwards every byte`, skip, async () => {
    const forward = ["-f", "-N", "-L", `0:127.0.0.1:${echo.port}`];
    const { status, stderr } = await runBinary(engine, ...forward, ...serverOptions(sshd));
    assert.equal(status, 0, stderr);
    const port = Number(/listening on 127\.0\.0\.1:(\d+)/.exec(stderr)?.[1]);
    const pid = Number(/in the background, as process (\d+)/.exec(stderr)?.[1]);
    try {
      const { sha256, bytes } = await transfer(port, { send: 4_000_000 });
      assert.deepEqual({ sha256, bytes }, patternReceived(4_000_000));
    } finally {
      process.kill(pid);
    }
    await waitFor(() => !processes().some((one) => one.pid === pid), { what: "its end" });
  });

  test(`${engine}: the same commit gives the same bytes, in the same folder, again`, async () => {
    const before = sha256(built.get(engine) ?? "");
    const [again = ""] = await makeBinaries({ engine, out: join(dir.path, "dist") });
    assert.equal(sha256(again), before);
  });
}

test("deno: the same commit gives the same bytes in another folder", async () => {
  const [other = ""] = await makeBinaries({ engine: "deno", out: join(dir.path, "elsewhere") });
  assert.equal(sha256(other), sha256(built.get("deno") ?? ""));
});

test("builds side by side wait for one another, and not for one that was killed", async () => {
  const out = join(dir.path, "side-by-side");
  const name = basename(built.get("deno") ?? "");
  await mkdir(join(out, `.${name}`), { recursive: true });
  await writeFile(join(out, `.${name}`, "pid"), "999999999");
  const both = await Promise.all([makeBinaries({ out }), makeBinaries({ out })]);
  assert.deepEqual(both, [[join(out, name)], [join(out, name)]]);
  assert.equal(sha256(join(out, name)), sha256(built.get("deno") ?? ""));
  assert.deepEqual((await readdir(out)).sort(), [...BESIDE, name].sort());
});

test("nothing but the binaries, their checksums and the licences is left behind", async () => {
  const folder = join(dir.path, "dist");
  const names = ENGINES.map((engine) => basename(built.get(engine) ?? ""));
  assert.deepEqual((await readdir(folder)).sort(), [...BESIDE, ...names].sort());
  assert.match(
    await readFile(join(folder, LICENCES_FILE), "utf8"),
    /^ssh2 \d/m,
  );
  const { status, stdout } = await run("sha256sum", ["--check", "SHA256SUMS"], { cwd: folder });
  assert.deepEqual([status, stdout.match(/: OK$/gm)?.length], [0, 2], stdout);
});

test("bun: no file of the folder in which it is started has a say", async () => {
  const folder = join(built.get("bun") ?? "", "..");
  await writeFile(join(folder, ".env"), `FAIRLEAD_TRACE=${join(folder, "trace")}\n`);
  await writeFile(join(folder, "bunfig.toml"), 'preload = ["./preload.js"]\n');
  await writeFile(join(folder, "preload.js"), "console.log('preloaded');\n");
  const { status, stdout, stderr } = await runBinary("bun", "-F", "none", "-G", "localhost");
  assert.deepEqual([status, stderr], [0, ""]);
  assert.match(stdout, /^host localhost$/m);
  assert.doesNotMatch(stdout, /preloaded/);
  assert.ok(!(await readdir(folder)).includes("trace"));
});

test("deno: nobody can plant compiled code in the folder for temporary files", async () => {
  const binary = built.get("deno") ?? "";
  const folder = join(dir.path, "temporary");
  await mkdir(folder);
  // Deno's cache of compiled code. Who opens it waits until somebody writes.
  const cache = join(folder, `deno-compile-${basename(binary)}.cache`);
  assert.equal((await run("mkfifo", [cache])).status, 0);
  const { status } = await run(binary, ["--version"], { env: { TMPDIR: folder }, timeout: 10_000 });
  assert.equal(status, 0);
});

test("deno: what is not baked in is refused, and the flag named", async () => {
  const out = join(dir.path, "few");
  const [binary = ""] = await makeBinaries({ allow: ["read", "env", "sys"], out });
  const to = ["-F", "none", "-N", "-L", "0:127.0.0.1:1", "-p", String(echo.port), "127.0.0.1"];
  const { status, stderr } = await run(binary, to);
  assert.equal(status, 255, stderr);
  assert.match(stderr, /--allow-net/);
});

test("where denort cannot be had, one line says so, and nothing is left behind", async () => {
  const out = join(dir.path, "without");
  const env = {
    DENORT_BIN: undefined,
    // Nothing lies in this cache, and nothing listens on this port.
    DENO_DIR: join(dir.path, "cache"),
    HTTPS_PROXY: "http://127.0.0.1:1",
    https_proxy: "http://127.0.0.1:1",
    NO_PROXY: undefined,
    no_proxy: undefined,
  };
  const given = Object.fromEntries(Object.keys(env).map((name) => [name, process.env[name]]));
  setVariables(env);
  try {
    await assert.rejects(makeBinaries({ out }), (error: Error) => {
      assert.match(error.message, /^deno compile needs denort, Deno's runtime for [\w-]+, and /);
      assert.match(error.message, /could not download it \(.+\); DENORT_BIN=FILE .* --engine bun /);
      assert.doesNotMatch(error.message, /\n/);
      return true;
    });
  } finally {
    setVariables(given);
  }
  assert.deepEqual(await readdir(out), []);
});

function setVariables(variables: Readonly<Record<string, string | undefined>>): void {
  for (const [name, value] of Object.entries(variables)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
}

test("what goes wrong ends the build with status 1 and one line", async () => {
  const script = [join(ROOT, "scripts/build/binary.ts"), "--target", "linux-arm"];
  const { status, stdout, stderr } = await run(process.execPath, ["run", "-A", ...script]);
  assert.deepEqual([status, stdout], [1, ""]);
  assert.equal(
    stderr,
    'build:binary: there is no target "linux-arm"; did you mean linux-arm64?\n',
  );
});
