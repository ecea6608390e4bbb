/** The end of asking. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { prompterGate } from "../lib/ssh/prompter_gate.ts";
import { SessionError } from "../lib/errors.ts";
import type { Prompter } from "../lib/ssh/prompter.ts";

test("a gate asks while it is open, and refuses every question once it is closed", async () => {
  const asked: unknown[][] = [];
  const answered = <T>(answer: T, ...words: unknown[]): Promise<T> => {
    asked.push(words);
    return Promise.resolve(answer);
  };
  const person: Prompter = {
    secret: (...words) => answered("secret", ...words),
    questions: (...words) => answered(["blue"], ...words),
    confirmHostKey: (...words) => answered(true, ...words),
  };
  const { prompter, close } = prompterGate(person, "somebody else is there");
  const key = { host: "h", keyType: "RSA", fingerprint: "SHA256:x" };
  const ask: (() => Promise<unknown>)[] = [
    () => prompter.secret("PIN: "),
    () => prompter.questions("name", "do", []),
    () => prompter.confirmHostKey(key),
  ];
  assert.deepEqual(await Promise.all(ask.map((one) => one())), ["secret", ["blue"], true]);
  assert.deepEqual(asked, [["PIN: "], ["name", "do", []], [key]]);
  close();
  for (const one of ask) {
    await assert.rejects(one, (error) => {
      assert.ok(error instanceof SessionError);
      assert.equal(error.code, "auth-failed");
      return error.message === "nobody can be asked any more: somebody else is there";
    });
  }
  assert.equal(asked.length, 3);
});
