/** GitHub's workflows: what they may do, that all they call exists, and their steps as far as they
 * can be run without GitHub. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { chmod, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { parse, parseDocument } from "yaml";
import { notesOf } from "../../scripts/release_notes.ts";
import { ROOT } from "../support/fairlead.ts";
import {
  need,
  run,
  type RunResult,
  skipUnless,
  type Stoppable,
  tempDir,
} from "../support/tools.ts";

interface Step {
  readonly name?: string;
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Record<string, string>;
}

interface Job {
  readonly permissions?: Record<string, string>;
  readonly "timeout-minutes"?: number;
  readonly uses?: string;
  readonly steps?: readonly Step[];
  readonly strategy?: { readonly matrix: { readonly include: readonly Record<string, string>[] } };
}

interface Workflow {
  readonly on: Record<string, unknown>;
  readonly permissions: unknown;
  readonly jobs: Record<string, Job>;
}

const FOLDER = join(ROOT, ".github/workflows");
const TEXTS = new Map(
  readdirSync(FOLDER).map((name) => [name, readFileSync(join(FOLDER, name), "utf8")]),
);
const WORKFLOWS = new Map([...TEXTS].map(([name, text]) => [name, parse(text) as Workflow]));
const RELEASE = WORKFLOWS.get("release.yml");
const STEPS = [...WORKFLOWS.values()].flatMap(({ jobs }) =>
  Object.values(jobs).flatMap(({ steps = [] }) => steps)
);
const SCRIPTS = STEPS.flatMap((step) => step.run ?? []);

/** What a release has for whoever has neither of the runtimes. */
const BINARIES = [
  ...["linux-x64", "linux-arm64", "macos-x64", "macos-arm64"],
  ...["windows-x64.exe", "windows-arm64.exe"],
].map((name) => `fairlead-${name}`);

/** A clone in which the tag v0.1.0 could be set. */
let clone: { path: string } & Stoppable;

before(async () => {
  clone = await tempDir("fairlead-release-");
});
after(() => clone.stop());

