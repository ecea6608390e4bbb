/**
 * ProxyJump: the servers on the way to a host, each with what is configured for it.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import type { ConnectOptions } from "../ssh/connect_options.ts";
import { type Company, hostOptions } from "./connect_options.ts";
import { expanded, type HostConfig, readHost } from "./host_config.ts";
import { type JumpSpec, MOST_HOPS, parseJump } from "./jump_spec.ts";
import { emptySettings, type Settings } from "./settings.ts";
import { expandTokens, PROXY_TOKENS } from "./tokens.ts";
import { isNone } from "./values.ts";

/**
 * The options for a host, and for the servers that lead to it. As in ssh, nothing of the command
 * line is meant for those but `-F`; a ProxyJump of their own counts only for the first one.
 *
 * @param host The host, read by readHost().
 * @param company Whom to ask, and what may end it.
 * @param behind The hosts behind this one, to find a loop.
 * @returns What connect() takes, with the server that leads there in `jump`.
 * @throws {UsageError} When a file of a jump host is wrong, or the way leads back to where it was.
 */
export async function connectOptions(
  host: HostConfig,
  company: Company = {},
  behind: readonly HostConfig[] = [],
): Promise<ConnectOptions> {
  const options = await hostOptions(host, company);
  const jump = await jumpHost(host, company, behind);
  if (jump === undefined) return options;
  return { ...options, jump: await connectOptions(jump, company, [...behind, host]) };
}

async function jumpHost(
  host: HostConfig,
  company: Company,
  behind: readonly HostConfig[],
): Promise<HostConfig | undefined> {
  const { proxyJump = "none", configFile } = host.settings;
  if (isNone(proxyJump)) return undefined;
  const list = expanded(host.settings, "ProxyJump", () => {
    return expandTokens(proxyJump, host.tokens, PROXY_TOKENS);
  });
  const hops = expanded(host.settings, "ProxyJump", () => parseJump(list));
  const hop = hops.at(-1) as JumpSpec;
  const settings = settingsOf(hop, configFile);
  if (hops.length > 1) {
    settings.proxyJump = list.slice(0, list.lastIndexOf(",")).replaceAll("%", "%%");
    settings.proxyCommand = "none";
  }
  const jump = await readHost(settings, { signal: company.signal });
  const way = [...behind, host];
  // The same name can be another server on the other side of a jump host: what leads on and on is
  // told by its length, as long as it does not go straight to itself.
  if (way.length > MOST_HOPS || isItself(hop, host)) {
    throw new UsageError(
      `the way to ${way[0]?.name} leads through ${jump.name} again and again`,
      `-J none, or ProxyJump none for ${jump.settings.host}, ends the loop`,
      host.settings.origins.get("ProxyJump")?.startsWith("-") ? "usage" : "config-invalid",
    );
  }
  return jump;
}

function settingsOf({ host, user, port }: JumpSpec, configFile: string | undefined): Settings {
  return {
    ...emptySettings(),
    host,
    ...(user === undefined ? {} : { user }),
    ...(port === undefined ? {} : { port }),
    ...(configFile === undefined ? {} : { configFile }),
  };
}

/** As ssh has it: what is written for the jump host is what its own host comes to. */
function isItself(hop: JumpSpec, { name, port, user }: HostConfig): boolean {
  return hop.host === name && (hop.port ?? 22) === port && (hop.user ?? user) === user;
}
