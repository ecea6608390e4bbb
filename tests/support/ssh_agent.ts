/** A real ssh-agent of the test's own. */
import { join } from "node:path";
import type { KeyPair } from "./keys.ts";
import {
  run,
  type RunResult,
  start,
  type Stoppable,
  stoppable,
  tempDir,
  waitFor,
} from "./tools.ts";

/** A running agent. */
export interface Agent extends Stoppable {
  readonly socket: string;
  /** Runs ssh-add with these arguments. */
  add(...args: string[]): Promise<RunResult>;
}

/** Starts a real ssh-agent that holds these keys, and the certificates beside them. */
export async function startAgent(keys: readonly KeyPair[] = []): Promise<Agent> {
  const folder = await tempDir();
  const socket = join(folder.path, "agent");
  const program = start("ssh-agent", ["-D", "-a", socket]);
  const env = { SSH_AUTH_SOCK: socket };
  const add = (...args: string[]) => run("ssh-add", args, { env });
  await waitFor(async () => (await add("-l")).status !== 2);
  for (const { path } of keys) {
    const { status, stderr } = await add("-q", path);
    if (status !== 0) throw new Error(`ssh-add: ${stderr}`);
  }
  return stoppable({ socket, add }, async () => {
    await program.stop();
    await folder.stop();
  });
}