for (const [name, text] of TEXTS) {
  test(`${name} is YAML without anything odd`, () => {
    const { errors, warnings } = parseDocument(text, { strict: true, stringKeys: true });
    assert.deepEqual([...errors, ...warnings], []);
  });

  test(`${name} uses no action but by its commit, and says which version that is`, () => {
    const uses = text.split("\n").filter((line) => /^\s*(?:- )?uses:/.test(line));
    assert.notEqual(uses.length, 0);
    for (const line of uses) {
      assert.match(line, /uses: (?:\.\/\S+|[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+)$/);
    }
  });

  test(`${name} knows no secret, and gives strangers' code no rights`, () => {
    assert.doesNotMatch(text, /secrets\.|pull_request_target|workflow_run/);
    assert.deepEqual(WORKFLOWS.get(name)?.permissions, {});
  });
}

test("no job has more rights than its work takes, or unlimited time", () => {
  const rights: Record<string, unknown> = {};
  for (const [name, { jobs }] of WORKFLOWS) {
    for (const [job, { permissions, uses, "timeout-minutes": minutes }] of Object.entries(jobs)) {
      rights[`${name} ${job}`] = permissions;
      assert.ok(uses !== undefined || (minutes ?? 0) > 0, `${job} may take for ever`);
    }
  }
  const read = { contents: "read" };
  const vouch = { "id-token": "write", attestations: "write" };
  assert.deepEqual(rights, {
    "ci.yml run": read,
    "release.yml test": read,
    "release.yml build": read,
    "release.yml smoke": read,
    "release.yml publish": { contents: "write", ...vouch },
    "release.yml container": { ...read, packages: "write", ...vouch },
    "release.yml npm": { ...read, "id-token": "write" },
    "release.yml jsr": { ...read, "id-token": "write" },
  });
});

test("no checkout leaves its token behind", () => {
  const checkouts = STEPS.filter(({ uses }) => uses?.startsWith("actions/checkout@"));
  assert.notEqual(checkouts.length, 0);
  for (const checkout of checkouts) assert.equal(checkout.with?.["persist-credentials"], false);
});

test("every task and every file that a workflow names exists, and Deno is the one of .ci/run", () => {
  const { tasks } = JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8"));
  const all = SCRIPTS.join("\n");
  const called = [...all.matchAll(/ task (\S+)/g)].map(([, task = ""]) => task);
  assert.ok(called.includes("build:binary"));
  assert.deepEqual(called.filter((task) => tasks[task] === undefined), []);
  const files = [...all.matchAll(/(?:scripts|\.ci)\/[\w./-]+/g)].map(([file]) => file);
  assert.ok(files.includes(".ci/run"));
  assert.deepEqual(files.filter((file) => !existsSync(join(ROOT, file))), []);
  const [deno] = /deno@[\d.]+/.exec(readFileSync(join(ROOT, ".ci/run"), "utf8")) ?? [];
  for (const [other] of all.matchAll(/deno@[\d.]+/g)) assert.equal(other, deno);
});

test("no script of a workflow has text of others pasted into it", () => {
  for (const script of SCRIPTS) assert.doesNotMatch(script, /\$\{\{/);
});

test(
  "shellcheck has nothing to say about the workflows' scripts",
  skipUnless("shellcheck"),
  async () => {
    for (const script of SCRIPTS) {
      // The runner's bash ends with the first command that fails.
      const { status, stdout } = await run("shellcheck", ["--shell=bash", "-"], {
        stdin: `set -e\n${script}`,
      });
      assert.equal(status, 0, stdout);
    }
  },
);

test("each binary is tried on a machine of its own kind", () => {
  const tried = RELEASE?.jobs["smoke"]?.strategy?.matrix.include ?? [];
  const runners: Record<string, string> = {};
  for (const { program = "", runner = "" } of tried) runners[program] ??= runner;
  assert.deepEqual(
    Object.keys(runners).sort(),
    [...BINARIES.map((name) => `dist/${name}`), "node dist/fairlead.mjs"].sort(),
  );
  for (const name of BINARIES) {
    const runner = runners[`dist/${name}`] ?? "";
    const system =
      { linux: "ubuntu", macos: "macos", windows: "windows" }[name.split("-")[1] ?? ""];
    assert.ok(runner.startsWith(system ?? "?"), `${name} on ${runner}`);
    // GitHub's Intel machines with macOS say so, its ARM machines with anything else do.
    const arm = system === "macos" ? !runner.endsWith("-intel") : runner.endsWith("-arm");
    assert.equal(arm, name.includes("arm64"), `${name} on ${runner}`);
  }
});

test("the notes of a release are what stands below its heading, and nothing else", () => {
  const changelog =
    "# Changelog\n\n## [Unreleased]\n\n- c\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n- b\n\n" +
    "## [0.1.0] - 2026-11-01\n\n- a\n\n## [0.0.1]\n\n[0.1.0]: https://example.com\n";
  assert.equal(notesOf(changelog, "0.2.0"), "### Added\n\n- b");
  assert.equal(notesOf(changelog, "0.1.0"), "- a");
  assert.equal(notesOf(changelog, "0.0.1"), undefined);
  assert.equal(notesOf(changelog, "0.3.0"), undefined);
});

test("a tag that is not the version's, or without notes, ends the release with one line", async () => {
  await cloneForRelease();
  const [check = ""] = scripts("build");
  await run("rm", ["-rf", join(clone.path, "dist")]);
  const wrong = await step(check, { TAG: "v9.9.9" });
  assert.equal(wrong.status, 1);
  assert.match(wrong.stderr, /^release: the tag is v9\.9\.9, but deno\.json has version [\d.]+\n$/);
});

test("the steps of a release make, check and try all of its files but other machines' binaries", async () => {
  await cloneForRelease();
  await run("rm", ["-rf", join(clone.path, "dist")]);
  const TAG = `v${version()}`;
  const [check = "", build = "", sums = ""] = scripts("build");
  await good(step(check, { TAG }));
  const notes = await readFile(join(clone.path, "dist/notes.md"), "utf8");
  assert.match(notes, /^### Added\n/);

  // What a deno compile for others needs cannot be had everywhere.
  const others = BINARIES.filter((name) => name !== "fairlead-linux-x64");
  const placeholders = others.map((name) => `echo ${name} >dist/${name}`).join("\n");
  assert.match(build, /task build:binary --all\n/);
  await good(step(build.replace(/build:binary --all\n/, `build:binary\n${placeholders}\n`)));
  await good(step(sums));

  const upload = RELEASE?.jobs["build"]?.steps?.find(({ uses }) => uses?.includes("upload"));
  for (const path of upload?.with?.["path"]?.trim().split("\n") ?? []) {
    const { status } = await run("sh", ["-c", `ls ${path}`], { cwd: clone.path });
    assert.equal(status, 0, `there is no ${path}`);
  }

  const [smoke = ""] = scripts("smoke");
  for (const PROGRAM of ["dist/fairlead-linux-x64", "node dist/fairlead.mjs"]) {
    const { stdout } = await good(step(smoke, { PROGRAM }));
    assert.match(stdout, /^6 passed, 0 failed, 0 skipped$/m);
  }
  // A program that is none of ours does not pass.
  const broken = await step(smoke, { PROGRAM: "true" });
  assert.equal(broken.status, 1);
  assert.match(broken.stdout, /^0 passed, 6 failed, 0 skipped$/m);
});

test("what is published is called as the tag says, and nothing but a final version is the latest", async () => {
  await using place = await tempDir();
  const calls = join(place.path, "calls");
  for (const name of ["gh", "npx"]) {
    await writeFile(join(place.path, name), `#!/bin/sh\necho "${name} $*" >>${calls}\n`);
    await chmod(join(place.path, name), 0o755);
  }
  const env = { PATH: `${place.path}:${process.env["PATH"]}` };
  for (const TAG of ["v1.2.3", "v1.2.3-rc.1"]) {
    for (const job of ["publish", "npm"]) {
      await run("sh", ["-c", "mkdir -p dist && touch dist/notes.md dist/SHA256SUMS"], {
        cwd: place.path,
      });
      for (const script of scripts(job)) await good(step(script, { ...env, TAG }, place.path));
    }
  }
  const said = (await readFile(calls, "utf8")).trim().split("\n");
  assert.deepEqual(said.map((line) => line.replace(/npm@\S+/, "npm")), [
    "gh release create v1.2.3 --verify-tag --latest --title v1.2.3 --notes-file notes.md dist/SHA256SUMS",
    "npx -y npm publish --provenance --access public --tag latest ./dist/fairlead-fairlead-1.2.3.tgz",
    "gh release create v1.2.3-rc.1 --verify-tag --prerelease --title v1.2.3-rc.1 --notes-file notes.md dist/SHA256SUMS",
    "npx -y npm publish --provenance --access public --tag next ./dist/fairlead-fairlead-1.2.3-rc.1.tgz",
  ]);
});

function version(): string {
  return JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8")).version;
}

/** The scripts of a job of the release, in order. */
function scripts(job: string): string[] {
  return (RELEASE?.jobs[job]?.steps ?? []).flatMap((step) => step.run ?? []);
}

/** Runs a script as GitHub's runner does. */
async function step(
  script: string,
  env: Record<string, string> = {},
  cwd = clone.path,
): Promise<RunResult> {
  const file = join(cwd, ".step.sh");
  await writeFile(file, script);
  const bash = ["--noprofile", "--norc", "-eo", "pipefail", file];
  return await run(need("bash"), bash, { cwd, env, timeout: 240_000 });
}

async function good(running: Promise<RunResult>): Promise<RunResult> {
  const result = await running;
  assert.equal(result.status, 0, result.stdout + result.stderr);
  return result;
}

/** A clone of what is committed, with the changelog that a release has. */
async function cloneForRelease(): Promise<void> {
  if (existsSync(join(clone.path, "deno.json"))) return;
  await good(run("git", ["clone", "--quiet", ROOT, clone.path]));
  const file = join(clone.path, "CHANGELOG.md");
  const changelog = await readFile(file, "utf8");
  // At a release, which this is a part of, it is so already.
  if (notesOf(changelog, version()) === undefined) {
    await writeFile(file, changelog.replace("## [Unreleased]", `## [${version()}] - 2026-12-01`));
  }
  const author = ["-c", "user.name=Test", "-c", "user.email=test@example.com"];
  await good(
    run("git", [...author, "commit", "--quiet", "--all", "--allow-empty", "--message", "Release"], {
      cwd: clone.path,
    }),
  );
}
