/** The package for JSR: what `deno publish` would send, and what it thinks of it. */
import assert from "node:assert/strict";
import { globSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { ROOT } from "../support/fairlead.ts";
import { run } from "../support/tools.ts";

test("deno publish finds no slow type, and takes source, licence and documents alone", async () => {
  // A working copy is allowed to have changes: this is a try.
  const args = ["publish", "--dry-run", "--allow-dirty"];
  const { status, stderr } = await run(process.execPath, args, {
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    timeout: 120_000,
  });
  assert.equal(status, 0, stderr);
  assert.match(stderr, /Success Dry run complete/);
  assert.match(stderr, /Checking for slow types in the public API/);
  assert.doesNotMatch(stderr, /slow-type|missing-|unsupported-/);

  const files = [...stderr.matchAll(/^ +file:\/\/(\S+) \([\d.]+[KM]?B\)$/gm)].map(([, path = ""]) =>
    path.slice(ROOT.length)
  );
  const source = globSync("lib/**/*.ts", { cwd: ROOT });
  const expected = [
    ...["CHANGELOG.md", "LICENSE", "README.md", "cli.ts", "deno.json", "mod.ts"],
    // @std/yaml, which is not on npm under that name.
    ...["LICENSE", "mod.d.ts", "mod.js", "package.json"].map((name) => `packages/std-yaml/${name}`),
    ...source,
  ];
  assert.ok(source.length > 100);
  assert.deepEqual(files.sort(), expected.sort());
});

test("every exported symbol has its documentation", async () => {
  const { status, stderr } = await run(process.execPath, ["doc", "--lint", "mod.ts", "cli.ts"], {
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    timeout: 60_000,
  });
  assert.equal(status, 0, stderr);
  assert.match(stderr, /^Checked 2 files$/m);
});
