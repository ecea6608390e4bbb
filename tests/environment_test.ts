/** How a local command learns where the forwards listen. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  checkNames,
  checkPlaceholders,
  environmentWith,
  fillPlaceholders,
  type Listening,
  variablesOf,
} from "../lib/cli/environment.ts";
import { UsageError } from "../lib/errors.ts";
import { parseDynamicForward, parseLocalForward } from "../lib/forward/spec.ts";

function local(text: string, port: number, host = "127.0.0.1"): Listening {
  return { spec: parseLocalForward(text), addresses: [{ host, port }, { host: "::1", port }] };
}

test("ports that were asked for as 0 are numbered in their order, others are not", () => {
  const forwards = [local("0:a:1", 40_001), local("8080:b:2", 8080), local("x=0:c:3", 40_002)];
  assert.deepEqual(variablesOf([...forwards, local("0:d:4", 40_003)]), {
    FAIRLEAD_PORT: "40001",
    FAIRLEAD_PORT_1: "40002",
    FAIRLEAD_PORT_2: "40003",
    FAIRLEAD_X_PORT: "40002",
    FAIRLEAD_X_HOST: "127.0.0.1",
  });
});

test("a named forward has variables, whatever its port and kind", () => {
  const socks = {
    spec: parseDynamicForward("my-proxy=1080"),
    addresses: [{ host: "127.0.0.1", port: 1080 }],
  };
  assert.deepEqual(variablesOf([socks]), {
    FAIRLEAD_MY_PROXY_PORT: "1080",
    FAIRLEAD_MY_PROXY_HOST: "127.0.0.1",
  });
});

test("of a listener on all interfaces, the host is one that can be connected to", () => {
  for (const [bound, host] of [["0.0.0.0", "127.0.0.1"], ["::", "::1"], ["10.0.0.7", "10.0.0.7"]]) {
    const { FAIRLEAD_DB_HOST } = variablesOf([local("db=*:0:h:1", 5, bound)]);
    assert.equal(FAIRLEAD_DB_HOST, host);
  }
});

test("of a Unix socket, the host is the path, and there is no port", () => {
  const socket = {
    spec: parseLocalForward("db=/run/db.sock:h:1"),
    addresses: [{ path: "/run/db.sock" }],
  };
  assert.deepEqual(variablesOf([socket]), { FAIRLEAD_DB_HOST: "/run/db.sock" });
  assert.deepEqual(fillPlaceholders(["{db.host} {db.port}"], [socket]), ["/run/db.sock {db.port}"]);
});

test("numbered ports of a fairlead around this one are not the command's", () => {
  const outer = {
    HOME: "/home/me",
    FAIRLEAD_PORT: "1",
    FAIRLEAD_PORT_1: "2",
    FAIRLEAD_PORT_12: "3",
    FAIRLEAD_DB_PORT: "2",
    FAIRLEAD_DB_HOST: "::1",
    FAIRLEAD_PORT_A: "kept",
  };
  const { FAIRLEAD_PORT: _one, FAIRLEAD_PORT_1: _two, FAIRLEAD_PORT_12: _three, ...kept } = outer;
  assert.deepEqual(environmentWith(outer, {}), kept);
  const own = { FAIRLEAD_PORT: "7", FAIRLEAD_DB_PORT: "7" };
  assert.deepEqual(environmentWith(outer, own), { ...kept, ...own });
});

test("placeholders are replaced wherever they stand; what names no forward stays", () => {
  const forwards = [local("db=0:h:1", 5), local("a-b_1=7:h:1", 7), local("0:h:1", 9)];
  const args = [
    "{db.port}",
    "--url=pg://{db.host}:{db.port}/{db.port}",
    "{a-b_1.port}",
    "{DB.port}{web.port}{db.name}{ db.port }{undefined.port}{.port}$&",
  ];
  assert.deepEqual(fillPlaceholders(args, forwards), [
    "5",
    "--url=pg://127.0.0.1:5/5",
    "7",
    "{DB.port}{web.port}{db.name}{ db.port }{undefined.port}{.port}$&",
  ]);
});

test("two names that mean the same variables are refused, the same forward twice is not", () => {
  const specs = (...texts: string[]) => texts.map((text) => parseLocalForward(text));
  checkNames(specs("db=0:h:1", "web=0:h:1", "0:h:1", "0:h:1", "db=0:h:1"));
  for (const [one, two] of [["a-b", "a_b"], ["db", "DB"], ["db", "db"]]) {
    assert.throws(
      () => checkNames(specs(`${one}=0:h:1`, `${two}=0:h:2`)),
      (error) => error instanceof UsageError && error.message.includes(two as string),
    );
  }
});

test("a placeholder that almost names a forward is refused, one that means something else is not", () => {
  const specs = ["db=0:h:1", "my-web=0:h:1", "0:h:1"].map((text) => parseLocalForward(text));
  const near = [
    ["x {DB.port}", "DB", "db"],
    ["{db.host}{dbs.host}", "dbs", "db"],
    ["{my_web.port}", "my_web", "my-web"],
    ["{My-Wbe.port}", "My-Wbe", "my-web"],
  ] as const;
  for (const [arg, word, name] of near) {
    assert.throws(
      () => checkPlaceholders(["sh", arg], specs),
      (error) =>
        error instanceof UsageError && error.message === `no forward is named ${word}` &&
        error.hint === `did you mean ${name}?`,
      arg,
    );
  }
  checkPlaceholders(
    ["{db.port}{my-web.host}", "{no.port}{web.port}{x.host}{server.port}", "{DB.name}{DB}DB.port"],
    specs,
  );
  checkPlaceholders(["{DB.port}"], specs.slice(2));
});
