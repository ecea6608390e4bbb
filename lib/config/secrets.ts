/**
 * The values of `env:NAME`, which travel apart from all else.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import type { TunnelConfig, TunnelSecrets } from "./tunnel_config.ts";

/**
 * Looks a tunnel's secrets up, and the agent of whoever asks for it.
 *
 * @param config The tunnel.
 * @param environment The variables.
 * @returns Their values.
 * @throws {UsageError} Where one is not set.
 */
export function secretsOf(
  { secrets, where }: TunnelConfig,
  environment: Readonly<Record<string, string | undefined>>,
): TunnelSecrets {
  const { password, passphrase, identities } = secrets;
  const read = (name: string): string => {
    const value = environment[name];
    if (value !== undefined) return value;
    throw new UsageError(`${where}: the variable ${name} is not set`, undefined, "config-invalid");
  };
  const { SSH_AUTH_SOCK: agent = "" } = environment;
  return {
    ...(password === undefined ? {} : { password: read(password) }),
    ...(passphrase === undefined ? {} : { passphrase: read(passphrase) }),
    ...(identities === undefined ? {} : {
      privateKeys: identities.map((name) => ({ name: `env:${name}`, text: read(name) })),
    }),
    ...(agent === "" ? {} : { agent }),
  };
}
