/**
 * Which keys are offered, and in which order.
 *
 * @module
 */
import { homedir } from "node:os";
import { join } from "node:path";
import { adviceOf } from "../errors.ts";
import { logger } from "../log.ts";
import { agentIdentities } from "./agent.ts";
import { fileIdentity, type Identity, isMissingFile, textIdentity } from "./keys.ts";
import type { Prompter } from "./prompter.ts";

const log = logger("ssh");

/** ssh's default identities (ssh_config(5), IdentityFile), as far as ssh2 can use them. */
const DEFAULT_FILES = ["id_rsa", "id_ecdsa", "id_ed25519"];

/** Where a user's keys may be. */
export interface IdentitySources {
  /** Private key files; the default identities of `~/.ssh` where missing. */
  readonly files?: readonly string[] | undefined;
  /** Private keys as text. */
  readonly texts?: readonly string[] | undefined;
  /** Whether an agent's other keys are left out (IdentitiesOnly of ssh_config(5)). */
  readonly only?: boolean | undefined;
  /** The agent's socket; missing or `none` for no agent. */
  readonly agent?: string | undefined;
  /** Asks for passphrases. */
  readonly prompter?: Prompter | undefined;
}

/**
 * Collects a user's keys in ssh's order: those in the agent that were also named, the agent's
 * others, then the rest of those named.
 *
 * @param sources Where to look.
 * @returns The keys, each once.
 * @throws {SessionError} `identity-unreadable` for a key given as text that cannot be read. A file
 *   that was named and cannot be used is passed over with a warning, as ssh does.
 */
export async function gatherIdentities(sources: IdentitySources): Promise<Identity[]> {
  const texts = (sources.texts ?? []).map((text, index) =>
    textIdentity(`private key ${index + 1}`, text)
  );
  const named = [...texts, ...await fromFiles(sources)];
  const agent = sources.agent === undefined || sources.agent === "none"
    ? []
    : await agentIdentities(sources.agent);
  const inBoth = agent.filter((identity) => holds(named, identity));
  const others = sources.only ? [] : agent.filter((identity) => !holds(named, identity));
  const rest = named.filter((identity) => !holds(agent, identity));
  return [...inBoth, ...others, ...rest];
}

async function fromFiles({ files, prompter }: IdentitySources): Promise<Identity[]> {
  const paths = files ?? DEFAULT_FILES.map((name) => join(homedir(), ".ssh", name));
  const found: Identity[] = [];
  for (const path of paths) {
    try {
      found.push(await fileIdentity(path, prompter));
    } catch (error) {
      if (files === undefined && isMissingFile(error)) continue;
      log.warn("{reason}", { reason: adviceOf(error) });
    }
  }
  return found;
}

function holds(identities: readonly Identity[], wanted: Identity): boolean {
  const blob = wanted.publicBlob;
  return blob !== undefined && identities.some((identity) => identity.publicBlob?.equals(blob));
}
