/**
 * The commands of named tunnels, each loaded when it is run: most runs need none of them.
 *
 * @module
 */
import type { Subcommand } from "./subcommand.ts";

/** By their first word. */
export const SUBCOMMANDS: Readonly<Record<string, () => Promise<Subcommand>>> = {
  up: async () => (await import("./up.ts")).runUp,
  down: async () => (await import("./down.ts")).runDown,
  status: async () => (await import("./status.ts")).runStatus,
  logs: async () => (await import("./logs.ts")).runLogs,
  reload: async () => (await import("./reload.ts")).runReload,
  restart: async () => (await import("./restart.ts")).runRestart,
  add: async () => (await import("./add.ts")).runAdd,
  remove: async () => (await import("./remove.ts")).runRemove,
  check: async () => (await import("./check.ts")).runCheck,
  init: async () => (await import("./init.ts")).runInit,
  import: async () => (await import("./import.ts")).runImport,
  schema: async () => (await import("./schema.ts")).runSchema,
};
