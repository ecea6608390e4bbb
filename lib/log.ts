/**
 * One logger for the whole library: silent until the application configures LogTape for the
 * category `fairlead`.
 *
 * @module
 */
import { getLogger, type Logger } from "@logtape/logtape";

/**
 * The logger of one part of fairlead.
 *
 * @param part The part's name, the second word of the category: `ssh`, `forward`, `server`, …
 * @returns A LogTape logger of the category `["fairlead", part]`.
 */
export function logger(part: string): Logger {
  return getLogger(["fairlead", part]);
}
