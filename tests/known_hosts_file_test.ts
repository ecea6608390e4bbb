/** Adding to a known_hosts file: nothing else in it changes, and nobody's line is lost. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  chmod,
  chown,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { devNull } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { formatEntry } from "../lib/ssh/known_hosts.ts";
import { addKnownHost } from "../lib/ssh/known_hosts_file.ts";
import { scriptCommand } from "./support/fairlead.ts";
import { addFromProcesses } from "./support/known_hosts.ts";
import { run, tempDir } from "./support/tools.ts";

const ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHufyW64DBPHyC2kAlC6B2n+F67oc5WoOloQ1I4p0tBU";
const SECOND = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINj3KJCpDuDVCc23bmyRuDmtIa5edMUl/PT3sjp4L+MR";
const [, BASE64 = ""] = ED25519.split(" ");
const KEY = Buffer.from(BASE64, "base64");

const isRoot = process.getuid?.() === 0;
const onUnix = process.platform === "win32" ? { skip: "Windows has no such modes and links" } : {};

async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).sort();
}

test("every other byte of the file stays as it was, whatever it is", async () => {
  await using folder = await tempDir();
  const file = join(folder.path, "known_hosts");
  for (
    const content of [
      "",
      "\n",
      "# mine\r\n\r\nbroken\r\n",
      `a ${SECOND}`,
      `a ${SECOND}\n\n\n`,
      Buffer.from([0xff, 0xfe, 0x00, 0x0a, 0x80]),
      "x".repeat(100_000),
    ]
  ) {
    await writeFile(file, content);
    assert.equal(await addKnownHost(file, "b", KEY), true);
    const complete = content.length === 0 || Buffer.from(content).at(-1) === 0x0a;
    const expected = Buffer.concat([
      Buffer.from(content),
      Buffer.from(`${complete ? "" : "\n"}b ${ED25519}\n`),
    ]);
    assert.ok((await readFile(file)).equals(expected), JSON.stringify(String(content).slice(0, 9)));
  }
  assert.deepEqual(await namesIn(folder.path), ["known_hosts"]);
});

test("a key that a line of the file holds already is not added again", async () => {
  await using folder = await tempDir();
  const file = join(folder.path, "known_hosts");
  const hashed = formatEntry("hashed", KEY, { hashed: true });
  const text = `a,b ${ED25519}\n*.example ${ED25519}\n${hashed}c ${SECOND}\n`;
  await writeFile(file, text);
  for (const name of ["a", "b", "x.example", "hashed"]) {
    assert.equal(await addKnownHost(file, name, KEY), false);
    assert.equal(await addKnownHost(file, name, KEY, true), false);
  }
  assert.equal(await readFile(file, "utf8"), text);
  assert.equal(await addKnownHost(file, "c", KEY), true);
});

test("the file's mode and owner stay, and a symbolic link still leads to it", onUnix, async () => {
  await using folder = await tempDir();
  const target = join(folder.path, "target");
  const link = join(folder.path, "known_hosts");
  await writeFile(target, `a ${SECOND}\n`);
  await chmod(target, 0o640);
  if (isRoot) await chown(target, 65_534, 65_534);
  const { ino, uid, gid } = await stat(target);
  await symlink("target", link);

  await addKnownHost(link, "b", KEY);
  assert.ok((await lstat(link)).isSymbolicLink());
  assert.equal(await readlink(link), "target");
  assert.equal(await readFile(target, "utf8"), `a ${SECOND}\nb ${ED25519}\n`);
  const after = await stat(target);
  assert.deepEqual([after.ino, after.uid, after.gid, after.mode & 0o777], [ino, uid, gid, 0o640]);
  assert.deepEqual(await namesIn(folder.path), ["known_hosts", "target"]);
});

test("a link that leads to no file yet gets one where it leads", onUnix, async () => {
  await using folder = await tempDir();
  const link = join(folder.path, "known_hosts");
  await symlink("target", link);
  await addKnownHost(link, "b", KEY);
  assert.ok((await lstat(link)).isSymbolicLink());
  assert.equal(await readFile(join(folder.path, "target"), "utf8"), `b ${ED25519}\n`);
  assert.deepEqual(await namesIn(folder.path), ["known_hosts", "target"]);
});

test("while another process holds the lock, an addition waits for it", async () => {
  await using folder = await tempDir();
  const file = join(folder.path, "known_hosts");
  const lock = `${file}.fairlead-lock`;
  await writeFile(file, "");
  await writeFile(lock, "");
  let added = false;
  const adding = addKnownHost(file, "a", KEY).then(() => added = true);
  // Others come and go: as long as the lock changes hands it is not stale.
  for (let turn = 1; turn <= 6; turn++) {
    await sleep(500);
    assert.equal(added, false);
    await utimes(lock, turn, turn);
  }
  await rm(lock);
  await adding;
  assert.equal(await readFile(file, "utf8"), `a ${ED25519}\n`);
  assert.deepEqual(await namesIn(folder.path), ["known_hosts"]);
});

test("a lock that a process left behind as it died is cleared away after 2 seconds", async () => {
  await using folder = await tempDir();
  const file = join(folder.path, "known_hosts");
  await writeFile(`${file}.fairlead-lock`, "");
  const started = performance.now();
  await addKnownHost(file, "a", KEY);
  const took = performance.now() - started;
  assert.ok(took > 1_500 && took < 10_000, `${took} ms`);
  assert.deepEqual(await namesIn(folder.path), ["known_hosts"]);
  assert.equal(await readFile(file, "utf8"), `a ${ED25519}\n`);
});

test("a device is written to without a lock beside it", onUnix, async () => {
  assert.equal(await addKnownHost(devNull, "a", KEY), true);
  await assert.rejects(stat(`${devNull}.fairlead-lock`));
});

test("a full disk is an error, and leaves no half of a line", {
  skip: process.platform === "linux" ? false : "only Linux has /dev/full",
}, async () => {
  await assert.rejects(addKnownHost("/dev/full", "a", KEY), /ENOSPC|No space|full/i);
});

test("where the folder or the file is read-only, a warning is all that happens", {
  skip: isRoot ? false : "only root can set this up for another user",
}, async () => {
  await using folder = await tempDir();
  await chmod(folder.path, 0o755);
  const cases = [
    // A lock cannot be made, but the file can be written.
    { name: "folder", folderMode: 0o555, fileMode: 0o666, added: true },
    { name: "file", folderMode: 0o777, fileMode: 0o444, added: false },
    { name: "missing", folderMode: 0o555, fileMode: undefined, added: false },
  ];
  for (const { name, folderMode, fileMode, added } of cases) {
    const inner = join(folder.path, name);
    const file = join(inner, "known_hosts");
    await mkdir(inner);
    if (fileMode !== undefined) {
      await writeFile(file, "");
      await chmod(file, fileMode);
    }
    await chmod(inner, folderMode);
    const [command, before] = scriptCommand("tests/support/fixtures/add_known_host.ts");
    const task = { key: BASE64, file, names: ["a"], nobody: true };
    const { status, stdout, stderr } = await run(command, [...before, JSON.stringify(task)]);
    assert.equal(status, 0, stderr);
    if (added) {
      assert.match(stdout, /^ready\npermanently added a \(ED25519\) to the list of known hosts, /);
      assert.equal(await readFile(file, "utf8"), `a ${ED25519}\n`);
    } else {
      assert.match(stdout, /^ready\ncannot add a to the list of known hosts, .*(EACCES|denied)/);
    }
    assert.deepEqual(await namesIn(inner), fileMode === undefined ? [] : ["known_hosts"]);
  }
});

test("20 processes add keys at once: every line is there, once, and none is broken", async () => {
  await addFromProcesses(20);
});
