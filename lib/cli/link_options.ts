/**
 * What the command line says about a link that is lost: --wait, --retry, --retry-for, --park and
 * --idle-timeout.
 *
 * @module
 */
import { messageOf, UsageError } from "../errors.ts";
import type { Settings } from "../ssh_config/settings.ts";
import { seconds, wholeNumber } from "../ssh_config/values.ts";

/** One of those options. */
export interface LinkOption {
  /** As commander reads them: `--retry <n>`. */
  readonly flags: string;
  /** The line in --help. */
  readonly help: string;
  /** Keeps what was said; the first value counts, as everywhere in ssh. */
  readonly apply: (settings: Settings, value: string) => void;
}

const MOST_RETRIES = 1_000_000_000;

/** All of them, in the order of --help. */
export const LINK_OPTIONS: readonly LinkOption[] = [
  {
    flags: "--wait",
    help: "try the first connection again, too, as a lost one is",
    apply: (settings) => {
      settings.wait = true;
    },
  },
  {
    flags: "--retry <n>",
    help: "tries for a lost connection (no limit; 0 for none)",
    apply: (settings, value) => {
      settings.retries ??= read("--retry", value, wholeNumber(0, MOST_RETRIES));
    },
  },
  {
    flags: "--retry-for <time>",
    help: "the same as a time, such as 90, 5m or 1h30m",
    apply: (settings, value) => {
      settings.retryFor ??= readTime("--retry-for", value);
    },
  },
  {
    flags: "--park <time>",
    help: "how long callers wait for a lost connection (30s)",
    apply: (settings, value) => {
      settings.park ??= readTime("--park", value);
    },
  },
  {
    flags: "--idle-timeout <time>",
    help: "end after this time without a forwarded connection",
    apply: (settings, value) => {
      const time = readTime("--idle-timeout", value);
      if (time === 0) throw new UsageError("--idle-timeout 0: leave it out for no limit");
      settings.idleTimeout ??= time;
    },
  },
];

/**
 * Reads a time of the command line (sshd_config(5), TIME FORMATS).
 *
 * @param option The option it belongs to, for the message.
 * @param value What was given.
 * @returns Milliseconds.
 * @throws {UsageError} When it is no time.
 */
export function readTime(option: string, value: string): number {
  return 1_000 * read(option, value, seconds);
}

function read<T>(option: string, value: string, reader: (value: string) => T): T {
  try {
    return reader(value);
  } catch (error) {
    throw new UsageError(`${option} ${value}: ${messageOf(error)}`);
  }
}
