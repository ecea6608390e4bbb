/** The npm package, from the tarball as anybody gets it, without a registry. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { makePackage } from "../../scripts/build/npm.ts";
import { bun, node, node20 } from "../../scripts/runtimes.ts";
import { connectOptions, ROOT } from "../support/fairlead.ts";
import {
  assertBackground,
  assertTunnel,
  type EmptyPlace,
  emptyPlace,
  follow,
} from "../support/install.ts";
import { installLine } from "../support/readme.ts";
import { startSshd } from "../support/sshd.ts";
import { digest, echoServer, pattern, transfer } from "../support/tcp.ts";
import { need, run, skipUnless, start, waitFor } from "../support/tools.ts";

const PACKAGE = "@fairlead/fairlead";
const BYTES = 3_000_001;

const sshd = skipUnless("sshd", "ssh-keygen");

/** Where the package lies in the project. */
const installed = (...names: string[]) =>
  join(project.path, "node_modules", ...PACKAGE.split("/"), ...names);

let tarball: string;
/** A project that has the package and nothing else. */
let project: EmptyPlace;

before(async () => {
  tarball = await makePackage();
  project = await placeFor({});
  await done(`npm install ${tarball}`, project);
});
after(() => project?.stop());

test("the package is program, library, types and what belongs to them, and no more", async () => {
  const { stdout } = await run("tar", ["-tzf", tarball]);
  assert.deepEqual(stdout.trim().split("\n").sort(), [
    "package/CHANGELOG.md",
    "package/LICENSE",
    "package/README.md",
    "package/THIRD_PARTY_LICENSES",
    "package/fairlead.mjs",
    "package/mod.d.ts",
    "package/mod.js",
    "package/package.json",
  ]);
  assert.deepEqual(readdirSync(join(project.path, "node_modules", "@fairlead")), ["fairlead"]);
  const rest = readdirSync(join(project.path, "node_modules")).filter((name) => name[0] !== ".");
  assert.deepEqual(rest, ["@fairlead"]);
});

test("the package runs no scripts, has no dependencies, and says what it needs", () => {
  const manifest = JSON.parse(readFileSync(installed("package.json"), "utf8"));
  const { version } = JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8"));
  for (const name of ["scripts", "dependencies", "optionalDependencies", "bundledDependencies"]) {
    assert.equal(manifest[name], undefined, name);
  }
  assert.equal(manifest.name, PACKAGE);
  assert.equal(manifest.version, version);
  assert.deepEqual(manifest.bin, { fairlead: "fairlead.mjs" });
  assert.deepEqual(manifest.engines, { node: ">=20.16.0", bun: ">=1.4.0", deno: ">=2.9.3" });
  assert.deepEqual(manifest.exports["."], { types: "./mod.d.ts", default: "./mod.js" });
});

test("no file of the package names a folder of the machine that made it", () => {
  for (const name of readdirSync(installed())) {
    const text = readFileSync(installed(name), "utf8");
    for (const folder of [ROOT.replace(/\/$/, ""), `${homedir()}/`]) {
      assert.ok(!text.includes(folder), `${folder} is in ${name}`);
    }
  }
});

