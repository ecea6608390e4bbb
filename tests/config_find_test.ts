/** Which fairlead.yaml is meant, and which is not believed. */
import assert from "node:assert/strict";
import { chmodSync, chownSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { after, before, beforeEach, test } from "node:test";
import { loadConfig } from "../lib/config/load.ts";
import { tempDir } from "./support/tools.ts";

let folder: Awaited<ReturnType<typeof tempDir>>;
let root: string;
let project: string;
let home: string;

before(async () => {
  folder = await tempDir("fairlead-config-");
});
after(() => folder.stop());
beforeEach(() => {
  root = join(folder.path, "all");
  rmSync(root, { recursive: true, force: true });
  project = join(root, "project");
  home = join(root, "home");
  mkdirSync(join(project, "src", "deep"), { recursive: true });
  mkdirSync(join(home, ".config", "fairlead"), { recursive: true });
});

/** Writes a file whose only tunnel has this name. */
function write(path: string, name: string): string {
  writeFileSync(path, `version: 1\ntunnels: { ${name}: { host: h } }\n`, { mode: 0o600 });
  return path;
}

function load(cwd: string, more: { file?: string; environment?: Record<string, string> } = {}) {
  const { file, environment = {} } = more;
  const { tunnels, shown, path } = loadConfig({ file, cwd, home, environment });
  return { names: tunnels.map(({ name }) => name).join(), shown, path };
}

test("the nearest file upwards from the working folder is meant", () => {
  const path = write(join(project, "fairlead.yaml"), "project");
  write(join(home, ".config", "fairlead", "fairlead.yaml"), "user");
  assert.deepEqual(load(project), { names: "project", shown: "fairlead.yaml", path });
  assert.deepEqual(load(join(project, "src", "deep")).names, "project");
  assert.equal(load(join(project, "src")).shown, "../fairlead.yaml");
  write(join(project, "src", "fairlead.yml"), "src");
  assert.equal(load(join(project, "src", "deep")).names, "src");
  write(join(project, "src", "fairlead.yaml"), "usual");
  assert.equal(load(join(project, "src", "deep")).names, "usual");
});

test("a folder of that name is no file", () => {
  write(join(project, "fairlead.yaml"), "project");
  mkdirSync(join(project, "src", "fairlead.yaml"));
  assert.equal(load(join(project, "src")).names, "project");
});

test("else the user's own is meant, where XDG_CONFIG_HOME says or in ~/.config", () => {
  write(join(home, ".config", "fairlead", "fairlead.yaml"), "user");
  assert.equal(load(project).names, "user");
  const xdg = join(root, "xdg");
  mkdirSync(join(xdg, "fairlead"), { recursive: true });
  write(join(xdg, "fairlead", "fairlead.yaml"), "xdg");
  assert.equal(load(project, { environment: { XDG_CONFIG_HOME: xdg } }).names, "xdg");
  assert.equal(load(project, { environment: { XDG_CONFIG_HOME: "" } }).names, "user");
});

test("the file that is named is meant, relative to the working folder, and no other", () => {
  write(join(project, "fairlead.yaml"), "project");
  write(join(root, "other.yaml"), "other");
  assert.equal(load(project, { file: "../other.yaml" }).names, "other");
  assert.throws(() => load(project, { file: "nowhere.yaml" }), {
    code: "config-invalid",
    message: /^nowhere\.yaml: .*(?:no such file|does not exist)/,
  });
});

test("where there is none, that is said with what to do", () => {
  assert.throws(() => load(project), {
    code: "config-invalid",
    message:
      "there is no fairlead.yaml here, in a folder above, or in the user's own configuration",
    hint: "fairlead init writes one to begin with; --config names another",
  });
});

test("paths in the file are relative to the file, wherever it is read from", () => {
  const text = "version: 1\ntunnels: { a: { host: h, identity: ./key } }\n";
  writeFileSync(join(project, "fairlead.yaml"), text, { mode: 0o600 });
  const cwd = join(project, "src", "deep");
  const [one] = loadConfig({ cwd, home, environment: {} }).tunnels;
  assert.deepEqual(one?.keywords[0]?.words, [join(project, "key")]);
});

test("a file that others can write is refused, with what takes that away", () => {
  const path = write(join(project, "fairlead.yaml"), "project");
  const refused = {
    code: "config-invalid",
    message: "fairlead.yaml: others can write it",
    hint: "chmod go-w fairlead.yaml takes that away",
  };
  for (const mode of [0o666, 0o602, 0o646]) {
    chmodSync(path, mode);
    assert.throws(() => load(project), refused, mode.toString(8));
  }
  for (const mode of [0o600, 0o644, 0o640, 0o400]) {
    chmodSync(path, mode);
    assert.equal(load(project).names, "project");
  }
  // What a link leads to counts.
  chmodSync(path, 0o666);
  symlinkSync(path, join(project, "src", "fairlead.yaml"));
  assert.throws(() => load(join(project, "src")), {
    message: "../fairlead.yaml: others can write it",
    hint: "chmod go-w ../fairlead.yaml takes that away",
  });
});

const isRoot = process.getuid?.() === 0;
const asRoot = isRoot ? {} : { skip: "only root can give files away" };

test("a file that a group of others can write is refused", asRoot, () => {
  const path = write(join(project, "fairlead.yaml"), "project");
  chownSync(path, 0, 65_534);
  chmodSync(path, 0o664);
  assert.throws(() => load(project), { message: "fairlead.yaml: others can write it" });
});

test("a file of another user is refused", asRoot, () => {
  const path = write(join(project, "fairlead.yaml"), "project");
  chownSync(path, 65_534, 65_534);
  assert.throws(() => load(project), {
    code: "config-invalid",
    message: "fairlead.yaml: it belongs to another user, who could have written anything into it",
  });
});

test("a file of more than 1 MiB is refused, and one of exactly 1 MiB is read", () => {
  const path = write(join(project, "fairlead.yaml"), "project");
  const text = "version: 1\ntunnels: { project: { host: h } }\n";
  writeFileSync(path, `${text}${"#".repeat(1024 * 1024 - text.length)}`);
  assert.equal(load(project).names, "project");
  writeFileSync(path, `${text}${"#".repeat(1024 * 1024 - text.length)}\n`);
  assert.throws(() => load(project), {
    code: "config-invalid",
    message: "fairlead.yaml: it is larger than 1 MiB",
  });
});

test("what is named and is no file is refused", () => {
  assert.throws(() => load(project, { file: "src" }), {
    code: "config-invalid",
    message: /^src: it is (?:no file|a folder)/,
  });
});
