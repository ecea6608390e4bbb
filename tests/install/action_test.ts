/** The GitHub action: its scripts, run as the runner runs them, against a real sshd. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { copyFile, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { BUNDLE, makeBundle } from "../../scripts/build/bundle.ts";
import { VERSION } from "../../scripts/build/project.ts";
import { runs } from "../../scripts/action/processes.mjs";
import { skipUnlessAccounts } from "../support/accounts.ts";
import {
  ACTION,
  type Job,
  NODE,
  parseEntries,
  runStep,
  startJob,
} from "../support/actions_runner.ts";
import { ROOT } from "../support/fairlead.ts";
import { type ReleaseServer, serveRelease } from "../support/install.ts";
import { makeKey } from "../support/keys.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { digest, echoServer, pattern, type Peer, refusingPort, transfer } from "../support/tcp.ts";
import {
  freePort,
  processes,
  run,
  signalProcess,
  skipUnless,
  start,
  type Stoppable,
  tempDir,
  waitFor,
} from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen", "bash");
const skipPassword = { ...skip, ...skipUnlessAccounts({ password: true }) };
const BYTES = 1_000_003;
const ASSET = "fairlead.mjs";
const BINARY = "fairlead-linux-x64";

let dist: { path: string } & Stoppable;
let release: ReleaseServer;
let sshd: SshServer;
let echo: Peer;

before(async () => {
  if (skip.skip !== undefined) return;
  await makeBundle();
  dist = await tempDir("fairlead-release-");
  await copyFile(BUNDLE, join(dist.path, ASSET));
  // In the place of the binary, of which an action sees no more than that it is one file.
  const script = `#!/bin/sh\nexec '${NODE}' '${BUNDLE}' "$@"\n`;
  await writeFile(join(dist.path, BINARY), script);
  await writeSums(dist.path);
  release = await serveRelease(dist.path);
  [sshd, echo] = await Promise.all([startSshd(), echoServer()]);
});
after(async () => {
  await release?.stop();
  await echo?.stop();
  await sshd?.stop();
  await dist?.stop();
});

async function writeSums(folder: string): Promise<void> {
  const lines = [ASSET, BINARY].map((name) => `${sumOf(join(folder, name))}  ${name}\n`);
  await writeFile(join(folder, "SHA256SUMS"), lines.join(""));
}

function sumOf(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

function baseUrl({ url } = release): string {
  return `${url}/releases/download/v${VERSION}/`;
}

/** The inputs of a step with a tunnel. */
function inputs(more: Record<string, string> = {}, server = sshd): Record<string, string> {
  return {
    "base-url": baseUrl(),
    host: `ssh://${server.user}@${server.host}:${server.port}`,
    "private-key": readFileSync(server.identity, "utf8"),
    "host-key": server.hostKeys[0]?.publicLine ?? "",
    forwards: `-L db=0:${echo.host}:${echo.port}`,
    ...more,
  };
}

/** What comes back through a forward is what went in. */
async function assertCarries(port: string | undefined): Promise<void> {
  const { bytes, sha256 } = await transfer(Number(port), { send: BYTES, seed: 3 });
  assert.deepEqual({ bytes, sha256 }, digest(pattern(BYTES, 3)));
}

async function assertGone(pid: string | undefined): Promise<void> {
  await waitFor(() => !processes().some((one) => one.pid === Number(pid)), { what: "its end" });
}

/** No process of a job is left: each has the job's folder on its command line. */
async function assertNothingRuns(job: Job): Promise<void> {
  await waitFor(() =>
    !processes().some(({ pid }) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(job.temp);
      } catch {
        return false; // It has ended.
      }
    }), { what: "the end of the job's processes" });
}

/** Everything below a folder, as text. */
function contentsOf(folder: string): string {
  return globSync("**/*", { cwd: folder })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
    .map((path) => readFileSync(path, "latin1"))
    .join("\n");
}

