/**
 * Which keys are offered, and in which order.
 *
 * @module
 */
import { homedir } from "node:os";
import { join } from "node:path";
import { adviceOf } from "../errors.ts";
import { logger } from "../log.ts";
import { agentIdentities, agentSocket } from "./agent.ts";
import { checkedIdentity, namedCertificates, ownCertificate } from "./certificates.ts";
import {
  fileIdentity,
  heldIdentity,
  type Identity,
  isMissingFile,
  textIdentity,
  type Unlock,
} from "./keys.ts";

const log = logger("ssh");

/** ssh's default identities (ssh_config(5), IdentityFile), as far as anybody still uses them. */
const DEFAULT_FILES = ["id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"];

/** A private key as text, and what to call it. */
export interface NamedKey {
  /** What messages call it, such as `env:DEPLOY_KEY`. */
  readonly name: string;
  /** The key. */
  readonly text: string;
}

/** Where a user's keys may be. */
export interface IdentitySources extends Unlock {
  /** Private key files; the default identities of `~/.ssh` where missing. */
  readonly files?: readonly string[] | undefined;
  /** Private keys as text. */
  readonly texts?: readonly (string | NamedKey)[] | undefined;
  /** Certificate files; `KEY-cert.pub` beside each key where there are none. */
  readonly certificates?: readonly string[] | undefined;
  /** Whether an agent's other keys are left out (IdentitiesOnly of ssh_config(5)). */
  readonly only?: boolean | undefined;
  /** The agent, as IdentityAgent of ssh_config(5) says it. */
  readonly agent?: string | undefined;
  /** Gives every request to the agent up. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Collects a user's keys in ssh's order: the certificates that were named, keys in the agent that
 * were also named, the agent's others, then the rest of those named.
 *
 * @param sources Where to look.
 * @returns The keys, each once.
 * @throws {SessionError} `identity-unreadable` for a key given as text that cannot be read. A file
 *   that was named and cannot be used is passed over with a warning, as ssh does.
 */
export async function gatherIdentities(sources: IdentitySources): Promise<Identity[]> {
  const texts = (sources.texts ?? []).map((given, index) => {
    const { name, text } = typeof given === "string"
      ? { name: `private key ${index + 1}`, text: given }
      : given;
    return textIdentity(name, text, sources);
  });
  const socket = agentSocket(sources.agent);
  const held = socket === undefined ? [] : await agentIdentities(socket, sources.signal);
  const named = [...texts, ...await fromFiles(sources, held)];
  // Any key of the agent may sign for a certificate that was named: it is not offered itself.
  const certificates = await namedCertificates(sources.certificates ?? [], [...held, ...named]);
  const agent = held.map(checkedIdentity);
  const inBoth = agent.filter((identity) => holds(named, identity));
  const others = sources.only ? [] : agent.filter((identity) => !holds(named, identity));
  const rest = named.filter((identity) => !holds(held, identity) && canSign(identity, sources));
  return unique([...certificates, ...inBoth, ...others, ...rest]);
}

async function fromFiles(
  sources: IdentitySources,
  held: readonly Identity[],
): Promise<Identity[]> {
  const { files, certificates = [] } = sources;
  const paths = files ?? DEFAULT_FILES.map((name) => join(homedir(), ".ssh", name));
  const found: Identity[] = [];
  for (const path of paths) {
    const identity = await fileIdentity(path, sources).catch(async (error) => {
      if (files === undefined && isMissingFile(error)) return undefined;
      const agents = await heldIdentity(path, held);
      if (agents === undefined) log.warn("{reason}", { reason: adviceOf(error) });
      return agents;
    });
    if (identity === undefined) continue;
    found.push(identity);
    // As for ssh, naming a certificate takes the place of looking for one.
    if (certificates.length > 0) continue;
    const certificate = await ownCertificate(path, identity, held);
    if (certificate !== undefined) found.push(certificate);
  }
  return found;
}

function canSign({ name, needsAgent }: Identity, { files }: IdentitySources): boolean {
  if (needsAgent === undefined) return true;
  const reason = `identity ${name} ${needsAgent}, and no agent holds it; ssh-add can add it to one`;
  if (files === undefined) log.debug("{reason}", { reason });
  else log.warn("{reason}", { reason });
  return false;
}

function unique(identities: readonly Identity[]): Identity[] {
  return identities.filter((identity, index) => !holds(identities.slice(0, index), identity));
}

function holds(identities: readonly Identity[], wanted: Identity): boolean {
  const blob = wanted.publicBlob;
  return blob !== undefined && identities.some((identity) => identity.publicBlob?.equals(blob));
}
