/**
 * Whether a build does its job on this machine, which needs nothing else for it. What is named is
 * the command that starts it:
 *
 *     deno run -A scripts/smoke.ts dist/fairlead-macos-arm64
 *     deno run -A scripts/smoke.ts node dist/fairlead.mjs
 *     deno run -A scripts/smoke.ts docker run --rm ghcr.io/fairlead/fairlead
 *
 * The status is 0 if all is well, else 1.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import process from "node:process";
import { commit, VERSION } from "./build/project.ts";

/** What must hold of one run. */
interface Check {
  readonly args: readonly string[];
  readonly status: number;
  /** Of what it says, on either way. */
  readonly says: RegExp;
}

const CHECKS: readonly Check[] = [
  {
    args: ["--version"],
    status: 0,
    says: literally(`fairlead ${VERSION} (${commit() ?? "no commit"}, on `),
  },
  // The main job: a server, a forward through it, and mail that is read through that.
  { args: ["demo"], status: 0, says: /listening on|mail/ },
  { args: ["-F", "none", "-G", "me@other.example.com"], status: 0, says: /^user me$/m },
  // What reads fairlead.yaml.
  { args: ["schema"], status: 0, says: /"\$schema"/ },
  { args: ["--nonsense"], status: 2, says: /--nonsense/ },
  // Nobody listens there.
  {
    args: ["-F", "none", "-p", "1", "-L", "0:127.0.0.1:1", "me@127.0.0.1"],
    status: 255,
    says: /127\.0\.0\.1/,
  },
];

/** A run may take as long as a slow machine needs to start it for the first time. */
const TIMEOUT = 60_000;

function main(command: readonly string[]): number {
  const [name, ...before] = command;
  if (name === undefined) {
    console.error("usage: deno run -A scripts/smoke.ts PROGRAM [ARGUMENTS…]");
    return 2;
  }
  const program = existsSync(name) ? resolve(name) : name;
  const failed = CHECKS.filter((check) => !holds(check, program, before));
  console.log(`${CHECKS.length - failed.length} passed, ${failed.length} failed, 0 skipped`);
  return failed.length === 0 ? 0 : 1;
}

function holds({ args, status, says }: Check, program: string, before: readonly string[]): boolean {
  const ended = spawnSync(program, [...before, ...args], { encoding: "utf8", timeout: TIMEOUT });
  const said = `${ended.stdout ?? ""}${ended.stderr ?? ""}`;
  const good = ended.status === status && says.test(said);
  console.log(`${good ? "ok" : "FAILED"}: ${args.join(" ")}`);
  if (!good) {
    const reason = ended.error?.message ?? `status ${ended.status}, signal ${ended.signal}`;
    console.log(`  ${reason}; expected status ${status} and ${says} in:\n${said}`);
  }
  return good;
}

function literally(text: string): RegExp {
  return new RegExp(`^${text.replace(/[.()+]/g, "\\$&")}`);
}

process.exitCode = main(process.argv.slice(2));