test(
  "a step opens a tunnel for the steps that follow, and closes it at the end",
  skip,
  async () => {
    await using job = await startJob();
    const key = readFileSync(sshd.identity, "utf8");
    const forwards = `# the database\n-L db=0:${echo.host}:${echo.port}\n\n` +
      `  -L my_web=127.0.0.1:0:${echo.host}:${echo.port}  \n-D 0`;
    const step = await job.use(inputs({ forwards, options: "-v\n-o ServerAliveInterval=5" }));
    assert.equal(step.status, 0, step.stdout + step.stderr);
    const { outputs } = step;
    assert.deepEqual(Object.keys(outputs).sort(), [
      ...["db-host", "db-port", "my-web-host", "my-web-port", "pid"],
      ...["port", "port-1", "port-2", "version"],
    ]);
    assert.equal(outputs["version"], VERSION);
    assert.equal(outputs["db-host"], "127.0.0.1");
    assert.deepEqual(
      [outputs["port"], outputs["port-1"]],
      [outputs["db-port"], outputs["my-web-port"]],
    );
    assert.equal(job.env["FAIRLEAD_DB_PORT"], outputs["db-port"]);
    assert.equal(job.env["FAIRLEAD_MY_WEB_HOST"], "127.0.0.1");
    assert.equal(job.env["FAIRLEAD_PORT_2"], outputs["port-2"]);
    await assertCarries(outputs["db-port"]);
    await assertCarries(outputs["my-web-port"]);

    const later = await runStep(job, `fairlead --version; echo "$FAIRLEAD_DB_PORT"`);
    assert.match(later.stdout, new RegExp(`^fairlead ${VERSION} .*\n${outputs["db-port"]}\n$`));
    // While it is open, too, no file has the key.
    const lines = key.split("\n").filter((line) => line.length > 30 && !line.startsWith("-"));
    assert.ok(lines.length > 3);
    const files = contentsOf(job.temp);
    assert.ok(files.includes("listening on"), "the log is among the files");
    for (const line of lines) assert.ok(!files.includes(line), "a file holds the key");

    const post = await step.post();
    assert.equal(post.status, 0, post.stderr);
    assert.deepEqual([post.warnings, post.errors], [[], []]);
    assert.deepEqual(post.groups, ["fairlead's log"]);
    assert.match(post.log, /^fairlead: db: listening on 127\.0\.0\.1:\d+.*, forwarding to /m);
    assert.match(post.log, /^the tunnel is closed$/m);
    await assertGone(outputs["pid"]);
    await assert.rejects(transfer(Number(outputs["db-port"])), /ECONNREFUSED/);
    await assertNothingRuns(job);
    assert.deepEqual((await readdir(job.temp)).filter((name) => /tunnel/.test(name)), []);
    for (const { stdout, stderr } of [step, post]) {
      const said = stdout.replace(/^::add-mask::.*$/gm, "") + stderr;
      for (const line of lines) assert.ok(!said.includes(line), "the key is said");
    }
  },
);

test("connections that are open at the job's end may finish", skip, async () => {
  await using job = await startJob();
  const step = await job.use(inputs());
  const before = echo.connections;
  const slow = transfer(Number(step.outputs["db-port"]), {
    send: 300_000,
    seed: 5,
    bytesPerSecond: 300_000,
  });
  slow.catch(() => {});
  await waitFor(() => echo.connections > before);
  const post = await step.post();
  const { bytes, sha256 } = await slow;
  assert.deepEqual({ bytes, sha256 }, digest(pattern(300_000, 5)));
  assert.deepEqual(post.warnings, []);
});

test("two steps of a job have a tunnel each, with variables of their own", skip, async () => {
  await using job = await startJob();
  const first = await job.use(inputs());
  const second = await job.use(inputs({ forwards: `-L web=0:${echo.host}:${echo.port}` }));
  assert.deepEqual(
    Object.keys(second.outputs).sort(),
    ["pid", "port", "version", "web-host", "web-port"],
  );
  assert.equal(job.env["FAIRLEAD_PORT"], second.outputs["port"]);
  assert.equal(job.env["FAIRLEAD_DB_PORT"], first.outputs["port"]);
  // As the runner: the last first.
  assert.equal((await second.post()).status, 0);
  await assertCarries(first.outputs["port"]);
  assert.equal((await first.post()).status, 0);
  await assertNothingRuns(job);
});

