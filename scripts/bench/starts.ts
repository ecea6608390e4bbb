/** The builds whose start is measured beside ssh's, and the section that tells of it. */
import { spawnSync } from "node:child_process";
import { realpathSync, statSync } from "node:fs";
import process from "node:process";
import { ROOT, serverOptions } from "../../tests/support/fairlead.ts";
import type { SshServer } from "../../tests/support/sshd.ts";
import { need } from "../../tests/support/tools.ts";
import { makeBinaries } from "../build/binary.ts";
import { BUNDLE, makeBundle } from "../build/bundle.ts";
import { bun, node, node20 } from "../runtimes.ts";
import { median } from "./statistics.ts";
import { table } from "./tables.ts";
import { type Command, findTools } from "./tools.ts";
import { openTunnel } from "./tunnel.ts";

/** One that is measured. */
export interface Starter extends Command {
  /** What prints its version. */
  readonly version: readonly string[];
  /** The file that users get, in bytes; undefined for the source, which is many. */
  readonly size: number | undefined;
}

/** The figures of one. */
export interface StartFigures {
  readonly label: string;
  readonly size: number | undefined;
  /** Milliseconds, one a round. */
  readonly version: number[];
  readonly listening: number[];
}

/**
 * Builds all of them.
 *
 * @returns ssh, which all others are measured by, and then the others.
 */
export async function findStarters(): Promise<Starter[]> {
  await makeBundle();
  const [deno = ""] = await makeBinaries();
  const [withBun = ""] = await makeBinaries({ engine: "bun" });
  const [ssh] = findTools(["ssh"]);
  if (ssh === undefined) throw new Error("there is no ssh");
  return [
    { ...ssh, version: [need("ssh"), "-V"], size: sizeOf(need("ssh")) },
    fairlead("binary, by Deno", [deno], sizeOf(deno)),
    fairlead("binary, by Bun", [withBun], sizeOf(withBun)),
    fairlead("bundle on Deno", [process.execPath, "run", "-A", BUNDLE], sizeOf(BUNDLE)),
    fairlead("bundle on Bun", [bun(), BUNDLE], sizeOf(BUNDLE)),
    fairlead("bundle on Node 24", [node(), BUNDLE], sizeOf(BUNDLE)),
    fairlead("bundle on Node 20", [node20(), BUNDLE], sizeOf(BUNDLE)),
    fairlead("source on Deno", [process.execPath, "run", "-A", `${ROOT}cli.ts`], undefined),
  ];
}

function fairlead(label: string, program: readonly string[], size: number | undefined): Starter {
  return {
    label,
    version: [...program, "--version"],
    size,
    command: (reach, forwards) => [
      ...[...program, "-N"],
      ...forwards.flatMap(({ listen, to }) => ["-L", `127.0.0.1:${listen}:127.0.0.1:${to}`]),
      ...serverOptions(reach),
    ],
  };
}

function sizeOf(path: string): number {
  return statSync(realpathSync(path)).size;
}

/**
 * Starts one twice: to its version, and until it listens.
 *
 * @param starter Which.
 * @param sshd The server.
 * @param destination The port to forward to.
 * @returns Milliseconds.
 * @throws {Error} When it fails.
 */
export async function startOnce(
  starter: Starter,
  sshd: SshServer,
  destination: number,
): Promise<{ version: number; listening: number }> {
  const version = timeOfVersion(starter);
  await using tunnel = await openTunnel(starter, sshd, [destination]);
  return { version, listening: tunnel.took };
}

function timeOfVersion({ label, version: [program = "", ...args] }: Starter): number {
  const begin = performance.now();
  const { status, stderr } = spawnSync(program, args, { encoding: "utf8" });
  const took = performance.now() - begin;
  if (status !== 0) throw new Error(`${label}: ${stderr?.trim()}`);
  return took;
}

/** What a section says beside the figures. */
export interface StartSection {
  readonly figures: readonly StartFigures[];
  /** The day, as `2026-01-31`. */
  readonly date: string;
  /** The share of the processors that other programs had, from 0 to 1. */
  readonly others: number;
  /** The versions and the machine: a line each. */
  readonly circumstances: readonly string[];
}

/**
 * The section of docs/benchmarks.md.
 *
 * @param section What it says; the first of the figures are ssh's.
 * @returns Its text.
 */
export function formatStart({ figures, date, others, circumstances }: StartSection): string {
  const [base] = figures;
  const ratio = (own: readonly number[], ssh: readonly number[] = []) =>
    `${median(own).toFixed(0)} (${(median(own) / median(ssh)).toFixed(1)})`;
  const rows = figures.map(({ label, version, listening, size }) => [
    label,
    size === undefined ? "" : `${(size / 1e6).toFixed(1)} MB`,
    ratio(version, base?.version),
    ratio(listening, base?.listening),
  ]);
  return [
    "## What each build takes to start",
    `Measured on ${date}: medians of ${
      base?.version.length ?? 0
    } rounds, in brackets the ratio to ` +
    "ssh's.",
    table(["", "size", "`--version`, ms", "to listening, ms"], rows),
    HOW,
    `Programs beside the benchmark had ${(others * 100).toFixed(0)} % of the processors meanwhile.`,
    circumstances.map((line) => `- ${line}`).join("\n"),
  ].join("\n\n");
}

const HOW = `
\`--version\` is from the start of the process to its end (\`ssh -V\` for ssh). Listening begins when the
forward accepts a connection: a login at sshd on loopback lies before. The size is that of the one
file that users get: ssh's without its libraries, the bundle without a runtime. Deno keeps what it
has compiled of the bundle and of the source in its cache; the binaries keep nothing.
`.trim();

/**
 * Lines of `--version`, for what the builds were made of.
 *
 * @param starters Those that were measured.
 * @returns One line each.
 */
export function versions(starters: readonly Starter[]): string[] {
  return starters.map(({ label, version: [program = "", ...args] }) => {
    const { stdout, stderr } = spawnSync(program, args, { encoding: "utf8" });
    return `${label}: ${`${stdout}${stderr}`.trim()}`;
  });
}
