/**
 * The first words that are no hosts.
 *
 * @module
 */

/** What a first word means. */
export interface FirstWord {
  /** One line, for lists. */
  readonly help: string;
  /** What can follow it, other than options and hosts as for no such word. */
  readonly words?: Readonly<Record<string, string>>;
  /** Whether names of tunnels can follow it. */
  readonly takesTunnels?: boolean;
}

const HELP = { "--help": "this command's help" };

/** The shells that there are completions for. */
export const SHELLS = ["bash", "zsh", "fish", "powershell"] as const;

/** One of them. */
export type Shell = typeof SHELLS[number];

/** All of them; but `complete`, which the scripts for shells say, and nobody else. */
export const FIRST_WORDS: Readonly<Record<string, FirstWord>> = {
  with: { help: "run a command of this machine while the forwards are up" },
  up: {
    help: "bring tunnels of fairlead.yaml up",
    words: {
      "--foreground": "stay here, and keep the tunnels in this process",
      "--metrics": "serve Prometheus metrics there",
      "--config": "this fairlead.yaml",
      "--json": "JSON instead of words",
      ...HELP,
    },
    takesTunnels: true,
  },
  down: {
    help: "take them down",
    words: {
      "--all": "all tunnels that are up",
      "--force": "do not wait for open connections",
      "--config": "this fairlead.yaml",
      "--json": "JSON instead of words",
      ...HELP,
    },
    takesTunnels: true,
  },
  status: {
    help: "show what runs, and where it listens",
    words: { "--watch": "draw it anew each second", "--json": "JSON instead of words", ...HELP },
    takesTunnels: true,
  },
  logs: {
    help: "show what the tunnels have logged",
    words: {
      "--follow": "show what is logged from now on, too",
      "--lines": "so many lines of what is there",
      "--json": "JSON instead of words",
      ...HELP,
    },
    takesTunnels: true,
  },
  reload: {
    help: "apply a changed fairlead.yaml",
    words: { "--config": "this fairlead.yaml", "--json": "JSON instead of words", ...HELP },
  },
  restart: {
    help: "connect tunnels anew",
    words: { "--json": "JSON instead of words", ...HELP },
    takesTunnels: true,
  },
  add: {
    help: "add a forward to a tunnel that is up",
    words: {
      "-L": "a local forward",
      "-R": "a remote forward",
      "-D": "a dynamic forward",
      "--json": "JSON instead of words",
      ...HELP,
    },
    takesTunnels: true,
  },
  remove: {
    help: "remove one",
    words: {
      "--force": "do not wait for open connections",
      "--json": "JSON instead of words",
      ...HELP,
    },
    takesTunnels: true,
  },
  check: {
    help: "find out what is wrong before it is needed",
    words: {
      "--connect": "log in, and dial the destinations",
      "--config": "this fairlead.yaml",
      "--json": "JSON instead of words",
      ...HELP,
    },
    takesTunnels: true,
  },
  init: { help: "write a fairlead.yaml to begin with", words: HELP },
  import: { help: "make one of ssh_config, or of an ssh command line", words: HELP },
  schema: { help: "print the JSON Schema of fairlead.yaml, for editors", words: HELP },
  demo: {
    help: "the whole thing in one process, on loopback",
    words: { "--keep": "leave it running", ...HELP },
  },
  completions: {
    help: "print a completion script for a shell",
    words: { ...Object.fromEntries(SHELLS.map((shell) => [shell, `for ${shell}`])), ...HELP },
  },
  man: { help: "print the manual page, for man -l -", words: HELP },
};
