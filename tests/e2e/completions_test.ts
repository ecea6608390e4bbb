/** Tab in real shells, at a real terminal. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { FIRST_WORDS } from "../../lib/cli/commands.ts";
import { manualPage } from "../../lib/cli/manual.ts";
import { fairlead, programCommand } from "../support/fairlead.ts";
import { emptyHome, type Home } from "../support/home.ts";
import { openTerminal, type Terminal } from "../support/terminal.ts";
import { skipUnless, waitFor, which } from "../support/tools.ts";

/** The package's own script, which knows how other commands are completed. */
const BASH_COMPLETION = "/usr/share/bash-completion/bash_completion";

/** What is written, and what stands in the line after Tab. */
const COMPLETED: readonly (readonly [typed: string, completed: string])[] = [
  ["fairlead -o Stri", "fairlead -o StrictHostKeyChecking="],
  ["fairlead --conn", "fairlead --connections"],
  ["fairlead evi", "fairlead evil.example.com"],
  ["fairlead me@ali", "fairlead me@alias"],
  ["fairlead -J me@alias,incl", "fairlead -J me@alias,included"],
  ["fairlead -i ~/.ssh/conf", "fairlead -i ~/.ssh/config"],
  ["fairlead up --fore", "fairlead up --foreground"],
  ["fairlead up --config ~/.ssh/conf", "fairlead up --config ~/.ssh/config"],
  ["fairlead down --config ~/fairlead.yaml mai", "fairlead down --config ~/fairlead.yaml mailbox"],
  ["fairlead with alias -- ls /etc/host.co", "fairlead with alias -- ls /etc/host.conf"],
];

/** Where bash has rules of its own for what a word is, and bash-completion for commands. */
const COMPLETED_IN_BASH: typeof COMPLETED = [
  ["fairlead -vo StrictHostKeyChecking=acc", "fairlead -vo StrictHostKeyChecking=accept-new"],
  ["fairlead --password env:ZDOT", "fairlead --password env:ZDOTDIR"],
  ["fairlead with -g alias -- printen", "fairlead with -g alias -- printenv"],
  ["fairlead with alias -- ls /etc/host.co", "fairlead with alias -- ls /etc/host.conf"],
];

/** How each shell is started so that it completes fairlead; `fairlead` is in its PATH. */
const SHELLS: readonly {
  readonly name: string;
  readonly program: string;
  readonly command: (home: string) => Promise<string[]>;
  readonly skip?: string | undefined;
  /** What is completed in it. */
  readonly lines: typeof COMPLETED;
  /** Whether to look at lists of words, too, and at what must not be run. */
  readonly lists?: boolean;
}[] = [
  {
    name: "bash",
    program: "bash",
    command: (home) => bash(home, 'eval "$(fairlead completions bash)"'),
    lines: [...COMPLETED, ...COMPLETED_IN_BASH.slice(0, 3)],
  },
  {
    name: "bash with bash-completion",
    program: "bash",
    command: bashWithPackage,
    lines: COMPLETED_IN_BASH,
    lists: false,
    skip: existsSync(BASH_COMPLETION) ? undefined : "bash-completion is not installed",
  },
  { name: "zsh", program: "zsh", command: zsh, lines: COMPLETED },
  { name: "fish", program: "fish", command: fish, lines: COMPLETED },
];

async function bash(home: string, line: string): Promise<string[]> {
  const file = join(home, "bashrc");
  // One Tab shows what there is.
  const quiet = ["PS1='> '", "bind 'set show-all-if-ambiguous on'"];
  await writeFile(file, [...quiet, line, ""].join("\n"));
  return ["bash", "--noprofile", "--rcfile", file, "-i"];
}

/** Where the package looks for a command's script once it is needed. */
async function bashWithPackage(home: string): Promise<string[]> {
  const folder = join(home, ".local", "share", "bash-completion", "completions");
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "fairlead"), (await fairlead(["completions", "bash"])).stdout);
  return await bash(home, `. ${BASH_COMPLETION}`);
}

