/** What to do about an error, in the words of fairlead.yaml. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { inFileWords } from "../lib/config/file_words.ts";
import { SessionError, UsageError } from "../lib/errors.ts";
import { ROOT } from "./support/fairlead.ts";

function said(hint: string): string | undefined {
  const error = inFileWords(new SessionError("it failed", { code: "auth-failed", hint }));
  assert.ok(error instanceof SessionError);
  assert.deepEqual([error.message, error.code], ["it failed", "auth-failed"]);
  return error.hint;
}

test("options of the command line become keys of the file", () => {
  const cases = {
    "check the port (-p) and more": "check `port` and more",
    "name the right private key with -i, or": "name the right private key as `identity`, or",
    "--password env:NAME (in the library, password) can": "`password: env:NAME` can",
    "add this line, or use `-o StrictHostKeyChecking=accept-new`":
      "add this line, or use `hostKeyPolicy: accept-new`",
    "-o ConnectTimeout gives it longer": "`connectTimeout` gives it longer",
    "-o KexAlgorithms=+diffie-hellman-group14-sha1 allows it":
      "`options: { KexAlgorithms: +diffie-hellman-group14-sha1 }` allows it",
    "`ssh-keygen -R host -f file` takes it away": "`ssh-keygen -R host -f file` takes it away",
  };
  for (const [hint, wanted] of Object.entries(cases)) assert.equal(said(hint), wanted);
});

test("no hint about a session keeps an option of the command line", () => {
  // Texts of the source that name an option which no other program has.
  const option = /(?:^|[ (`])(?:-[bip46]|-o [A-Z]\w*(?:=\S+)?|--[a-z-]+)(?=[ ,;)`.]|$)/;
  const folder = join(ROOT, "lib", "ssh");
  const texts = readdirSync(folder).filter((name) => name.endsWith(".ts")).flatMap((name) =>
    [
      ...readFileSync(join(folder, name), "utf8").replace(/^\s*(?:\*|\/[/*]).*$/gm, "")
        .matchAll(/"((?:[^"\\\n]|\\.)*)"/g),
    ].map(([, text = ""]) => text).filter((text) => text.includes(" ") && option.test(text))
  );
  assert.ok(texts.length >= 8, `${texts.length} texts`);
  for (const text of texts) {
    // The library's own words follow in the next piece of the text.
    const whole = text.replace(/\(in the library, $/, "(in the library, password)");
    assert.doesNotMatch(said(whole) ?? "", option, text);
  }
});

test("what is no session's error stays as it is", () => {
  const error = new UsageError("wrong", "leave -p out");
  assert.equal(inFileWords(error), error);
  assert.equal(inFileWords("a word"), "a word");
});
