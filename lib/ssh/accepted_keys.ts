/**
 * The host keys that a session has accepted stay accepted on its later connections, whatever
 * becomes of the known_hosts files meanwhile; and another one is not accepted for being new.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { codeOf, SessionError } from "../errors.ts";
import type { HostKeyVerifier } from "./host_keys.ts";

/** Host keys that were accepted, by the server's name. */
export type AcceptedKeys = Map<string, Buffer>;

/**
 * Adds a session's memory to a verifier.
 *
 * @param verifier Judges a key of a server that this session has not seen before.
 * @param strict The same, but asks nobody and takes no key for being new.
 * @param accepted What was accepted so far; added to.
 * @returns The verifier with a memory.
 */
export function withAcceptedKeys(
  verifier: HostKeyVerifier,
  strict: HostKeyVerifier,
  accepted: AcceptedKeys,
): HostKeyVerifier {
  return {
    preferredAlgorithms: (name) => verifier.preferredAlgorithms(name),

    async verify(name, key, address): Promise<void> {
      const before = accepted.get(name);
      if (before === undefined) await verifier.verify(name, key, address);
      else {
        await strict.verify(name, key, address).catch((error: unknown) => {
          if (codeOf(error) !== "host-key-unknown") throw error;
          if (!before.equals(key)) throw changedMeanwhile(name);
        });
      }
      accepted.set(name, key);
    },

    hasAnother: () => verifier.hasAnother?.() ?? false,
  };
}

function changedMeanwhile(name: string): SessionError {
  return new SessionError(
    `the host key of ${name} has changed: it is not the one that this session began with`,
    {
      code: "host-key-changed",
      hint: "someone may be intercepting the connection; if the change is expected, start anew",
    },
  );
}
