/** How binaries are asked for, named, told apart and summed up; tests/install builds real ones. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { binaryName } from "../scripts/build/binary.ts";
import { PERMISSIONS, readOptions, USAGE } from "../scripts/build/binary_options.ts";
import { makeBundle } from "../scripts/build/bundle.ts";
import { checkDenort } from "../scripts/build/compile.ts";
import { makeModule } from "../scripts/build/javascript.ts";
import { writeSums } from "../scripts/build/sums.ts";
import { DENO_TARGETS, hostTarget, targetOf, TARGETS } from "../scripts/build/targets.ts";
import { run, skipUnless, type Stoppable, tempDir } from "./support/tools.ts";

let dir: { path: string } & Stoppable;
before(async () => void (dir = await tempDir()));
after(() => dir.stop());

test("this machine's own binary is the default, run by Deno with all that ssh may do", () => {
  const { targets, engine, allow } = readOptions([]);
  assert.deepEqual(targets, [hostTarget()]);
  assert.equal(engine, "deno");
  assert.deepEqual(allow, PERMISSIONS);
});

test("targets and permissions are named in one list or in several, and --all takes all", () => {
  const targets = (...args: string[]) => readOptions(args).targets;
  assert.deepEqual(targets("--target", "macos-x64", "--target", "linux-x64, linux-arm64"), [
    "linux-x64",
    "linux-arm64",
    "macos-x64",
  ]);
  assert.deepEqual(targets("--all"), [...TARGETS]);
  assert.deepEqual(readOptions(["--allow", "read,net", "--allow", "env"]).allow, [
    "net",
    "read",
    "env",
  ]);
});

test("a wrong argument is refused in one line, with what was meant", () => {
  const refused = (args: string[], message: string) =>
    assert.throws(() => readOptions(args), { message });
  refused(["--target", "linux-arm"], 'there is no target "linux-arm"; did you mean linux-arm64?');
  refused(["--target", "vax"], `there is no target "vax"; there are ${TARGETS.join(", ")}`);
  refused(["--target", ","], `no target is named: ${TARGETS.join(", ")}`);
  refused(["--engine", "bum"], 'there is no engine "bum"; did you mean bun?');
  refused(["--allow", "nett"], 'there is no permission "nett"; did you mean net?');
  refused(
    ["--engine", "bun", "--allow", "net"],
    "--allow is for --engine deno: Bun has no permissions",
  );
  refused(["--all", "--target", "linux-x64"], "--all leaves nothing to --target");
  refused(["--targt", "x"], "there is no option --targt; did you mean --target?");
  refused(["linux-x64"], '"linux-x64" is no option; --help lists what there is');
});

test("--help names every target and every permission", () => {
  for (const name of [...TARGETS, ...PERMISSIONS]) assert.match(USAGE, new RegExp(`\\b${name}\\b`));
  assert.deepEqual(USAGE.split("\n").filter((line) => line.length > 100), []);
});

test("binaries have the names of the releases", () => {
  assert.deepEqual(TARGETS.map((target) => binaryName(target, "deno")), [
    "fairlead-linux-x64",
    "fairlead-linux-arm64",
    "fairlead-macos-x64",
    "fairlead-macos-arm64",
    "fairlead-windows-x64.exe",
    "fairlead-windows-arm64.exe",
  ]);
  assert.equal(binaryName("linux-x64", "bun"), "fairlead-bun-linux-x64");
  assert.equal(binaryName("windows-x64", "bun"), "fairlead-bun-windows-x64.exe");
});

/** The beginning of an executable, as each system's format has it. */
function executable(format: "elf" | "mach-o" | "pe", machine: number): Buffer {
  const head = Buffer.alloc(256);
  if (format === "elf") {
    head.write("\x7fELF", "latin1");
    head.writeUInt16LE(machine, 0x12);
  } else if (format === "mach-o") {
    head.writeUInt32LE(0xfeedfacf);
    head.writeUInt32LE(machine, 4);
  } else {
    head.write("MZ", "latin1");
    head.writeUInt32LE(0x80, 0x3c);
    head.write("PE\0\0", 0x80, "latin1");
    head.writeUInt16LE(machine, 0x84);
  }
  return head;
}

