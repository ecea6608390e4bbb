/**
 * The scripts that make shells complete `fairlead`. Each of them asks `fairlead complete`, see
 * complete.ts, and never has the shell evaluate what it is answered.
 *
 * @module
 */
import type { Shell } from "./commands.ts";

/**
 * The script for a shell.
 *
 * @param shell Which.
 * @returns Its text.
 */
export function completionScript(shell: Shell): string {
  return SCRIPTS[shell];
}

const BASH = `# bash completion for fairlead; needs bash 4.

_fairlead() {
  local action="" count="" value at
  COMPREPLY=()
  {
    read -r action count
    while IFS= read -r value; do COMPREPLY+=("$value"); done
  } < <(command fairlead complete --shell bash "--word=$2" "--line=\${COMP_LINE:0:COMP_POINT}" \\
    2>/dev/null </dev/null)
  case $action in
    words)
      if [[ \${COMPREPLY[0]-} == *[=:/] ]]; then compopt -o nospace; fi
      ;;
    files)
      # readline's own, which quotes what has to be.
      if [[ $count == 0 ]]; then compopt -o default; fi
      ;;
    command)
      for ((at = 1; at < COMP_CWORD; at++)); do
        if [[ \${COMP_WORDS[at]} == -- ]] && ((--count == 0)); then break; fi
      done
      ((at++))
      if declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset "$at"
      elif declare -F _command_offset >/dev/null; then
        _command_offset "$at"
      else
        compopt -o default -o filenames
        if ((at == COMP_CWORD)); then
          while IFS= read -r value; do COMPREPLY+=("$value"); done < <(compgen -c -- "$2")
        fi
      fi
      ;;
  esac
}

complete -F _fairlead fairlead
`;

const ZSH = `#compdef fairlead
# zsh completion for fairlead.

_fairlead() {
  local -a answer whole begun
  local action count line value at
  answer=("\${(@f)$(command fairlead complete --shell zsh "--word=\${(Q)PREFIX}" -- \\
    "\${(@Q)words[2,CURRENT-1]}" 2>/dev/null </dev/null)}")
  action=\${answer[1]%% *}
  count=\${answer[1]##* }
  case $action in
    words)
      for line in "\${(@)answer[2,-1]}"; do
        value=\${line%%$'\\t'*}
        # A colon ends the word for _describe.
        line=\${value//:/\\\\:}:\${line#"$value"}
        line=\${line/$'\\t'/}
        if [[ $value == *[=:/] ]]; then begun+=("$line"); else whole+=("$line"); fi
      done
      at=1
      if (( $#whole )); then _describe -t words fairlead whole && at=0; fi
      if (( $#begun )); then _describe -t begun-words fairlead begun -S '' && at=0; fi
      return at
      ;;
    files)
      compset -p "$count"
      _files
      ;;
    command)
      for (( at = 2; at < CURRENT; at++ )); do
        if [[ \${(Q)words[at]} == -- ]] && (( --count == 0 )); then break; fi
      done
      shift at words
      (( CURRENT -= at ))
      _normal
      ;;
    *)
      return 1
      ;;
  esac
}

if [[ $funcstack[1] == _fairlead ]]; then
  _fairlead "$@"
elif (( $+functions[compdef] )); then
  compdef _fairlead fairlead
fi
`;

const FISH = `# fish completion for fairlead.

function __fairlead_complete
    set -l words (commandline -opc)
    set -e words[1]
    set -l word (commandline -ct)
    set -l answer (command fairlead complete --shell fish "--word=$word" -- $words \\
        2>/dev/null </dev/null)
    set -l action (string split ' ' -- $answer[1])
    set -e answer[1]
    switch "$action[1]"
        case words
            if set -q answer[1]
                printf '%s\\n' $answer
            end
        case files
            set -l before (string sub -l $action[2] -- $word)
            # As for a command that nothing is known of.
            set -l paths (complete -C "'' "(string sub -s (math $action[2] + 1) -- $word))
            if set -q paths[1]
                printf '%s\\n' $before$paths
            end
        case command
            set -l left $action[2]
            set -l line
            for one in $words
                if test $left -eq 0
                    set -a line (string escape -- $one)
                else if test "$one" = --
                    set left (math $left - 1)
                end
            end
            complete -C (string join -- ' ' $line $word)
    end
end

complete -c fairlead -f -a '(__fairlead_complete)'
`;

const POWERSHELL = `# PowerShell completion for fairlead.

Register-ArgumentCompleter -Native -CommandName fairlead -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Select-Object -Skip 1 |
        Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
        ForEach-Object {
            if ($_ -is [System.Management.Automation.Language.StringConstantExpressionAst]) {
                $_.Value
            } else {
                $_.Extent.Text
            }
        })
    $program = @(Get-Command -Name fairlead -CommandType Application -ErrorAction Ignore)[0]
    if ($null -eq $program) { return }
    $answer = @(& $program complete --shell powershell "--word=$wordToComplete" '--' @words 2>$null)
    # What is no list of words is left to PowerShell, which knows files.
    if ($answer.Count -eq 0 -or $answer[0] -ne 'words') { return }
    $answer | Select-Object -Skip 1 | ForEach-Object {
        $value, $help = $_ -split "\`t", 2
        if (-not $help) { $help = $value }
        $text = $value
        if ($value -match '[^\\w.:=/%+-]') { $text = "'" + ($value -replace "'", "''") + "'" }
        [System.Management.Automation.CompletionResult]::new($text, $value, 'ParameterValue', $help)
    }
}
`;

const SCRIPTS: Readonly<Record<Shell, string>> = {
  bash: BASH,
  zsh: ZSH,
  fish: FISH,
  powershell: POWERSHELL,
};
