/** The agent protocol, with the real ssh-agent and with agents that misbehave. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { agentSocket } from "../lib/ssh/agent.ts";
import { listAgentKeys, signWithAgent } from "../lib/ssh/agent_client.ts";
import { parsePublicKey } from "../lib/ssh/public_key.ts";
import { parseKey, type SshKey } from "../lib/ssh/ssh2.ts";
import { sshString, uint32, WireReader } from "../lib/ssh/wire.ts";
import { makeKey } from "./support/keys.ts";
import { startAgent } from "./support/ssh_agent.ts";
import { skipUnless, start, type Stoppable, stoppable, tempDir } from "./support/tools.ts";

const agent = skipUnless("ssh-keygen", "ssh-agent", "ssh-add");
const DATA = Buffer.from("to be signed");

test("the real ssh-agent lists its keys in order, and signs with each", agent, async () => {
  await using folder = await tempDir();
  const keys = await Promise.all(
    (["ed25519", "ecdsa", "rsa"] as const).map((type) =>
      makeKey(folder.path, { type, comment: `a key – ${type}` })
    ),
  );
  await using running = await startAgent(keys);
  const listed = await listAgentKeys(running.socket);
  assert.deepEqual(
    listed,
    keys.map(({ publicLine, type }) => ({
      blob: parsePublicKey(publicLine),
      comment: `a key – ${type}`,
    })),
  );
  const algorithms = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"];
  for (const algorithm of algorithms) {
    const index = Math.min(algorithms.indexOf(algorithm), 2);
    const blob = listed[index]?.blob ?? Buffer.alloc(0);
    const signature = await signWithAgent(running.socket, blob, DATA, algorithm);
    const reader = new WireReader(signature);
    assert.equal(reader.text(), algorithm);
    if (algorithm === "ecdsa-sha2-nistp256") continue; // sshd verifies those elsewhere
    const key = parseKey(keys[index]?.publicLine ?? "") as SshKey;
    const hash = algorithm === "rsa-sha2-256" ? "sha256" : "sha512";
    assert.equal(key.verify(DATA, reader.string(), index === 2 ? hash : undefined), true);
  }
});

test("a locked agent has no keys, and one without a key refuses to sign", agent, async () => {
  await using folder = await tempDir();
  const key = await makeKey(folder.path);
  await using running = await startAgent([key]);
  const stranger = parsePublicKey((await makeKey(folder.path)).publicLine) ?? Buffer.alloc(0);
  await assert.rejects(signWithAgent(running.socket, stranger, DATA, "ssh-ed25519"), {
    message: "it refused",
  });
  // ssh-add asks for the word twice, through the program that it is told to ask.
  const program = join(folder.path, "askpass");
  await writeFile(program, "#!/bin/sh\necho word\n", { mode: 0o700 });
  const env = {
    SSH_AUTH_SOCK: running.socket,
    SSH_ASKPASS: program,
    SSH_ASKPASS_REQUIRE: "force",
  };
  await using locking = start("ssh-add", ["-x"], { env });
  assert.equal((await locking.closed).status, 0, locking.stderr());
  assert.deepEqual(await listAgentKeys(running.socket), []);
  const own = parsePublicKey(key.publicLine) ?? Buffer.alloc(0);
  await assert.rejects(signWithAgent(running.socket, own, DATA, "ssh-ed25519"), {
    message: "it refused",
  });
});

test("an agent that a person has told to ask first refuses for them", agent, async () => {
  await using folder = await tempDir();
  const key = await makeKey(folder.path);
  await using running = await startAgent();
  // Each use is to be confirmed, and there is nobody to do it.
  await running.add("-q", "-c", key.path);
  const [{ blob } = { blob: Buffer.alloc(0) }] = await listAgentKeys(running.socket);
  await assert.rejects(signWithAgent(running.socket, blob, DATA, "ssh-ed25519"), {
    message: "it refused",
  });
});

/** An agent that does what it is told with a request; it counts its connections. */
async function misbehaving(
  answer: (client: Socket) => void,
): Promise<{ socket: string; open: () => number; requests: Buffer[] } & Stoppable> {
  const folder = await tempDir();
  const socket = join(folder.path, "agent");
  const clients = new Set<Socket>();
  const requests: Buffer[] = [];
  const server = createServer((client) => {
    clients.add(client);
    client.on("error", () => {}).on("close", () => clients.delete(client));
    client.on("data", (chunk: Buffer) => {
      requests.push(chunk);
      answer(client);
    });
  });
  server.listen(socket);
  await once(server, "listening");
  return stoppable({ socket, open: () => clients.size, requests }, async () => {
    for (const client of clients) client.destroy();
    server.close();
    await folder.stop();
  });
}

