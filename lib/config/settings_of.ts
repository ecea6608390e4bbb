/**
 * From a tunnel of fairlead.yaml to what the reading of ssh_config begins with.
 *
 * @module
 */
import { applyKeyword } from "../ssh_config/keywords.ts";
import { emptySettings, type Settings } from "../ssh_config/settings.ts";
import type { TunnelConfig } from "./tunnel_config.ts";

/**
 * What the file says of a tunnel, as a command line would: it wins over ssh_config.
 *
 * @param config The tunnel.
 * @returns The settings, for readHost(). The forwards that ssh_config has for the host are not
 *   among them: the file says all that the tunnel forwards.
 * @throws {UsageError} When a keyword's value is wrong.
 */
export function settingsOf(config: TunnelConfig): Settings {
  const { session: { hostKeys, ...session }, configFile } = config;
  const settings: Settings = {
    ...emptySettings(),
    host: config.host,
    ...session,
    ...(hostKeys === undefined ? {} : { hostKeys: [...hostKeys] }),
    ...(configFile === undefined ? {} : { configFile }),
  };
  for (const { keyword, words, where } of config.keywords) {
    applyKeyword(settings, keyword, words, where);
  }
  // As with a file, the default identities are not meant.
  if (config.secrets.identities !== undefined) settings.identityFiles ??= [];
  applyKeyword(settings, "ClearAllForwardings", "yes", config.where);
  return settings;
}
