/**
 * Runs the tests under one runtime, and ends with the line `N passed, N failed, N skipped`:
 *
 *     deno run -A scripts/test.ts deno|bun|node [--long|--install] [--e2e] [--program=NAME]
 *       [--cipher=NAME] [--no-ffi] [files…]
 *
 * --long takes what needs minutes, --install the ways in which users get fairlead.
 *
 * With --program the end-to-end tests start what was built instead of the source (scripts/
 * programs.ts has the names); --e2e leaves all other tests out, and those that start no program.
 * With --cipher every sshd of the tests takes that cipher only; with --no-ffi Deno may not use the
 * system's libcrypto. So each way to encrypt can be put through the whole suite.
 *
 * The status is 0 only if tests ran, none failed and, where CI=true, none was skipped.
 */
import { spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  globSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, sep } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { isProgram, makeProgram, PROGRAMS } from "./programs.ts";
import { bun, node } from "./runtimes.ts";
import { findSecrets } from "./secrets.ts";

/** Most tests wait most of the time: five files at once, as Node's own runner is told below. */
const PROCESSES = 5;

/** More than processes: who is through early takes another one. */
const BATCHES = 6 * PROCESSES;

/** Milliseconds that a batch may take: Deno gives a test no deadline. */
const BATCH_TIMEOUT = 600_000;

const OPTION = /^--(?:long|install|e2e|no-ffi|cipher=.+|program=.+)$/;

const STARTS_PROGRAM =
  /import \{[^}]*\b(?:fairlead|startFairlead|programCommand|namedTunnelsStage)\b[^}]*\} from "[^"]*support\/(?:fairlead|named_tunnels_stage)\.ts"/;

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** One test, as a JUnit report tells it. */
interface TestCase {
  name: string;
  file: string;
  result: "passed" | "failed" | "skipped";
  /** Why it was skipped, where the runtime writes it down. Only Node does. */
  reason: string;
}

async function main(args: string[]): Promise<number> {
  const [runtime, ...rest] = args;
  const unknown = rest.find((arg) => arg.startsWith("-") && !OPTION.test(arg));
  if ((runtime !== "deno" && runtime !== "bun" && runtime !== "node") || unknown !== undefined) {
    const options = "[--long|--install] [--e2e] [--program=NAME] [--cipher=NAME] [--no-ffi]";
    console.error(`usage: deno run -A scripts/test.ts deno|bun|node ${options} [files…]`);
    return 2;
  }
  const program = rest.find((arg) => arg.startsWith("--program="))?.split("=")[1] ?? "source";
  if (!isProgram(program)) {
    console.error(`test: --program=${program}: expected one of ${PROGRAMS.join(", ")}`);
    return 2;
  }
  const noFfi = rest.includes("--no-ffi");
  const cipher = rest.find((arg) => arg.startsWith("--cipher="))?.split("=")[1];
  const named = rest.filter((arg) => !arg.startsWith("-"));
  const suite = rest.includes("--long") ? "long" : rest.includes("--install") ? "install" : "usual";
  const found = named.length > 0
    ? named
    : testFiles(suite).filter((file) => runtime === "deno" || !isAboutScripts(file));
  const files = rest.includes("--e2e") ? found.filter(startsProgram) : found;
  if (files.length === 0) throw new Error("there are no test files");

  // Deno would fetch what is missing by itself, but say so on the stderr of a program under test;
  // Bun and Node read what Deno has fetched.
  if (!existsSync(join(ROOT, "node_modules"))) {
    const status = await show([process.execPath, "install", "--frozen"]);
    if (status !== 0) throw new Error("deno install failed");
  }

  const built = await makeProgram(program, runtime);
  const folder = mkdtempSync(join(tmpdir(), "fairlead-junit-"));
  try {
    const env = {
      ...watchSecrets(folder),
      // Deno would ask for it through the proxies that the tests set.
      DENO_NO_UPDATE_CHECK: "1",
      ...(cipher === undefined ? {} : { FAIRLEAD_TEST_CIPHER: cipher }),
      ...(noFfi ? { FAIRLEAD_TEST_NO_FFI: "1" } : {}),
      ...(built === undefined ? {} : {
        FAIRLEAD_TEST_PROGRAM: JSON.stringify(built),
        FAIRLEAD_TEST_RUNTIME: program === "bundle:node20" ? "node" : runtime,
      }),
      // What Node has made of TypeScript once it need not make for each file again.
      ...(runtime === "node" ? { NODE_COMPILE_CACHE: join(folder, "compiled") } : {}),
    };
    const parts: { status: number; cases: TestCase[]; hung: string[] }[] = [];
    const waiting = [...split(files, runtime === "node" ? 1 : BATCHES).entries()];
    const work = async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const [index, batch] = next;
        const report = join(folder, `junit-${index}.xml`);
        const command = COMMANDS[runtime](batch, report, { noFfi });
        // Node has one batch, and deadlines of its own.
        const timeout = runtime === "node" ? undefined : BATCH_TIMEOUT;
        const status = await show(command, { env, later: index > 0, timeout });
        const cases = existsSync(report) ? parseJUnit(readFileSync(report, "utf8")) : [];
        parts.push({ status: status ?? 1, cases, hung: status === undefined ? batch : [] });
      }
    };
    await Promise.all(Array.from({ length: PROCESSES }, work));
    const cases = parts.flatMap((part) => part.cases);
    const status = parts.find((part) => part.status !== 0)?.status ?? 0;
    const hung = parts.flatMap((part) => part.hung);
    const secrets = secretsCase(folder, { expected: named.length === 0 });
    return conclude([...cases, ...secrets], status, hung);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Deals the files out, the heavy ones first, so that the batches take about as long. */
