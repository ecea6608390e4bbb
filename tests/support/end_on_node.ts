/**
 * Loaded before each test file under Node: a file ends by itself, so that all its results are told,
 * and what its tests left open holds nobody up for longer than this. Node's own --test-force-exit
 * ends a file before its last results have left it.
 */
import process from "node:process";
import { after } from "node:test";

/** Milliseconds. */
const LEFT_OPEN = 5_000;

// The runner itself loads it as well, and has no tests.
if (process.env["NODE_TEST_CONTEXT"] !== undefined) {
  after(() => {
    setTimeout(() => process.exit(), LEFT_OPEN).unref();
  });
}
