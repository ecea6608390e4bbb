/** What the tests of scripts/install.sh have in common: small releases, and runs of the script. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { ROOT } from "./fairlead.ts";
import type { EmptyPlace, ReleaseServer } from "./install.ts";
import { need, run, type RunResult, type Stoppable, tempDir } from "./tools.ts";

/** The script. */
export const SCRIPT = join(ROOT, "scripts", "install.sh");

/** The project's address, as the script and the README have it. */
export const HOME_PAGE = "https://github.com/fairlead/fairlead";

/** A release whose programs are a line of shell: the script does not look inside. */
export function smallRelease(): Promise<{ path: string } & Stoppable> {
  const names = ["linux-x64", "linux-arm64", "macos-x64", "macos-arm64"];
  return release(
    Object.fromEntries(
      names.map((name) => [
        `fairlead-${name}`,
        Buffer.from(`#!/bin/sh\necho "this is fairlead-${name}"\n`),
      ]),
    ),
  );
}

/** A folder with the files of a release: programs, a manual page, the script, and the sums. */
export async function release(
  programs: Record<string, Buffer>,
): Promise<{ path: string } & Stoppable> {
  const folder = await tempDir("fairlead-release-");
  const files: Record<string, Buffer> = {
    ...programs,
    "fairlead.1": Buffer.from(".TH FAIRLEAD 1\n"),
    "install.sh": await readFile(SCRIPT),
  };
  const sums = Object.entries(files).map(([name, content]) => {
    writeFileSync(join(folder.path, name), content);
    return `${createHash("sha256").update(content).digest("hex")}  ${name}\n`;
  });
  await writeFile(join(folder.path, "SHA256SUMS"), sums.join(""));
  return folder;
}

/** Says where the script downloads from. */
export function withBase(place: EmptyPlace, server: ReleaseServer | undefined): EmptyPlace {
  if (server === undefined) return place;
  const env = { ...place.env, FAIRLEAD_BASE_URL: `${server.url}/releases/latest/download` };
  return { ...place, env };
}

/** Runs the script, or what there is of it, as `curl … | sh` does. */
export async function install(
  place: EmptyPlace,
  server: ReleaseServer | undefined,
  env: Record<string, string | undefined> = {},
  script?: Uint8Array,
): Promise<RunResult> {
  return await run(need("sh"), [], {
    stdin: script ?? await readFile(SCRIPT),
    cwd: place.path,
    env: { ...withBase(place, server).env, ...env },
  });
}

/** The script ended with one line that says why, and installed nothing. */
export function assertRefused({ status, stderr, stdout }: RunResult, message: RegExp): void {
  assert.match(stderr, message);
  assert.match(stderr, /^fairlead: [^\n]+\n$/, "one line");
  assert.equal(status, 1);
  assert.doesNotMatch(stdout, /installed as/);
}

/** The files in somebody's home. */
export function left(place: EmptyPlace): string[] {
  const all = readdirSync(place.home, { recursive: true, encoding: "utf8" });
  return all.filter((path) => statSync(join(place.home, path)).isFile()).sort();
}

/** Puts a script in the place of a program. */
export function fake(place: EmptyPlace, name: string, script: string): void {
  const [bin = ""] = (place.env["PATH"] ?? "").split(delimiter);
  writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, name), 0o755);
}

/** Changes a file on its way, as `serveRelease` has it. */
export type Change = (content: Buffer, name: string) => Uint8Array;

/** Changes the files of some names only. */
export function only(wanted: RegExp, change: (content: Buffer) => Uint8Array): Change {
  return (content, name) => wanted.test(name) ? change(content) : content;
}

/** Turns one bit over. */
export function flip(content: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(content);
  const middle = copy.length >> 1;
  copy[middle] = (copy[middle] ?? 0) ^ 1;
  return copy;
}
