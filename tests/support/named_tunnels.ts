/** Tunnels of a fairlead.yaml that leads to a server of the tests. */
import type { TunnelConfig } from "../../lib/config/tunnel_config.ts";
import { readConfig } from "../../lib/config/load.ts";
import type { Reach } from "./ssh_server.ts";

/** The `defaults` of a fairlead.yaml whose tunnels lead to a server, indented as they are. */
export function defaultsFor(server: Reach): string {
  return [
    "version: 1",
    "defaults:",
    `  user: ${server.user}`,
    `  port: ${server.port}`,
    `  identity: ${server.identity}`,
    `  knownHosts: ${server.knownHosts}`,
    "  hostKeyPolicy: strict",
    "  agent: none",
    "  sshConfig: none",
    "  options: { GlobalKnownHostsFile: none, BatchMode: true }",
    "",
  ].join("\n");
}

/** The tunnels of such a file; `text` begins with `tunnels:`. */
export function tunnelsOf(
  server: Reach,
  text: string,
  file = "/project/fairlead.yaml",
): readonly TunnelConfig[] {
  return readConfig(defaultsFor(server) + text, {
    ...{ path: file, shown: "fairlead.yaml", home: "/home/nobody", environment: {} },
  }).tunnels;
}
