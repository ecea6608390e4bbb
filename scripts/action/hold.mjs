// @ts-check
/**
 * The command that `fairlead with` runs for an action: it says where the forwards listen, and
 * waits until it is told to stop.
 *
 *     node hold.mjs FOLDER
 *
 * @module
 */
import { existsSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { runs } from "./processes.mjs";

/** Milliseconds between two looks. */
const PAUSE = 200;

const [, , folder = "."] = process.argv;
const parent = process.ppid;

const variables = Object.entries(process.env).filter(([name]) =>
  /^FAIRLEAD_(?:PORT(?:_\d+)?|\w+_(?:HOST|PORT))$/.test(name)
);
const part = join(folder, "up.part");
writeFileSync(part, JSON.stringify(Object.fromEntries(variables)));
// Whoever waits for the file sees all of it.
renameSync(part, join(folder, "up.json"));

setInterval(() => {
  if (existsSync(join(folder, "stop"))) process.exit(0);
  // Nothing is held any more; a folder that is gone has nobody who would come for us.
  if (process.ppid !== parent || !runs(parent) || !existsSync(folder)) process.exit(1);
}, PAUSE);