test("what an executable is for is told by its first bytes", async () => {
  const file = join(dir.path, "executable");
  const told = async (bytes: Uint8Array) => {
    await writeFile(file, bytes);
    return targetOf(file);
  };
  assert.equal(await told(executable("elf", 0x3e)), "linux-x64");
  assert.equal(await told(executable("elf", 0xb7)), "linux-arm64");
  assert.equal(await told(executable("mach-o", 0x01000007)), "macos-x64");
  assert.equal(await told(executable("mach-o", 0x0100000c)), "macos-arm64");
  assert.equal(await told(executable("pe", 0x8664)), "windows-x64");
  assert.equal(await told(executable("pe", 0xaa64)), "windows-arm64");
  // RISC-V, a script, an old program for DOS, and nothing at all.
  assert.equal(await told(executable("elf", 0xf3)), undefined);
  assert.equal(await told(Buffer.from("#!/bin/sh\n")), undefined);
  assert.equal(await told(Buffer.concat([Buffer.from("MZ"), Buffer.alloc(100, 0xff)])), undefined);
  assert.equal(await told(Buffer.alloc(0)), undefined);
  assert.deepEqual(Object.keys(DENO_TARGETS), [...TARGETS]);
});

test("DENORT_BIN is refused for every target but its own, since deno compile takes any", async () => {
  const given = process.env["DENORT_BIN"];
  const denort = join(dir.path, "denort");
  await writeFile(denort, executable("elf", 0xb7));
  const refused = (path: string, message: RegExp) => {
    process.env["DENORT_BIN"] = path;
    assert.throws(() => checkDenort(["linux-arm64", "macos-x64"]), { message });
  };
  try {
    refused(denort, /^DENORT_BIN names a denort for linux-arm64, and macos-x64 is to be built; .*/);
    checkDenort(["linux-arm64"]);
    await writeFile(denort, "no program");
    refused(denort, /^DENORT_BIN names \/.*denort, which is no denort$/);
    refused(join(dir.path, "none"), /^DENORT_BIN names \/.*none, which cannot be read: ENOENT.*$/);
    delete process.env["DENORT_BIN"];
    checkDenort(TARGETS);
  } finally {
    if (given === undefined) delete process.env["DENORT_BIN"];
    else process.env["DENORT_BIN"] = given;
  }
});

test(
  "SHA256SUMS has what a release has, and sha256sum itself checks it",
  skipUnless("sha256sum"),
  async () => {
    const folder = join(dir.path, "dist");
    await mkdir(join(folder, "fairlead-npm"), { recursive: true });
    const files = ["fairlead-linux-x64", "fairlead.mjs", "fairlead.1", "install.sh"];
    for (const [index, name] of [...files, "notes.txt", ".hidden"].entries()) {
      await writeFile(join(folder, name), Buffer.alloc(index * 700_000, index));
    }
    writeSums(folder);
    const path = writeSums(folder);
    const lines = (await readFile(path, "utf8")).split("\n");
    assert.deepEqual(lines.map((line) => line.slice(66)), [...[...files].sort(), ""]);
    const check = () => run("sha256sum", ["--check", "--strict", "SHA256SUMS"], { cwd: folder });
    const { status, stderr } = await check();
    assert.deepEqual([status, stderr], [0, ""]);
    await writeFile(join(folder, "fairlead.1"), "another page");
    assert.match((await check()).stdout, /^fairlead\.1: FAILED$/m);
  },
);

test("a class keeps its name in what is built, whatever else is called the same", async () => {
  // ssh2 asks for the name of its class Session, and so is one of ours.
  const one = "class Session {} export const name = new Session().constructor.name";
  const url = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;
  for (const minify of [false, true]) {
    const outfile = join(dir.path, `names-${minify}.mjs`);
    await makeModule({
      stdin: {
        contents: `import { name as first } from ${JSON.stringify(url(one))};
          import { name as second } from ${JSON.stringify(url(`${one} + ""`))};
          export const names = [first, second];`,
      },
      outfile,
      minify,
    });
    const { names } = await import(pathToFileURL(outfile).href) as { names: string[] };
    assert.deepEqual(names, ["Session", "Session"]);
  }
});

test("the bundle is a byte a letter, speaks one language, and begins without HTTP", async () => {
  const path = join(dir.path, "fairlead.mjs");
  await makeBundle(path);
  // Its lines are kept short, inside of texts as well.
  const code = (await readFile(path, "latin1")).replaceAll("\\\n", "");
  // Not by assert.match(), which shows all that it looked at.
  // deno-lint-ignore no-control-regex
  assert.equal(/[^\x00-\x7f]/.exec(code)?.[0], undefined);
  // zod has its messages in fifty languages.
  assert.ok(code.includes("Invalid input: expected"));
  assert.ok(!code.includes("Ung\\xFCltige Eingabe"), "import * as z, not { z }");
  assert.ok(!/from ?"node:http"/.test(code), "node:http takes 8 ms of each start");
});
