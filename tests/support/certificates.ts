/** An authority that signs certificates, with the real `ssh-keygen`. */
import { rename } from "node:fs/promises";
import { type KeyPair, makeKey } from "./keys.ts";
import { need, run } from "./tools.ts";

/** What a certificate says. */
export interface CertificateOptions {
  /** Default: the user alone. */
  principals?: readonly string[];
  /** As `ssh-keygen -V` takes it, such as `-2h:-1h`. */
  validity?: string;
  /** Whether it is a host's. */
  host?: boolean;
  /** Where it goes; by default beside the key, as `KEY-cert.pub`. */
  path?: string;
}

/** A certificate authority. */
export interface Authority {
  readonly key: KeyPair;
  /** Signs a public key's file; returns the certificate's path. */
  certify(publicPath: string, user: string, options?: CertificateOptions): Promise<string>;
}

/** Makes an authority whose key is in a folder. */
export async function makeAuthority(folder: string): Promise<Authority> {
  const key = await makeKey(folder, { comment: "authority" });
  return {
    key,
    certify: async (publicPath, user, options = {}) => {
      const { principals = [user], validity, host, path } = options;
      const { status, stderr } = await run(need("ssh-keygen"), [
        ...["-q", "-s", key.path, "-I", "fairlead test", "-n", principals.join(",")],
        ...(validity === undefined ? [] : ["-V", validity]),
        ...(host ? ["-h"] : []),
        publicPath,
      ]);
      if (status !== 0) throw new Error(`ssh-keygen -s: ${stderr}`);
      const made = publicPath.replace(/\.pub$/, "-cert.pub");
      if (path === undefined) return made;
      await rename(made, path);
      return path;
    },
  };
}

/** The lines of sshd_config by which only certificates of the authority let a user in. */
export function onlyCertificates(authority: Authority): string[] {
  return [`TrustedUserCAKeys ${authority.key.publicPath}`, "AuthorizedKeysFile none"];
}
