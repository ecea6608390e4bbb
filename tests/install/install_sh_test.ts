/** scripts/install.sh, as the README says it, from an empty home and against a release on loopback. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { chmod, copyFile, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
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
  type ReleaseServer,
  serveRelease,
} from "../support/install.ts";
import { startSshd } from "../support/sshd.ts";
import { echoServer } from "../support/tcp.ts";
import {
  need,
  run,
  type RunResult,
  skipUnless,
  type Stoppable,
  tempDir,
  which,
} from "../support/tools.ts";

const SCRIPT = join(ROOT, "scripts", "install.sh");
const HOME_PAGE = "https://github.com/fairlead/fairlead";

/** The README's first line about the binary, and the one after it. */
const INSTALL = readmeLine("install.sh") ??
  `curl -fsSL ${HOME_PAGE}/releases/latest/download/install.sh | sh`;
const USE = "fairlead -L 1100:mail.example.com:110 me@other.example.com";

const NAMES = ["linux-x64", "linux-arm64", "macos-x64", "macos-arm64"].map((name) =>
  `fairlead-${name}`
);

/** What the script calls, on every system. */
const TOOLS = "sh uname ldd getconf mkdir mktemp dirname awk tail chmod mv rm rmdir cat".split(" ");

let real: { path: string } & Stoppable;
/** A release whose programs are a line of shell: the script does not look inside. */
let small: { path: string } & Stoppable;

