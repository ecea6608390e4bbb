/**
 * Runs a server that sees a passwd and a shadow file of the test's own, so that it finds a home
 * folder and a password there and the machine's own are never touched. It is a mount namespace,
 * which ends with the process; nothing has to be undone.
 */
import { spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { secret } from "./secrets.ts";
import { currentUser, need, run, which } from "./tools.ts";

/** The one account that the server sees: the user who runs the tests, by whatever name. */
export interface Accounts {
  /** The name there; by default the user's own. */
  name?: string;
  /** Where the two files are written. */
  dir: string;
  /** The user's home folder. */
  home: string;
  /** The user's password; without it, no password is right. */
  password?: string;
  /** What the server finds in /etc/pam.d/sshd, instead of the machine's own; for root only. */
  pam?: string;
}

/** For node:test, beside `skipUnless`: a reason where the machine does not allow it. */
export function skipUnlessAccounts(options: { password?: boolean } = {}): { skip?: string } {
  if (which("unshare") === undefined) return { skip: "unshare is not installed" };
  if (options.password) {
    if (!isRoot()) return { skip: "a server that checks passwords must be started by root" };
    if (which("openssl") === undefined) return { skip: "openssl is not installed" };
  }
  possible ??= spawnSync(need("unshare"), [...namespace(), "mount", "--bind", "/tmp", "/tmp"]);
  return possible.status === 0 ? {} : { skip: "this machine allows no mount namespaces" };
}

/** The command that runs `command` under these accounts, as the same process. */
export async function withAccounts(command: string[], accounts: Accounts): Promise<string[]> {
  const { uid, gid, ...user } = currentUser();
  const { name = user.name } = accounts;
  const passwd = join(accounts.dir, "passwd");
  const shadow = join(accounts.dir, "shadow");
  // The separated half of sshd runs as its own user and needs that account as well.
  await writeFile(
    passwd,
    [
      `${name}:x:${uid}:${gid}::${accounts.home}:/bin/sh`,
      "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin",
      "",
    ].join("\n"),
  );
  const binds = [[passwd, "/etc/passwd"]];
  if (isRoot()) {
    const hash = accounts.password === undefined ? "*" : await crypt(accounts.password);
    await writeFile(shadow, `${name}:${hash}:19000:0:99999:7:::\n`, { mode: 0o600 });
    binds.push([shadow, "/etc/shadow"]);
  }
  if (accounts.pam !== undefined) {
    const pam = join(accounts.dir, "pam");
    await writeFile(pam, accounts.pam.replaceAll("DIR", accounts.dir));
    binds.push([pam, "/etc/pam.d/sshd"]);
  }
  // Who is root only inside must be himself again for the server to let him in.
  const back = isRoot() ? [] : ["unshare", "--user", `--map-user=${uid}`, `--map-group=${gid}`];
  const mounts = binds.map(([from, to]) => `mount --bind '${from}' ${to}`).join(" && ");
  const script = `${mounts} && exec "$@"`;
  return [need("unshare"), ...namespace(), "sh", "-c", script, "sh", ...back, ...command];
}

let possible: { status: number | null } | undefined;

const namespace = () => isRoot() ? ["--mount"] : ["--user", "--map-root-user", "--mount"];

const isRoot = () => process.getuid?.() === 0;

async function crypt(password: string): Promise<string> {
  // From stdin: a password among the arguments is for all to see, and a habit to avoid.
  const { status, stdout, stderr } = await run("openssl", ["passwd", "-6", "-stdin"], {
    stdin: `${secret(password)}\n`,
  });
  if (status !== 0) throw new Error(`openssl passwd: ${stderr.trim()}`);
  return stdout.trim();
}
