/**
 * The names of tunnels and groups that a user may mean.
 *
 * @module
 */
import { homedir } from "node:os";
import process from "node:process";
import { loadConfig } from "../config/load.ts";

/** A name, and what it is of. */
export interface TunnelName {
  readonly text: string;
  readonly help: string;
}

/**
 * The names of a fairlead.yaml, each once.
 *
 * @param file What --config names; the nearest one where it was not given.
 * @returns Nothing where there is no file, or a broken one: a Tab key is no place to say so.
 */
export function tunnelNames(file: string | undefined): TunnelName[] {
  try {
    const surroundings = { file, cwd: process.cwd(), home: homedir(), environment: process.env };
    const { tunnels } = loadConfig(surroundings);
    const groups = new Set(tunnels.flatMap((tunnel) => tunnel.groups));
    return [
      ...tunnels.map(({ name }) => ({ text: name, help: "a tunnel of fairlead.yaml" })),
      ...[...groups].filter((group) => tunnels.every(({ name }) => name !== group))
        .map((text) => ({ text, help: "a group of fairlead.yaml" })),
    ];
  } catch {
    return [];
  }
}
