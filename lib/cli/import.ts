/**
 * `fairlead import`: what ssh forwards already, as a fairlead.yaml.
 *
 * @module
 */
import { homedir } from "node:os";
import { resolve } from "node:path";
import process from "node:process";
import { readConfig } from "../config/load.ts";
import { literal, writeTunnels, type WrittenTunnel } from "../config/write_tunnels.ts";
import { UsageError } from "../errors.ts";
import { readDestination } from "../ssh_config/destination.ts";
import { readHost } from "../ssh_config/host_config.ts";
import { knownNames } from "../ssh_config/known_names.ts";
import { emptySettings } from "../ssh_config/settings.ts";
import { isNone } from "../ssh_config/values.ts";
import {
  commandWords,
  importCommandLine,
  type Imported,
  isCommandLine,
  type Place,
  writtenPath,
} from "./import_command_line.ts";
import { read } from "./named.ts";
import { writeNewFile } from "./new_file.ts";
import { optionLines } from "./options.ts";
import type { Rule } from "./rules.ts";
import { COMMON_RULES, type CommonOptions, print, type Surroundings } from "./subcommand.ts";

const FORM = "fairlead import [-F file] HOST... | --all | -- ssh -L ... host";

interface ImportOptions extends CommonOptions {
  all: boolean;
  configFile: string | undefined;
  file: string | undefined;
}

/** The options that `import` has besides the common ones. */
export const IMPORT_RULES: readonly Rule<ImportOptions>[] = [
  {
    flags: "--all",
    help: "every host of ssh_config that has forwards",
    apply: (options) => {
      options.all = true;
    },
  },
  {
    flags: "-F <file>",
    help: "read this ssh_config and no other",
    apply: (options, value) => {
      options.configFile = value;
    },
  },
  {
    flags: "-w, --write <file>",
    help: "write a new file, and do not print it",
    apply: (options, value) => {
      options.file = value;
    },
  },
];

const HELP = `usage: fairlead import [-F file] HOST...    their forwards in ssh_config
       fairlead import [-F file] --all      those of every host there
       fairlead import -- ssh -L ... host   a command line of ssh or autossh

Prints a fairlead.yaml with the same forwards. Besides them a host of ssh_config
stays where it is: its tunnel names the alias.

${optionLines([...IMPORT_RULES, ...COMMON_RULES])}
`;

/**
 * Runs `fairlead import`.
 *
 * @param args What follows the word.
 * @param surroundings What it works with.
 * @returns The exit status.
 * @throws {UsageError} When there is nothing to import, or the file is there already.
 */
export async function runImport(
  args: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  const { own, command } = parts(args);
  const line = read<ImportOptions>(own, surroundings, {
    ...{ word: "import", rules: IMPORT_RULES, help: HELP },
    options: { all: false, configFile: undefined, file: undefined },
  });
  if (line === undefined) return 0;
  const { options, operands: hosts, output } = line;
  const place = { cwd: process.cwd(), home: homedir() };
  const imported = command === undefined
    ? await importHosts(hosts, options, place)
    : [commandOnly(command, hosts, options, place)];
  const notes = imported.flatMap(({ notes }) => notes);
  const { text, left } = writeTunnels(imported.map(({ tunnel }) => tunnel));
  // What is written must be of use: whatever is wrong with it is told now.
  const { cwd, home } = place;
  const shown = options.file ?? "fairlead.yaml";
  readConfig(text, { path: resolve(cwd, shown), shown, home, environment: process.env });
  if (options.file !== undefined) {
    writeNewFile(options.file, text, {
      hint: "without --write the tunnels are printed, to be added to it by hand",
    });
  }
  for (const note of notes) output.warn(note);
  for (const one of left) output.warn(`only as a comment, ${one}`);
  if (options.file === undefined) return print(text);
  const { length } = imported;
  const words = `wrote ${options.file}: ${length === 1 ? "1 tunnel" : `${length} tunnels`}`;
  output.event({ event: "written", file: options.file, tunnels: length }, words);
  return 0;
}

/** A command line follows `--`; it may also be one word, or begin with ssh and go on with options. */
function parts(
  args: readonly string[],
): { readonly own: readonly string[]; readonly command?: readonly string[] } {
  const end = args.indexOf("--");
  const program = args.findIndex((word, index) =>
    isCommandLine(/\s/.test(word) ? commandWords(word) : [word]) &&
    (/\s/.test(word) || args[index + 1]?.startsWith("-") === true)
  );
  if (program >= 0 && (end < 0 || program < end)) {
    const words = args.slice(program);
    return { own: args.slice(0, program), command: wholeWords(words) };
  }
  if (end < 0) return { own: args };
  return { own: args.slice(0, end), command: wholeWords(args.slice(end + 1)) };
}

/** A command line in quotes is one word. */
function wholeWords(words: readonly string[]): readonly string[] {
  const [only = "", ...more] = words;
  return more.length === 0 && /\s/.test(only) ? commandWords(only) : words;
}

function commandOnly(
  command: readonly string[],
  hosts: readonly string[],
  { all, configFile }: ImportOptions,
  place: Place,
): Imported {
  if (hosts.length > 0 || all || configFile !== undefined) {
    throw new UsageError("hosts and a command line are imported one by one", FORM);
  }
  return importCommandLine(command, place);
}

async function importHosts(
  hosts: readonly string[],
  { all, configFile }: ImportOptions,
  place: Place,
): Promise<Imported[]> {
  if (all === hosts.length > 0) {
    throw new UsageError(
      all ? "--all and names of hosts contradict each other" : "what is to be imported?",
      FORM,
    );
  }
  const names = all ? knownNames(configFile).aliases : [...new Set(hosts)];
  const found: Imported[] = [];
  const without: string[] = [];
  for (const name of names) {
    const tunnel = await importHost(name, configFile, place);
    if (tunnel.forwards.length > 0) found.push({ tunnel, notes: [] });
    else without.push(name);
  }
  if (found.length === 0) {
    throw new UsageError(
      all
        ? "no host of ssh_config has a LocalForward, RemoteForward or DynamicForward"
        : `ssh_config has no forward for ${without.join(", ")}`,
      "fairlead import -- ssh -L 8080:web:80 me@host takes a command line",
    );
  }
  const notes = without.map((name) => `left out ${name}: ssh_config has no forward for it`);
  return found.map((one, index) => index > 0 || all ? one : { ...one, notes });
}

/** What else ssh_config says of the host stays there: a tunnel's host is an alias as well. */
async function importHost(
  name: string,
  configFile: string | undefined,
  { cwd, home }: Place,
): Promise<WrittenTunnel> {
  const settings = { ...emptySettings(), ...(configFile === undefined ? {} : { configFile }) };
  readDestination(settings, name);
  await readHost(settings);
  return {
    name: name.replace(/^.*@/, ""),
    keys: {
      host: literal(name),
      ...(configFile === undefined ? {} : {
        sshConfig: isNone(configFile) ? configFile : writtenPath(configFile, cwd, home),
      }),
    },
    forwards: settings.clearAllForwardings ? [] : settings.forwards,
  };
}
