/** The two ends of a control socket: versions, questions, and peers that are not what they seem. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { connectControl, type ControlClient } from "../lib/control/client.ts";
import type { ControlEvent } from "../lib/control/protocol.ts";
import { type Handlers, serveControl } from "../lib/control/server.ts";
import { FairleadError, SessionError, UsageError } from "../lib/errors.ts";
import type { Prompter } from "../lib/ssh/prompter.ts";
import { type Stoppable, stoppable, tempDir, waitFor } from "./support/tools.ts";

/** Says nothing from the first test on; the last one looks at what became of whoever asked it. */
const silent = askSilent();

test("an answer, an error and what happens meanwhile arrive as they were sent", async () => {
  await using pair = await connected({
    add: (params, call) => {
      call.event({ event: "note", message: "at work" });
      call.event({ event: "tunnel", name: "mail", state: "open" });
      return { sum: Number(params["a"]) + Number(params["b"]) };
    },
    nothing: () => undefined,
    wrong: () => {
      throw new UsageError("no tunnel mial is up", "did you mean mail?");
    },
  });
  const events: ControlEvent[] = [];
  const { client } = pair;
  const answer = await client.call("add", { a: 1, b: 2 }, { onEvent: (one) => events.push(one) });
  assert.deepEqual(answer, { sum: 3 });
  assert.deepEqual(events, [
    { event: "note", message: "at work" },
    { event: "tunnel", name: "mail", state: "open" },
  ]);
  assert.equal(await client.call("nothing"), null);
  await assert.rejects(client.call("wrong"), (error: FairleadError) => {
    assert.ok(error instanceof FairleadError);
    const { code, message, hint } = error;
    assert.deepEqual({ code, message, hint }, {
      code: "usage",
      message: "no tunnel mial is up",
      hint: "did you mean mail?",
    });
    return true;
  });
  assert.deepEqual(client.greeting, {
    ...{ fairlead: "1.0.0", protocol: [1, 1], pid: process.pid, serves: "tunnels" },
  });
});

test("questions reach the person who asked, and so do the answers and a refusal", async () => {
  await using pair = await connected({
    login: async (_params, { prompter }) => [
      await prompter?.secret("passphrase: "),
      await prompter?.questions("", "", []),
      await prompter?.confirmHostKey({ host: "a" } as never),
    ],
  });
  const asked: unknown[] = [];
  const person = {
    secret: (...words: unknown[]) => {
      asked.push(words[0]);
      return Promise.resolve("correct horse");
    },
    questions: () => Promise.resolve(["1", "2"]),
    confirmHostKey: () => Promise.resolve(true),
  } as Prompter;
  const login = (prompter?: Prompter) => pair.client.call("login", {}, { prompter });
  assert.deepEqual(await login(person), ["correct horse", ["1", "2"], true]);
  assert.deepEqual(asked, ["passphrase: "]);
  assert.deepEqual(await login(), [null, null, false], "nobody is there");
  const refusal = new SessionError("nobody can be asked", {
    code: "auth-failed",
    hint: "use a key",
  });
  const refusing = { ...person, secret: () => Promise.reject(refusal) } as Prompter;
  await assert.rejects(login(refusing), {
    ...{ code: "auth-failed", message: "nobody can be asked", hint: "use a key" },
  });
  const wrong = {
    ...person,
    secret: () => Promise.resolve(7),
    questions: () => Promise.resolve([7]),
  };
  assert.deepEqual(await login(wrong as unknown as Prompter), [null, null, true]);
});

test("a person who goes away in the middle of a question has declined", async () => {
  let answer: unknown = "none yet";
  await using pair = await connected({
    login: async (_params, { prompter }) => {
      answer = await prompter?.secret("passphrase: ");
    },
  });
  const { client } = pair;
  let asked = false;
  const secret = () => {
    asked = true;
    return new Promise(() => {});
  };
  const person = { secret } as unknown as Prompter;
  client.call("login", {}, { prompter: person }).catch(() => {});
  await waitFor(() => asked, { what: "the question" });
  client.close();
  await waitFor(() => answer === undefined, { what: "the end of the question" });
});