const message = (...parts: Buffer[]) => sshString(Buffer.concat(parts));
const IDENTITIES = Buffer.from([12]);

const FAULTS: [what: string, answer: (client: Socket) => void, reason: RegExp][] = [
  ["refuses", (client) => client.write(message(Buffer.from([5]))), /^it does not list its keys$/],
  ["refuses as older ones do", (client) => client.write(message(Buffer.from([102]))), /not list/],
  ["answers something else", (client) => client.write(message(Buffer.from([6]))), /kind \(6\)$/],
  ["hangs up", (client) => client.end(), /^it hung up without an answer$/],
  [
    "dies in the middle of its answer",
    (client) => client.end(message(IDENTITIES, uint32(1), sshString("x")).subarray(0, 9)),
    /^it hung up without an answer$/,
  ],
  ["announces a giant", (client) => client.write(uint32(0xffffffff)), /have 4294967295 bytes$/],
  ["announces nothing", (client) => client.write(uint32(0)), /have 0 bytes$/],
  [
    "announces a giant number of keys",
    (client) => client.write(message(IDENTITIES, uint32(0x7fffffff))),
    /^it says that it holds 2147483647 keys$/,
  ],
  [
    "announces more keys than it sends",
    (client) => client.write(message(IDENTITIES, uint32(2), sshString("x"), sshString("one"))),
    /^the data ends early$/,
  ],
  [
    "sends a key that is longer than the answer",
    (client) => client.write(message(IDENTITIES, uint32(1), uint32(1_000_000))),
    /^the data ends early$/,
  ],
  ["says nothing", () => {}, /^no answer in 0\.2 s$/],
  [
    "never stops",
    (client) => {
      const timer = setInterval(() => client.write(uint32(200_000)), 10);
      client.on("close", () => clearInterval(timer));
    },
    /^no answer in 0\.2 s$/,
  ],
];

for (const [what, answer, reason] of FAULTS) {
  test(`an agent that ${what} gives no keys, and no connection stays`, async () => {
    await using bad = await misbehaving(answer);
    const error = await listAgentKeys(bad.socket, { timeout: 200 }).catch((error) => error);
    assert.ok(error instanceof Error);
    assert.match(error.message, reason);
    await closed(bad.open);
  });
}