test("an encrypted key, known_hosts and a jump are enough, all from inputs", skip, async () => {
  await using job = await startJob();
  await using jump = await startSshd();
  const key = await makeKey(sshd.dir, { passphrase: "correct horse" });
  for (const server of [sshd, jump]) await server.authorize(key.publicLine);
  const known = await Promise.all([sshd, jump].map((one) => readFile(one.knownHosts, "utf8")));
  const step = await job.use(inputs({
    // As a browser on Windows sends what is pasted there.
    "private-key": (await readFile(key.path, "utf8")).replaceAll("\n", "\r\n"),
    passphrase: "correct horse",
    "host-key": "",
    "known-hosts": known.join("\n"),
    options: `-J ${jump.user}@${jump.host}:${jump.port}`,
    ready: "dial",
  }));
  assert.equal(step.status, 0, step.stdout);
  await assertCarries(step.outputs["port"]);
  assert.ok(!step.stdout.replace(/^::add-mask::.*$/gm, "").includes("correct horse"));
  assert.equal((await step.post()).status, 0);
});

test("a password is enough, and the log shows it nowhere", skipPassword, async () => {
  await using job = await startJob();
  const password = "100% sword\\fish::";
  await using server = await startSshd({ password });
  const step = await job.use(inputs({ "private-key": "", password }, server));
  assert.equal(step.status, 0, step.stdout);
  await assertCarries(step.outputs["port"]);
  // The runner masks what the command says, once decoded.
  assert.match(step.stdout, /^::add-mask::100%25 sword\\fish::$/m);
  const post = await step.post();
  for (const { log } of [step, post]) assert.ok(!log.includes("sword"));
});

test(
  "a wrong host key fails the step with fairlead's words, and leaves nothing",
  skip,
  async () => {
    await using job = await startJob();
    const other = await makeKey(sshd.dir);
    const step = await job.use(inputs({ "host-key": other.publicLine }));
    assert.equal(step.status, 1);
    const [error = "", ...more] = step.errors;
    assert.deepEqual(more, []);
    assert.match(error, /host key/);
    assert.ok(error.includes(sshd.hostKeys[0]?.fingerprint ?? "none"), error);
    assert.ok(!error.startsWith("fairlead"), error);
    assert.deepEqual(Object.keys(step.outputs), ["version"]);
    assert.equal(job.env["FAIRLEAD_PORT"], undefined);
    const post = await step.post();
    assert.deepEqual([post.status, post.stdout, post.stderr], [0, "", ""]);
    // No option makes it connect without looking.
    const careless = await job.use(inputs({
      "host-key": "",
      "known-hosts": `bastion.example.com ${other.publicLine}`,
      options: "-o StrictHostKeyChecking=no",
    }));
    assert.equal(careless.status, 1, careless.log);
    assert.match(careless.errors.join("\n"), /host key/);
    await assertNothingRuns(job);
  },
);

test("a destination that does not answer fails the step in time", skip, async () => {
  await using job = await startJob();
  const nobody = await refusingPort();
  const forwards = `-L db=0:${nobody.host}:${nobody.port}`;
  const step = await job.use(inputs({ forwards, ready: "dial", timeout: "1" }));
  assert.equal(step.status, 1);
  assert.match(step.errors.join("\n"), /did not answer within 1 s; the last reason: .*refused/i);
  await assertNothingRuns(job);
});

test("a step that is cancelled leaves nothing", skip, async () => {
  await using job = await startJob();
  const port = await freePort();
  const request = inputs({ host: `ssh://me@127.0.0.1:${port}`, options: "--wait", timeout: "60" });
  const started = () =>
    waitFor(() => globSync(join(job.temp, "fairlead-tunnel-*/pid"))[0], { timeout: 10_000 });
  const step = await job.cancel(request, started);
  assert.equal(step.signal, "SIGINT");
  const begun = performance.now();
  const post = await step.post();
  assert.equal(post.status, 0, post.stdout);
  assert.deepEqual(post.warnings, []);
  assert.ok(performance.now() - begun < 8_000, "it was not asked to end at once");
  await assertNothingRuns(job);
});

