/** The examples in the documentation run, and the manifests agree with each other. */
import assert from "node:assert/strict";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { serve, type SshServer } from "../lib/server/server.ts";
import { generateIdentity } from "../lib/ssh/keys.ts";
import * as fairlead from "../mod.ts";
import { ROOT, scriptCommand } from "./support/fairlead.ts";
import { type SshServer as Sshd, startSshd } from "./support/sshd.ts";
import { type Peer, serverEndsFirst } from "./support/tcp.ts";
import { run, skipUnless, type Stoppable, tempDir } from "./support/tools.ts";

/** What stands in the documentation of one file. */
interface Example {
  readonly where: string;
  readonly code: string;
}

const identity = generateIdentity();
let ssh: SshServer;
let mail: Peer;
let folder: { path: string } & Stoppable;
/** The embedded server runs no commands. */
let shell: Sshd | undefined;
const shellSkip = skipUnless("sshd", "ssh-keygen");

before(async () => {
  ssh = await serve({
    hostKeys: [identity.privateKey],
    authorize: () => true,
    allowListen: () => true,
  });
  mail = await serverEndsFirst({ answerBytes: 1000 });
  folder = await tempDir();
  if (shellSkip.skip === undefined) shell = await startSshd();
});
after(async () => {
  await ssh.close({ force: true });
  await mail.stop();
  await shell?.stop();
  await folder.stop();
});

for (const { where, code } of examples()) {
  const skip = code.includes("shell.example.com") ? shellSkip : {};
  test(`the example in ${where} runs`, skip, async () => {
    const script = join(folder.path, `${where.replace(/\W/g, "_")}.ts`);
    await writeFile(script, withRealHosts(code));
    const [command, args] = scriptCommand(script);
    const { status, stdout, stderr } = await run(command, args);
    assert.equal(status, 0, stderr);
    assert.equal(stderr, "");
    assert.notEqual(stdout, "", "an example shows something");
  });
}

test("every export of the library that is a function or a class has an example", () => {
  const exported = Object.keys(fairlead);
  const all = examples().map(({ code }) => code).join("\n");
  // The kinds of error share the example of the class above them; a Forward is made by others.
  const shared = [
    "SessionError",
    "UsageError",
    "ConnectionError",
    "ForwardError",
    "Forward",
    "Tunnel",
  ];
  for (const name of exported.filter((name) => !shared.includes(name))) {
    assert.match(all, new RegExp(`\\b${name}\\b`));
  }
});

test("deno.json and package.json name the same version and the same dependencies", () => {
  const deno = JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8"));
  const npm = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  assert.equal(npm.version, deno.version);
  const all: Record<string, string> = { ...npm.dependencies, ...npm.devDependencies };
  for (const [name, specifier] of Object.entries(deno.imports)) {
    assert.equal(specifier, `npm:${name}@${all[name]}`);
  }
  for (const [name, version] of Object.entries(all)) {
    assert.match(version, /^\d+\.\d+\.\d+$/, `${name} is pinned exactly`);
  }
});

test("the imports follow the arrows of the layout", () => {
  const rank: Record<string, number> = {
    ...{ "": 0, ssh: 1, session: 2, forward: 2, tunnel: 3, server: 3 },
    ...{ ssh_config: 4, config: 5, control: 6, cli: 7 },
  };
  for (const file of globSync("lib/**/*.ts", { cwd: ROOT })) {
    const from = folderOf(file);
    const source = readFileSync(join(ROOT, file), "utf8");
    for (const [, target = ""] of source.matchAll(/from "([^"]+)"/g)) {
      if (target === "ssh2") assert.ok(["ssh", "server"].includes(from), `${file} imports ssh2`);
      if (!target.startsWith(".") || target.endsWith(".json")) continue;
      const to = folderOf(join(file, "..", target));
      assert.ok((rank[to] ?? 9) <= (rank[from] ?? 0), `${file} imports ${target}`);
      assert.ok(from === to || from !== "forward" || to !== "ssh", `${file} imports ${target}`);
      const siblings = from !== to &&
        [from, to].every((one) => ["forward", "session"].includes(one));
      assert.ok(!siblings, `${file} imports ${target}`);
    }
  }
});

function folderOf(file: string): string {
  const parts = file.split(/[\\/]/);
  return parts.length > 2 ? parts[1] ?? "" : "";
}

function examples(): Example[] {
  const files = ["README.md", "mod.ts", ...globSync("lib/**/*.ts", { cwd: ROOT })];
  return files.flatMap((file) => {
    const text = readFileSync(join(ROOT, file), "utf8");
    const blocks = [...text.matchAll(/^( \* | {3}\* |)```ts\n([\s\S]*?)^\1?\s*\*?\s*```/gm)];
    return blocks.map((match, index) => ({
      where: `${file} (${index + 1})`,
      code: (match[2] ?? "").replace(/^ +\* ?/gm, ""),
    }));
  });
}

/** A file that leads an alias to the test's server. */
function configFile(): string {
  const at = (name: string) => join(folder.path, name);
  writeFileSync(at("key"), identity.privateKey, { mode: 0o600 });
  const known = ssh.publicKeys.map((key) => `[${ssh.host}]:${ssh.port} ${key}\n`);
  writeFileSync(at("known_hosts"), known.join(""));
  const lines = [
    ...["Host alias", `HostName ${ssh.host}`, `Port ${ssh.port}`, "User reader"],
    ...[`IdentityFile ${at("key")}`, "IdentityAgent none"],
    ...[`UserKnownHostsFile ${at("known_hosts")}`, `LocalForward 0 ${mail.host}:${mail.port}`],
  ];
  writeFileSync(at("config"), lines.join("\n"));
  return at("config");
}

/** Puts the test's servers in the place of the documentation's hosts. */
function withRealHosts(code: string): string {
  const options = {
    host: ssh.host,
    port: ssh.port,
    username: "reader",
    hostKeys: ssh.publicKeys,
    privateKeys: [identity.privateKey],
    identitiesOnly: true,
    agent: "none",
  };
  const shellOptions = {
    host: shell?.host,
    port: shell?.port,
    username: shell?.user,
    identityFiles: [shell?.identity],
    userKnownHosts: [shell?.knownHosts],
    agent: "none",
  };
  return code
    .replaceAll(`sshConfig("alias.example.com")`, `sshConfig("alias", { file: "${configFile()}" })`)
    .replaceAll(`{ host: "shell.example.com" }`, JSON.stringify(shellOptions))
    .replaceAll(`"@fairlead/fairlead"`, JSON.stringify(pathToFileURL(join(ROOT, "mod.ts")).href))
    .replaceAll(`{ host: "other.example.com" }`, JSON.stringify(options))
    .replaceAll("mail.example.com:110", `${mail.host}:${mail.port}`)
    .replaceAll(
      `{ host: "mail.example.com", port: 110 }`,
      JSON.stringify({ host: mail.host, port: mail.port }),
    );
}
