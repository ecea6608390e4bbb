/**
 * The manual page, fairlead(1), from the definitions of the options.
 *
 * @module
 */
import process from "node:process";
import { UsageError } from "../errors.ts";
import { FIRST_WORDS } from "./commands.ts";
import { optionsOf, type OptionText } from "./complete_place.ts";
import { OPTION_TEXTS } from "./manual_options.ts";
import {
  DESCRIPTION,
  type Entries,
  ENVIRONMENT,
  EXAMPLES,
  EXIT_STATUS,
  FILES,
  NAMED_TUNNELS,
  SIGNALS,
  SYNOPSIS,
  WITH,
} from "./manual_text.ts";
import { entry, escaped, inline, paragraphs } from "./roff.ts";
import { RULES } from "./rules.ts";
import { SUBCOMMAND_RULES } from "./subcommand_rules.ts";
import { VERSION } from "./version.ts";
import { READY_RULES } from "./with_options.ts";

/** When its text was last changed; what is made of it does not depend on the day. */
const DATE = "2026-11-28";

const HELP = `usage: fairlead man

Prints the manual page, to be read with: fairlead man | man -l -
`;

/**
 * Runs `fairlead man`.
 *
 * @param args What follows the word `man`.
 * @returns The exit status.
 * @throws {UsageError} For an argument: it takes none.
 */
export function runManual(args: readonly string[]): number {
  process.stdout.on("error", () => {});
  const [word] = args;
  if (word !== undefined && word !== "--help" && word !== "-h") {
    throw new UsageError(`man: unknown argument ${word}`, "fairlead -- man leads to a host");
  }
  process.stdout.write(word === undefined ? manualPage() : HELP);
  return 0;
}

/**
 * The page.
 *
 * @returns man(7), in ASCII.
 */
export function manualPage(): string {
  return [
    `.\\" Made from fairlead's definitions by "fairlead man": changes belong there.\n`,
    `.TH FAIRLEAD 1 ${DATE} "fairlead ${escaped(VERSION)}" "User Commands"\n`,
    // Names are to be copied whole.
    ".nh\n.ad l\n",
    section("NAME", "fairlead \\- SSH port forwarding that keeps its promises\n"),
    section("SYNOPSIS", SYNOPSIS.map(inline).join("\n.br\n") + "\n"),
    section("DESCRIPTION", paragraphs(DESCRIPTION)),
    section("OPTIONS", entries(optionEntries(RULES))),
    section("COMMANDS", entries(commandEntries())),
    section("RUNNING A COMMAND WITH A TUNNEL", paragraphs(WITH) + withOptions()),
    section("NAMED TUNNELS", paragraphs(NAMED_TUNNELS)),
    section("ENVIRONMENT", entries(ENVIRONMENT)),
    section("FILES", entries(FILES)),
    section("EXIT STATUS", entries(EXIT_STATUS)),
    section("SIGNALS", paragraphs(SIGNALS)),
    section("EXAMPLES", paragraphs(EXAMPLES)),
    section("SEE ALSO", SEE_ALSO.map(reference).join(",\n") + "\n"),
  ].join("");
}

const SEE_ALSO = ["ssh(1)", "ssh_config(5)", "ssh-agent(1)", "ssh-keygen(1)", "sshd(8)"];

function reference(page: string): string {
  const [, name = "", rest = ""] = /^(.*)(\(.*)$/.exec(page) ?? [];
  return `${inline(`\`${name}\``)}${rest}`;
}

function section(heading: string, body: string): string {
  return `.SH ${/\s/.test(heading) ? `"${heading}"` : heading}\n${body}`;
}

function entries(all: Entries): string {
  return all.map(([tag, text]) => entry(tag, text)).join("");
}

function withOptions(): string {
  const text = "All options above are there as well, and besides:";
  return paragraphs(text, ".PP") + entries(optionEntries(READY_RULES));
}

/** Every option of --help, in its order. */
function optionEntries(rules: readonly OptionText[]): Entries {
  const options = optionsOf(rules).filter(({ help }) => help !== undefined);
  return options.map(({ names, argument }) => {
    return [tagOf(names, argument), OPTION_TEXTS[names[0] ?? ""] ?? ""];
  });
}

function commandEntries(): Entries {
  return Object.entries(FIRST_WORDS).map(([word, { help }]) => {
    const options = optionsOf(SUBCOMMAND_RULES[word] ?? []).map(({ names, argument, help = "" }) =>
      `${tagOf(names, argument)}: ${help}.`
    );
    return [`\`${word}\``, [sentence(help), ...options].join("\n\n")];
  });
}

function tagOf(names: readonly string[], argument: string | undefined): string {
  const tag = names.map((name) => `\`${name}\``).join(", ");
  return argument === undefined ? tag : `${tag} <${argument}>`;
}

function sentence(words: string): string {
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;
}