function split(files: readonly string[], count: number): string[][] {
  const parts = Array.from({ length: count }, () => ({ files: [] as string[], weight: 0 }));
  const weighed = files.map((file) => {
    // Who starts the program and real servers takes longer than the size tells.
    const factor = file.includes(join("tests", "e2e")) ? 2 : 1;
    return { file, weight: factor * statSync(join(ROOT, file)).size };
  });
  for (const { file, weight } of weighed.sort((one, other) => other.weight - one.weight)) {
    const [part] = parts.sort((one, other) => one.weight - other.weight);
    part?.files.push(file);
    if (part !== undefined) part.weight += weight;
  }
  // The heaviest first, so that none is left alone at the end.
  return parts.sort((one, other) => other.weight - one.weight)
    .map((part) => part.files).filter((part) => part.length > 0);
}

/** Has the tests note their secrets, and fairlead all that it does; some tests run it as nobody. */
function watchSecrets(folder: string): Record<string, string> {
  chmodSync(folder, 0o755);
  const trace = join(folder, "trace");
  writeFileSync(trace, "");
  chmodSync(trace, 0o666);
  return { FAIRLEAD_TEST_NOTES: folder, FAIRLEAD_TRACE: trace };
}

/** One more test: it looks at what all the others have brought about. */
function secretsCase(folder: string, { expected }: { expected: boolean }): TestCase[] {
  const { count, leaks } = findSecrets(folder);
  for (const leak of leaks) console.log(leak);
  // A few files may have none. That the whole suite has none can only be a mistake of the search.
  if (count === 0 && !expected) return [];
  console.log(`looked for ${count} secrets in all that fairlead said and traced`);
  return [{
    name: "no password, passphrase or private key of the tests is in any output at -vvv",
    file: "scripts/secrets.ts",
    result: count > 0 && leaks.length === 0 ? "passed" : "failed",
    reason: "",
  }];
}

function testFiles(suite: "usual" | "long" | "install"): string[] {
  const apart = ["long", "install"];
  return globSync("tests/**/*_test.ts", { cwd: ROOT })
    .filter((file) => {
      const [, folder = ""] = file.split(sep);
      return suite === "usual" ? !apart.includes(folder) : folder === suite;
    })
    .sort();
}

/** Whether tests are end-to-end ones that start the command line; others use the library alone. */
function startsProgram(file: string): boolean {
  return file.includes(join("tests", "e2e")) &&
    STARTS_PROGRAM.test(readFileSync(join(ROOT, file), "utf8"));
}

/** Whether tests are about these scripts, which nothing but Deno runs. */
function isAboutScripts(file: string): boolean {
  return /from "(?:\.\.\/)+scripts\//.test(readFileSync(join(ROOT, file), "utf8"));
}

/** How each runtime runs test files and writes a JUnit report. */
const COMMANDS = {
  // Types are checked by `deno task check`.
  deno: (files: string[], report: string, { noFfi }: { noFfi: boolean }) => [
    ...[process.execPath, "test", "-A", "--no-check"],
    ...(noFfi ? ["--preload", join(ROOT, "tests/support/no_ffi.ts")] : []),
    `--junit-path=${report}`,
    ...files,
  ],
  bun: (files: string[], report: string) => [
    ...[bun(), "test", "--timeout", "120000"],
    ...["--reporter=junit", `--reporter-outfile=${report}`],
    // Without a slash in front, Bun takes a name for a filter.
    ...files.map((file) => file.startsWith("/") || file.startsWith(".") ? file : `./${file}`),
  ],
  node: (files: string[], report: string) => [
    ...[node(), "--test", `--test-concurrency=${PROCESSES}`],
    // What hangs fails, as under Bun, and a handle that is left holds nobody up: leaks have tests.
    ...["--test-timeout=120000", "--import", join(ROOT, "tests/support/end_on_node.ts")],
    ...["--test-reporter=spec", "--test-reporter-destination=stdout"],
    ...["--test-reporter=junit", `--test-reporter-destination=${report}`],
    ...files,
  ],
};

/**
 * Runs a command with its output on ours, as it comes or all of it at the end; a signal to us is a
 * signal to it.
 *
 * @returns Its status; undefined where it did not end in time.
 */
