import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { answering } from "../lib/cli/ready.ts";
import { ConnectionError, type ErrorCode } from "../lib/errors.ts";

const signal = new AbortController().signal;

/** Refuses with each code in turn, then connects. */
function refusing(...codes: ErrorCode[]) {
  let dials = 0;
  return {
    dial: () => {
      const code = codes[dials++];
      if (code === undefined) return Promise.resolve(new PassThrough());
      return Promise.reject(new ConnectionError("refused", { code }));
    },
    get dials() {
      return dials;
    },
  };
}

test("a destination that does not answer yet is dialled until it does", async () => {
  const dialer = refusing("connect-failed", "timeout");
  await answering(dialer, [{ host: "db", port: 5432 }], { timeout: 20_000, signal });
  assert.equal(dialer.dials, 3);
});

test("what the server forbids, or does not know, is final at once", async () => {
  for (const code of ["forwarding-prohibited", "not-supported"] as const) {
    const dialer = refusing(code);
    const waiting = answering(dialer, [{ host: "db", port: 5432 }], { timeout: 20_000, signal });
    await assert.rejects(waiting, { code });
    assert.equal(dialer.dials, 1);
  }
});

test("who never answers is named with the last reason", async () => {
  const dialer = refusing(...Array.from({ length: 100 }, () => "connect-failed" as const));
  await assert.rejects(answering(dialer, [{ host: "db", port: 5432 }], { timeout: 300, signal }), {
    code: "timeout",
    message: "db:5432 did not answer within 0.3 s; the last reason: refused",
  });
});