async function zsh(home: string): Promise<string[]> {
  const lines = ["autoload -Uz compinit", "compinit -u -D", "source <(fairlead completions zsh)"];
  // Otherwise it asks before it shows a list that fills the screen.
  // Its Tab runs what stands in $() by itself, for every command; complete-word does not.
  const quiet = ["LISTMAX=1000", "bindkey '^I' complete-word", "PS1='> '", ""];
  await writeFile(join(home, ".zshrc"), [...lines, ...quiet].join("\n"));
  // Without the system's files, which ask for a terminal of their own.
  return ["zsh", "-d", "-i"];
}

async function fish(home: string): Promise<string[]> {
  const folder = join(home, ".config", "fish");
  await mkdir(join(folder, "completions"), { recursive: true });
  const { stdout } = await fairlead(["completions", "fish"]);
  await writeFile(join(folder, "completions", "fairlead.fish"), stdout);
  const lines = ["set -g fish_greeting", "set -g fish_autosuggestion_enabled 0"];
  await writeFile(
    join(folder, "config.fish"),
    [...lines, "function fish_prompt; echo -n '> '; end", ""].join("\n"),
  );
  return ["fish"];
}

/** A home with hosts, good ones and such as an attacker would like to be completed. */
async function makeHome(home: Home): Promise<Home> {
  const bin = join(home.path, "bin");
  await mkdir(bin);
  const [program, args] = programCommand();
  const words = [program, ...args].map((word) => `'${word}'`).join(" ");
  await writeFile(join(bin, "fairlead"), `#!/bin/sh\nexec ${words} "$@"\n`);
  await chmod(join(bin, "fairlead"), 0o755);
  await writeFile(
    join(home.ssh, "config"),
    [
      `Match exec "touch '${home.path}/ran'"`,
      "Include more",
      "Host alias *.example.com",
      `Host "evil$(touch ${home.path}/ran)" "evil;touch ran" "evil'touch'"`,
      "",
    ].join("\n"),
    { mode: 0o600 },
  );
  await writeFile(join(home.ssh, "more"), "Host included\n", { mode: 0o600 });
  await writeFile(
    join(home.path, "fairlead.yaml"),
    "version: 1\ntunnels: { mailbox: { host: alias } }\n",
    { mode: 0o600 },
  );
  const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFtZ";
  const evil = [
    "$(touch${IFS}ran)",
    "`touch${IFS}ran`",
    ";touch${IFS}ran;",
    "\x1b]0;ran\x07",
    "'",
    '"',
  ];
  await writeFile(
    join(home.ssh, "known_hosts"),
    [
      `known.example.com,192.0.2.7 ${key}`,
      `[elsewhere.example.com]:2222 ${key}`,
      ...evil.map((text) => `evil${text} ${key}`),
      `-oProxyCommand=touch ${key}`,
      `evil.example.com ${key}`,
      `|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ${key}`,
      "",
    ].join("\n"),
  );
  const path = `${bin}:${process.env["PATH"]}`;
  return {
    ...home,
    env: {
      ...home.env,
      PATH: path,
      ZDOTDIR: home.path,
      XDG_CONFIG_HOME: undefined,
      XDG_DATA_HOME: undefined,
    },
  };
}

