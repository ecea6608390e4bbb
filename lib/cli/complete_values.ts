/**
 * What can stand at a place of a command line.
 *
 * @module
 */
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import process from "node:process";
import { KEYWORDS } from "../ssh_config/keyword_table.ts";
import { FIRST_WORDS } from "./commands.ts";
import { hostNames } from "./complete_hosts.ts";
import type { Found, Option } from "./complete_place.ts";
import { tunnelNames } from "./complete_tunnels.ts";
import { CONTROL_COMMANDS } from "./control_command.ts";
import { answerQuery } from "./query.ts";

/** One word that is offered. */
export interface Candidate {
  readonly text: string;
  readonly help?: string;
}

/** What is offered: words, or names of files, which the shell knows best. */
export interface Offer {
  /** Characters of the word at the cursor that stay, and that no candidate repeats. */
  readonly before: number;
  readonly candidates: readonly Candidate[] | "files";
}

/** What a value is completed from, knowing the part of it that is there, and -F or --config. */
type Source = (typed: string, configFile: string | undefined) => Offer;

/**
 * What is offered at a place.
 *
 * @param found The place.
 * @param current The word there, as far as it is written.
 * @param options The options that the command line can have.
 * @returns What could stand there, whether or not it goes with what is written already.
 */
export function offerAt(found: Found, current: string, options: readonly Option[]): Offer {
  const { place, configFile } = found;
  switch (place.kind) {
    case "first": {
      const words = Object.entries(FIRST_WORDS).map(([text, { help }]) => ({ text, help }));
      const hosts = destinations(current, configFile);
      return { ...hosts, candidates: [...(hosts.before === 0 ? words : []), ...listOf(hosts)] };
    }
    case "destination":
      return destinations(current, configFile);
    case "option":
      return plain(optionNames(options));
    case "separator":
      return plain([{ text: "--", help: "the command follows" }]);
    case "argument": {
      const { words = {}, operands } = FIRST_WORDS[place.of] ?? {};
      if (operands === "files" && !current.startsWith("-")) return files(current, configFile);
      const hosts = operands === "hosts" ? hostNames(configFile) : [];
      return plain([
        ...operands === "tunnels" ? tunnelNames(configFile) : [],
        ...hosts.map(({ name, help }) => ({ text: name, help })),
        ...Object.entries(words).map(([text, help]) => ({ text, help })),
        ...optionNames(options),
      ]);
    }
    case "value":
      return behind(place.before, current, VALUES[place.option] ?? nothing, configFile);
    default:
      return plain([]);
  }
}

const nothing: Source = () => plain([]);
const files: Source = () => ({ before: 0, candidates: "files" });
const words = (...texts: string[]): Source => () => plain(texts.map((text) => ({ text })));

const VALUES: Readonly<Record<string, Source>> = {
  "-i": (typed) => typed.startsWith("env:") ? variables(typed) : { before: 0, candidates: "files" },
  "-F": files,
  "-E": files,
  "-J": (typed, configFile) => elementOf(typed, (host) => destinations(host, configFile)),
  "-o": keywordAndValue,
  "-S": files,
  "-O": words(...CONTROL_COMMANDS),
  "-Q": () => plain(namesOf("help")),
  "-c": algorithms("cipher"),
  "-m": algorithms("mac"),
  "-b": () =>
    plain(
      Object.values(networkInterfaces()).flatMap((all) => all ?? []).map(({ address }) => ({
        text: address,
      })),
    ),
  "-B": () => plain(Object.keys(networkInterfaces()).map((text) => ({ text }))),
  "--config": files,
  "-w": files,
  "--write": files,
  "--host-key": variables,
  "--password": variables,
  "--passphrase": variables,
  "--proxy": (typed) => {
    const { before, candidates } = variables(typed);
    const others = ["env", "socks5://", "http://"].map((text) => ({ text }));
    return { before, candidates: [...others, ...candidates] };
  },
  "--connections": words("auto"),
  "--ready": words("bind", "dial"),
};