test("the second part tells of a tunnel whose process has died", skip, async () => {
  await using job = await startJob();
  const step = await job.use(inputs());
  signalProcess(Number(step.outputs["pid"]), "SIGKILL");
  await assertGone(step.outputs["pid"]);
  const post = await step.post();
  assert.equal(post.status, 0);
  assert.match(
    post.warnings.join("\n"),
    /^the tunnel was no longer open .* its process had ended$/,
  );
  assert.deepEqual(post.groups, ["fairlead's log"]);
  await assertNothingRuns(job);
});

test("a process counts as ended although nobody asks for its status", skip, async () => {
  // As in the container of a job, whose first process waits for none of the others.
  await using parent = start("bash", ["-c", "sleep 30 & echo $!; exec sleep 30"]);
  const pid = await waitFor(() => Number(parent.stdout()));
  // bash itself does ask.
  const name = () => readFileSync(`/proc/${parent.pid}/comm`, "utf8");
  await waitFor(() => name() === "sleep\n", { what: "a parent that does not" });
  signalProcess(pid, "SIGTERM");
  await waitFor(() => !runs(pid), { what: "its end" });
  assert.ok(existsSync(`/proc/${pid}`), "it is still listed");
  assert.ok(runs(parent.pid));
});

test("the second part tells of a session that was lost for good", skip, async () => {
  await using job = await startJob();
  await using server = await startSshd();
  const step = await job.use(inputs({ options: "--retry 0" }, server));
  assert.equal(step.status, 0, step.stdout);
  await server.down();
  const [log = ""] = globSync(join(job.temp, "fairlead-tunnel-*/log"));
  await waitFor(() => /the tunnel is gone/.test(readFileSync(log, "utf8")));
  const post = await step.post();
  assert.equal(post.status, 0);
  assert.match(post.warnings.join("\n"), /^the tunnel was no longer open .* session was lost$/);
  await assertNothingRuns(job);
});

test("what a server says is no command to the runner", skip, async () => {
  await using job = await startJob();
  await using folder = await tempDir();
  const banner = join(folder.path, "banner");
  await writeFile(banner, "::error::from the server\n  ::add-mask::a\n::warning::too\n");
  await using hostile = await startSshd({ config: [`Banner ${banner}`] });
  const step = await job.use(inputs({}, hostile));
  const post = await step.post();
  assert.match(post.log, /^::error::from the server$/m);
  for (const { errors, warnings } of [step, post]) assert.deepEqual([errors, warnings], [[], []]);
});

test("without a tunnel it only installs", skip, async () => {
  await using job = await startJob();
  const step = await job.use({ "base-url": baseUrl() });
  assert.equal(step.status, 0, step.stdout);
  assert.deepEqual(step.outputs, { version: VERSION });
  const { stdout } = await runStep(job, "fairlead --version");
  assert.match(stdout, new RegExp(`^fairlead ${VERSION} `));
  const post = await step.post();
  assert.deepEqual([post.status, post.stdout], [0, ""]);
});

test(
  "a checked file is kept, and one that has changed in the cache is not used",
  skip,
  async () => {
    await using job = await startJob();
    await using server = await serveRelease(dist.path);
    const wanted = { "base-url": baseUrl(server), sha256: sumOf(BUNDLE) };
    const path = join(job.cache, "fairlead", VERSION, ASSET);
    let seen = 0;
    const asked = () => {
      const fresh = server.requests.slice(seen);
      seen = server.requests.length;
      return fresh.filter((path) => path.startsWith("/releases/")).map((path) =>
        path.split("/").at(-1)
      );
    };
    assert.equal((await job.use(wanted)).status, 0);
    assert.deepEqual(asked(), ["SHA256SUMS", ASSET]);
    // Named by the step, the sum needs no server.
    assert.equal((await job.use(wanted)).status, 0);
    assert.deepEqual(asked(), []);
    assert.equal((await job.use({ ...wanted, sha256: "" })).status, 0);
    assert.deepEqual(asked(), ["SHA256SUMS"]);
    await writeFile(path, "console.log('not fairlead');");
    assert.equal((await job.use(wanted)).status, 0);
    assert.deepEqual(asked(), ["SHA256SUMS", ASSET]);
    assert.equal(sumOf(path), sumOf(BUNDLE));
  },
);

