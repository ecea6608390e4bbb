/** Many processes that add host keys to one known_hosts file. */
import assert from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Buffer } from "node:buffer";
import { lookup, parseKnownHosts } from "../../lib/ssh/known_hosts.ts";
import { scriptCommand } from "./fairlead.ts";
import { start, tempDir, waitFor } from "./tools.ts";

const KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIHufyW64DBPHyC2kAlC6B2n+F67oc5WoOloQ1I4p0tBU";
const OTHER = "AAAAC3NzaC1lZDI1NTE5AAAAINj3KJCpDuDVCc23bmyRuDmtIa5edMUl/PT3sjp4L+MR";

/**
 * Starts so many processes, and lets them go at once: each adds a host of its own and two that all
 * of them add, every second one hashed, to a file without a last newline. Then nothing may be
 * missing, broken, or there twice.
 */
export async function addFromProcesses(count: number): Promise<void> {
  await using folder = await tempDir();
  const file = join(folder.path, "known_hosts");
  const gate = join(folder.path, "gate");
  // Long, so that looking whether a line is there takes long enough for others to get in between.
  const known = Array.from({ length: 300 }, (_, index) => `known${index} ssh-ed25519 ${OTHER}`);
  await writeFile(file, known.join("\n"));
  // Neither vouches for the other, as a host without its port does for one with it.
  const shared = ["same.example", "[other.example]:2222"];
  const hosts = Array.from({ length: count }, (_, index) => `host${index}.example`);
  const [command, before] = scriptCommand("tests/support/fixtures/add_known_host.ts");
  const processes = hosts.map((host, index) => {
    const task = { file, hashed: index % 2 === 1, key: KEY, names: [host, ...shared], gate };
    return start(command, [...before, JSON.stringify(task)]);
  });
  try {
    await waitFor(() => processes.every((one) => one.stdout().startsWith("ready\n")), {
      what: `${count} processes being ready`,
      timeout: 90_000,
    });
    await writeFile(gate, "");
    for (const one of processes) {
      assert.deepEqual(await one.exited, { status: 0, signal: null }, one.stderr());
    }
  } finally {
    await Promise.all(processes.map((one) => one.stop()));
  }

  const text = await readFile(file, "utf8");
  assert.ok(text.startsWith(`${known.join("\n")}\n`));
  const { entries, problems } = parseKnownHosts(text, file);
  assert.deepEqual(problems, []);
  assert.equal(entries.length, known.length + hosts.length + shared.length);
  assert.equal(text.split("\n").filter((line) => line !== "").length, entries.length);
  for (const name of [...hosts, ...shared]) {
    assert.equal(lookup(entries, name, Buffer.from(KEY, "base64")).kind, "known", name);
  }
  assert.deepEqual((await readdir(folder.path)).sort(), ["gate", "known_hosts"]);
}
