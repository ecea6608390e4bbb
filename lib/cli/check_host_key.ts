/**
 * Whether the host keys of a tunnel's servers are known.
 *
 * @module
 */
import { isLoopback } from "../dialer.ts";
import { entriesOf, hostName, keyTypeLabel } from "../ssh/known_hosts.ts";
import { readKnownHosts } from "../ssh/known_hosts_file.ts";
import type { ConnectOptions } from "../tunnel/tunnel.ts";
import { type Finding, fine, wrong } from "./finding.ts";

/**
 * Looks the servers up, the one that is connected to first before the others.
 *
 * @param options What the tunnel connects with.
 * @param reachable Whether this machine connects to the first server itself.
 * @returns One finding a server.
 */
export async function checkHostKeys(
  options: ConnectOptions,
  reachable: boolean,
): Promise<Finding[]> {
  const hops: ConnectOptions[] = [];
  for (let hop: ConnectOptions | undefined = options; hop !== undefined; hop = hop.jump) {
    hops.unshift(hop);
  }
  return await Promise.all(hops.map((hop, index) => checkOne(hop, reachable && index === 0)));
}

async function checkOne(options: ConnectOptions, reachable: boolean): Promise<Finding> {
  const { host, port = 22, hostKeys, hostKeyAlias: alias } = options;
  const name = alias?.toLowerCase() ?? hostName(host, port);
  const key = `host key of ${name}`;
  if (hostKeys !== undefined) return fine("host-key", `${key} is pinned`);
  if (options.noHostAuthenticationForLocalhost && isLoopback(host)) {
    return fine("host-key", `${key} is not checked (NoHostAuthenticationForLocalhost)`);
  }
  const { userKnownHosts = [], globalKnownHosts = [] } = options;
  const files = [...userKnownHosts, ...globalKnownHosts];
  try {
    const entries = await readKnownHosts(files, new Set());
    // As ssh has it, a line without the port is as good where there is none with it.
    const names = [name, ...(alias === undefined && port !== 22 ? [host.toLowerCase()] : [])];
    const held = names.map((one) =>
      entriesOf(entries, one).filter(({ marker }) => marker !== "revoked")
    ).find((found) => found.length > 0);
    if (held === undefined) return unknown(key, options, userKnownHosts[0], reachable);
    const [{ file, line } = { file: "", line: 0 }] = held;
    const types = [
      ...new Set(
        held.map(({ keyType, marker }) =>
          marker === "cert-authority" ? "by an authority" : keyTypeLabel(keyType)
        ),
      ),
    ];
    return fine("host-key", `${key} is known: ${types.join(", ")} (${file} line ${line})`);
  } catch (error) {
    return wrong("host-key", error, "name another file as knownHosts");
  }
}

function unknown(
  key: string,
  { host, port = 22, strictHostKeyChecking = "ask", prompter }: ConnectOptions,
  file: string | undefined,
  reachable: boolean,
): Finding {
  switch (strictHostKeyChecking) {
    case "accept-new":
      return fine("host-key", `${key} is not known yet: the first one is taken (accept-new)`);
    case "no":
      return fine("host-key", `${key} is not known: any is taken (hostKeyPolicy off)`);
    case "ask":
      if (prompter === undefined) break;
      return fine("host-key", `${key} is not known yet: you will be asked about it`);
  }
  const scan = `ssh-keyscan ${port === 22 ? "" : `-p ${port} `}${host}`;
  const into = file ?? "a known_hosts file";
  return wrong(
    "host-key",
    `${key} is not known`,
    reachable
      // What is added is what was checked: a second scan might find another key.
      ? `\`${scan} >new\`, check what \`ssh-keygen -lf new\` shows with the server's ` +
        `administrator, then \`cat new >>${into}\``
      : `add its line to ${into}, or its fingerprint as hostKey: SHA256:…`,
  );
}
