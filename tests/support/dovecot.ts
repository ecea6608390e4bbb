/** A real dovecot that serves one mailbox over POP3 on a free loopback port. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { chmod, chown, mkdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import process from "node:process";
import {
  currentUser,
  freePort,
  need,
  run,
  skipUnless,
  start,
  type Stoppable,
  stoppable,
  tempDir,
  waitFor,
} from "./tools.ts";

/** What a POP3 server for a test is to be. */
export interface DovecotOptions {
  /** The mails, first line to last. Line ends become CRLF on the wire. */
  messages: string[];
  address?: string;
  port?: number;
}

/** A running POP3 server. */
export interface Dovecot extends Stoppable {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  log(): string;
}

/** For node:test: why dovecot cannot be tested here, if so. */
export function skipUnlessDovecot(): { skip?: string } {
  const { skip } = skipUnless("dovecot");
  if (skip !== undefined) return { skip };
  version ??= spawnSync(need("dovecot"), ["--version"], { encoding: "utf8" }).stdout.trim();
  return version.startsWith("2.3.")
    ? {}
    : { skip: `dovecot ${version} reads another configuration than the 2.3 of these tests` };
}

/** Starts dovecot; it accepts connections when the promise is fulfilled. */
export async function startDovecot(options: DovecotOptions): Promise<Dovecot> {
  const { address = "127.0.0.1" } = options;
  const folder = await tempDir("fairlead-dovecot-");
  const dir = folder.path;
  const user = "mary";
  const password = "read my mail";
  const port = options.port ?? await freePort(address);
  const log = () => {
    try {
      return readFileSync(join(dir, "log"), "utf8");
    } catch {
      return ""; // It has not begun to log.
    }
  };

  // Dovecot reads no mail as root: there the mailbox is nobody's.
  const owner = isRoot() ? await nobody() : currentUser();
  await chmod(dir, 0o711);
  for (const name of ["mail", "mail/cur", "mail/new", "mail/tmp"]) {
    await mkdir(join(dir, name));
    if (isRoot()) await chown(join(dir, name), owner.uid, owner.gid);
  }
  for (const [index, message] of options.messages.entries()) {
    // A Maildir is sorted by the time in the names.
    const file = join(dir, "mail", "new", `${1_700_000_000 + index}.M${index}.fairlead`);
    await writeFile(file, message);
    if (isRoot()) await chown(file, owner.uid, owner.gid);
  }
  await writeFile(join(dir, "users"), `${user}:{PLAIN}${password}\n`);
  const file = join(dir, "dovecot.conf");
  await writeFile(file, configuration({ dir, address, port, owner }));

  const server = start(need("dovecot"), ["-F", "-c", file]);
  const stop = async () => {
    // The master ends its children itself, when it is asked and not killed.
    server.kill("SIGTERM");
    await server.stop();
    await folder.stop();
  };
  try {
    await waitFor(async () => !server.running() || await accepts(address, port), {
      what: `dovecot listening on port ${port}`,
      timeout: 10_000,
    });
    if (!server.running()) throw new Error(`dovecot ended at once:\n${server.stderr()}${log()}`);
  } catch (error) {
    await stop();
    throw error;
  }
  return stoppable({ host: address, port, user, password, log }, stop);
}

let version: string | undefined;

const isRoot = () => process.getuid?.() === 0;

interface Owner {
  uid: number;
  gid: number;
}

async function nobody(): Promise<Owner> {
  const ids = await Promise.all(
    ["-u", "-g"].map(async (flag) => Number((await run("id", [flag, "nobody"])).stdout)),
  );
  return { uid: ids[0] ?? 65_534, gid: ids[1] ?? 65_534 };
}

function configuration(
  place: { dir: string; address: string; port: number; owner: Owner },
): string {
  const { dir, address, port, owner } = place;
  const { name, group } = currentUser();
  // Only root can change its user or root folder; anybody else must serve as himself.
  const unprivileged = `
default_internal_user = ${name}
default_internal_group = ${group}
default_login_user = ${name}
service anvil {
  chroot =
}
service pop3-login {
  chroot =
}
`;
  return `
protocols = pop3
listen = ${address}
base_dir = ${dir}/run
state_dir = ${dir}/state
log_path = ${dir}/log
ssl = no
disable_plaintext_auth = no
auth_failure_delay = 0
mail_location = maildir:${dir}/mail
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = ${dir}/users
}
userdb {
  driver = static
  args = uid=${owner.uid} gid=${owner.gid} home=${dir}/mail
}
service pop3-login {
  inet_listener pop3 {
    port = ${port}
  }
  inet_listener pop3s {
    port = 0
  }
}
${isRoot() ? "" : unprivileged}`;
}

async function accepts(host: string, port: number): Promise<boolean> {
  const socket = connect({ host, port });
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
