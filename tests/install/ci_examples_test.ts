/** The examples of docs/ci.md, as they stand there: each ends in a test that uses its tunnel. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parse } from "yaml";
import { BUNDLE, makeBundle } from "../../scripts/build/bundle.ts";
import { VERSION } from "../../scripts/build/project.ts";
import { ACTION, NODE, startJob } from "../support/actions_runner.ts";
import { ROOT } from "../support/fairlead.ts";
import {
  type EmptyPlace,
  emptyPlace,
  type ReleaseServer,
  serveRelease,
} from "../support/install.ts";
import { secretKey } from "../support/secrets.ts";
import { type SshServer, startSshd } from "../support/sshd.ts";
import { echoServer, type Peer } from "../support/tcp.ts";
import { run, type RunResult, skipUnless, type Stoppable, tempDir } from "../support/tools.ts";

const skip = skipUnless("sshd", "ssh-keygen", "ssh-keyscan", "curl", "bash", "npm");
const PAGE = readFileSync(join(ROOT, "docs/ci.md"), "utf8");
/** What each example runs in the end, in the place of a project's own tests. */
const PROJECT_TEST = `
import { connect } from "node:net";
const { FAIRLEAD_DB_HOST: host, FAIRLEAD_DB_PORT: port, HOME: _home, ...others } = process.env;
const secrets = /PRIVATE KEY|^DEPLOY_KEY/;
if (Object.entries(others).flat().some((text) => secrets.test(text))) throw new Error("a secret");
const socket = connect(Number(port), host);
socket.end("select 1;");
let answer = "";
for await (const chunk of socket) answer += chunk;
if (answer !== "select 1;") throw new Error("another answer: " + answer);
console.log("the database answered");
`;

let dist: { path: string } & Stoppable;
let release: ReleaseServer;
let sshd: SshServer;
let database: Peer;
let place: EmptyPlace;
/** What the page has a user make: the variables of a project. */
let secrets: { DEPLOY_KEY: string; DEPLOY_KEY_BASE64: string; HOST_KEY: string };

before(async () => {
  if (skip.skip !== undefined) return;
  await makeBundle();
  dist = await tempDir("fairlead-release-");
  place = await emptyPlace();
  const at = (name: string) => join(dist.path, name);
  await copyFile(BUNDLE, at("fairlead.mjs"));
  await copyFile(join(ROOT, "scripts/install.sh"), at("install.sh"));
  // In the place of the binary: a file that is one program.
  await writeFile(at("fairlead-linux-x64"), `#!/bin/sh\nexec '${NODE}' '${BUNDLE}' "$@"\n`);
  const sums = ["fairlead.mjs", "fairlead-linux-x64"].map((name) =>
    `${createHash("sha256").update(readFileSync(at(name))).digest("hex")}  ${name}\n`
  );
  await writeFile(at("SHA256SUMS"), sums.join(""));
  release = await serveRelease(dist.path);
  [sshd, database] = await Promise.all([startSshd(), echoServer()]);
  secrets = await makeSecrets();
});
after(async () => {
  await release?.stop();
  await database?.stop();
  await sshd?.stop();
  await place?.stop();
  await dist?.stop();
});

/** Follows the page's section on secrets, in an empty folder. */
async function makeSecrets(): Promise<typeof secrets> {
  const [keys = "", host = ""] = blocks("sh").map(here);
  const made = await shell(["sh", "-e"], keys, {});
  assert.equal(made.status, 0, made.stderr);
  const scanned = await shell(["sh", "-e"], host, {});
  assert.equal(scanned.status, 0, scanned.stderr);
  assert.ok(scanned.stdout.includes(sshd.hostKeys[0]?.fingerprint ?? "none"), scanned.stdout);
  const [restriction = ""] = blocks("");
  const key = await readFile(join(place.path, "deploy_key.pub"), "utf8");
  await sshd.authorize(here(restriction).replace(/ssh-ed25519 AAAA… CI of my project/, key).trim());
  return {
    DEPLOY_KEY: secretKey(await readFile(join(place.path, "deploy_key"), "utf8")),
    DEPLOY_KEY_BASE64: made.stdout,
    HOST_KEY: await readFile(join(place.path, "host_key"), "utf8"),
  };
}

/** The code of one language in the page. */
function blocks(language: string): string[] {
  return [...PAGE.matchAll(/^```(.*)\n([\s\S]*?)^```$/gm)]
    .filter(([, name]) => name === language)
    .map(([, , code = ""]) => code);
}

/** The example that belongs into a file. */
// deno-lint-ignore no-explicit-any -- each system has a form of its own
function example(file: string): any {
  const found = blocks("yaml").filter((code) => code.startsWith(`# ${file}\n`));
  assert.equal(found.length, 1, `one example for ${file}`);
  return parse(found[0] ?? "");
}

/** The test's servers in the place of those that the page names. */
function here(text: string): string {
  const { user, host, port } = sshd;
  return text
    .replaceAll("deploy@bastion.example.com", `ssh://${user}@${host}:${port}`)
    .replaceAll(" bastion.example.com ", ` -p ${port} ${host} `)
    .replaceAll("db.internal:5432", `${database.host}:${database.port}`)
    .replaceAll("https://github.com/fairlead/fairlead", release.url)
    .replaceAll("v0.1.0", `v${VERSION}`);
}