before(async () => {
  real = await release({ "fairlead-linux-x64": await readFile(await builtBinary()) });
  small = await release(
    Object.fromEntries(
      NAMES.map((name) => [name, Buffer.from(`#!/bin/sh\necho "this is ${name}"\n`)]),
    ),
  );
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

const flip = (content: Uint8Array) => {
  const copy = Buffer.from(content);
  const middle = copy.length >> 1;
  copy[middle] = (copy[middle] ?? 0) ^ 1;
  return copy;
};
const only = (wanted: RegExp, change: (content: Buffer) => Uint8Array) =>
(
  content: Buffer,
  name: string,
) => wanted.test(name) ? change(content) : content;

const REFUSED: [string, ReturnType<typeof only>, RegExp][] = [
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

const MEANS: [string, string[]][] = [
  ["curl and sha256sum", ["curl", "sha256sum"]],
  ["wget and shasum", ["wget", "shasum"]],
  ["wget and openssl", ["wget", "openssl"]],
];
for (const [what, tools] of MEANS) {
  test(`${what} are enough, and see a wrong bit`, skipUnless(...tools), async () => {
    await using place = await placeWithOnly([...TOOLS, ...tools]);
    await using bad = await serveRelease(small.path, only(/linux-x64/, flip));
    assertRefused(await install(place, bad), /is not what SHA256SUMS says/);
    await using good = await serveRelease(small.path);
    const { status, stderr } = await install(place, good);
    assert.equal(status, 0, stderr);
  });
}

test("wget says which file it could not get", skipUnless("wget"), async () => {
  await using place = await placeWithOnly([...TOOLS, "wget", "sha256sum"]);
  await using server = await serveRelease(small.path);
  const missing = `${server.url}/releases/nothing`;
  assertRefused(
    await install(place, server, { FAIRLEAD_BASE_URL: missing }),
    new RegExp(`cannot download ${missing}/SHA256SUMS: wget`),
  );
});

test("without a tool for downloads or for sums it says so", skipUnless("curl"), async () => {
  await using server = await serveRelease(small.path);
  await using bare = await placeWithOnly(TOOLS);
  assertRefused(await install(bare, server), /neither curl nor wget is here/);
  await using unable = await placeWithOnly([...TOOLS, "curl"]);
  assertRefused(await install(unable, server), /none of sha256sum, shasum and openssl is here/);
  assert.deepEqual(left(unable), []);
});

const SYSTEMS: [string, string, string, RegExp | string][] = [
  ["Linux", "aarch64", "", "fairlead-linux-arm64"],
  ["Darwin", "arm64", "", "fairlead-macos-arm64"],
  ["Darwin", "x86_64", "", "fairlead-macos-x64"],
  ["Darwin", "x86_64", "echo 1", "fairlead-macos-arm64"],
  ["Linux", "riscv64", "", /no binary for Linux on riscv64; .*npm install .*fairlead\.mjs/],
  ["FreeBSD", "amd64", "", /no binary for FreeBSD; .*npm install/],
  ["MINGW64_NT-10.0", "x86_64", "", /on Windows, download .*\/fairlead-windows-x64\.exe/],
];
for (const [system, processor, sysctl, expected] of SYSTEMS) {
  const rosetta = sysctl === "" ? "" : " under Rosetta";
  const what = typeof expected === "string" ? `gets ${expected}` : "is told what there is instead";
  test(`${system} on ${processor}${rosetta} ${what}`, async () => {
    await using place = await emptyPlace();
    await using server = await serveRelease(small.path);
    fake(place, "uname", `[ "$1" = -m ] && echo ${processor} || echo ${system}`);
    fake(place, "sysctl", sysctl === "" ? "exit 1" : sysctl);
    const result = await install(place, server);
    if (typeof expected !== "string") return assertRefused(result, expected);
    assert.equal(result.status, 0, result.stderr);
    assert.match(result.stdout, new RegExp(`this is ${expected}\n`));
  });
}

test("a system with musl, or of 32 bits, is told what there is instead", async () => {
  await using server = await serveRelease(small.path);
  await using musl = await emptyPlace();
  fake(musl, "ldd", "echo 'musl libc (x86_64)' >&2; exit 1");
  assertRefused(await install(musl, server), /this system has musl.* glibc; .*npm install/);
  await using old = await emptyPlace();
  fake(old, "getconf", "echo 32");
  assertRefused(await install(old, server), /no binary for a system of 32 bits; .*npm install/);
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

test("a version is downloaded from its release, by TLS alone", async () => {
  await using place = await emptyPlace();
  fake(place, "curl", `echo "$@" >>"$HOME/calls"; exit 22`);
  for (const name of ["v0.1.0", "0.1.0"]) {
    const { stderr } = await install(place, undefined, { FAIRLEAD_VERSION: name });
    assert.match(stderr, new RegExp(`${HOME_PAGE}/releases/download/v0\\.1\\.0/SHA256SUMS: curl `));
  }
  await install(place, undefined, {});
  const calls = (await readFile(join(place.home, "calls"), "utf8")).trim().split("\n");
  assert.equal(calls.length, 3);
  for (const call of calls) assert.match(call, /--proto =https --proto-redir =https --tlsv1\.2/);
  assert.match(calls[2] ?? "", /\/releases\/latest\/download\/SHA256SUMS$/);
});

test("a redirect from https to http is not followed", skipUnless("openssl"), async () => {
  await using place = await emptyPlace();
  await using plain = await serveRelease(small.path);
  const [key, cert] = [join(place.path, "key.pem"), join(place.path, "cert.pem")];
  spawnSync("openssl", [
    ..."req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2".split(" "),
    ...["-subj", "/CN=loopback", "-addext", "subjectAltName=IP:127.0.0.1"],
    ...["-keyout", key, "-out", cert],
  ]);
  const secure = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_, answer) => {
    answer.writeHead(302, { location: `${plain.url}/releases/latest/download/SHA256SUMS` }).end();
  });
  await new Promise<void>((resolve) => secure.listen(0, "127.0.0.1", resolve));
  try {
    const result = await install(place, undefined, {
      CURL_CA_BUNDLE: cert,
      FAIRLEAD_BASE_URL: `https://127.0.0.1:${(secure.address() as AddressInfo).port}`,
    });
    assertRefused(result, /cannot download https:.*: curl: \(1\) Protocol .?http.? /i);
    assert.deepEqual(plain.requests, []);
  } finally {
    secure.closeAllConnections();
    secure.close();
  }
});

const WRONG: [string, Record<string, string | undefined>, RegExp][] = [
  [
    "a base URL that is none",
    { FAIRLEAD_BASE_URL: "/srv/mirror" },
    /"\/srv\/mirror": expected https/,
  ],
  ["a version that is none", { FAIRLEAD_VERSION: "../x" }, /"\.\.\/x": expected a version such as/],
  [
    "a version of a mirror",
    { FAIRLEAD_BASE_URL: "https://127.0.0.1:9", FAIRLEAD_VERSION: "v0.1.0" },
    /leave FAIRLEAD_VERSION out/,
  ],
  ["no home", { HOME: undefined }, /HOME is not set: say in FAIRLEAD_INSTALL_DIR/],
];
for (const [what, env, message] of WRONG) {
  test(`${what} is told in one line`, async () => {
    await using place = await emptyPlace();
    assertRefused(await install(place, undefined, env), message);
  });
}

test("where the folder cannot be written to, it says so and names the variable", async () => {
  await using server = await serveRelease(small.path);
  await using place = await emptyPlace();
  await writeFile(join(place.home, "file"), "");
  const folder = join(place.home, "file", "bin");
  assertRefused(
    await install(place, server, { FAIRLEAD_INSTALL_DIR: folder }),
    new RegExp(`cannot write to ${folder}: say in FAIRLEAD_INSTALL_DIR`),
  );
  await mkdir(join(place.home, "in the way", "fairlead"), { recursive: true });
  assertRefused(
    await install(place, server, { FAIRLEAD_INSTALL_DIR: join(place.home, "in the way") }),
    /in the way\/fairlead is a folder/,
  );
});

const skipUnlessRoot = process.getuid?.() === 0
  ? skipUnless("setpriv")
  : { skip: "only root can become somebody else" };
test(
  "where the user may not write, it says so and names the variable",
  skipUnlessRoot,
  async () => {
    await using server = await serveRelease(small.path);
    await using place = await emptyPlace();
    await chmod(dirname(place.home), 0o755);
    await chmod(place.home, 0o555);
    const nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "sh"];
    const { env } = withBase(place, server);
    const result = await run("setpriv", nobody, { stdin: await readFile(SCRIPT), env });
    assertRefused(result, new RegExp(`cannot write to ${place.home}/.local/bin: say in FAIRLEAD_`));
  },
);

test("it goes where it is told to, spaces and all, and only says what is of use", async () => {
  await using server = await serveRelease(small.path);
  await using place = await emptyPlace();
  const folder = join(place.home, "my programs");
  const env = { FAIRLEAD_INSTALL_DIR: "my programs" };
  const first = await install(place, server, { ...env, SHELL: "/usr/bin/fish" });
  assert.equal(first.status, 0, first.stderr);
  // Relative to where it was run.
  const placed = join(place.path, "my programs");
  assert.match(
    first.stdout,
    new RegExp(`${placed} is not on PATH; fish adds it with: fish_add_path`),
  );
  assert.equal((await run(join(placed, "fairlead"))).stdout, "this is fairlead-linux-x64\n");

  const onPath = { FAIRLEAD_INSTALL_DIR: folder, PATH: `${folder}:${place.env["PATH"]}` };
  const second = await install(place, server, onPath);
  assert.doesNotMatch(second.stdout, /PATH/);
  fake(place, "fairlead", "exit 0");
  const third = await install(place, server, {
    FAIRLEAD_INSTALL_DIR: folder,
    PATH: `${place.env["PATH"]}:${folder}`,
  });
  assert.match(third.stdout, /another fairlead comes first on PATH: .*\/bin\/fairlead\n/);
  // There is no folder named bin, beside which man(1) would look.
  assert.deepEqual(left(place), ["my programs/fairlead"]);
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

/** The line of the README's examples that has a word in it. */
function readmeLine(word: string): string | undefined {
  const blocks = readFileSync(join(ROOT, "README.md"), "utf8").matchAll(/```sh\n(.*?)```/gs);
  return [...blocks].flatMap(([, block = ""]) => block.split("\n")).find((line) =>
    line.includes(word)
  );
}

function version(): string {
  return JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8")).version;
}

/** A folder with the files of a release: programs, a manual page, the script, and the sums. */
async function release(programs: Record<string, Buffer>): Promise<{ path: string } & Stoppable> {
  const folder = await tempDir("fairlead-release-");
  const files: Record<string, Buffer> = {
    ...programs,
    "fairlead.1": Buffer.from(".TH FAIRLEAD 1\n"),
    "install.sh": await readFile(SCRIPT),
  };
  const sums = Object.entries(files).map(([name, content]) => {
    writeFileSync(join(folder.path, name), content);
    return `${createHash("sha256").update(content).digest("hex")}  ${name}\n`;
  });
  await writeFile(join(folder.path, "SHA256SUMS"), sums.join(""));
  return folder;
}

function withBase(place: EmptyPlace, server: ReleaseServer | undefined): EmptyPlace {
  if (server === undefined) return place;
  const env = { ...place.env, FAIRLEAD_BASE_URL: `${server.url}/releases/latest/download` };
  return { ...place, env };
}

/** Runs the script, or what there is of it, as `curl … | sh` does. */
async function install(
  place: EmptyPlace,
  server: ReleaseServer | undefined,
  env: Record<string, string | undefined> = {},
  script?: Uint8Array,
): Promise<RunResult> {
  return await run(need("sh"), [], {
    stdin: script ?? await readFile(SCRIPT),
    cwd: place.path,
    env: { ...withBase(place, server).env, ...env },
  });
}

function assertRefused({ status, stderr, stdout }: RunResult, message: RegExp): void {
  assert.match(stderr, message);
  assert.match(stderr, /^fairlead: [^\n]+\n$/, "one line");
  assert.equal(status, 1);
  assert.doesNotMatch(stdout, /installed as/);
}

/** The files in somebody's home. */
function left(place: EmptyPlace): string[] {
  const all = readdirSync(place.home, { recursive: true, encoding: "utf8" });
  return all.filter((path) => statSync(join(place.home, path)).isFile()).sort();
}

/** Puts a script in the place of a program. */
function fake(place: EmptyPlace, name: string, script: string): void {
  const [bin = ""] = (place.env["PATH"] ?? "").split(delimiter);
  writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, name), 0o755);
}

/** A place with some programs and no others. */
async function placeWithOnly(tools: readonly string[]): Promise<EmptyPlace> {
  const place = await emptyPlace(Object.fromEntries(tools.map((name) => [name, need(name)])));
  const [bin = ""] = (place.env["PATH"] ?? "").split(delimiter);
  return { ...place, env: { ...place.env, PATH: bin } };
}

/** A place with busybox and nothing else, as in small containers. */
async function busyboxPlace(): Promise<EmptyPlace> {
  const { stdout } = await run("busybox", ["--list"]);
  const place = await emptyPlace();
  const [bin = ""] = (place.env["PATH"] ?? "").split(delimiter);
  for (const applet of stdout.trim().split("\n")) await symlink(need("busybox"), join(bin, applet));
  return { ...place, env: { ...place.env, PATH: bin } };
}
