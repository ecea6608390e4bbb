/**
 * GitHub's runner, as far as an action sees it: a job with its folders, steps that get inputs and
 * say things in files and in commands on stdout, and what becomes of them.
 */
import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import process from "node:process";
import { parse } from "yaml";
import { node } from "../../scripts/runtimes.ts";
import { ROOT } from "./fairlead.ts";
import { run, type RunResult, start, type Stoppable, stoppable, tempDir } from "./tools.ts";

/** What action.yml says. */
export interface Manifest {
  readonly inputs: Record<string, { description: string; default?: string }>;
  readonly outputs: Record<string, { description: string }>;
  readonly runs: { using: string; main: string; post: string; "post-if": string };
}

/** The action of this repository. */
export const ACTION = parse(await readFile(join(ROOT, "action.yml"), "utf8")) as Manifest;

/** The Node that the runner brings; asked for once, since npx takes its time. */
export const NODE: string = node();

/** How one part of a step ended, as the runner took it. */
export interface PartResult extends RunResult {
  /** What the log shows: no commands, and `***` for every secret. */
  readonly log: string;
  /** The names of the groups in the log. */
  readonly groups: readonly string[];
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

/** How the first part of a step ended. */
export interface StepResult extends PartResult {
  readonly outputs: Record<string, string>;
  /** Its second part, at the job's end; run once. */
  post(): Promise<PartResult>;
}

/** A job. */
export interface Job extends Stoppable {
  /** RUNNER_TEMP: empty at first. */
  readonly temp: string;
  /** RUNNER_TOOL_CACHE: empty at first. */
  readonly cache: string;
  /** What the steps that follow have in their environment; a step can be given more. */
  readonly env: Record<string, string | undefined>;
  /** Runs the action as a step. */
  use(inputs: Record<string, string>, env?: Record<string, string>): Promise<StepResult>;
  /** Begins a step and cancels it, as soon as the condition holds. */
  cancel(inputs: Record<string, string>, condition: () => Promise<unknown>): Promise<StepResult>;
}

/** Of the variables of whoever runs the tests, those that a runner does not have. */
const FOREIGN = /^(?:INPUT_|STATE_|GITHUB_|RUNNER_|ACTIONS_|SSH_|NODE_|FAIRLEAD_(?!TRACE$))/;

/** Begins a job. */
export async function startJob(): Promise<Job> {
  // A blank in each path, as in those of many a Windows.
  const folder = await tempDir("fairlead job-");
  const [temp, cache, home, work] = ["temp", "cache", "home", "work"].map((name) =>
    join(folder.path, name)
  ) as [string, string, string, string];
  await Promise.all([temp, cache, home, work].map((dir) => mkdir(dir)));
  const foreign = Object.keys(process.env).filter((name) => FOREIGN.test(name));
  const env: Job["env"] = {
    ...Object.fromEntries(foreign.map((name) => [name, undefined])),
    HOME: home,
    RUNNER_TEMP: temp,
    RUNNER_TOOL_CACHE: cache,
    RUNNER_OS: "Linux",
    RUNNER_ARCH: "X64",
    GITHUB_ACTIONS: "true",
  };
  let steps = 0;

  /** The files of one part of a step, empty at first. */
  async function files() {
    const dir = join(folder.path, `files-${++steps}`);
    await mkdir(dir);
    const names = ["GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STATE", "GITHUB_PATH"] as const;
    const paths = Object.fromEntries(names.map((name) => [name, join(dir, name)]));
    await Promise.all(Object.values(paths).map((path) => writeFile(path, "")));
    const entries = async (name: typeof names[number]) =>
      parseEntries(await readFile(join(dir, name), "utf8"));
    return { paths, entries, path: () => readFile(join(dir, "GITHUB_PATH"), "utf8") };
  }

  async function step(
    inputs: Record<string, string>,
    runMain: (options: { cwd: string; env: Record<string, string | undefined> }) => Promise<
      RunResult
    >,
    more: Record<string, string> = {},
  ): Promise<StepResult> {
    const { paths, entries, path } = await files();
    const variables = inputVariables(inputs);
    const result = await runMain({ cwd: work, env: { ...env, ...more, ...variables, ...paths } });
    Object.assign(env, await entries("GITHUB_ENV"));
    for (const added of (await path()).split("\n").filter((line) => line !== "")) {
      env["PATH"] = [added, env["PATH"] ?? process.env["PATH"]].join(delimiter);
    }
    const state = Object.entries(await entries("GITHUB_STATE"))
      .map(([name, value]) => [`STATE_${name}`, value]);
    const outputs = await entries("GITHUB_OUTPUT");
    let second: Promise<PartResult> | undefined;
    const post = async () => {
      const own = await files();
      const given = { ...env, ...variables, ...Object.fromEntries(state), ...own.paths };
      const ended = await run(NODE, [join(ROOT, ACTION.runs.post)], { cwd: work, env: given });
      return asRunner(ended);
    };
    return { ...asRunner(result), outputs, post: () => second ??= post() };
  }

  const script = join(ROOT, ACTION.runs.main);
  return stoppable({
    temp,
    cache,
    env,
    use: (inputs: Record<string, string>, more?: Record<string, string>) =>
      step(inputs, (options) => run(NODE, [script], options), more),
    cancel: (inputs: Record<string, string>, condition: () => Promise<unknown>) =>
      step(inputs, async (options) => {
        await using program = start(NODE, [script], options);
        await condition();
        program.kill("SIGINT");
        const exit = await program.closed;
        return { ...exit, stdout: program.stdout(), stderr: program.stderr() };
      }),
  }, () => folder.stop());
}

/**
 * Runs a step's `run`, with what the steps before it have set.
 *
 * @param job The job.
 * @param script Lines for bash.
 */
export function runStep(job: Job, script: string): Promise<RunResult> {
  return run("bash", ["-e", "-c", script], { env: job.env, cwd: dirname(job.temp) });
}

/** Inputs as the runner hands them over: all that action.yml names, with their defaults. */
function inputVariables(inputs: Record<string, string>): Record<string, string> {
  for (const name of Object.keys(inputs)) {
    assert.ok(name in ACTION.inputs, `action.yml has no input ${name}`);
  }
  return Object.fromEntries(
    Object.entries(ACTION.inputs).map(([name, { default: preset = "" }]) => [
      `INPUT_${name.replaceAll(" ", "_").toUpperCase()}`,
      (inputs[name] ?? preset).trim(),
    ]),
  );
}

/** Reads a file of GITHUB_OUTPUT, GITHUB_ENV or GITHUB_STATE, all in the form with a delimiter. */
export function parseEntries(text: string): Record<string, string> {
  const lines = text.split("\n");
  assert.equal(lines.pop(), "", "the file ends in a newline");
  const entries: Record<string, string> = {};
  while (lines.length > 0) {
    const [, name = "", mark = ""] = /^([^=<\s]+)<<(\S+)$/.exec(lines.shift() ?? "") ??
      assert.fail(`no NAME<<DELIMITER in ${JSON.stringify(text)}`);
    const end = lines.indexOf(mark);
    assert.ok(end >= 0, `${name} does not end in ${JSON.stringify(text)}`);
    assert.ok(!(name in entries), `${name} is set twice`);
    entries[name] = lines.splice(0, end + 1).slice(0, -1).join("\n");
  }
  return entries;
}

/** Takes the commands out of what an action said, and does what they say. */
function asRunner(result: RunResult): PartResult {
  const masks: string[] = [];
  const shown: string[] = [];
  const [groups, errors, warnings]: string[][] = [[], [], []];
  let stopped: string | undefined;
  for (const line of result.stdout.split("\n")) {
    const [, command, value = ""] = /^\s*::([\w-]+)(?: [^:]*)?::(.*)$/.exec(line) ?? [];
    if (stopped !== undefined) {
      if (line === `::${stopped}::`) stopped = undefined;
      else shown.push(line);
    } else if (command === undefined) shown.push(line);
    else if (command === "stop-commands") stopped = value;
    else if (command === "add-mask") masks.push(decode(value));
    else if (command === "group") groups?.push(decode(value));
    else if (command === "error") errors?.push(decode(value));
    else if (command === "warning") warnings?.push(decode(value));
    else assert.equal(command, "endgroup", `the runner knows no command in: ${line}`);
  }
  assert.equal(stopped, undefined, "commands are taken again at the end");
  const log = [...shown, result.stderr].join("\n");
  return {
    ...result,
    log: masks.reduce((text, mask) => text.replaceAll(mask, "***"), log),
    groups: groups ?? [],
    errors: errors ?? [],
    warnings: warnings ?? [],
  };
}

function decode(value: string): string {
  return value.replaceAll("%0D", "\r").replaceAll("%0A", "\n").replaceAll("%25", "%");
}
