/** Real servers behind each other, each with a user and keys of its own. */
import { readFileSync } from "node:fs";
import type { ConnectOptions } from "../../mod.ts";
import { skipUnlessAccounts } from "./accounts.ts";
import { scriptCommand } from "./fairlead.ts";
import type { SshServer } from "./ssh_server.ts";
import { type SshdOptions, startSshd } from "./sshd.ts";
import { skipUnless, start, type Stoppable, stoppable, waitFor } from "./tools.ts";

/** For node:test. */
export function skipUnlessHops(): { skip?: string } {
  const programs = skipUnless("sshd", "ssh-keygen");
  return programs.skip === undefined ? skipUnlessAccounts() : programs;
}

/** One server for each user; which stand behind which is up to the client. */
export async function startHops(
  users: readonly string[],
  options: SshdOptions = {},
): Promise<{ servers: SshServer[] } & Stoppable> {
  const servers: SshServer[] = [];
  const stop = async () => {
    await Promise.all(servers.map((server) => server.stop()));
  };
  try {
    for (const user of users) servers.push(await startSshd({ ...options, user }));
  } catch (error) {
    await stop();
    throw error;
  }
  return stoppable({ servers }, stop);
}

/** How a server is reached with nothing but what belongs to it. */
export function optionsFor(server: SshServer): ConnectOptions {
  return {
    host: server.host,
    port: server.port,
    username: server.user,
    identityFiles: [server.identity],
    identitiesOnly: true,
    agent: "none",
    userKnownHosts: [server.knownHosts],
    globalKnownHosts: [],
    strictHostKeyChecking: "yes",
  };
}

/**
 * The way through servers to the last of them.
 *
 * @param servers In the order to connect to them.
 * @param change More options for one of them, by its place.
 */
export function through(
  servers: readonly SshServer[],
  change: Record<number, Partial<ConnectOptions>> = {},
): ConnectOptions {
  const options = servers.map((server, index) => ({ ...optionsFor(server), ...change[index] }));
  return options.reduce((jump, next) => ({ ...next, jump }));
}

/** A process of its own that forwards, so that its memory can be measured. */
export async function forwardInChild(
  options: ConnectOptions,
  peers: readonly { host: string; port: number }[],
) {
  const [program, args] = scriptCommand("tests/support/fixtures/forward_through.ts");
  const child = start(program, [
    ...args,
    JSON.stringify(options),
    ...peers.map(({ host, port }) => `${host}:${port}`),
  ]);
  await waitFor(() => /\n/.test(child.stdout()) || !child.running(), { timeout: 20_000 });
  if (!child.running()) throw new Error(child.stderr());
  const memory = () => {
    return Number(readFileSync(`/proc/${child.pid}/statm`, "utf8").split(" ")[1]) * 4096;
  };
  return Object.assign(child, { ports: child.stdout().trim().split(" ").map(Number), memory });
}
