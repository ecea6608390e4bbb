/** A real OpenSSH server on a free loopback port, with keys and configuration of its own. */
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { type KeyPair, type KeyType, makeKey } from "./keys.ts";
import { type SshServer, startSshServer } from "./ssh_server.ts";
import { need } from "./tools.ts";

export { sshOptions, type SshServer, trySsh } from "./ssh_server.ts";

/** What an SSH server for a test is to be. */
export interface SshdOptions {
  /**
   * Lines of sshd_config. They win over the defaults here; `Match` blocks go to the end. With
   * `AddressFamily any` it knows IPv6.
   */
  config?: string[];
  /** More lines of authorized_keys; the key `identity` is accepted anyway. */
  authorizedKeys?: string[];
  /** Options before the line of `identity`, such as `permitopen="127.0.0.1:80"`. */
  identityOptions?: string;
  /** Default: ed25519 alone. */
  hostKeyTypes?: KeyType[];
  /** Host keys that exist already, instead of new ones. */
  hostKeys?: KeyPair[];
  /** Default: 127.0.0.1. */
  address?: string;
  /** Default: a free one. */
  port?: number;
  /**
   * Accepts this password too. The server then sees a passwd and a shadow file of its own, which
   * only root can arrange: hand `skipUnlessAccounts({ password: true })` to the test.
   */
  password?: string;
  /**
   * Asks through PAM, with this instead of /etc/pam.d/sshd; beside `password`. `DIR` in it stands
   * for the server's folder.
   */
  pam?: string;
  /**
   * The name of the account. The server then sees a passwd file of its own in which the user who
   * runs the tests has this name: hand `skipUnlessAccounts()` to the test.
   */
  user?: string;
}

/** Starts sshd; it accepts connections when the promise is fulfilled. */
export async function startSshd(options: SshdOptions = {}): Promise<SshServer> {
  const { address = "127.0.0.1", hostKeyTypes = ["ed25519"] } = options;
  const program = need("sshd");
  if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });

  return await startSshServer({
    ...options,
    address,
    name: "sshd",
    makeHostKeys: (dir) =>
      Promise.all(hostKeyTypes.map((type) => makeKey(dir, { type, name: `host_${type}` }))),
    logFile: (dir) => join(dir, "sshd.log"),
    listening: /Server listening on/,
    command: async ({ dir, port, hostKeys }) => {
      const file = join(dir, "sshd_config");
      await writeFile(file, sshdConfig(options, { dir, port, address, hostKeys }));
      // sshd starts itself again for each connection and wants its full path for that.
      return [program, "-D", "-f", file, "-E", join(dir, "sshd.log")];
    },
  });
}

function sshdConfig(
  options: SshdOptions,
  place: { dir: string; port: number; address: string; hostKeys: KeyPair[] },
): string {
  const { config = [], password, pam } = options;
  // Of scripts/test.ts --cipher.
  const cipher = process.env["FAIRLEAD_TEST_CIPHER"];
  // The first value wins in sshd_config, and a Match block reaches to the end of the file.
  const match = config.findIndex((line) => /^\s*match\b/i.test(line));
  const [first, last] = match < 0 ? [config, []] : [config.slice(0, match), config.slice(match)];
  return [
    ...first,
    `ListenAddress ${place.address}`,
    `Port ${place.port}`,
    ...place.hostKeys.map((key) => `HostKey ${key.path}`),
    `AuthorizedKeysFile ${join(place.dir, "authorized_keys")}`,
    // For a port of its own choice sshd takes one address of localhost, and does without the other
    // where another test has the same port there: it would be that one's.
    "AddressFamily inet",
    "StrictModes no",
    `UsePAM ${pam === undefined ? "no" : "yes"}`,
    "PidFile none",
    "UseDNS no",
    `PermitRootLogin ${password === undefined ? "prohibit-password" : "yes"}`,
    `PasswordAuthentication ${password === undefined || pam !== undefined ? "no" : "yes"}`,
    `KbdInteractiveAuthentication ${pam === undefined ? "no" : "yes"}`,
    // bash reads ~/.bashrc for each command that comes by SSH: whatever a developer has there.
    `SetEnv HOME=${place.dir}`,
    "MaxStartups 1000",
    "MaxSessions 1000",
    "LogLevel DEBUG1",
    ...(cipher === undefined ? [] : [`Ciphers ${cipher}`]),
    // Newer servers shut out an address after a few failures, which tests make on purpose.
    ...(sshdVersion() >= 9.8 ? ["PerSourcePenalties no"] : []),
    ...last,
    "",
  ].join("\n");
}

let version: number | undefined;

function sshdVersion(): number {
  return version ??= askForVersion();
}

function askForVersion(): number {
  // Older ones do not know -V, but name their version all the same when they complain.
  const { stdout, stderr } = spawnSync(need("sshd"), ["-V"], { encoding: "utf8" });
  return Number(/OpenSSH_(\d+\.\d+)/.exec(stdout + stderr)?.[1] ?? 0);
}
