/** A real dropbear, the small SSH server of routers, on a free loopback port. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { skipUnlessAccounts } from "./accounts.ts";
import type { KeyPair, KeyType } from "./keys.ts";
import { type SshServer, startSshServer } from "./ssh_server.ts";
import { need, run, skipUnless } from "./tools.ts";

/** What a dropbear for a test is to be. */
export interface DropbearOptions {
  /** More arguments, such as `-j` (no local forwarding) or `-W 100000`. */
  args?: string[];
  /** More lines of authorized_keys; the key `identity` is accepted anyway. */
  authorizedKeys?: string[];
  /** Options before the line of `identity`. */
  identityOptions?: string;
  /** Default: ed25519 alone. */
  hostKeyTypes?: KeyType[];
  address?: string;
  port?: number;
  /** Accepts this password too; only where tests run as root. */
  password?: string;
}

/** For node:test: why dropbear cannot be tested here, if so. */
export function skipUnlessDropbear(): { skip?: string } {
  const { skip } = skipUnless("dropbear", "dropbearkey", "ssh-keygen");
  return skip === undefined ? skipUnlessAccounts() : { skip };
}

/** Starts dropbear; it accepts connections when the promise is fulfilled. */
export async function startDropbear(options: DropbearOptions = {}): Promise<SshServer> {
  const { address = "127.0.0.1", hostKeyTypes = ["ed25519"], args = [], password } = options;
  const program = need("dropbear");
  return await startSshServer({
    ...options,
    address,
    name: "dropbear",
    // It reads ~/.ssh/authorized_keys and nothing else, so its ~ must be elsewhere.
    ownAccounts: true,
    authorizedKeysFile: (dir) => join(dir, ".ssh", "authorized_keys"),
    makeHostKeys: (dir) => Promise.all(hostKeyTypes.map((type) => makeDropbearKey(dir, type))),
    listening: /Not backgrounding/,
    command: ({ dir, port, hostKeys }) =>
      Promise.resolve([
        program,
        ...[
          "-F",
          "-E",
          "-m",
          "-p",
          address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`,
        ],
        ...["-P", join(dir, "dropbear.pid")],
        ...(password === undefined ? ["-s"] : []),
        ...hostKeys.flatMap((key) => ["-r", key.path]),
        ...args,
      ]),
  });
}

async function makeDropbearKey(dir: string, type: KeyType): Promise<KeyPair> {
  const path = join(dir, `host_${type}`);
  const { status, stdout, stderr } = await run(need("dropbearkey"), ["-t", type, "-f", path]);
  const publicLine = /^(ssh-|ecdsa-).*$/m.exec(stdout)?.[0];
  if (status !== 0 || publicLine === undefined) throw new Error(`dropbearkey: ${stderr}`);
  const publicPath = `${path}.pub`;
  await writeFile(publicPath, `${publicLine}\n`);
  const shown = await run(need("ssh-keygen"), ["-l", "-E", "sha256", "-f", publicPath]);
  const fingerprint = shown.stdout.split(" ")[1] ?? "";
  return { type, path, publicPath, publicLine, fingerprint, passphrase: "" };
}