test("a download that is not what its sum says is refused, and nothing is kept", skip, async () => {
  const flip = (content: Buffer) => {
    content[1000] = (content[1000] ?? 0) ^ 1;
    return content;
  };
  const changes: [string, (content: Buffer, name: string) => Uint8Array, RegExp][] = [
    ["a bit", (content, name) => name === ASSET ? flip(content) : content, /altered or cut off/],
    ["cut off", (content, name) => name === ASSET ? content.subarray(0, 5000) : content, /SHA-256/],
    ["no sums", () => Buffer.from("<html>"), /SHA256SUMS has no sum of fairlead\.mjs/],
  ];
  for (const [what, change, message] of changes) {
    await using job = await startJob();
    await using server = await serveRelease(dist.path, change);
    const step = await job.use({ ...inputs(), "base-url": baseUrl(server) });
    assert.equal(step.status, 1, what);
    assert.equal(step.errors.length, 1);
    assert.match(step.errors[0] ?? "", message);
    assert.match(step.errors[0] ?? "", /nothing was installed$/);
    assert.deepEqual([step.outputs, job.env["PATH"]], [{}, undefined]);
    assert.equal(contentsOf(job.cache) + contentsOf(job.temp), "");
  }
});

test("what cannot be downloaded is told with its address", skip, async () => {
  await using job = await startJob();
  const gone = await job.use({ "base-url": `${release.url}/nowhere` });
  assert.deepEqual([gone.status, gone.errors.length], [1, 1]);
  assert.ok(gone.errors[0]?.startsWith(`${release.url}/nowhere/SHA256SUMS: HTTP 404 `));
  const pinned = await job.use({ "base-url": baseUrl(), sha256: "0".repeat(64) });
  assert.match(pinned.errors.join("\n"), /release says SHA-256 .*, the input sha256 another one/);
  const other = await job.use({ "base-url": baseUrl(), version: "v9.8.7" });
  assert.match(
    other.errors.join("\n"),
    new RegExp(`^version 9\\.8\\.7 was asked for, and base-url has: fairlead ${VERSION}`),
  );
  assert.deepEqual([pinned.status, other.status], [1, 1]);
});

test("the binary is the one for the runner's system and processor", skip, async () => {
  await using job = await startJob();
  const wanted = inputs({ program: "binary" });
  const step = await job.use(wanted);
  assert.equal(step.status, 0, step.stdout);
  await assertCarries(step.outputs["port"]);
  assert.equal((await step.post()).status, 0);
  assert.ok(existsSync(join(job.cache, "fairlead", VERSION, BINARY)));
  const elsewhere: [os: string, arch: string, message: string][] = [
    ["Linux", "ARM64", "SHA256SUMS has no sum of fairlead-linux-arm64;"],
    ["macOS", "ARM64", "SHA256SUMS has no sum of fairlead-macos-arm64;"],
    ["Windows", "X64", "SHA256SUMS has no sum of fairlead-windows-x64.exe;"],
    ["Linux", "ARM", "program: there is no binary for Linux ARM; bundle runs there"],
  ];
  for (const [RUNNER_OS, RUNNER_ARCH, message] of elsewhere) {
    const { status, errors } = await job.use(wanted, { RUNNER_OS, RUNNER_ARCH });
    assert.deepEqual([status, errors.length], [1, 1]);
    assert.ok(errors[0]?.includes(message), errors[0]);
  }
});

