/** Answers that are kept for the next connection, and those that are not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Prompter, Question } from "../lib/ssh/prompter.ts";
import { RememberedAnswers } from "../lib/tunnel/remembered.ts";

/** A person who says the next thing each time. */
function person(...answers: string[]): Prompter & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    secret: (prompt) => {
      asked.push(prompt);
      return Promise.resolve(answers.shift());
    },
    questions: (_name, _instruction, questions) => {
      asked.push(...questions.map(({ prompt }) => prompt));
      return Promise.resolve(questions.map(() => answers.shift() ?? ""));
    },
    confirmHostKey: () => Promise.resolve(true),
  };
}

const hidden = (prompt: string): Question => ({ prompt, echo: false });

test("a secret is asked once, and what led nowhere is not kept", async () => {
  const answers = new RememberedAnswers();
  const somebody = person("wrong", "right", "never");
  const failed = answers.attempt(somebody);
  assert.equal(await failed.prompter.secret("Password: "), "wrong");
  // The attempt failed: nobody keeps it.
  const opened = answers.attempt(somebody);
  assert.equal(await opened.prompter.secret("Password: "), "right");
  opened.keep();
  for (let times = 0; times < 2; times++) {
    const next = answers.attempt(somebody);
    assert.equal(await next.prompter.secret("Password: "), "right");
    next.keep();
  }
  assert.deepEqual(somebody.asked, ["Password: ", "Password: "]);
});

test("in the background what was answered before is known, and nobody is asked", async () => {
  const answers = new RememberedAnswers();
  const somebody = person("secret", "password");
  const first = answers.attempt(somebody);
  await first.prompter.secret("Enter passphrase for key 'k': ");
  await first.prompter.questions("", "", [hidden("Password: ")]);
  assert.equal(await answers.quiet().secret("Enter passphrase for key 'k': "), undefined);
  first.keep();
  assert.equal(answers.needsPerson, false);
  const quiet = answers.quiet();
  assert.equal(await quiet.secret("Enter passphrase for key 'k': "), "secret");
  assert.equal(await quiet.secret("Enter passphrase for key 'k': "), undefined, "it was wrong");
  assert.deepEqual(await quiet.questions("", "", [hidden("Password: ")]), ["password"]);
  assert.equal(await quiet.questions("", "", [hidden("Verification code: ")]), undefined);
  assert.equal(await quiet.confirmHostKey({ host: "h", keyType: "RSA", fingerprint: "f" }), false);
  assert.equal(somebody.asked.length, 2);
});

test("a session that took a one-time code needs the person again, whatever else is known", async () => {
  const answers = new RememberedAnswers();
  const somebody = person("password", "123456", "password");
  const code = answers.attempt(somebody);
  await code.prompter.questions("", "", [hidden("Password: ")]);
  await code.prompter.questions("", "", [hidden("Verification code: ")]);
  assert.equal(answers.needsPerson, false, "not before the session is open");
  code.keep();
  assert.equal(answers.needsPerson, true);
  const plain = answers.attempt(somebody);
  await plain.prompter.questions("", "", [hidden("Password: ")]);
  await plain.prompter.questions("", "No questions, only words", []);
  plain.keep();
  assert.equal(answers.needsPerson, false);
});

test("what a jump host was answered is kept, though the session opens by a later attempt", async () => {
  const answers = new RememberedAnswers();
  const somebody = person("password", "123456");
  const first = answers.attempt(somebody);
  await first.prompter.secret("jump's password: ");
  await first.prompter.questions("", "", [hidden("Verification code: ")]);
  first.keep({ opened: false });
  assert.equal(answers.needsPerson, true);
  // It goes on from the jump host.
  answers.attempt(somebody).keep({ more: true });
  assert.equal(answers.needsPerson, true);
  assert.equal(await answers.quiet().secret("jump's password: "), "password");
  answers.attempt(somebody).keep({ opened: false });
  assert.equal(answers.needsPerson, true, "not before the session is open");
  answers.attempt(somebody).keep();
  assert.equal(answers.needsPerson, false);
});

test("a known answer is given once an attempt; then the person is asked", async () => {
  const answers = new RememberedAnswers();
  const somebody = person("old", "new");
  const first = answers.attempt(somebody);
  await first.prompter.secret("Password: ");
  first.keep();
  const next = answers.attempt(somebody);
  assert.equal(await next.prompter.secret("Password: "), "old");
  assert.equal(await next.prompter.secret("Password: "), "new");
  next.keep();
  assert.equal(await answers.attempt(person()).prompter.secret("Password: "), "new");
});

test("a password that a server asks for is kept, a one-time code is not", async () => {
  const answers = new RememberedAnswers();
  const somebody = person("secret", "123456", "654321", "a", "b", "c", "d");
  for (const code of ["123456", "654321"]) {
    const { prompter, keep } = answers.attempt(somebody);
    const password = [hidden("(me@host) Password: ")];
    assert.deepEqual(await prompter.questions("", "", password), ["secret"]);
    const one = [hidden("One-time password (OATH) for `me': ")];
    assert.deepEqual(await prompter.questions("", "", one), [code]);
    keep();
  }
  // Two questions at once, or one whose answer is seen, are a person's.
  for (
    const questions of [[hidden("Password: "), hidden("Code: ")], [{
      prompt: "Name: ",
      echo: true,
    }]]
  ) {
    const { prompter, keep } = answers.attempt(somebody);
    const before = somebody.asked.length;
    await prompter.questions("", "", questions);
    assert.equal(somebody.asked.length, before + questions.length);
    keep();
  }
});

test("a person who declines is asked again", async () => {
  const answers = new RememberedAnswers();
  const nobody = person();
  for (let times = 1; times <= 2; times++) {
    const { prompter, keep } = answers.attempt(nobody);
    assert.equal(await prompter.secret("Password: "), undefined);
    keep();
    assert.equal(nobody.asked.length, times);
  }
});

test("a question that still waits for its answer is not asked twice", async () => {
  const answers = new RememberedAnswers();
  let shown = 0;
  let answer = (_word: string) => {};
  const slow: Prompter = {
    ...person(),
    questions: () => {
      shown++;
      return new Promise((resolve) => answer = (word) => resolve([word]));
    },
  };
  const code = [hidden("Verification code: ")];
  const waiting = Array.from(
    { length: 3 },
    () => answers.attempt(slow).prompter.questions("", "", code),
  );
  assert.equal(shown, 1);
  answer("123456");
  assert.deepEqual(await Promise.all(waiting), [["123456"], ["123456"], ["123456"]]);
  const next = answers.attempt(slow).prompter.questions("", "", code);
  assert.equal(shown, 2);
  answer("654321");
  assert.deepEqual(await next, ["654321"]);
});
