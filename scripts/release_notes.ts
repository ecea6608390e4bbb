/**
 * The notes of a release, from CHANGELOG.md, once it is certain that the tag is this version's:
 *
 *     deno run -A scripts/release_notes.ts v0.1.0
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { ROOT, VERSION } from "./build/project.ts";

/**
 * What CHANGELOG.md says of a version.
 *
 * @param changelog The whole text.
 * @param version The version, without a "v".
 * @returns What stands below the version's heading; undefined where there is none, or nothing below.
 */
export function notesOf(changelog: string, version: string): string | undefined {
  const parts = changelog.split(/^## /m).slice(1);
  const part = parts.find((part) => part.startsWith(`[${version}]`));
  const notes = part?.slice(part.indexOf("\n")).replace(/^\[[^\]]+\]: .*$/gm, "").trim();
  return notes === "" ? undefined : notes;
}

function main(tag: string | undefined): string {
  if (tag !== `v${VERSION}`) {
    throw new Error(`the tag is ${tag ?? "missing"}, but deno.json has version ${VERSION}`);
  }
  const notes = notesOf(readFileSync(join(ROOT, "CHANGELOG.md"), "utf8"), VERSION);
  if (notes === undefined) {
    throw new Error(`CHANGELOG.md says nothing below "## [${VERSION}]": name the version there`);
  }
  return notes;
}

if (import.meta.main) {
  try {
    console.log(main(process.argv[2]));
  } catch (error) {
    console.error(`release: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  }
}
