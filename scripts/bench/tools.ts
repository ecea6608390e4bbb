/** What is compared: programs that forward a port, each with its command line. */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { ROOT, serverOptions } from "../../tests/support/fairlead.ts";
import { type Reach, usualSshOptions } from "../../tests/support/ssh_server.ts";
import { need } from "../../tests/support/tools.ts";
import { bun, node } from "../runtimes.ts";
import type { ToolName } from "./options.ts";

/** A program that forwards. */
export interface Command {
  /** As it stands over a column. */
  readonly label: string;
  /** The whole command line that logs in at a server and forwards. */
  command(reach: Reach, forwards: readonly Forward[]): string[];
}

/** One of them. */
export interface Tool extends Command {
  readonly name: ToolName;
}

/** From a port of this machine to another, by way of the server. */
export interface Forward {
  readonly listen: number;
  readonly to: number;
}

/** Deno without the permission to load libraries: fairlead's ciphers are then JavaScript's own. */
const WITHOUT_FFI = [
  "--allow-net",
  "--allow-read",
  "--allow-write",
  "--allow-env",
  "--allow-run",
  "--allow-sys",
  "--no-prompt",
];

/** Finds the programs; those that npm brings may take a while for the first time. */
export function findTools(names: readonly ToolName[]): Tool[] {
  return names.map((name) => FIND[name]());
}

const FIND: Record<ToolName, () => Tool> = {
  ssh: () => {
    const program = need("ssh");
    return {
      name: "ssh",
      label: "ssh",
      command: (reach, forwards) => [
        ...[program, "-N", ...locals(forwards), ...usualSshOptions(reach)],
        reach.host,
      ],
    };
  },
  deno: () => fairlead("deno", "Deno", deno("-A")),
  "deno-js": () => fairlead("deno-js", "Deno without FFI", deno(...WITHOUT_FFI)),
  bun: () => fairlead("bun", "Bun", [bun()]),
  node: () => fairlead("node", "Node", [node()]),
};

function fairlead(name: ToolName, label: string, runtime: readonly string[]): Tool {
  return {
    name,
    label,
    command: (reach, forwards) => [
      ...[...runtime, `${ROOT}cli.ts`, "-N", ...locals(forwards)],
      ...serverOptions(reach),
    ],
  };
}

function deno(...permissions: string[]): string[] {
  return [process.execPath, "run", ...permissions, `--config=${ROOT}deno.json`];
}

function locals(forwards: readonly Forward[]): string[] {
  return forwards.flatMap(({ listen, to }) => ["-L", `127.0.0.1:${listen}:127.0.0.1:${to}`]);
}

/** The first line with which a program tells its version. */
export function versionOf(program: string, ...args: string[]): string {
  const { stdout, stderr } = spawnSync(program, args, { encoding: "utf8" });
  return `${stdout ?? ""}${stderr ?? ""}`.trim().split("\n")[0] ?? "";
}
