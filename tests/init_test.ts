/** The fairlead.yaml to begin with. */
import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { parse } from "@std/yaml";
import { runInit } from "../lib/cli/init.ts";
import { loadConfig, readConfig } from "../lib/config/load.ts";
import { startingFile } from "../lib/config/starting_file.ts";
import { tempDir } from "./support/tools.ts";

function ran(...args: string[]): { status: number; out: string[]; err: string[] } {
  const out: string[] = [];
  const err: string[] = [];
  const screen = {
    color: false,
    out: (line: string) => out.push(line),
    err: (line: string) => err.push(line),
  };
  return { status: runInit(args, { screen, trace: undefined, use: () => {} }), out, err };
}

test("the file that init writes loads as it stands, and names the schema for editors", async () => {
  await using folder = await tempDir();
  const file = join(folder.path, "fairlead.yaml");
  const { status, err } = ran("-q", file);
  assert.deepEqual([status, err], [0, []]);
  const { tunnels } = loadConfig({ file, cwd: folder.path, home: "/home/me", environment: {} });
  assert.deepEqual(tunnels.map(({ name, host }) => [name, host]), [["mail", "other.example.com"]]);
  const text = readFileSync(file, "utf8");
  assert.match(text, /^# yaml-language-server: \$schema=\.fairlead\.schema\.json\n/);
  for (const line of text.split("\n")) assert.ok(line.length <= 80, line);
});

test("each example in its comments can be taken in alone", () => {
  const lines = startingFile().split("\n");
  const examples = lines.flatMap((line, index) =>
    /^ +# (?:- |[a-z]+[A-Za-z]*: [^ ]+$|[a-z]+: [[{])/.test(line) ? [index] : []
  );
  assert.ok(examples.length >= 9, `${examples.length} examples`);
  for (const index of examples) {
    const text = lines.map((line, at) => at === index ? line.replace("# ", "") : line).join("\n")
      .replace("tunnels:\n", "tunnels:\n  vpn: { host: vpn.example.com }\n");
    const place = { path: "/f/fairlead.yaml", shown: "fairlead.yaml", home: "/h", environment: {} };
    assert.doesNotThrow(() => {
      parse(text);
      readConfig(text, place);
    }, lines[index]);
  }
});

test("a file that is there stays as it is, unless --force replaces it", async () => {
  await using folder = await tempDir();
  const file = join(folder.path, "fairlead.yaml");
  writeFileSync(file, "mine");
  assert.throws(() => ran(file), { code: "usage", message: `${file} exists already` });
  assert.equal(readFileSync(file, "utf8"), "mine");
  assert.equal(ran("-q", "--force", file).status, 0);
  assert.equal(readFileSync(file, "utf8"), startingFile());
  assert.throws(() => ran(join(folder.path, "no", "f.yaml")), /its folder does not exist/);
  assert.throws(() => ran("a", "b"), /unexpected argument "b"/);
});

test("nobody else can write what init writes, whatever the umask", async () => {
  await using folder = await tempDir();
  const file = join(folder.path, "fairlead.yaml");
  const before = process.umask(0);
  try {
    assert.deepEqual(JSON.parse(ran("--json", file).out[0] ?? ""), {
      v: 1,
      event: "written",
      file,
    });
  } finally {
    process.umask(before);
  }
  if (process.platform !== "win32") assert.equal(statSync(file).mode & 0o777, 0o644);
});
