import type { SessionOptions } from "../session/options.ts";
import type { Settings } from "./settings.ts";
export function sessionOptions(s: Settings): SessionOptions {
  const out: Record<string, unknown> = {};
  for (const k of ["wait", "retries", "retryFor", "park", "idleTimeout"] as const) {
    if (s[k] !== undefined) out[k] = s[k];
  }
  if (s.serverAliveInterval !== undefined) {
    out["serverAliveInterval"] = s.serverAliveInterval * 1000;
  }
  if (s.serverAliveCountMax !== undefined) out["serverAliveCountMax"] = s.serverAliveCountMax;
  return out as SessionOptions;
}
