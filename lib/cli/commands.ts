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
}

const HELP = { "--help": "this command's help" };

/** The shells that there are completions for. */
export const SHELLS = ["bash", "zsh", "fish", "powershell"] as const;

/** One of them. */
export type Shell = typeof SHELLS[number];

/** All of them; but `complete`, which the scripts for shells say, and nobody else. */
export const FIRST_WORDS: Readonly<Record<string, FirstWord>> = {
  with: { help: "run a command of this machine while the forwards are up" },
  up: { help: "bring tunnels of fairlead.yaml up", words: HELP },
  down: { help: "take them down", words: HELP },
  status: { help: "show what runs, and where it listens", words: HELP },
  logs: { help: "show what the tunnels have logged", words: HELP },
  reload: { help: "apply a changed fairlead.yaml", words: HELP },
  restart: { help: "connect tunnels anew", words: HELP },
  add: { help: "add a forward to a tunnel that is up", words: HELP },
  remove: { help: "remove one", words: HELP },
  check: { help: "find out what is wrong before it is needed", words: HELP },
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