/** A project whose tests ask the database; nothing else is there. */
async function checkout(folder: string): Promise<void> {
  await writeFile(join(folder, "package.json"), `{"scripts": {"test": "node database_test.mjs"}}`);
  await writeFile(join(folder, "database_test.mjs"), PROJECT_TEST);
}

/** Runs lines of shell, as a system does, in a project. */
function shell(
  [program = "", ...options]: string[],
  script: string,
  env: Record<string, string | undefined>,
): Promise<RunResult> {
  return run(program, [...options, "-c", script], {
    cwd: place.path,
    env: { ...place.env, ...env },
    timeout: 60_000,
  });
}

function assertAnswered({ status, stdout, stderr }: RunResult): void {
  assert.equal(status, 0, stdout + stderr);
  assert.match(stdout, /^the database answered$/m);
  for (const line of `${secrets.DEPLOY_KEY}${secrets.DEPLOY_KEY_BASE64}`.split("\n")) {
    // The first lines of a key are the public half's.
    if (line.length > 60) assert.ok(!(stdout + stderr).includes(line), "the key is shown");
  }
}

/** Where a job begins: a folder and a home with nothing but the project. */
async function fresh(): Promise<void> {
  await place.stop();
  place = await emptyPlace();
  await checkout(place.path);
}

for (const command of [["sh", "-e"], ["bash", "-eo", "pipefail"]]) {
  test(`the example for GitLab ends in a working tunnel, with ${command[0]}`, skip, async () => {
    await fresh();
    const { test: { variables, script } } = example(".gitlab-ci.yml") as {
      test: { variables: { FAIRLEAD_BASE_URL: string }; script: string[] };
    };
    const { DEPLOY_KEY_BASE64, HOST_KEY } = secrets;
    assertAnswered(
      await shell(command, here(script.join("\n")), {
        FAIRLEAD_BASE_URL: here(variables.FAIRLEAD_BASE_URL),
        DEPLOY_KEY_BASE64,
        HOST_KEY,
      }),
    );
  });
}

test("the example for CircleCI ends in a working tunnel", skip, async () => {
  await fresh();
  const { jobs: { test: job }, workflows } = example(".circleci/config.yml") as {
    jobs: {
      test: {
        environment: { FAIRLEAD_BASE_URL: string };
        steps: ("checkout" | { run: string | { command: string } })[];
      };
    };
    workflows: { test: { jobs: unknown[] } };
  };
  assert.deepEqual(workflows.test.jobs, [{ test: { context: "bastion" } }]);
  const { DEPLOY_KEY_BASE64, HOST_KEY } = secrets;
  const env = {
    FAIRLEAD_BASE_URL: here(job.environment.FAIRLEAD_BASE_URL),
    DEPLOY_KEY_BASE64,
    HOST_KEY,
  };
  const [first, ...steps] = job.steps;
  assert.equal(first, "checkout");
  const results: RunResult[] = [];
  for (const step of steps) {
    assert.ok(typeof step !== "string");
    const script = typeof step.run === "string" ? step.run : step.run.command;
    results.push(await shell(["bash", "-eo", "pipefail"], here(script), env));
    assert.equal(results.at(-1)?.status, 0, results.at(-1)?.stderr);
  }
  assertAnswered(results.at(-1) ?? assert.fail("there are no steps"));
});

test("the example for GitHub ends in a working tunnel", skip, async () => {
  await using job = await startJob();
  const workflow = example(".github/workflows/test.yml") as {
    jobs: { test: { steps: { uses?: string; run?: string; with?: Record<string, string> }[] } };
  };
  const work = join(job.temp, "project");
  await mkdir(work);
  await checkout(work);
  const uses: string[] = [];
  const posts: (() => Promise<{ status: number | null; warnings: readonly string[] }>)[] = [];
  let last: RunResult | undefined;
  for (const step of workflow.jobs.test.steps) {
    if (step.uses !== undefined) uses.push(step.uses);
    if (step.uses?.startsWith("fairlead/")) {
      const inputs = Object.entries(step.with ?? {}).map(([name, value]) => [name, filled(value)]);
      const base = `${release.url}/releases/download/v${VERSION}`;
      const opened = await job.use({ ...Object.fromEntries(inputs), "base-url": base });
      assert.equal(opened.status, 0, opened.log);
      posts.unshift(opened.post);
    }
    if (step.run !== undefined) {
      last = await run("bash", ["-e", "-c", step.run], { cwd: work, env: job.env });
    }
  }
  assert.deepEqual(uses, ["actions/checkout@v5", "fairlead/fairlead@v0.1.0"]);
  assertAnswered(last ?? assert.fail("nothing was run"));
  for (const post of posts) {
    const { status, warnings } = await post();
    assert.deepEqual([status, warnings], [0, []]);
  }
});

/** What a step is given in the place of an expression. */
function filled(value: string): string {
  const expression = /\$\{\{ secrets\.(\w+) \}\}/g;
  return here(value).replace(
    expression,
    (_, name: string) => secrets[name as keyof typeof secrets] ?? assert.fail(`no secret ${name}`),
  );
}

test("the examples name this version, and inputs that there are", () => {
  const versions = [...PAGE.matchAll(/\bv(\d+\.\d+\.\d+)/g)].map(([, version]) => version);
  assert.deepEqual([...new Set(versions)], [VERSION]);
  const outside = PAGE.replace(/^```[\s\S]*?^```$/gm, "");
  for (const name of ["known-hosts", "options", "timeout", "sha256", "base-url", "program"]) {
    assert.ok(name in ACTION.inputs && outside.includes(`\`${name}`), name);
  }
});
