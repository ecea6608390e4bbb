/** What takes too long for every day: a hundred processes that start at once. */
import { test } from "node:test";
import { addFromProcesses } from "../support/known_hosts.ts";

test("100 processes add host keys at once: every line is there, once, and none is broken", async () => {
  await addFromProcesses(100);
});
