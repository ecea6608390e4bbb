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