async function closed(open: () => number): Promise<void> {
  for (let tries = 0; open() > 0; tries++) {
    assert.ok(tries < 100, "the connection to the agent stays open");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("an answer may come byte by byte", async () => {
  const answer = message(IDENTITIES, uint32(1), sshString("blob"), sshString("comment"));
  await using slow = await misbehaving((client) => {
    let sent = 0;
    const timer = setInterval(() => {
      client.write(answer.subarray(sent, ++sent));
      if (sent === answer.length) clearInterval(timer);
    }, 1);
  });
  assert.deepEqual(await listAgentKeys(slow.socket), [
    { blob: Buffer.from("blob"), comment: "comment" },
  ]);
});

test("a signature is handed on as it is, and one of another kind is refused", async () => {
  const signature = Buffer.concat([
    sshString("sk-x"),
    sshString("abc"),
    Buffer.from([1, 0, 0, 0, 7]),
  ]);
  await using other = await misbehaving((client) => {
    client.write(message(Buffer.from([14]), sshString(signature)));
  });
  const blob = Buffer.from("key");
  assert.deepEqual(await signWithAgent(other.socket, blob, DATA, "sk-x"), signature);
  // What asks for SHA-2, without which an agent signs with SHA-1.
  await assert.rejects(signWithAgent(other.socket, blob, DATA, "rsa-sha2-512"), {
    message: "it made a signature of another kind (sk-x)",
  });
  await signWithAgent(other.socket, blob, DATA, "rsa-sha2-256").catch(() => {});
  const request = (flags: number) =>
    message(Buffer.from([13]), sshString(blob), sshString(DATA), uint32(flags));
  assert.deepEqual(other.requests, [request(0), request(4), request(2)]);
});

test("an answer that comes in many pieces is read without copying it for each", async () => {
  const comment = "c".repeat(200_000);
  const list = Buffer.concat([
    Buffer.from([12]),
    uint32(1),
    ...[Buffer.from("key"), comment].map(sshString),
  ]);
  const answer = sshString(list);
  await using dripping = await misbehaving(async (client) => {
    client.write(answer.subarray(0, 3));
    for (let sent = 3; sent < answer.length; sent += 2_000) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      client.write(answer.subarray(sent, sent + 2_000));
    }
  });
  const { concat } = Buffer;
  let copied = 0;
  Buffer.concat = (...args) => {
    const all = concat(...args);
    copied += all.length;
    return all;
  };
  try {
    const keys = await listAgentKeys(dripping.socket);
    assert.deepEqual(keys, [{ blob: Buffer.from("key"), comment }]);
  } finally {
    Buffer.concat = concat;
  }
  assert.ok(copied < 3 * answer.length, `${copied} bytes were copied for ${answer.length}`);
});

test("a request can be given up, before and while it is made", async () => {
  await using silent = await misbehaving(() => {});
  const controller = new AbortController();
  const { signal } = controller;
  const asked = listAgentKeys(silent.socket, { signal });
  while (silent.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  controller.abort();
  await assert.rejects(asked, { message: "it was cancelled" });
  await assert.rejects(listAgentKeys(silent.socket, { signal }), { message: "it was cancelled" });
  await closed(silent.open);
});

test("an agent that is not there is an error at once", async () => {
  await using folder = await tempDir();
  await assert.rejects(listAgentKeys(join(folder.path, "none")), /ENOENT|No such file/i);
});

test("the agent is where IdentityAgent or SSH_AUTH_SOCK says, or OpenSSH's on Windows", () => {
  const env = { SSH_AUTH_SOCK: "/run/agent", MINE: "/run/mine", EMPTY: "" };
  const cases: [given: string | undefined, expected: string | undefined][] = [
    [undefined, "/run/agent"],
    ["SSH_AUTH_SOCK", "/run/agent"],
    ["none", undefined],
    ["NONE", undefined],
    ["/run/other", "/run/other"],
    ["$MINE", "/run/mine"],
    ["${MINE}", "/run/mine"],
    ["$EMPTY", undefined],
    ["$MISSING", undefined],
  ];
  for (const [given, expected] of cases) {
    assert.equal(agentSocket(given, env, "linux")?.path, expected, given);
    assert.equal(agentSocket(given, env, "win32")?.path, expected, given);
  }
  assert.equal(agentSocket(undefined, {}, "linux"), undefined);
  // Who names it wants to hear that it is not there.
  for (const given of [undefined, "SSH_AUTH_SOCK", "$MINE", "/run/other"]) {
    const named = given?.match(/MINE|other/) != null;
    assert.equal(agentSocket(given, env, "linux")?.named, named, given);
  }
  const pipe = { path: "//./pipe/openssh-ssh-agent", named: false };
  assert.deepEqual(agentSocket(undefined, {}, "win32"), pipe);
  assert.deepEqual(agentSocket("SSH_AUTH_SOCK", { SSH_AUTH_SOCK: "" }, "win32"), pipe);
  assert.equal(agentSocket("none", {}, "win32"), undefined);
});
