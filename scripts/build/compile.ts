/** One file of JavaScript and a runtime, made into one executable by that runtime. */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { bun } from "../runtimes.ts";
import type { Permission } from "./binary_options.ts";
import { bunTarget, DENO_TARGETS, type Target, targetOf } from "./targets.ts";

/** What is compiled. */
export interface Job {
  /** Where everything of it lies. */
  readonly folder: string;
  /** The name of the JavaScript. */
  readonly script: string;
  /** The name of the executable. */
  readonly output: string;
  readonly target: Target;
}

/**
 * Compiles with this Deno.
 *
 * @param job What.
 * @param allow What the program may do; it never asks for more.
 * @throws {Error} When it cannot be done, as where denort cannot be had.
 */
export function compileWithDeno(job: Job, allow: readonly Permission[]): void {
  const { status, stderr } = run(process.execPath, job.folder, [
    ...["compile", "--quiet", "--no-config", "--no-check", "--no-prompt"],
    // It would save 25 of 155 ms, but lies in /tmp under a name that everybody knows, and is read
    // whoever wrote it: another user's code would run with the rights of ours (Deno 2.9.6).
    "--no-code-cache",
    ...["--target", DENO_TARGETS[job.target], "--output", job.output],
    ...allow.map((name) => `--allow-${name}`),
    job.script,
  ]);
  if (status === 0) return;
  const [first = `status ${status}`, ...causes] = errorsOf(stderr);
  if (causes[0]?.startsWith("Setting up base binary")) {
    throw new Error(
      `deno compile needs denort, Deno's runtime for ${job.target}, and could not download it ` +
        `(${causes[1] ?? first}); DENORT_BIN=FILE names one that is here already, and ` +
        "--engine bun does without",
    );
  }
  throw new Error(`deno compile failed: ${[first, ...causes].join(": ")}`);
}

/**
 * Whether what DENORT_BIN names, if anything, fits: deno compile takes any.
 *
 * @param targets What will be built.
 * @throws {Error} When it does not fit all of them.
 */
export function checkDenort(targets: readonly Target[]): void {
  const path = process.env["DENORT_BIN"];
  if (path === undefined || path === "") return;
  let own: Target | undefined;
  try {
    own = targetOf(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : error;
    throw new Error(`DENORT_BIN names ${path}, which cannot be read: ${reason}`);
  }
  if (own === undefined) throw new Error(`DENORT_BIN names ${path}, which is no denort`);
  const other = targets.find((target) => target !== own);
  if (other === undefined) return;
  throw new Error(
    `DENORT_BIN names a denort for ${own}, and ${other} is to be built; without DENORT_BIN Deno ` +
      "downloads the right one, and --engine bun does without",
  );
}

/**
 * Compiles with Bun, which takes the runtime of another target from the npm registry.
 *
 * @param job What.
 * @throws {Error} When it cannot be done.
 */
export function compileWithBun(job: Job): void {
  const { status, stderr } = run(bun(), job.folder, [
    // Not minified: that is done already, and Bun's own would rename classes.
    ...["build", "--compile", "--bytecode", "--format=esm"],
    // Files of the folder in which somebody starts fairlead are none of its business.
    ...["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"],
    ...["--target", bunTarget(job.target), "--outfile", job.output],
    // Without a folder in front it is taken for a package's name.
    `./${job.script}`,
  ]);
  if (status === 0) return;
  throw new Error(`bun build failed: ${errorsOf(stderr).join(": ") || `status ${status}`}`);
}

function run(program: string, cwd: string, args: readonly string[]) {
  return spawnSync(program, args, {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, NO_COLOR: "1" },
  });
}

/** The error, and its causes, if it has any; not the stack of the compiler. */
function errorsOf(stderr: string): string[] {
  const [text = ""] = stderr.split("\nStack backtrace:");
  return text.split("\n").flatMap((line) =>
    /^(?:error: |\s+\d+: )(.*)$/.exec(line)?.[1]?.trim() ?? []
  );
}
