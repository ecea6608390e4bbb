/**
 * The options of the commands of named tunnels, for the manual page and for completions: what reads
 * a command line loads the one command alone.
 *
 * @module
 */
import { ADD_RULES } from "./add.ts";
import { CHECK_RULES } from "./check.ts";
import type { OptionText } from "./complete_place.ts";
import { DOWN_RULES } from "./down.ts";
import { IMPORT_RULES } from "./import.ts";
import { INIT_RULES } from "./init.ts";
import { LOGS_RULES } from "./logs.ts";
import { CONFIG_RULE } from "./named.ts";
import { REMOVE_RULES } from "./remove.ts";
import { STATUS_RULES } from "./status.ts";
import { UP_RULES } from "./up.ts";

/** By the first word; those that all of them have (COMMON_RULES) are left out. */
export const SUBCOMMAND_RULES: Readonly<Record<string, readonly OptionText[]>> = {
  up: UP_RULES,
  down: DOWN_RULES,
  status: STATUS_RULES,
  logs: LOGS_RULES,
  reload: [CONFIG_RULE],
  restart: [],
  add: ADD_RULES,
  remove: REMOVE_RULES,
  check: CHECK_RULES,
  init: INIT_RULES,
  import: IMPORT_RULES,
  schema: [],
};
