/** What every test of a fault needs: a server, a path to it that can fail, and an echo behind it. */
import { appendFile, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TunnelOptions } from "../../lib/tunnel/tunnel.ts";
import { connectOptions } from "./fairlead.ts";
import { type FaultyPath, faultyPath } from "./faulty_path.ts";
import { knownHostsLine, makeKey } from "./keys.ts";
import { type SshdOptions, startSshd } from "./sshd.ts";
import type { Reach, SshServer } from "./ssh_server.ts";
import { echoServer, type Peer } from "./tcp.ts";
import { type Stoppable, stoppable } from "./tools.ts";

/** A server, a path to it, and an echo. */
export interface FaultStage extends Stoppable {
  readonly sshd: SshServer;
  readonly path: FaultyPath;
  readonly echo: Peer;
  /**
   * The server as it is reached over the path. While it is down, the path takes connections and
   * hangs up: where a server goes down, reach it directly, as `sshd`.
   */
  readonly reach: Reach;
  /** The same for the library. */
  readonly options: TunnelOptions;
  /** The destination of every forward: the echo. */
  readonly to: string;
  /** Stops the server with all that serves connections, without ending anything. */
  freeze(): void;
  /** Lets it go on. */
  thaw(): void;
  /** Has the server accept no key from now on, until the function that it returns is called. */
  forgetKeys(): Promise<() => Promise<void>>;
  /** Gives the server another host key, which it has when it is started the next time. */
  changeHostKey(): Promise<void>;
}

/** Starts all of it. */
export async function faultStage(options: SshdOptions = {}): Promise<FaultStage> {
  await using parts = new AsyncDisposableStack();
  const sshd = parts.use(await startSshd(options));
  const path = parts.use(await faultyPath(sshd));
  const echo = parts.use(await echoServer());
  const { host, port } = path;
  const { user, identity, knownHosts } = sshd;
  const lines = sshd.hostKeys.map((key) => `${knownHostsLine(host, port, key.publicLine)}\n`);
  await appendFile(knownHosts, lines.join(""));
  const reach = { host, port, user, identity, knownHosts };
  const all = parts.move();
  return stoppable<Omit<FaultStage, keyof Stoppable>>({
    sshd,
    path,
    echo,
    reach,
    options: connectOptions(reach),
    to: `127.0.0.1:${echo.port}`,
    freeze: () => {
      sshd.kill("SIGSTOP");
      sshd.signalSessions("SIGSTOP");
    },
    thaw: () => {
      sshd.signalSessions("SIGCONT");
      sshd.kill("SIGCONT");
    },
    forgetKeys: async () => {
      const file = join(sshd.dir, "authorized_keys");
      await rename(file, `${file}.away`);
      return () => rename(`${file}.away`, file);
    },
    changeHostKey: async () => {
      const [key] = sshd.hostKeys;
      if (key === undefined) throw new Error("the server has no host key");
      const other = await makeKey(sshd.dir, { type: key.type, name: "host_other" });
      await writeFile(key.path, await readFile(other.path));
      await rm(`${key.path}.pub`, { force: true });
    },
  }, () => all.disposeAsync());
}