function show(
  [command = "", ...args]: string[],
  { env = {}, later = false, timeout }: {
    env?: Record<string, string>;
    later?: boolean;
    timeout?: number | undefined;
  } = {},
): Promise<number | undefined> {
  // A pipe is not handed on: Bun and Node make it one that does not wait, for us as well.
  const output = later || process.stdout.isTTY !== true ? "pipe" : "inherit";
  const child = spawn(command, args, {
    cwd: ROOT,
    stdio: ["ignore", output, output],
    env: { ...process.env, ...env },
  });
  const chunks: Uint8Array[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Uint8Array) => later ? chunks.push(chunk) : print(chunk));
  }
  const forward = (signal: NodeJS.Signals) => child.kill(signal);
  const signals = ["SIGINT", "SIGTERM"] as const;
  for (const signal of signals) process.on(signal, forward);
  let late = false;
  const timer = timeout === undefined ? undefined : setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
    // What it has started may hold the pipes open.
    child.stdout?.destroy();
    child.stderr?.destroy();
  }, timeout);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status) => {
      clearTimeout(timer);
      for (const signal of signals) process.off(signal, forward);
      chunks.forEach(print);
      resolve(late ? undefined : status ?? 1);
    });
  });
}

/** Bytes that a pipe takes as a whole or not at all: PIPE_BUF of pipe(7). */
const PIECE = 4096;

/** Writes all of it, also where nobody reads for a while and the pipe does not wait. */
function print(chunk: Uint8Array): void {
  const never = new Int32Array(new SharedArrayBuffer(4));
  for (let at = 0; at < chunk.length;) {
    try {
      at += writeSync(1, chunk.subarray(at, at + PIECE));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      Atomics.wait(never, 0, 0, 10);
    }
  }
}

/** Prints what is to be said after the tests, the counts last; returns our own exit status. */
function conclude(cases: TestCase[], status: number, hung: readonly string[]): number {
  const [passed, failed, skipped] = (["passed", "failed", "skipped"] as const).map((result) =>
    cases.filter((test) => test.result === result)
  ) as [TestCase[], TestCase[], TestCase[]];
  // It crashed, or a file did not load: no test says so, and "0 failed" must not.
  const complaints = hung.length > 0
    ? [`one of these did not end in ${BATCH_TIMEOUT / 1000} s: ${hung.join(", ")}`]
    : status !== 0 && failed.length === 0
    ? [`the test runner itself ended with status ${status}`]
    : passed.length + failed.length === 0
    ? ["no test ran"]
    : [];

  console.log("");
  for (const { name, file } of failed) console.log(`failed: ${name} (${file})`);
  for (const { name, file, reason } of skipped) {
    console.log(`skipped: ${name} (${file})${reason && `: ${reason}`}`);
  }
  for (const complaint of complaints) console.log(`failed: ${complaint}`);
  const strict = process.env["CI"] === "true" && skipped.length > 0;
  if (strict) console.log("with CI=true every test must run, so the skipped ones fail this run");
  console.log(
    `${passed.length} passed, ${failed.length + complaints.length} failed, ` +
      `${skipped.length} skipped`,
  );
  return failed.length + complaints.length > 0 || strict ? 1 : 0;
}

/** Reads what the three runtimes write; they agree on little more than on `<testcase>`. */
function parseJUnit(xml: string): TestCase[] {
  const attribute = /([\w:-]+)="([^"]*)"/g;
  // Node leaves ">" as it is inside attributes.
  const testcase = /<testcase((?:\s+[\w:-]+="[^"]*")*)\s*(?:\/>|>([\s\S]*?)<\/testcase>)/g;
  return [...xml.matchAll(testcase)].map(([, head = "", body = ""]) => {
    const attributes = (text: string) =>
      new Map(
        [...text.matchAll(attribute)].map(([, key = "", value = ""]) => [key, decode(value)]),
      );
    const of = attributes(head);
    const skipped = /<skipped((?:\s+[\w:-]+="[^"]*")*)/.exec(body);
    return {
      name: of.get("name") ?? "",
      file: (of.get("file") ?? of.get("classname") ?? "").replace(`${ROOT}/`, "").replace("./", ""),
      result: /<(?:failure|error)\b/.test(body) ? "failed" : skipped ? "skipped" : "passed",
      reason: attributes(skipped?.[1] ?? "").get("message") ?? "",
    };
  });
}

function decode(text: string): string {
  const names: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'" };
  // "&amp;" first: Node encodes quotes twice.
  return text.replaceAll("&amp;", "&")
    .replace(/&(lt|gt|quot|apos);/g, (whole, name) => names[name] ?? whole)
    .replace(/&#(\d+);/g, (_, code) => String.fromCodePoint(Number(code)));
}

process.exitCode = await main(process.argv.slice(2)).catch((error) => {
  console.error(`test: ${error instanceof Error ? error.message : error}`);
  console.log("0 passed, 1 failed, 0 skipped");
  return 1;
});
