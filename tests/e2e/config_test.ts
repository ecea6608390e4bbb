/** A fairlead.yaml that is wrong, on the command line. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fairlead } from "../support/fairlead.ts";
import { tempDir } from "../support/tools.ts";

test("up says all that is wrong with a file, one line each, and nothing is started", async () => {
  await using folder = await tempDir();
  const file = join(folder.path, "tunnels.yaml");
  writeFileSync(
    file,
    "version: 1\ntunnels:\n  a: { host: h, prot: 1 }\n  b: { host: h, password: hunter2 }\n",
    { mode: 0o600 },
  );
  const plain = fairlead(["up", "--config", file]);
  const json = fairlead(["up", "--json", "--config", file]);
  const [{ status, stdout, stderr }, objects] = await Promise.all([plain, json]);
  assert.deepEqual([status, stdout], [2, ""]);
  const lines = stderr.trimEnd().split("\n").map((line) =>
    line.replace(/: .*tunnels\.yaml:/, ": ")
  );
  assert.deepEqual(lines, [
    "fairlead: 3: tunnels.a.prot: unknown key; did you mean port?",
    "fairlead: 4: tunnels.b.password: found something else: " +
    "expected env:NAME: a file is no place for a secret",
  ]);
  assert.equal(objects.status, 2);
  const places = objects.stderr.trimEnd().split("\n").map((line) => JSON.parse(line))
    .map(({ v, code, line, path, status }) => [v, code, line, path, status]);
  assert.deepEqual(places, [
    [1, "config-invalid", 3, "tunnels.a.prot", 2],
    [1, "config-invalid", 4, "tunnels.b.password", 2],
  ]);
});
