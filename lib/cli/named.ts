/**
 * What the commands of named tunnels need: the file, the background process, and words for what
 * comes of it.
 *
 * @module
 */
import { homedir } from "node:os";
import process from "node:process";
import { findConfig } from "../config/find.ts";
import { type ConfigFile, loadConfig } from "../config/load.ts";
import { secretsOf } from "../config/secrets.ts";
import { selectTunnels } from "../config/select.ts";
import type { TunnelConfig, TunnelSecrets } from "../config/tunnel_config.ts";
import { connectControl, type ControlClient } from "../control/client.ts";
import { controlSocketPath } from "../control/socket_path.ts";
import type { TunnelStatus } from "../control/status.ts";
import { FairleadError, UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import type { Rule } from "./rules.ts";
import {
  type CommonOptions,
  commonOptions,
  print,
  readWords,
  type Surroundings,
} from "./subcommand.ts";
import { Output } from "./output.ts";

/** What commands about the file can be told. */
export interface FileOptions extends CommonOptions {
  /** The file that --config names. */
  config: string | undefined;
}

/** The option that names the file. */
export const CONFIG_RULE: Rule<FileOptions> = {
  flags: "--config <file>",
  help: "this fairlead.yaml, and not the nearest one",
  apply: (options, value) => {
    if (value === "") throw new UsageError("--config: the value is missing");
    options.config = value;
  },
};

/** A command line that was read. */
export interface Read<Options> {
  readonly options: Options;
  readonly operands: readonly string[];
  readonly output: Output;
}

/**
 * Reads a command's words, and takes care of --help.
 *
 * @param args What follows the first word.
 * @param surroundings What it works with.
 * @param command The command: its first word, its options, its help, and what nobody has said.
 * @returns What was read; undefined where the help was asked for and shown.
 * @throws {UsageError} When an option is wrong.
 */
export function read<Options extends CommonOptions>(
  args: readonly string[],
  surroundings: Surroundings,
  command: {
    readonly word: string;
    readonly rules: readonly Rule<Options>[];
    readonly help: string;
    readonly options: Omit<Options, keyof CommonOptions>;
  },
): Read<Options> | undefined {
  const options = { ...commonOptions(), ...command.options } as Options;
  const operands = readWords(args, options, command.rules, command.word);
  if (options.help) {
    print(command.help);
    return undefined;
  }
  const { verbosity, json } = options;
  const output = new Output({ verbosity, json }, surroundings.screen, surroundings.trace);
  surroundings.use(output);
  return { options, operands, output };
}

/**
 * Reads the fairlead.yaml that is meant.
 *
 * @param file The one that was named, where one was.
 * @returns The file.
 * @throws {UsageError} As loadConfig() does.
 */
export function configOf(file: string | undefined): ConfigFile {
  return loadConfig(whereabouts(file));
}

/**
 * Reads the fairlead.yaml of this folder, where there is one: the user's own does not count.
 *
 * @param file The one that was named, where one was.
 * @returns The path; undefined where there is none.
 */
export function configPathOf(file: string | undefined): string | undefined {
  return findConfig(whereabouts(file));
}

function whereabouts(file: string | undefined) {
  return { file, cwd: process.cwd(), home: homedir() ?? "/", environment: process.env };
}

/**
 * The tunnels that are meant, and their secrets.
 *
 * @param file The file.
 * @param names Names of tunnels and groups; all where there are none.
 * @returns The tunnels in order, and the secrets by their names.
 * @throws {UsageError} For a name that there is not, or a variable that is not set.
 */
export function chosen(
  file: ConfigFile,
  names: readonly string[],
): { tunnels: readonly TunnelConfig[]; secrets: Record<string, TunnelSecrets> } {
  const tunnels = selectTunnels(file, names);
  return {
    tunnels,
    secrets: Object.fromEntries(
      tunnels.map((tunnel) => [tunnel.name, secretsOf(tunnel, process.env)]),
    ),
  };
}

/**
 * Connects to the background process.
 *
 * @returns The client; undefined where there is no such process.
 * @throws {FairleadError} Where it cannot be talked to.
 */
export function background(): Promise<ControlClient | undefined> {
  return connectControl(controlSocketPath());
}

/**
 * The same, where there must be one.
 *
 * @returns The client.
 * @throws {FairleadError} Where no tunnel is up.
 */
export async function needBackground(): Promise<ControlClient> {
  const client = await background();
  if (client !== undefined) return client;
  throw new FairleadError("no tunnel is up", {
    code: "connect-failed",
    hint: "fairlead up brings up those of fairlead.yaml",
  });
}

/**
 * Finds tunnels that are up.
 *
 * @param tunnels Those that are.
 * @param words Names of tunnels and groups.
 * @returns What they mean, in the order of the tunnels; all where nothing is named.
 * @throws {UsageError} For a word that means none.
 */
export function upTunnels(
  tunnels: readonly TunnelStatus[],
  words: readonly string[],
): readonly TunnelStatus[] {
  if (words.length === 0) return tunnels;
  const callings = tunnels.flatMap(({ name, groups }) => [name, ...groups]);
  const unknown = words.find((word) => !callings.includes(word));
  if (unknown === undefined) {
    return tunnels.filter(({ name, groups }) =>
      [name, ...groups].some((one) => words.includes(one))
    );
  }
  const guess = nearest(unknown, callings);
  throw new UsageError(
    `no tunnel and no group ${unknown} is up`,
    guess !== undefined
      ? `did you mean ${guess}?`
      : tunnels.length === 0
      ? "none is up"
      : `up are ${tunnels.map(({ name }) => name).join(", ")}`,
  );
}
