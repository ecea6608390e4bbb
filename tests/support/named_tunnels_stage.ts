/** A project with a fairlead.yaml, and a user whose background process is the test's own. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Status, TunnelStatus } from "../../lib/control/status.ts";
import { fairlead } from "./fairlead.ts";
import { emptyHome, type Home } from "./home.ts";
import { defaultsFor } from "./named_tunnels.ts";
import type { Reach } from "./ssh_server.ts";
import { type RunResult, signalProcess, type Stoppable, stoppable, waitFor } from "./tools.ts";

/** The project's folder is the home. */
export interface Stage extends Stoppable {
  readonly home: Home;
  /** Writes fairlead.yaml; `text` begins with `tunnels:`. */
  write(text: string): void;
  /** Runs the command line in the project's folder. */
  run(...args: string[]): Promise<RunResult>;
  /** What `status --json` shows. */
  status(): Promise<Partial<Status> & Pick<Status, "tunnels">>;
}

/** Sets it up; `stop()` ends what the background process still holds, by its process id. */
export async function namedTunnelsStage(server: Reach): Promise<Stage> {
  const own = await emptyHome();
  const [runtime, state] = [join(own.path, "run"), join(own.path, "state")];
  for (const folder of [runtime, state]) mkdirSync(folder, { mode: 0o700 });
  const env = {
    ...own.env,
    XDG_RUNTIME_DIR: runtime,
    XDG_STATE_HOME: state,
    XDG_CONFIG_HOME: join(own.path, "config"),
  };
  const home = Object.assign(own, { env });
  const run = (...args: string[]) => fairlead(args, { cwd: home.path, env });
  const status = async () => {
    const { status, stdout, stderr } = await run("status", "--json");
    if (status !== 0) throw new Error(`status: ${stderr}`);
    return JSON.parse(stdout);
  };
  return stoppable<Omit<Stage, keyof Stoppable>>({
    home,
    write: (text) =>
      writeFileSync(join(home.path, "fairlead.yaml"), defaultsFor(server) + text, { mode: 0o600 }),
    run,
    status,
  }, async () => {
    const { pid } = await status();
    await run("down", "--all", "--force");
    if (pid !== undefined) {
      await waitFor(() => !existsSync(`/proc/${pid}`), {
        timeout: 5_000,
        what: "the end of the background process",
      }).catch(() => signalProcess(pid, "SIGKILL"));
    }
    await home.stop();
  });
}

/** The port where a forward of a tunnel listens. */
export function portOf(tunnels: readonly TunnelStatus[], name: string, index = 0): number {
  const address = tunnels.find((tunnel) => tunnel.name === name)?.forwards[index]?.addresses[0];
  if (address === undefined || !("port" in address)) {
    throw new Error(`forward ${index} of ${name} listens nowhere`);
  }
  return address.port;
}
