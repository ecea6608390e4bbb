/**
 * RequiredRSASize of {@link https://man.openbsd.org/ssh_config.5#RequiredRSASize | ssh_config(5)},
 * as far as it is about host keys.
 *
 * @module
 */
import { SessionError } from "../errors.ts";
import { readCertificate } from "./certificate.ts";
import { malformed } from "./host_key_errors.ts";
import type { HostKeyVerifier } from "./host_keys.ts";
import { rsaBits } from "./key_algorithms.ts";

/**
 * A verifier that refuses RSA keys which are too short, before it asks another one.
 *
 * @param verifier Who judges all other keys.
 * @param least Bits of the smallest RSA key.
 * @returns The verifier; it rejects with `algorithm-mismatch`.
 */
export function withRsaSize(verifier: HostKeyVerifier, least: number): HostKeyVerifier {
  return {
    preferredAlgorithms: (name) => verifier.preferredAlgorithms(name),

    async verify(name, key, address): Promise<void> {
      const bits = bitsOf(name, key);
      if (bits !== undefined && bits < least) {
        throw new SessionError(
          `the host key of ${name} is an RSA key of ${bits} bits, fewer than ${least}`,
          {
            code: "algorithm-mismatch",
            hint: "the server needs a longer key or one of another type; -o RequiredRSASize " +
              "says how short one may be",
          },
        );
      }
      await verifier.verify(name, key, address);
    },

    hasAnother: () => verifier.hasAnother?.() ?? false,
  };
}

function bitsOf(name: string, key: Parameters<HostKeyVerifier["verify"]>[1]): number | undefined {
  try {
    return rsaBits(readCertificate(key)?.key ?? key);
  } catch (cause) {
    throw malformed(name, cause);
  }
}
