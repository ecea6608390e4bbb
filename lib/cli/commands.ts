/**
 * The first words that are no hosts.
 *
 * @module
 */

/** What a first word means. */
export interface FirstWord {
  /** One line, for lists. */
  readonly help: string;
  /** What can follow it, where it has no options as SUBCOMMAND_RULES has them. */
  readonly words?: Readonly<Record<string, string>>;
  /** What can follow it that is no option. */
  readonly operands?: "tunnels" | "hosts" | "files";
}

const HELP = { "--help": "this command's help" };

/** The shells that there are completions for. */
export const SHELLS = ["bash", "zsh", "fish", "powershell"] as const;

/** One of them. */
export type Shell = typeof SHELLS[number];

/** All of them; but `complete`, which the scripts for shells say, and nobody else. */
export const FIRST_WORDS: Readonly<Record<string, FirstWord>> = {
  with: { help: "run a command of this machine while the forwards are up" },
  up: { help: "bring tunnels of fairlead.yaml up", operands: "tunnels" },
  down: { help: "take them down", operands: "tunnels" },
  status: { help: "show what runs, and where it listens", operands: "tunnels" },
  logs: { help: "show what the tunnels have logged", operands: "tunnels" },
  reload: { help: "apply a changed fairlead.yaml" },
  restart: { help: "connect tunnels anew", operands: "tunnels" },
  add: { help: "add a forward to a tunnel that is up", operands: "tunnels" },
  remove: { help: "remove one", operands: "tunnels" },
  check: { help: "find out what is wrong before it is needed", operands: "tunnels" },
  init: { help: "write a fairlead.yaml to begin with", operands: "files" },
  import: { help: "make one of ssh_config, or of an ssh command line", operands: "hosts" },
  schema: { help: "print the JSON Schema of fairlead.yaml, for editors" },
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