/** Keywords of ssh_config(5) that take files. */
const FILE_KEYWORDS = [
  "CertificateFile",
  "GlobalKnownHostsFile",
  "IdentityAgent",
  "IdentityFile",
  "RevokedHostKeys",
  "UserKnownHostsFile",
];

/** `Keyword=`, then what the keyword can be. */
function keywordAndValue(typed: string, configFile: string | undefined): Offer {
  const [, name] = /^([^=]*)=/.exec(typed) ?? [];
  if (name === undefined) {
    const honoured = Object.entries(KEYWORDS).filter(([, { policy }]) => policy === "honoured");
    return plain(honoured.map(([keyword]) => ({ text: goingOn(typed, `${keyword}=`) })));
  }
  const lower = name.toLowerCase();
  const keyword = Object.keys(KEYWORDS).find((one) => one.toLowerCase() === lower) ?? "";
  return behind(name.length + 1, typed, valuesOf(keyword), configFile);
}

function valuesOf(keyword: string): Source {
  const { choices } = KEYWORDS[keyword] ?? {};
  if (choices !== undefined) {
    return (typed) => plain(choices.map((choice) => ({ text: goingOn(typed, choice) })));
  }
  if (FILE_KEYWORDS.includes(keyword)) return files;
  if (keyword === "ProxyJump") return VALUES["-J"] ?? nothing;
  if (namesOf("help").some(({ text }) => text === keyword)) return algorithms(keyword);
  return nothing;
}

/** A word that counts in any case, as it was begun. */
function goingOn(typed: string, word: string): string {
  const begun = word.toLowerCase().startsWith(typed.toLowerCase());
  return begun ? typed + word.slice(typed.length) : word;
}

/** @param query As -Q takes it. */
function algorithms(query: string): Source {
  return (typed) => {
    // What is added to the usual ones, taken from them, or put in front of them.
    const sign = /^[+^-]/.exec(typed)?.[0].length ?? 0;
    return behind(sign, typed, (list) => elementOf(list, () => plain(namesOf(query))), undefined);
  };
}

function namesOf(query: string): Candidate[] {
  return answerQuery(query).trim().split("\n").map((text) => ({ text }));
}

/** `env:NAME`. */
function variables(typed: string): { before: number; candidates: readonly Candidate[] } {
  if (!typed.startsWith("env:")) {
    return plain([{ text: "env:", help: "what an environment variable holds" }]);
  }
  return { before: 4, candidates: Object.keys(process.env).map((text) => ({ text })) };
}

/** `[user@]host`, or `ssh://[user@]host`. */
function destinations(typed: string, configFile: string | undefined): Offer {
  const before = /^ssh:\/\//.exec(typed)?.[0].length ?? 0;
  const whole = Math.max(before, typed.lastIndexOf("@") + 1);
  // Addresses are many, and say little as long as none was begun.
  const hosts = hostNames(configFile).filter(({ name }) =>
    typed.length > whole || isIP(name) === 0
  );
  return { before: whole, candidates: hosts.map(({ name, help }) => ({ text: name, help })) };
}

function optionNames(options: readonly Option[]): Candidate[] {
  return options.flatMap(({ names, help }) =>
    help === undefined ? [] : names.map((text) => ({ text, help }))
  );
}

/** The last element of a list with commas. */
function elementOf(typed: string, source: (element: string) => Offer): Offer {
  return behind(typed.lastIndexOf(",") + 1, typed, source, undefined);
}

function behind(
  before: number,
  typed: string,
  source: Source,
  configFile: string | undefined,
): Offer {
  const offer = source(typed.slice(before), configFile);
  return { ...offer, before: before + offer.before };
}

function listOf({ candidates }: Offer): readonly Candidate[] {
  return candidates === "files" ? [] : candidates;
}

function plain(candidates: readonly Candidate[]) {
  return { before: 0, candidates };
}