test("an input that is missing or malformed is told by its name, and not repeated", async () => {
  await using job = await startJob();
  const whole = {
    host: "me@bastion.example.com",
    forwards: "-L db=0:db.internal:5432",
    "host-key": "SHA256:abc",
    "private-key": "hunter2",
  };
  const cases: [change: Record<string, string>, message: RegExp][] = [
    [{ host: "" }, /^host: missing; it is the SSH server/],
    [{ host: "-oProxyCommand=hunter2" }, /^host: expected \[user@\]host/],
    [{ forwards: "" }, /^forwards: missing; it is what to forward/],
    [{ forwards: "-L 0:a:1\nhunter2" }, /^forwards, line 2: expected -L, -R or -D/],
    [{ options: "# none\n-v\nhunter2" }, /^options, line 3: expected an option/],
    [{ options: "--" }, /^options, line 1: expected an option/],
    [{ "host-key": "" }, /^host-key: missing; .*\(or give known-hosts\)$/],
    [{ "private-key": "" }, /^private-key: missing; .*\(or password, or start an agent\)$/],
    [{ ready: "hunter2" }, /^ready: expected bind or dial$/],
    [{ timeout: "hunter2" }, /^timeout: expected seconds, 1 to 3600$/],
    [{ program: "hunter2" }, /^program: expected bundle or binary$/],
    [{ version: "hunter2" }, /^version: expected a release, as in 0\.1\.0$/],
    [{ sha256: "hunter2" }, /^sha256: expected 64 hexadecimal digits$/],
    [{ "base-url": "hunter2" }, /^base-url: expected https:\/\//],
  ];
  const results = await Promise.all(cases.map(([change]) => job.use({ ...whole, ...change })));
  for (const [index, { status, errors, log }] of results.entries()) {
    const [change, message] = cases[index] ?? assert.fail();
    assert.equal(status, 1, JSON.stringify(change));
    assert.equal(errors.length, 1);
    assert.match(errors[0] ?? "", message);
    assert.ok(!(errors.join() + log).includes("hunter2"));
  }
});

test("action.yml has the inputs and the outputs of the scripts, and its files are there", () => {
  const sources = globSync("scripts/action/*.mjs", { cwd: ROOT })
    .map((file) => readFileSync(join(ROOT, file), "utf8")).join("\n");
  const words = (pattern: RegExp) =>
    [...new Set([...sources.matchAll(pattern)].map(([, word = ""]) => word))].sort();
  assert.deepEqual(
    words(/(?:\b(?:input|given|required|oneOf|optionLines)\(|\{ name: )"([\w-]+)"/g),
    Object.keys(ACTION.inputs).sort(),
  );
  // Those of the forwards are named by variables; port is the first of them.
  assert.deepEqual(
    [...words(/\bsetOutput\("([\w-]+)"/g), "port"].sort(),
    Object.keys(ACTION.outputs).sort(),
  );
  const { using, main, post, "post-if": when } = ACTION.runs;
  assert.deepEqual([using, when], ["node24", "always()"]);
  for (const file of [main, post]) assert.ok(existsSync(join(ROOT, file)), file);
  // They run as they are: nothing was installed for them.
  assert.deepEqual(words(/^(?:.*\} from|import(?: \w+ from)?) "((?!node:|\.\/)[^"]+)"/gm), []);
});

test("the bundle is no larger than action.yml says", skip, () => {
  const text = readFileSync(join(ROOT, "action.yml"), "utf8");
  const most = Number(/`bundle`: less than (\d+) MB/.exec(text)?.[1]);
  const { size } = statSync(BUNDLE);
  assert.ok(size < most * 1e6, `${size} bytes, and action.yml says ${most} MB`);
});

test("a value that looks like the end of an entry stays one value", async () => {
  await using folder = await tempDir();
  const file = join(folder.path, "output");
  await writeFile(file, "");
  const value = "one\n\nEOF\nother<<EOF\n=";
  const runner = JSON.stringify(join(ROOT, "scripts/action/runner.mjs"));
  const script = `import { setOutput } from ${runner};
    setOutput("name", process.argv[1]); setOutput("next", "");`;
  const ended = await run(NODE, ["--input-type=module", "-e", script, value], {
    env: { GITHUB_OUTPUT: file },
  });
  assert.equal(ended.status, 0, ended.stderr);
  assert.deepEqual(parseEntries(await readFile(file, "utf8")), { name: value, next: "" });
});
