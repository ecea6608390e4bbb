/**
 * What the files name, whoever it is meant for: nothing is asked of them but names, so no command of
 * `Match exec` is run, and what is wrong in a file is passed over.
 *
 * @module
 */
import { homedir } from "node:os";
import { matchesPatterns } from "../ssh/patterns.ts";
import { includedFiles } from "./include.ts";
import { readLines } from "./lines.ts";
import { type File, firstFiles, MOST_DEPTH, readText } from "./read.ts";
import { expandAll } from "./tokens.ts";
import { splitWords } from "./words.ts";

/** What was found. */
export interface KnownNames {
  /** The hosts that a `Host` line names in full, in the order of the files. */
  readonly aliases: readonly string[];
  /** What UserKnownHostsFile and GlobalKnownHostsFile name, as it is written. */
  readonly knownHostsFiles: readonly string[];
}

/**
 * Looks for names in the files that would be read for any host.
 *
 * @param configFile What -F names, `none` for no file; the usual ones where it was not given.
 * @returns What is there.
 */
export function knownNames(configFile?: string): KnownNames {
  const found: Found = {
    aliases: new Set(),
    knownHostsFiles: new Set(),
    seen: new Set(),
    bytes: 0,
  };
  // Even where the home folder is must not be asked everywhere: Deno has a permission for it.
  for (const file of orNothing(() => firstFiles(configFile)) ?? []) collect(file, found, []);
  return { aliases: [...found.aliases], knownHostsFiles: [...found.knownHostsFiles] };
}

interface Found {
  readonly aliases: Set<string>;
  readonly knownHostsFiles: Set<string>;
  /** Files, and from within what they were included. */
  readonly seen: Set<string>;
  bytes: number;
}

const ANYBODY = ["*"] as const;

/** @param around The patterns of each `Host` block that an Include on the way here stands in. */
function collect(file: File, found: Found, around: readonly (readonly string[])[]): void {
  const place = JSON.stringify([file.path, around]);
  if (found.seen.has(place)) return;
  found.seen.add(place);
  const text = orNothing(() => readText(file, found)) ?? "";
  let block: readonly string[] = ANYBODY;
  for (const { keyword, rest } of readLines(text)) {
    const words = orNothing(() => splitWords(rest)) ?? [];
    switch (keyword.toLowerCase()) {
      case "host":
        block = words;
        for (const name of words) {
          if (/^!|[*?]/.test(name)) continue;
          if ([...around, block].every((patterns) => matchesPatterns(name, patterns))) {
            found.aliases.add(name);
          }
        }
        break;
      case "match":
        // It may be meant for anybody.
        block = ANYBODY;
        break;
      case "include":
        if (file.depth >= MOST_DEPTH) break;
        for (const path of includedBy(words, file)) {
          const included = { path, ofUser: file.ofUser, checked: true, depth: file.depth + 1 };
          collect(included, found, block === ANYBODY ? around : [...around, block]);
        }
        break;
      case "userknownhostsfile":
      case "globalknownhostsfile":
        for (const path of words) found.knownHostsFiles.add(path);
    }
  }
}

/** Tokens that depend on the host have no value: what needs one is left out. */
function includedBy(words: readonly string[], { ofUser }: File): string[] {
  const tokens = { d: homedir() };
  return words.flatMap((word) =>
    orNothing(() => includedFiles(expandAll(word, tokens), ofUser)) ?? []
  );
}

function orNothing<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
