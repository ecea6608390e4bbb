/**
 * `fairlead completions`.
 *
 * @module
 */
import process from "node:process";
import { UsageError } from "../errors.ts";
import { type Shell, SHELLS } from "./commands.ts";
import { completionScript } from "./completion_scripts.ts";

const HELP = `usage: fairlead completions bash|zsh|fish|powershell

Prints a script that lets the shell complete fairlead's options, their values,
and the names of hosts, of ssh_config and known_hosts. It asks the fairlead of
PATH at each press of Tab; nothing is connected to.

bash 4 or later with the package bash-completion:
  mkdir -p ~/.local/share/bash-completion/completions
  fairlead completions bash >~/.local/share/bash-completion/completions/fairlead
bash without it, in ~/.bashrc:
  eval "$(fairlead completions bash)"
zsh, in ~/.zshrc, after compinit; or as a file _fairlead in a folder of fpath:
  source <(fairlead completions zsh)
fish:
  mkdir -p ~/.config/fish/completions
  fairlead completions fish >~/.config/fish/completions/fairlead.fish
PowerShell, in $PROFILE:
  fairlead completions powershell | Out-String | Invoke-Expression
`;

/**
 * Runs `fairlead completions`.
 *
 * @param args What follows the word `completions`.
 * @returns The exit status.
 * @throws {UsageError} Where it is not one shell that there are completions for.
 */
export function runCompletions(args: readonly string[]): number {
  process.stdout.on("error", () => {});
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(HELP);
    return 0;
  }
  const [word, ...more] = args;
  const form = `fairlead completions ${SHELLS.join("|")}`;
  if (word === undefined) throw new UsageError(`completions: the shell is missing: ${form}`);
  if (!isShell(word)) {
    throw new UsageError(`completions: there are none for ${JSON.stringify(word)}: ${form}`);
  }
  if (more.length > 0) throw new UsageError(`completions: one shell at a time: ${form}`);
  process.stdout.write(completionScript(word));
  return 0;
}

function isShell(word: string): word is Shell {
  return SHELLS.some((shell) => shell === word);
}