test("strange answers to a question end nothing", async () => {
  await using pair = await connected({
    login: async (_params, { prompter }) => await prompter?.secret("passphrase: "),
  });
  const strange = [{ refusal: { message: { toString: 1 } } }, { refusal: { hint: 5 } }];
  for (const words of strange) {
    const lines = await rawTalk(
      pair.path,
      [{ id: 1, protocol: 1, method: "login" }],
      (line) =>
        line["question"] === undefined
          ? undefined
          : { id: 1, question: line["question"], ...words },
    );
    assert.equal((lines.at(-1) as { error: { code: string } }).error.code, "auth-failed");
  }
  assert.equal(await pair.client.call("login"), null);
});

test("a newer and an older process are told apart, and what to do is said", async () => {
  const ages: [versions: number[], age: string, shown: string][] = [
    [[2, 3], "newer", "2 to 3"],
    [[9, 9], "newer", "9"],
    [[0, 0], "older", "0"],
  ];
  for (const [protocol, age, shown] of ages) {
    await using peer = await fakeServer([{ fairlead: "7.0.0", protocol, pid: 123 }]);
    await assert.rejects(connectControl(peer.path), {
      code: "not-supported",
      message: `the background process (fairlead 7.0.0, process 123) is ${age} than this ` +
        `fairlead: it speaks the control protocol ${shown}, and this one 1`,
      hint: "use its version, or end it and its tunnels: kill 123",
    });
    assert.deepEqual(peer.requests, [], "nothing was said to it");
  }
});

test("a newer process that speaks the old protocol as well is asked in it", async () => {
  await using peer = await fakeServer(
    [{ fairlead: "7.0.0", protocol: [1, 4], pid: 123, serves: "tunnels", moons: 2 }],
    [
      { id: 1, event: { event: "eclipse", of: "moon" }, more: true },
      { id: 1, unheardOf: 1 },
      { id: 5, result: "to nobody" },
    ],
  );
  const client = await connectControl(peer.path) as ControlClient;
  const events: unknown[] = [];
  const answer = await client.call("status", {}, { onEvent: (event) => events.push(event) });
  assert.equal(answer, undefined);
  assert.deepEqual(peer.requests, [{ id: 1, protocol: 1, method: "status", params: {} }]);
  assert.deepEqual(events, [{ event: "eclipse", of: "moon" }]);
  client.close();
});

test("a newer client is told which version this is, and what it speaks", async () => {
  await using pair = await connected({ status: () => 1 });
  const [, answer] = await rawTalk(pair.path, [{ id: 1, protocol: 2, method: "status" }]);
  assert.deepEqual(answer, {
    id: 1,
    error: {
      code: "protocol-error",
      message: "fairlead 1.0.0 speaks the control protocol 1, and was asked in 2",
    },
  });
});

test("what is no fairlead is called that, and ends no client otherwise", async () => {
  const no = "protocol-error";
  const answers: [lines: (object | string)[], code: string, message: RegExp][] = [
    [["SSH-2.0-OpenSSH_9.6"], no, /no JSON/],
    [[{ hello: 1 }], no, /is no fairlead$/],
    [[[]], no, /is no fairlead$/],
    [[{ fairlead: 1, protocol: [1, 1] }], no, /is no fairlead$/],
    [[{ fairlead: "1", protocol: "all" }], no, /is no fairlead$/],
    [[{ error: { code: { toString: 1 }, message: { toString: 1 } } }], "internal", /did not say/],
  ];
  for (const [lines, code, message] of answers) {
    await using peer = await fakeServer(lines);
    await assert.rejects(connectControl(peer.path), { code, message });
  }
});

