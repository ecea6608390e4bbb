/**
 * The conditions of `Host` and `Match` (ssh_config(5)).
 *
 * @module
 */
import { BlockList, isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { nearest } from "../nearest.ts";
import { matchesPatternList, matchesPatterns } from "../ssh/patterns.ts";

/** What conditions are about. */
export interface MatchSubject {
  /** The name that is connected to, as far as it is known. */
  readonly host: string;
  /** The name that was given. */
  readonly originalHost: string;
  /** The user's name on the server, as far as it is known. */
  readonly user: string;
  readonly localUser: string;
  readonly tag: string;
  readonly command: string;
  readonly sessionType: string;
  /** Whether this is the second reading. */
  readonly finalPass: boolean;
  /** Runs a command of the user's, and tells whether it succeeded. */
  exec(command: string): Promise<boolean>;
}

/** The answer of a line of conditions. */
export interface MatchResult {
  readonly holds: boolean;
  /** Whether a second reading is asked for. */
  readonly wantsFinal: boolean;
}

/**
 * Whether `Host` fits.
 *
 * @param words Its patterns.
 * @param host The name.
 * @returns Whether one fits, and none that is negated.
 * @throws {SyntaxError} When one of them is empty.
 */
export function matchHost(words: readonly string[], host: string): boolean {
  if (words.length === 0) throw new SyntaxError("the patterns are missing");
  if (words.includes("")) throw new SyntaxError("one of the patterns is empty");
  return matchesPatterns(host, words);
}

/**
 * Whether all conditions of `Match` hold. Commands are run only as long as all before them do.
 *
 * @param words The conditions.
 * @param subject What they are about.
 * @returns The answer.
 * @throws {SyntaxError} When one of them is unknown or malformed.
 */
export async function match(
  words: readonly string[],
  subject: MatchSubject,
): Promise<MatchResult> {
  if (words.length === 0) throw new SyntaxError("the conditions are missing");
  let holds = true;
  let wantsFinal = false;
  for (let rest = words; rest.length > 0;) {
    const [first = "", ...others] = rest;
    const [, mark, name = "", joined] = /^(!?)([^=]*)(?:=([^]*))?$/.exec(first) ?? [];
    const negated = mark === "!";
    const criterion = name.toLowerCase();
    if (criterion === "all" || criterion === "final" || criterion === "canonical") {
      if (criterion === "all" && (others.length > 0 || words.length > 2)) {
        throw new SyntaxError("all stands alone, or after final or canonical");
      }
      // As in ssh, whoever asks whether it is the last reading asks for one, negated or not.
      if (criterion === "final") wantsFinal = true;
      if ((criterion === "all" || subject.finalPass) === negated) holds = false;
      rest = others;
      continue;
    }
    const test = CRITERIA[criterion];
    if (test === undefined) throw unknownCriterion(name);
    const values = joined === undefined ? [...others] : [joined, ...others];
    const mayBeEmpty = MAY_BE_EMPTY.includes(criterion);
    // Before OpenSSH 9.8 an equals sign could have spaces around it.
    if (!mayBeEmpty && ["", "="].includes(values[0] ?? "none")) values.shift();
    const [argument, ...after] = values;
    if (argument === undefined || (argument === "" && !mayBeEmpty)) {
      throw new SyntaxError(`the value of ${name} is missing`);
    }
    if ((holds || criterion !== "exec") && await test(subject, argument) === negated) holds = false;
    rest = after;
  }
  return { holds, wantsFinal };
}

const MAY_BE_EMPTY = ["tagged", "command"];

type Criterion = (subject: MatchSubject, argument: string) => boolean | Promise<boolean>;

const CRITERIA: Readonly<Record<string, Criterion>> = {
  host: ({ host }, list) => matchesPatternList(host.toLowerCase(), list.toLowerCase()),
  originalhost: ({ originalHost }, list) =>
    matchesPatternList(originalHost.toLowerCase(), list.toLowerCase()),
  user: ({ user }, list) => matchesPatternList(user, list),
  localuser: ({ localUser }, list) => matchesPatternList(localUser, list),
  localnetwork: (_subject, list) => hasAddressIn(list),
  tagged: ({ tag }, list) => matchesOrEmpty(tag, list),
  command: ({ command }, list) => matchesOrEmpty(command, list),
  sessiontype: ({ sessionType }, list) => matchesPatternList(sessionType, list),
  // ssh compares with OpenSSH_10.0 or the like.
  version: (_subject, list) => matchesPatternList("fairlead", list),
  exec: ({ exec }, command) => exec(command),
};

function matchesOrEmpty(text: string, list: string): boolean {
  return text === "" ? list === "" : matchesPatternList(text, list);
}

function hasAddressIn(list: string): boolean {
  const networks = new BlockList();
  for (const network of list.split(",")) {
    const [, address = "", digits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(network) ?? [];
    const most = { 4: 32, 6: 128 }[isIP(address)];
    const prefix = Number(digits ?? most);
    if (most === undefined || prefix > most) {
      throw new SyntaxError(`${JSON.stringify(network)} is no network: expected address/length`);
    }
    networks.addSubnet(address, prefix, most === 32 ? "ipv4" : "ipv6");
  }
  return Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
    .some(({ address, family }) =>
      networks.check(address.replace(/%.*/, ""), family === "IPv4" ? "ipv4" : "ipv6")
    );
}

function unknownCriterion(name: string): SyntaxError {
  const guess = nearest(name, [...Object.keys(CRITERIA), "all", "final", "canonical"]);
  return new SyntaxError(
    `${JSON.stringify(name)} is no condition${
      guess === undefined ? "" : `; did you mean ${guess}?`
    }`,
  );
}
