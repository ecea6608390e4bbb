/** Asking one question at a time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Prompter } from "../lib/ssh/prompter.ts";
import { oneAtATime } from "../lib/ssh/prompter_queue.ts";

test("questions that come at once are asked one after the other, whatever becomes of one", async () => {
  const asked: string[] = [];
  const answers: ((answer: string | undefined) => void)[] = [];
  const person: Prompter = {
    secret: (question) => {
      asked.push(question);
      return new Promise((resolve) => answers.push(resolve));
    },
    questions: () => Promise.reject(new Error("gone")),
    confirmHostKey: ({ host }) => {
      asked.push(host);
      return Promise.resolve(true);
    },
  };
  const queue = oneAtATime(person);
  const first = queue.secret("first? ");
  const second = queue.questions("", "", []);
  const third = queue.confirmHostKey({ host: "third", keyType: "ED25519", fingerprint: "x" });
  await Promise.resolve();
  assert.deepEqual(asked, ["first? "]);
  answers[0]?.("secret");
  assert.equal(await first, "secret");
  await assert.rejects(second, /gone/);
  assert.equal(await third, true);
  assert.deepEqual(asked, ["first? ", "third"]);
});
