/** scripts/install.sh on all kinds of machines and with all kinds of settings. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { delimiter, dirname, join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { type EmptyPlace, emptyPlace, serveRelease } from "../support/install.ts";
import {
  assertRefused,
  fake,
  flip,
  HOME_PAGE,
  install,
  left,
  only,
  SCRIPT,
  smallRelease,
  withBase,
} from "../support/install_sh.ts";
import { need, run, skipUnless, type Stoppable } from "../support/tools.ts";

/** What the script calls, on every system. */
const TOOLS = "sh uname ldd getconf mkdir mktemp dirname awk tail chmod mv rm rmdir cat".split(" ");

let small: { path: string } & Stoppable;

before(async () => {
  small = await smallRelease();
});
after(() => small.stop());

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

for (const tool of ["curl", "wget"]) {
  test(`${tool} follows no redirect from https to http`, skipUnless("openssl", tool), async () => {
    await using place = await placeWithOnly([...TOOLS, tool, "sha256sum"]);
    await using plain = await serveRelease(small.path);
    const [key, cert] = [join(place.path, "key.pem"), join(place.path, "cert.pem")];
    spawnSync("openssl", [
      ..."req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2".split(" "),
      ...["-subj", "/CN=loopback", "-addext", "subjectAltName=IP:127.0.0.1"],
      ...["-keyout", key, "-out", cert],
    ]);
    writeFileSync(join(place.path, "wgetrc"), `ca_certificate = ${cert}\n`);
    const tls = { key: readFileSync(key), cert: readFileSync(cert) };
    let asked = 0;
    const secure = createServer(tls, (_, answer) => {
      asked++;
      answer.writeHead(302, { location: `${plain.url}/releases/latest/download/SHA256SUMS` }).end();
    });
    await new Promise<void>((resolve) => secure.listen(0, "127.0.0.1", resolve));
    try {
      const result = await install(place, undefined, {
        CURL_CA_BUNDLE: cert,
        WGETRC: join(place.path, "wgetrc"),
        FAIRLEAD_BASE_URL: `https://127.0.0.1:${(secure.address() as AddressInfo).port}`,
      });
      assertRefused(result, /cannot download https:/);
      assert.ok(asked > 0, "the redirect was given");
      assert.deepEqual(plain.requests, []);
    } finally {
      secure.closeAllConnections();
      secure.close();
    }
  });
}

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

/** A place with some programs and no others. */
async function placeWithOnly(tools: readonly string[]): Promise<EmptyPlace> {
  const place = await emptyPlace(Object.fromEntries(tools.map((name) => [name, need(name)])));
  const [bin = ""] = (place.env["PATH"] ?? "").split(delimiter);
  return { ...place, env: { ...place.env, PATH: bin } };
}