test("a process that dies, or says what nobody understands, fails what it was asked", async () => {
  const greeting = { fairlead: "1.0.0", protocol: [1, 1], pid: 1, serves: "tunnels" };
  const ends: [answer: (object | string)[], code: string][] = [
    [[], "connection-lost"],
    [["{"], "protocol-error"],
    [["x".repeat(9 * 1024 * 1024)], "protocol-error"],
    [[{ error: { code: "resource-shortage", message: "full" } }], "resource-shortage"],
    [[{ id: 1, error: { message: 5 } }], "internal"],
    [[{ id: 1, question: 1, ask: { toString: 1 }, words: 5 }, { id: 1, error: {} }], "internal"],
  ];
  for (const [answer, code] of ends) {
    await using peer = await fakeServer([greeting], answer, true);
    const client = await connectControl(peer.path) as ControlClient;
    await assert.rejects(client.call("status"), { code });
    client.close();
    await assert.rejects(client.call("status"), { code: "connection-lost" });
  }
});

test("where nobody is there is no client", async () => {
  await using folder = await tempDir();
  assert.equal(await connectControl(join(folder.path, "none")), undefined);
  assert.equal(await connectControl(join(folder.path, "no", "folder")), undefined);
});

test("who says nothing is given up after 5 s", async () => {
  const { error, seconds } = await silent;
  assert.equal(error.code, "timeout");
  assert.match(error.message, /^whoever listens at \/.* has not answered within 5 s$/);
  assert.match(error.hint ?? "", /^it may be stopped/);
  assert.ok(seconds > 4 && seconds < 9, `${seconds} s`);
});

/** A server, and a client of it. */
async function connected(handlers: Handlers) {
  const folder = await tempDir();
  const path = join(folder.path, "s");
  const server = await serveControl(path, handlers, { version: "1.0.0", serves: "tunnels" });
  const client = await connectControl(path) as ControlClient;
  return stoppable({ path, client }, async () => {
    client.close();
    await server.close();
    await folder.stop();
  });
}

/** Something that greets with `first`, and says `then` to the first request. */
async function fakeServer(
  first: readonly (object | string)[],
  then: readonly (object | string)[] = [{ id: 1 }],
  ends = false,
): Promise<{ path: string; requests: unknown[] } & Stoppable> {
  const folder = await tempDir();
  const path = join(folder.path, "s");
  const requests: unknown[] = [];
  const sockets = new Set<Socket>();
  const text = (lines: readonly (object | string)[]) =>
    lines.map((line) => `${typeof line === "string" ? line : JSON.stringify(line)}\n`).join("");
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.write(text(first));
    let asked = false;
    socket.on("data", (chunk) => {
      const lines = chunk.toString("utf8").split("\n").filter((line) => line !== "");
      // A client may begin with an empty line.
      if (asked || lines.length === 0) return;
      asked = true;
      requests.push(...lines.map((line) => JSON.parse(line)));
      if (ends) socket.end(text(then));
      else socket.write(text(then));
    });
  });
  server.listen(path);
  await once(server, "listening");
  return stoppable({ path, requests }, async () => {
    sockets.forEach((socket) => socket.destroy());
    await new Promise((resolve) => server.close(resolve));
    await folder.stop();
  });
}

/** Says lines by hand, answers what `reply` says, and has what came up to the first answer. */
async function rawTalk(
  path: string,
  lines: readonly object[],
  reply: (line: Record<string, unknown>) => object | undefined = () => undefined,
): Promise<unknown[]> {
  const socket = connect({ path });
  const got: unknown[] = [];
  let text = "";
  const send = (line: object) => socket.write(`${JSON.stringify(line)}\n`);
  lines.forEach(send);
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("utf8");
    const whole = text.split("\n");
    text = whole.pop() ?? "";
    for (const line of whole) {
      const value = JSON.parse(line);
      got.push(value);
      const answer = reply(value);
      if (answer !== undefined) send(answer);
    }
  });
  const isAnswer = (line: unknown) => "error" in (line as object) || "result" in (line as object);
  await waitFor(() => got.some(isAnswer), { what: "an answer" });
  socket.destroy();
  return got;
}

async function askSilent(): Promise<{ error: FairleadError; seconds: number }> {
  await using peer = await fakeServer([]);
  const begin = performance.now();
  const error = await connectControl(peer.path).then(() => undefined, (error) => error);
  return { error, seconds: (performance.now() - begin) / 1000 };
}
