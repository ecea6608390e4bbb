/**
 * RevokedHostKeys of {@link https://man.openbsd.org/ssh_config.5#RevokedHostKeys | ssh_config(5)}:
 * a file of public keys that no host may show, whatever else is known of them.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { messageOf, SessionError } from "../errors.ts";
import { readCertificate } from "./certificate.ts";
import { listedRevoked, malformed } from "./host_key_errors.ts";
import type { HostKeyVerifier } from "./host_keys.ts";
import { parsePublicKey } from "./known_hosts.ts";
import { readBounded } from "./known_hosts_file.ts";

/** What a key revocation list begins with (OpenSSH's PROTOCOL.krl). */
const KRL_MAGIC = Buffer.from("SSHKRL\n\0");

/**
 * A verifier that refuses the keys of a file before it asks another one. The file is read anew for
 * every key.
 *
 * @param verifier Who judges the keys that the file does not list.
 * @param file The file: one public key a line (`ssh-ed25519 AAAA… comment`), blank lines, and
 *   comments after `#`.
 * @returns The verifier. As in ssh, it refuses every host key when the file cannot be read or
 *   understood: a `config-invalid` names the file and the line.
 */
export function withRevokedKeys(verifier: HostKeyVerifier, file: string): HostKeyVerifier {
  return {
    preferredAlgorithms: (name) => verifier.preferredAlgorithms(name),

    async verify(name: string, key: Buffer, address?: string): Promise<void> {
      const keys = keysIn(name, key);
      const listed = (await readList(file)).find((one) => keys.some((key) => one.key.equals(key)));
      if (listed !== undefined) throw listedRevoked(name, listed.key, file, listed.line);
      await verifier.verify(name, key, address);
    },

    hasAnother: () => verifier.hasAnother?.() ?? false,
  };
}

/** The keys that must not be listed: of a certificate, the host's own and its authority's. */
function keysIn(name: string, shown: Buffer): Buffer[] {
  try {
    const certificate = readCertificate(shown);
    return certificate === undefined ? [shown] : [certificate.key, certificate.authority];
  } catch (cause) {
    throw malformed(name, cause);
  }
}

async function readList(file: string): Promise<{ key: Buffer; line: number }[]> {
  let bytes: Buffer;
  try {
    bytes = await readBounded(file, "-o RevokedHostKeys names the file");
  } catch (error) {
    if (error instanceof SessionError) throw error;
    throw unusable(`cannot read ${file} (RevokedHostKeys): ${messageOf(error)}`);
  }
  if (bytes.subarray(0, KRL_MAGIC.length).equals(KRL_MAGIC)) {
    throw unusable(
      `${file} (RevokedHostKeys) is a key revocation list (KRL), which fairlead does not read`,
      "list the revoked public keys in a text file instead, one a line",
    );
  }
  return bytes.toString().split("\n").flatMap((text, index) => {
    if (/^\s*(?:#|$)/.test(text)) return [];
    try {
      return [{ key: parsePublicKey(text).key, line: index + 1 }];
    } catch (error) {
      throw unusable(`${file}:${index + 1} (RevokedHostKeys): ${messageOf(error)}`);
    }
  });
}

function unusable(
  message: string,
  hint = "no host key is accepted while this file cannot be used: mend it, or do not name it",
): SessionError {
  return new SessionError(message, { code: "config-invalid", hint });
}
