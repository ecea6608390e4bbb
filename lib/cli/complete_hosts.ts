/**
 * The names of hosts that a user may mean.
 *
 * @module
 */
import { readFileSync, statSync } from "node:fs";
import { isIP } from "node:net";
import { homedir } from "node:os";
import { isSafeHostName } from "../ssh_config/names.ts";
import { type KnownNames, knownNames } from "../ssh_config/known_names.ts";
import { expandAll, expandHome } from "../ssh_config/tokens.ts";

/** A name, and where it is from. */
export interface HostName {
  readonly name: string;
  readonly help: string;
}

/** Where names come from, the best first. */
const SOURCES: readonly ((names: KnownNames) => Iterable<HostName>)[] = [aliases, knownHosts];

/** What known_hosts files are there where nothing is said of them; ssh_config(5). */
const KNOWN_HOSTS = [
  "~/.ssh/known_hosts",
  "~/.ssh/known_hosts2",
  "/etc/ssh/ssh_known_hosts",
  "/etc/ssh/ssh_known_hosts2",
];

/** Bytes of a known_hosts file that is looked at: a Tab key is not to be waited for. */
const MOST_BYTES = 8 * 1024 * 1024;

/**
 * All names that are known, each once.
 *
 * @param configFile What -F names; the usual files where it was not given.
 * @returns The names, with the source that has it first.
 */
export function hostNames(configFile: string | undefined): HostName[] {
  const names = knownNames(configFile);
  const found = new Map<string, HostName>();
  for (const source of SOURCES) {
    for (const host of source(names)) {
      // The others are refused as destinations, could be options, or would be taken apart.
      if (!isSafeHostName(host.name) || /[@=/]/.test(host.name)) continue;
      if (!found.has(host.name)) found.set(host.name, host);
    }
  }
  return [...found.values()];
}

function* aliases({ aliases }: KnownNames): Iterable<HostName> {
  for (const name of aliases) yield { name, help: "a host of ssh_config" };
}

function* knownHosts({ knownHostsFiles }: KnownNames): Iterable<HostName> {
  for (const file of new Set([...KNOWN_HOSTS, ...knownHostsFiles])) {
    for (const line of textOf(file).split("\n")) {
      // What is hashed cannot be told, what is revoked is no host to go to.
      if (/^\s*(?:#|\||@revoked\s|$)/.test(line)) continue;
      const [, patterns = ""] = /^\s*(?:@cert-authority\s+)?(\S+)\s/.exec(line) ?? [];
      const names = patterns.split(",").filter((name) => !/^!|[*?]/.test(name))
        .map((name) => /^\[(.*)\]:\d+$/.exec(name)?.[1] ?? name);
      // An address that stands beside a name says nothing new.
      const named = names.filter((name) => isIP(name) === 0);
      for (const name of named.length > 0 ? named : names) yield { name, help: "a known host" };
    }
  }
}

/** @returns Nothing where it cannot be read. */
function textOf(file: string): string {
  try {
    const path = expandAll(expandHome(file), { d: homedir() });
    const status = statSync(path);
    if (!status.isFile() || status.size > MOST_BYTES) return "";
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
