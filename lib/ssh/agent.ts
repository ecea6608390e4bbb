/**
 * The keys of an ssh-agent, and where it is.
 *
 * @module
 */
import process from "node:process";
import { messageOf, SessionError } from "../errors.ts";
import { logger } from "../log.ts";
import { missingPermission } from "../runtime.ts";
import { type AgentKey, listAgentKeys, signWithAgent } from "./agent_client.ts";
import type { Identity } from "./keys.ts";
import { printable } from "./reasons.ts";

const log = logger("ssh");

/** The variable that says where the agent is. */
const VARIABLE = "SSH_AUTH_SOCK";
/** Where OpenSSH's agent is on Windows, which sets no variable. */
const WINDOWS_PIPE = "//./pipe/openssh-ssh-agent";

/** Where an agent is. */
export interface AgentSocket {
  /** Its Unix socket, or its named pipe on Windows. */
  readonly path: string;
  /** Whether the user named this one; an agent that is only usual need not be there. */
  readonly named: boolean;
}

/**
 * Where the agent is, as IdentityAgent of ssh_config(5) says it.
 *
 * @param given A path, `none`, `SSH_AUTH_SOCK`, or `$` and the name of a variable; the same as
 *   `SSH_AUTH_SOCK` where missing.
 * @param env The environment.
 * @param platform The system, as Node names it.
 * @returns undefined for no agent.
 */
export function agentSocket(
  given: string | undefined,
  env: Readonly<Record<string, string | undefined>> = process.env,
  platform: string = process.platform,
): AgentSocket | undefined {
  if (given?.toLowerCase() === "none") return undefined;
  if (given !== undefined && given !== VARIABLE && !given.startsWith("$")) {
    return { path: given, named: true };
  }
  const variable = given?.startsWith("$") ? given.replace(/^\$\{?|\}$/g, "") : VARIABLE;
  const path = env[variable] ?? "";
  // A variable that somebody's login has left behind is no wish of theirs.
  if (path !== "") return { path, named: given?.startsWith("$") === true };
  if (variable !== VARIABLE || platform !== "win32") return undefined;
  return { path: WINDOWS_PIPE, named: false };
}

/**
 * The identities that an agent holds.
 *
 * @param socket Where it is.
 * @param signal Gives every request to it up.
 * @returns One identity a key; none when the agent does not answer, with a logged
 *   warning where it was named.
 */
export async function agentIdentities(
  socket: AgentSocket,
  signal?: AbortSignal,
): Promise<Identity[]> {
  try {
    const keys = await listAgentKeys(socket.path, { signal });
    return keys.map((key, index) => agentIdentity(socket.path, key, index, signal));
  } catch (error) {
    // Who gave it up wants to hear no more of it.
    if (signal?.aborted) return [];
    const said = { path: socket.path, reason: messageOf(error) };
    const wanted = socket.named || missingPermission(error) !== undefined;
    log[wanted ? "warn" : "info"]("the agent at {path} gives no keys: {reason}", said);
    return [];
  }
}

function agentIdentity(
  socketPath: string,
  { blob, comment }: AgentKey,
  index: number,
  signal: AbortSignal | undefined,
): Identity {
  const name = `${printable(comment) || `agent key ${index + 1}`} (agent)`;
  return {
    name,
    publicBlob: blob,
    publicKey: () => Promise.resolve(blob),
    sign: async (data, algorithm, binding) => {
      try {
        return await signWithAgent(socketPath, blob, data, algorithm, {
          signal,
          binding,
        });
      } catch (error) {
        throw new SessionError(`the agent did not sign with ${name}: ${messageOf(error)}`, {
          code: "agent-failed",
          cause: error,
        });
      }
    },
  };
}
