/** What a tunnel of fairlead.yaml connects with. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { readConfig } from "../lib/config/load.ts";
import type { TunnelSecrets } from "../lib/config/tunnel_config.ts";
import { tunnelHost, tunnelOptions } from "../lib/control/open_tunnel.ts";
import type { ConnectOptions } from "../lib/tunnel/tunnel.ts";
import { tempDir } from "./support/tools.ts";

/** The options of the last tunnel of a file, with this ssh_config. */
async function optionsOf(
  sshConfig: string,
  text: string,
  secrets: TunnelSecrets = {},
): Promise<ConnectOptions> {
  await using dir = await tempDir();
  const file = join(dir.path, "ssh_config");
  await writeFile(file, sshConfig, { mode: 0o600 });
  const { tunnels } = readConfig(`version: 1\ndefaults: { sshConfig: ${file} }\n${text}`, {
    ...{ path: "/project/fairlead.yaml", shown: "fairlead.yaml", home: dir.path, environment: {} },
  });
  const config = tunnels.at(-1);
  assert.ok(config !== undefined);
  const { host } = await tunnelHost(config);
  const { signal } = new AbortController();
  return await tunnelOptions(config, host, { secrets, signal });
}

test("a tunnel to lead through wins over a ProxyCommand of ssh_config", async () => {
  const text = "tunnels: { outer: { host: other }, inner: { host: h, jump: outer } }";
  const { proxyCommand, jump } = await optionsOf("Host h\n  ProxyCommand nc %h %p\n", text);
  assert.deepEqual([proxyCommand, jump], [undefined, undefined]);
});

test("two ways to one server are refused", async () => {
  const proxy = "proxy: socks5://127.0.0.1:1";
  const command = optionsOf(
    "Host b\n  ProxyCommand nc %h %p\n",
    `tunnels: { one: { host: h, jump: b, ${proxy} } }`,
  );
  await assert.rejects(command, {
    code: "config-invalid",
    message: /tunnels\.one: proxy and the ProxyCommand of b contradict each other$/,
  });
  const through = optionsOf("", `tunnels: { o: { host: x }, i: { host: h, jump: o, ${proxy} } }`);
  await assert.rejects(through, { code: "config-invalid", hint: "give the proxy to o" });
});

test("the agent of whoever asks is used on the whole way, where no other is named", async () => {
  const way = await optionsOf(
    "Host own\n  IdentityAgent /run/own\n",
    "tunnels: { one: { host: h, jump: [own, plain] } }",
    { agent: "/run/asking" },
  );
  assert.deepEqual(
    [way.host, way.agent, way.jump?.host, way.jump?.agent, way.jump?.jump?.agent],
    ["h", "/run/asking", "plain", "/run/asking", "/run/own"],
  );
});
