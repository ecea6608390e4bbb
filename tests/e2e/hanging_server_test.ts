/** Servers that hang or drip while the program runs: a signal or a deadline ends it all the same. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { rawServer } from "../support/raw_server.ts";
import { fairlead, programCommand, serverOptions, startFairlead } from "../support/fairlead.ts";
import { startSshd } from "../support/sshd.ts";
import { run, skipUnless, start, tempDir, waitFor } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen");

test("a signal ends a run whose -R the server does not answer", skip, async () => {
  await using folder = await tempDir();
  let asked = false;
  using server = await rawServer((client) => client.on("request", () => asked = true));
  const knownHosts = join(folder.path, "known_hosts");
  await writeFile(knownHosts, `[127.0.0.1]:${server.port} ${server.publicKey}\n`);
  const [command, before] = programCommand();
  await using child = start(command, [
    ...before,
    ...["-F", "none", "-o", `UserKnownHostsFile=${knownHosts}`, "-o", "IdentityAgent=none"],
    ...["-R", "8080:localhost:80", "-p", String(server.port), "127.0.0.1"],
  ]);
  await waitFor(() => asked, { timeout: 15_000 });
  const begun = performance.now();
  child.kill("SIGINT");
  assert.deepEqual(await child.exited, { status: 130, signal: null });
  assert.ok(performance.now() - begun < 8_000);
});

test("one signal ends a run with a -R whose server hangs", skip, async () => {
  await using sshd = await startSshd();
  await using child = await startFairlead(["-R", "0:localhost:80", ...serverOptions(sshd)]);
  sshd.signalSessions("SIGSTOP");
  const begun = performance.now();
  assert.deepEqual(await child.end("SIGINT"), { status: 130, signal: null });
  assert.ok(performance.now() - begun < 10_000);
  sshd.signalSessions("SIGCONT");
});

test("a server that drips bytes does not outlast ConnectTimeout", async () => {
  const server = createServer((socket) => {
    const timer = setInterval(() => socket.write("x\r\n"), 200);
    socket.on("error", () => {});
    socket.once("close", () => clearInterval(timer));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const { status, stderr } = await fairlead([
    ...["-F", "none", "-o", "ConnectTimeout=1", "-L", "0:a:80", "-p", String(port), "127.0.0.1"],
  ], { timeout: 15_000 });
  server.close();
  assert.equal(status, 255);
  assert.match(stderr, /did not answer in time/);
});

test("the demo does not mind a reader that goes away", async () => {
  const [command, before] = programCommand();
  const { stderr } = await run("sh", ["-c", '"$@" demo | head -n 1', "sh", command, ...before]);
  assert.equal(stderr, "");
});
