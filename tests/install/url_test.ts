/** dist/fairlead.mjs by its URL, as a release has it, and as a file on each runtime. */
import assert from "node:assert/strict";
import { copyFileSync, readdirSync, readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { join } from "node:path";
import process from "node:process";
import { before, test } from "node:test";
import { build } from "esbuild";
import { BUNDLE, makeBundle } from "../../scripts/build/bundle.ts";
import { DIST } from "../../scripts/build/project.ts";
import { bun, node, node20 } from "../../scripts/runtimes.ts";
import {
  assertBackground,
  assertTunnel,
  emptyPlace,
  follow,
  serveRelease,
} from "../support/install.ts";
import { HOMEPAGE, installLine } from "../support/readme.ts";
import { skipUnless, stoppable } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");

/** What one download asks for: GitHub leads to the file by two redirects. */
const ONE_DOWNLOAD = [
  "/releases/latest/download/fairlead.mjs",
  "/releases/download/v0.0.0/fairlead.mjs",
  "/assets/1?filename=fairlead.mjs",
];

before(() => makeBundle());

/** The README's line, in an empty place with Deno. */
async function deno() {
  const place = await emptyPlace({ deno: process.execPath });
  const release = await serveRelease(DIST);
  const line = installLine("deno run ").replace(HOMEPAGE, release.url);
  return stoppable({ place, release, line }, async () => {
    await place.stop();
    await release.stop();
  });
}

test(
  "deno run of the URL ends in a working tunnel, and fetches that file alone",
  skip,
  async () => {
    await using newcomer = await deno();
    const { place, release, line } = newcomer;
    const { stderr } = await assertTunnel(line, place);
    assert.deepEqual(release.requests, ONE_DOWNLOAD);
    assert.equal(stderr.match(/Download.*/g)?.length, ONE_DOWNLOAD.length, stderr);
    assert.deepEqual(readdirSync(place.path), []);
    assert.deepEqual(readdirSync(place.home), [".cache"]);
    const cache = join(place.home, ".cache", "deno");
    assert.deepEqual(readdirSync(join(cache, "remote")), ["http"]);
    assert.equal(readdirSync(join(cache, "remote", "http")).length, 1);
    assert.deepEqual(readdirSync(join(cache, "npm")), []);
  },
);

test("what was fetched once runs without the network", async () => {
  await using newcomer = await deno();
  const { place, release, line } = newcomer;
  const version = line.replace(/ -L .*/, " --version");
  const first = await follow(version, place);
  assert.match(first.stdout, /^fairlead \d+\.\d+\.\d+ \([^)]*, on deno \d[^)]*\)\n$/, first.stderr);
  await release.stop();
  const { status, stdout, stderr } = await follow(version, place);
  assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: first.stdout, stderr: "" });
});

test("-f of the URL goes on in the background without fetching it again", skip, async () => {
  await using newcomer = await deno();
  const { place, release, line } = newcomer;
  await assertBackground(line, place);
  assert.deepEqual(release.requests, ONE_DOWNLOAD);
});

test("the file imports nothing but what every runtime has built in", async () => {
  const { metafile } = await build({
    entryPoints: [BUNDLE],
    bundle: true,
    write: false,
    metafile: true,
    format: "esm",
    platform: "neutral",
    packages: "external",
    external: ["node:*"],
    logLevel: "silent",
  });
  const inputs = Object.values(metafile.inputs);
  assert.equal(inputs.length, 1);
  const imports = inputs[0]?.imports ?? [];
  assert.ok(imports.length > 5, "it was parsed");
  for (const { path, kind } of imports) {
    assert.ok(path.startsWith("node:") && isBuiltin(path), `${kind} of ${path}`);
  }
  // These end in the function of the banner, which finds what is built in alone.
  const required = [...readFileSync(BUNDLE, "utf8").matchAll(/\b(?:__)?require\("([^"]+)"\)/g)];
  assert.ok(required.length > 20, "ssh2 is inside");
  for (const [call, name = ""] of required) assert.ok(isBuiltin(name), call);
});

for (
  const [name, program, command] of [
    ["Bun", bun, "bun"],
    ["Node 20", node20, "node"],
    ["Node 24", node, "node"],
  ] as const
) {
  test(`the file alone, on ${name}: a working tunnel`, skip, async () => {
    await using place = await emptyPlace({ [command]: program() });
    copyFileSync(BUNDLE, join(place.path, "fairlead.mjs"));
    const line = installLine("deno run ").replace(
      /^deno run .*?fairlead\.mjs/,
      `${command} fairlead.mjs`,
    );
    const { stdout } = await follow(`${command} fairlead.mjs --version`, place);
    assert.match(
      stdout,
      new RegExp(`, on ${name.toLowerCase()}${name === "Bun" ? " \\d" : "\\."}`),
    );
    await assertTunnel(line, place);
    assert.deepEqual(readdirSync(place.path), ["fairlead.mjs"]);
  });
}