test("the licence of each package that is inside is in THIRD_PARTY_LICENSES", () => {
  const text = readFileSync(installed("THIRD_PARTY_LICENSES"), "utf8");
  const inside = new Set<string>();
  for (const name of ["fairlead.mjs", "mod.js"]) {
    // esbuild says in comments what comes from where.
    for (
      const [, path = ""] of readFileSync(installed(name), "utf8")
        .matchAll(/^\/\/ node_modules\/(?:.*node_modules\/)?((?:@[^/\n]+\/)?[^/\n]+)\//gm)
    ) inside.add(path);
  }
  assert.ok(inside.has("ssh2") && inside.has("@logtape/logtape"), [...inside].join(" "));
  for (const name of inside) assert.match(text, new RegExp(`^${name} \\d+\\.\\d+\\.\\d+ \\(`, "m"));
});

for (
  const [name, program, version] of [["Node 20", node20, /^v20\./], [
    "Node 24",
    node,
    /^v2[4-9]\./,
  ]] as const
) {
  test(`npm install --global, then fairlead: a working tunnel on ${name}`, sshd, async () => {
    await using place = await placeFor({ node: program() });
    assert.match((await done("node --version", place)).stdout, version);
    await done(installLine("npm install").replace(PACKAGE, tarball), place);
    const { stdout } = await done("fairlead --version", place);
    assert.match(stdout, new RegExp(`, on node ${version.source.slice(2)}`));
    await assertTunnel(installLine("fairlead "), place);
    await assertBackground(installLine("fairlead "), place);
  });
}

test(
  "bun add --global, then bunx --bun fairlead: a working tunnel without Node",
  sshd,
  async () => {
    await using place = await placeFor({ bun: bun(), bunx: bun(), sh: need("sh"), id: need("id") });
    const alone = {
      ...place,
      env: { ...place.env, PATH: `${place.bin}${delimiter}${globals(place)}` },
    };
    assert.notEqual((await follow("node --version", alone)).status, 0);
    const line = installLine("bunx ");
    await done(installLine("bun add").replace(PACKAGE, tarball), alone);
    const { stdout } = await done(line.replace(/ -L .*/, " --version"), alone);
    assert.match(stdout, /, on bun \d/);
    await assertTunnel(line, alone);
    await assertBackground(line, alone);
  },
);

test("in a project, npx fairlead runs the program that is installed there", sshd, async () => {
  const { stdout } = await done("npx fairlead --version", project);
  assert.match(stdout, /^fairlead \d+\.\d+\.\d+ \(.*, on node \d/);
  await assertTunnel("npx fairlead -L 1100:mail.example.com:110 me@other.example.com", project);
});

for (
  const [name, command] of [
    ["Node 20", () => [node20()]],
    ["Node 24", () => [node()]],
    ["Bun", () => [bun()]],
    ["Deno", () => [process.execPath, "run", "-A"]],
  ] as const
) {
  test(`the library, imported on ${name}, forwards and dials byte by byte`, sshd, async () => {
    await using server = await startSshd();
    await using peer = await echoServer();
    const script = join(project.path, "forward.mjs");
    writeFileSync(script, FORWARD);
    const [program = "", ...args] = command();
    const to = { host: peer.host, port: peer.port };
    await using running = start(program, [...args, script], {
      cwd: project.path,
      env: { ...project.env, REACH: JSON.stringify({ options: connectOptions(server), to }) },
    });
    const port = await waitFor(() => {
      if (!running.running()) throw new Error(`it ended: ${running.stderr()}`);
      return Number(/^port (\d+)$/m.exec(running.stdout())?.[1] ?? 0);
    }, { timeout: 10_000, what: "listening" });
    const { bytes, sha256 } = await transfer(port, { send: BYTES, seed: 3 });
    assert.deepEqual({ bytes, sha256 }, digest(pattern(BYTES, 3)));
    running.kill("SIGTERM");
    assert.deepEqual(await running.closed, { status: 0, signal: null }, running.stderr());
    assert.match(running.stdout(), /^dialled: all of it\nexit 7\nclosed$/m);
    assert.equal(running.stderr(), "");
  });
}

const FORWARD = `
import { connect, SessionError } from "${PACKAGE}";
const { options, to } = JSON.parse(process.env.REACH);

const refused = await connect({ ...options, port: 1 }).catch((error) => error);
if (!(refused instanceof SessionError)) throw refused;

const tunnel = await connect(options);
const forward = await tunnel.forwardLocal({ listen: { port: 0 }, destination: to });

const stream = await tunnel.dial(to);
stream.end("all of it");
let answer = "";
for await (const chunk of stream) answer += chunk;
const command = await tunnel.exec("exit 7");
command.resume();

process.once("SIGTERM", async () => {
  console.log("dialled:", answer);
  console.log("exit", (await command.exit).status);
  await forward[Symbol.asyncDispose]();
  await tunnel.close();
  console.log("closed");
  process.exit(0);
});
// Whoever reads it may end this at once.
console.log("port", forward.port);
`;

test("the library's log goes where an application's own copy of LogTape is told", async () => {
  const own = join(project.path, "with_log");
  mkdirSync(join(own, "node_modules", "@logtape"), { recursive: true });
  linkModule("@logtape/logtape", own);
  writeFileSync(
    join(own, "log.mjs"),
    `
    import { configureSync } from "@logtape/logtape";
    import { connect } from "${PACKAGE}";
    configureSync({
      sinks: { out: ({ category, message }) => console.log(category[0], message.join("")) },
      loggers: [
        { category: "fairlead", sinks: ["out"], lowestLevel: "debug" },
        { category: ["logtape", "meta"], sinks: [] },
      ],
    });
    await connect({ host: "127.0.0.1", port: 1 }).catch(() => {});
  `,
  );
  const { stdout, stderr } = await done(`${node20()} with_log/log.mjs`, project);
  assert.match(stdout, /^fairlead .*127\.0\.0\.1/m, stderr);
});

for (
  const [module, resolution] of [["node16", "node16"], ["nodenext", "nodenext"], [
    "esnext",
    "bundler",
  ]]
) {
  test(`TypeScript is content with the types, strictly, where modules are ${resolution}`, async () => {
    linkModule("@types/node", project.path);
    const config = join(project.path, `tsconfig.${resolution}.json`);
    writeFileSync(join(project.path, "uses.mts"), USES);
    writeFileSync(
      config,
      JSON.stringify({
        compilerOptions: {
          ...{ module, moduleResolution: resolution, target: "es2022" },
          ...{
            lib: ["es2023", "esnext.disposable"],
            strict: true,
            exactOptionalPropertyTypes: true,
          },
          ...{ noUncheckedIndexedAccess: true, skipLibCheck: false, noEmit: true },
        },
        files: ["uses.mts"],
      }),
    );
    const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
    const { status, stdout } = await follow(`${node20()} ${tsc} -p ${config}`, project);
    assert.equal(stdout, "");
    assert.equal(status, 0);
  });
}

const USES = `
import type { Duplex, Readable } from "node:stream";
import {
  connect, type ConnectOptions, FairleadError, type Prompter, SessionError, sshConfig, type Tunnel,
} from "${PACKAGE}";

const options: ConnectOptions = { host: "other.example.com" };
// @ts-expect-error: a port is a number.
const wrong: ConnectOptions = { host: "other.example.com", port: "22" };
// @ts-expect-error: there is no such option, so the types are not any.
await connect({ host: "other.example.com", hots: "" });

export async function mail(prompter: Prompter): Promise<number> {
  await using tunnel: Tunnel = await connect({ ...options, prompter, retries: 3 });
  await using forward = await tunnel.forwardLocal("0:mail.example.com:110");
  const stream: Duplex = await tunnel.dial({ host: "mail.example.com", port: 110 });
  stream.end();
  const command = await tunnel.exec("true");
  const errors: Readable = command.stderr;
  errors.resume();
  const { status } = await command.exit;
  const port: number | undefined = forward.port;
  return (port ?? 0) + (status ?? 0);
}

export async function why(alias: string): Promise<string | undefined> {
  try {
    const { connect: found } = await sshConfig(alias);
    await connect(found);
  } catch (error) {
    if (error instanceof SessionError && error.code === "auth-failed") return error.hint;
    if (error instanceof FairleadError) return error.message;
  }
  return wrong.host;
}
`;

/** Lays a module of this repository into a project. */
function linkModule(name: string, folder: string): void {
  const link = join(folder, "node_modules", name);
  mkdirSync(join(link, ".."), { recursive: true });
  try {
    symlinkSync(join(ROOT, "node_modules", name), link);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/** An empty place where npm asks no registry, and where what is installed globally is on PATH. */
async function placeFor(programs: Record<string, string>): Promise<EmptyPlace> {
  const place = await emptyPlace(programs);
  const npm = join(place.home, "npm");
  return {
    ...place,
    env: {
      ...place.env,
      npm_config_offline: "true",
      npm_config_prefix: npm,
      npm_config_update_notifier: "false",
      PATH: [place.env["PATH"], join(npm, "bin"), globals(place)].join(delimiter),
    },
  };
}

const globals = (place: EmptyPlace) => join(place.home, ".bun", "bin");

/** Runs a line that must succeed. */
async function done(line: string, place: EmptyPlace) {
  const result = await follow(line, place);
  assert.equal(result.status, 0, `${line}: ${result.stderr}${result.stdout}`);
  return result;
}
