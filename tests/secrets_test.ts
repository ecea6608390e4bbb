/** The search for secrets finds them, and FAIRLEAD_TRACE holds what is searched. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { findSecrets } from "../scripts/secrets.ts";
import { fairlead } from "./support/fairlead.ts";
import { refusingPort } from "./support/tcp.ts";
import { tempDir } from "./support/tools.ts";

const SECRET = 'correct "horse" battery';

async function search(outputs: string, trace: string): Promise<ReturnType<typeof findSecrets>> {
  await using folder = await tempDir();
  const write = (name: string, text: string) => writeFile(join(folder.path, name), text);
  await write("secrets", `${JSON.stringify(SECRET)}\n"short"\n`);
  await write("outputs", outputs);
  await write("trace", trace);
  return findSecrets(folder.path);
}

for (
  const [form, text] of [
    ["as it is", SECRET],
    ["in JSON", JSON.stringify({ password: SECRET })],
    ["in base64", Buffer.from(SECRET).toString("base64")],
    ["in hexadecimal digits", Buffer.from(SECRET).toString("hex")],
    ["in a URL", `socks5://me:${encodeURIComponent(SECRET)}@proxy`],
  ]
) {
  test(`a secret that was said ${form} is found`, async () => {
    assert.deepEqual((await search(`before ${text} after`, "nothing")).leaks, [
      "secret 1 (23 characters) is in the outputs",
    ]);
    assert.deepEqual((await search("nothing", `before ${text} after`)).leaks, [
      "secret 1 (23 characters) is in the trace",
    ]);
  });
}

test("where no secret was said none is found, and only a real search counts", async () => {
  assert.deepEqual(await search("short words", "a horse"), { count: 1, leaks: [] });
  assert.deepEqual(await search("", "a horse"), { count: 0, leaks: [] });
});

test("FAIRLEAD_TRACE names a file that holds everything, whatever the options say", async () => {
  await using folder = await tempDir();
  const nobody = await refusingPort();
  const trace = join(folder.path, "trace");
  const args = ["-q", "-F", "none", "-N", "-p", `${nobody.port}`, "127.0.0.1"];
  const { status, stderr } = await fairlead(args, { env: { FAIRLEAD_TRACE: trace } });
  assert.equal(status, 255);
  assert.match(stderr, /^fairlead: 127\.0\.0\.1:\d+ refused the connection; [^\n]*\n$/);
  const lines = (await readFile(trace, "utf8")).trimEnd().split("\n");
  assert.ok(lines.some((line) => /^\S+Z \d+ debug: connecting to 127\.0\.0\.1:/.test(line)));
  assert.match(lines.at(-1) ?? "", /"event":"error","code":"connect-refused".*"stack":/);
});

test("a trace that cannot be written is warned of, and nothing else changes", async () => {
  await using folder = await tempDir();
  const nobody = await refusingPort();
  const args = ["-F", "none", "-N", "-p", `${nobody.port}`, "127.0.0.1"];
  const { status, stderr } = await fairlead(args, { env: { FAIRLEAD_TRACE: folder.path } });
  assert.equal(status, 255);
  const [warning, error, ...rest] = stderr.split("\n");
  assert.match(warning ?? "", /^fairlead: FAIRLEAD_TRACE=\S+: it is a folder$/);
  assert.match(error ?? "", /^fairlead: 127\.0\.0\.1:\d+ refused the connection; /);
  assert.deepEqual(rest, [""]);
});
