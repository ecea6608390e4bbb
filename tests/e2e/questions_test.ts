/** A server's own questions (keyboard-interactive) at a terminal, after a key has succeeded. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import ssh2 from "ssh2";
import { programCommand } from "../support/fairlead.ts";
import { emptyHome } from "../support/home.ts";
import { knownHostsLine, makeKey } from "../support/keys.ts";
import { openTerminal } from "../support/terminal.ts";
import { skipUnless, type Stoppable, stoppable, tempDir } from "../support/tools.ts";

interface TwoSteps extends Stoppable {
  readonly port: number;
  readonly identity: string;
  readonly knownHosts: string;
  /** What was answered, round by round. */
  readonly answers: string[][];
}

/** A server that wants any key first, and then asks two rounds of questions. */
async function startTwoSteps(): Promise<TwoSteps> {
  const folder = await tempDir();
  const [host, identity] = await Promise.all([makeKey(folder.path), makeKey(folder.path)]);
  const answers: string[][] = [];
  const server = new ssh2.Server({ hostKeys: [await readFile(host.path)] }, (connection) => {
    connection.on("error", () => {});
    let hasKey = false;
    connection.on("authentication", (context) => {
      if (context.method === "publickey" && context.signature === undefined) {
        return context.accept();
      }
      if (context.method === "publickey") {
        hasKey = true;
        return context.reject(["keyboard-interactive"], true);
      }
      if (context.method !== "keyboard-interactive" || !hasKey) {
        return context.reject(["publickey"]);
      }
      const first = [{ prompt: "Token name: ", echo: true }, { prompt: "PIN: ", echo: false }];
      context.prompt(first, "Second factor", "Have your token\x1b[31m ready.", (given) => {
        answers.push(given);
        context.prompt([{ prompt: "Code: ", echo: true }], (code) => {
          answers.push(code);
          if (answers.flat().join() === "blue,1234,987654") context.accept();
          else context.reject(["keyboard-interactive"]);
        });
      });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const knownHosts = join(folder.path, "known_hosts");
  await writeFile(knownHosts, `${knownHostsLine("127.0.0.1", port, host.publicLine)}\n`);
  return stoppable({ port, identity: identity.path, knownHosts, answers }, async () => {
    server.close();
    await folder.stop();
  });
}

test(
  "a server's questions are asked one by one, and only what may be seen is shown",
  skipUnless("tmux", "ssh-keygen"),
  async () => {
    await using server = await startTwoSteps();
    await using home = await emptyHome();
    await using terminal = await openTerminal(home);
    const [program, before] = programCommand();
    await terminal.run([
      ...[program, ...before, "-F", "none", "-L", "0:127.0.0.1:9", "-i", server.identity],
      ...["-p", String(server.port), "-o", `UserKnownHostsFile=${server.knownHosts}`],
      "mary@127.0.0.1",
    ]);
    const opening = await terminal.until(/\(mary@127\.0\.0\.1\) Token name:/);
    assert.match(opening, /^Second factor\nHave your token\?\[31m ready\.\n\(mary@/m);
    await terminal.type("blue");
    await terminal.until(/\(mary@127\.0\.0\.1\) PIN:/);
    await terminal.type("1234");
    await terminal.until(/\(mary@127\.0\.0\.1\) Code:/);
    await terminal.type("987654");
    await terminal.until(/listening on /);
    await terminal.press("C-c");
    const { status, screen, echo } = await terminal.end();
    assert.equal(status, 130, screen);
    assert.ok(echo);
    assert.match(screen, /Token name: blue$/m);
    assert.match(screen, /PIN: ?$/m);
    assert.match(screen, /Code: 987654$/m);
    assert.deepEqual(server.answers, [["blue", "1234"], ["987654"]]);
  },
);
