/** Which versions of the runtimes will not do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { OLDEST, type RuntimeName, tooOld } from "../lib/runtime.ts";

const OLD: [RuntimeName, string][] = [
  ["node", "18.20.8"],
  ["node", "20.15.9"],
  ["bun", "1.3.14"],
  ["deno", "1.46.3"],
  ["deno", "2.9.2"],
];
for (const [name, version] of OLD) {
  test(`${name} ${version} is too old, and told what is needed`, () => {
    assert.match(
      tooOld({ name, version }) ?? "",
      new RegExp(`^${name} ${OLDEST[name]} or later is needed, and this is ${version}$`, "i"),
    );
  });
}

const NEW: [RuntimeName, string][] = [
  ["node", "20.16.0"],
  ["node", "22.1.0"],
  ["bun", "1.10.0"],
  ["deno", "2.9.3"],
  ["deno", "2.10.0-rc.1"],
  ["deno", "3.0.0"],
];
for (const [name, version] of NEW) {
  test(`${name} ${version} will do`, () => assert.equal(tooOld({ name, version }), undefined));
}

test("the runtime of the tests will do", () => assert.equal(tooOld(), undefined));
