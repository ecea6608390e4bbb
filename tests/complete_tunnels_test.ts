/** Completion of the names of tunnels and groups. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { answer } from "../lib/cli/complete.ts";
import { tempDir } from "./support/tools.ts";

/** The first line says of what kind the others are. */
function offered(words: string[], current = ""): string[] {
  const [, ...lines] = answer({ shell: "bash", words, current, kept: 0 }).split("\n");
  return lines.filter((line) => line !== "");
}

test("tunnels and groups of the nearest file are offered, and of a broken one nothing", async () => {
  await using folder = await tempDir("fairlead-complete-");
  const before = process.cwd();
  const inner = join(folder.path, "inner");
  await mkdir(inner);
  const file = join(folder.path, "fairlead.yaml");
  const text = "version: 1\ntunnels:\n  mail: { host: a, groups: dev }\n  web: { host: b }\n";
  await writeFile(file, text, { mode: 0o600 });
  try {
    process.chdir(inner);
    for (const word of ["up", "down", "status", "logs", "restart", "check"]) {
      const all = offered([word]);
      for (const name of ["mail", "web", "dev"]) {
        assert.ok(all.some((one) => one.trim() === name), word);
      }
    }
    assert.deepEqual(offered(["up"], "m").map((one) => one.trim()), ["mail"]);
    assert.ok(offered(["up"], "--f").some((one) => one.startsWith("--foreground")));
    assert.ok(!offered(["init"]).some((one) => one.trim() === "mail"));
    const other = join(inner, "other.yaml");
    await writeFile(other, "version: 1\ntunnels: { proxy: { host: c } }\n", { mode: 0o600 });
    assert.deepEqual(offered(["up", "--config", other], "p"), ["proxy"]);
    assert.deepEqual(offered(["up", "--config", other], "m"), []);
    await writeFile(file, "version: [", { mode: 0o600 });
    assert.ok(!offered(["up"]).some((one) => one.trim() === "mail"));
  } finally {
    process.chdir(before);
  }
});