for (const { name, program, command, lines, lists = true, skip } of SHELLS) {
  const skipped = skip === undefined ? skipUnless("tmux", program) : { skip };
  test(
    `${name} completes fairlead's lines, and runs nothing that names hold`,
    skipped,
    async () => {
      await inShell(command, async (terminal, home) => {
        for (const [typed, completed] of lines) {
          await terminal.press(typed);
          const pattern = new RegExp(`^> ${escaped(completed)}$`, "m");
          await terminal.press("Tab");
          // A shell that still has the Ctrl-C before it on its mind may not hear it, either.
          await terminal.until(pattern).catch(() => terminal.press("Tab"));
          await terminal.until(pattern);
          await newLine(terminal);
        }
        if (!lists) return;

        await terminal.press("fairlead with -");
        await terminal.press("Tab");
        for (const word of ["-L", "-B", "-c"]) {
          await terminal.until(new RegExp(`(?<!\\S)${word}(?!\\S)`));
        }
        await newLine(terminal);
        await terminal.press("fairlead -J ");
        await terminal.press("Tab");
        const screen = await terminal.until(/^(?!>).*elsewhere\.example\.com/m);
        assert.match(screen, /^(?!>).*\balias\b/m);
        assert.match(screen, /^(?!>).*\bincluded\b/m);
        assert.doesNotMatch(screen, /touch|IFS|192\.0\.2|\|1\|/);
        await newLine(terminal);

        // A substitution that stands in the line is not run by Tab either.
        for (const [index, typed] of ["", "-i "].entries()) {
          await terminal.press(`fairlead ${typed}$(touch ${home}/ran)@ali`);
          await terminal.press("Tab");
          // What follows is shown once Tab is done with.
          await terminal.press("#");
          await terminal.until(/@ali(?:as)? ?#(?:\^C)?$/m, index + 1);
          await newLine(terminal);
        }
        // Nor was Match exec.
        assert.ok(!existsSync(join(home, "ran")));
      });
    },
  );
}

test("without a shell that there are completions for, one line says which there are", async () => {
  const form = "fairlead completions bash|zsh|fish|powershell\n";
  const missing = await fairlead(["completions"]);
  assert.equal(missing.stderr, `fairlead: completions: the shell is missing: ${form}`);
  const wrong = await fairlead(["completions", "tcsh"]);
  assert.equal(wrong.stderr, `fairlead: completions: there are none for "tcsh": ${form}`);
  assert.deepEqual([missing.status, wrong.status], [2, 2]);
  assert.equal(missing.stdout + wrong.stdout, "");
});

test("the words of fairlead's own have a help, and man prints the page whole", async () => {
  for (const word of Object.keys(FIRST_WORDS)) {
    const { status, stdout, stderr } = await fairlead([word, "--help"]);
    assert.deepEqual({ status, stderr }, { status: 0, stderr: "" });
    assert.match(stdout, new RegExp(`^usage: fairlead ${word} ?`));
    assert.deepEqual(stdout.split("\n").filter((line) => line.length > 80), []);
  }
  assert.equal((await fairlead(["man"])).stdout, manualPage());
});

test("what cannot be answered is passed over in silence, and a long answer is whole", async () => {
  for (const args of [["--word=x"], ["bash", "--line="]]) {
    const { stdout, stderr } = await fairlead(["complete", "--shell", ...args]);
    assert.match(stdout, /^(?:words\n[^]*)?$/);
    assert.equal(stderr, "");
  }
  await using home = await emptyHome();
  const names = Array.from({ length: 20_000 }, (_, index) => `host-${index}.example.com`);
  const lines = names.map((name) => `${name} ssh-ed25519 AAAA\n`);
  await writeFile(join(home.ssh, "known_hosts"), lines.join(""));
  const question = ["complete", "--shell", "bash", "--word=host-", "--line=fairlead host-"];
  const { stdout } = await fairlead(question, { env: home.env });
  assert.equal(stdout, `words\n${names.map((name) => `${name}\n`).join("")}`);
});

test("a host may be called complete", async () => {
  const { stdout } = await fairlead(["complete", "-F", "none", "-G"]);
  assert.match(stdout, /^hostname complete$/m);
});

/** Gives the line up that was being written; a shell that still completes it may not hear it. */
async function newLine(terminal: Terminal): Promise<void> {
  await waitFor(async () => {
    await terminal.press("C-c");
    await sleep(30);
    return /^>\s*(?![^])/m.test(await terminal.screen());
  }, { what: "a new line" });
}

async function inShell(
  command: (home: string) => Promise<string[]>,
  use: (terminal: Terminal, home: string) => Promise<void>,
): Promise<void> {
  await using empty = await emptyHome();
  const home = await makeHome(empty);
  await using terminal = await openTerminal(home);
  const [shell = "", ...args] = await command(home.path);
  await terminal.run([which(shell) ?? shell, ...args]);
  await terminal.until(/^>/m);
  await use(terminal, home.path);
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
