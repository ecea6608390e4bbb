/**
 * Keywords that are read and not acted on yet: who wrote them is told.
 *
 * @module
 */
import { logger } from "../log.ts";
import type { HostConfig } from "./host_config.ts";
import type { KeywordSettings } from "./settings.ts";
import { isNone } from "./values.ts";

const log = logger("ssh_config");

/** The keywords of the policy `later`, and whether they ask for anything. */
export const LATER: Readonly<Record<string, (settings: KeywordSettings) => boolean>> = {
  ControlMaster: ({ controlMaster = "false" }) => controlMaster !== "false",
  ControlPath: ({ controlPath = "none" }) => !isNone(controlPath),
  ControlPersist: ({ controlPersist = false }) => controlPersist !== false,
};

/**
 * Says which of them are without effect: who asks on the command line means this connection and is
 * warned; a file is meant for other programs as well.
 *
 * @param host The host.
 * @param behind The hosts behind it, for which the same lines have been told.
 */
export function tellLater(host: HostConfig, behind: readonly HostConfig[]): void {
  for (const [keyword, isOn] of Object.entries(LATER)) {
    const place = host.settings.origins.get(keyword);
    if (place === undefined || !isOn(host.settings)) continue;
    if (behind.some(({ settings }) => settings.origins.get(keyword) === place)) continue;
    const words = `${place}: this version reads it and does not act on it yet`;
    if (place.startsWith("-o ")) log.warn(words);
    else log.info(words);
  }
}
