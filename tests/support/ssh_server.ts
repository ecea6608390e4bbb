/** The life of a real SSH server: what sshd.ts and dropbear.ts have in common. */
import { readFileSync } from "node:fs";
import { appendFile, chmod, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Accounts, withAccounts } from "./accounts.ts";
import { type KeyPair, knownHostsLine, makeKey } from "./keys.ts";
import {
  currentUser,
  descendants,
  freePort,
  need,
  processes,
  run,
  type Running,
  type RunResult,
  signalProcess,
  start,
  type Stoppable,
  stoppable,
  tempDir,
  waitFor,
} from "./tools.ts";

/** A running SSH server: what `startSshd` and `startDropbear` return. */
export interface SshServer extends Stoppable {
  readonly host: string;
  readonly port: number;
  /** Who may log in. */
  readonly user: string;
  readonly hostKeys: KeyPair[];
  /** The file of a private key that is accepted, and the same with what belongs to it. */
  readonly identity: string;
  readonly identityKey: KeyPair;
  /** The file with its host keys, as `[host]:port`. */
  readonly knownHosts: string;
  /** Its own temporary folder; removed by `stop`. */
  readonly dir: string;
  /** Of the listener; another one after `restart`. */
  readonly pid: number;
  /** Everything that it logged so far. */
  log(): string;
  /** Accepts one more line of authorized_keys from now on. */
  authorize(line: string): Promise<void>;
  /** The processes that serve connections, one for each connection. */
  sessions(): number[];
  /** Signals all that serve connections, e.g. SIGSTOP to stall them; the listener goes on. */
  signalSessions(signal?: NodeJS.Signals): void;
  /** Signals the listener alone; connections that are open go on. */
  kill(signal?: NodeJS.Signals): boolean;
  /** Ends the listener and all connections, as a machine that goes down; SIGKILL by default. */
  down(signal?: NodeJS.Signals): Promise<void>;
  /** Listens again on the same port, with the same keys. */
  up(): Promise<void>;
  /** `down` and `up`. */
  restart(): Promise<void>;
}

/** What it takes to reach a server and to log in there. */
export type Reach = Pick<SshServer, "host" | "port" | "user" | "identity" | "knownHosts">;

/** What differs between one kind of SSH server and another. */
export interface ServerKind {
  name: string;
  address: string;
  port?: number;
  authorizedKeys?: string[];
  identityOptions?: string;
  hostKeys?: KeyPair[];
  password?: string;
  pam?: string;
  /** The account's name, where it is not the name of the user who runs the tests. */
  user?: string;
  /** Runs it under a passwd file of its own even without a password. */
  ownAccounts?: boolean;
  makeHostKeys(dir: string): Promise<KeyPair[]>;
  /** Where it logs; without it, to stderr. */
  logFile?(dir: string): string;
  /** What it logs when it listens. */
  listening: RegExp;
  /** Where it looks for authorized_keys; default: in its folder. */
  authorizedKeysFile?(dir: string): string;
  command(place: { dir: string; port: number; hostKeys: KeyPair[] }): Promise<string[]>;
}

/** Starts a server of some kind; it accepts connections when the promise is fulfilled. */
export async function startSshServer(kind: ServerKind): Promise<SshServer> {
  const folder = await tempDir(`fairlead-${kind.name}-`);
  try {
    return await startIn(folder, kind);
  } catch (error) {
    await folder.stop();
    throw error;
  }
}

/**
 * The options with which the real `ssh` reaches a server, for `ssh ...sshOptions(server) …`. It
 * makes no post-quantum keys: they take 66 ms of the 77 of a short run, and ssh is the judge here,
 * not the subject.
 */
export function sshOptions(server: Reach): string[] {
  return ["-o", "KexAlgorithms=curve25519-sha256", ...usualSshOptions(server)];
}

/** Runs `true` by the real ssh; the first value of an option wins. */
export function trySsh(server: SshServer, ...options: string[]): Promise<RunResult> {
  const given = options.flatMap((option) => ["-o", option]);
  return run(need("ssh"), [...given, ...sshOptions(server), server.host, "true"]);
}

/** The same options, and the algorithms are those that ssh has for its users. */
export function usualSshOptions(server: Reach): string[] {
  const options = {
    UserKnownHostsFile: server.knownHosts,
    GlobalKnownHostsFile: "none",
    StrictHostKeyChecking: "yes",
    IdentitiesOnly: "yes",
    IdentityAgent: "none",
    BatchMode: "yes",
    ExitOnForwardFailure: "yes",
  };
  return [
    ...["-F", "none", "-i", server.identity, "-p", String(server.port), "-l", server.user],
    ...Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]),
  ];
}

async function startIn(
  folder: { path: string } & Stoppable,
  kind: ServerKind,
): Promise<SshServer> {
  const dir = folder.path;
  const user = kind.user ?? currentUser().name;
  const host = kind.address;
  // Servers refuse keys and passwd files in a folder that others may write to, and as root some
  // of them read as the user who logs in.
  await chmod(dir, 0o755);
  const identityKey = await makeKey(dir, { name: "id_accepted" });
  const authorizedKeys = kind.authorizedKeysFile?.(dir) ?? join(dir, "authorized_keys");
  await mkdir(dirname(authorizedKeys), { recursive: true, mode: 0o700 });
  await writeFile(
    authorizedKeys,
    [
      `${kind.identityOptions ? `${kind.identityOptions} ` : ""}${identityKey.publicLine}`,
      ...kind.authorizedKeys ?? [],
      "",
    ].join("\n"),
    { mode: 0o600 },
  );
  const hostKeys = kind.hostKeys ?? await kind.makeHostKeys(dir);
  let accounts: Accounts | undefined;
  if (kind.password !== undefined || kind.user !== undefined || kind.ownAccounts) {
    accounts = { dir, home: dir, name: user };
    if (kind.password !== undefined) accounts.password = kind.password;
    if (kind.pam !== undefined) accounts.pam = kind.pam;
  }

  let output = "";
  let server: Running | undefined;
  const log = () => {
    const stderr = output + (server?.stderr() ?? "");
    if (kind.logFile === undefined) return stderr;
    try {
      return readFileSync(kind.logFile(dir), "utf8") + stderr;
    } catch {
      return stderr; // It has not begun to log.
    }
  };

  const listenOn = async (port: number) => {
    const command = await kind.command({ dir, port, hostKeys });
    const [program = "", ...args] = accounts ? await withAccounts(command, accounts) : command;
    const before = log().length;
    const started = server = start(program, args);
    await waitFor(() => kind.listening.test(log().slice(before)) || !started.running(), {
      what: `${kind.name} listening on port ${port}`,
      timeout: 10_000,
    });
    if (!started.running()) {
      throw new Error(`${kind.name} ended at once:\n${log().slice(before)}`);
    }
  };
  // The processes that serve connections outlive their listener, and are nobody's children then.
  const orphans = new Set<number>();
  const serving = () => {
    const own = server === undefined ? [] : descendants(server.pid);
    if (orphans.size === 0) return own;
    const lost = processes().filter(({ pid, name }) =>
      // The name, too: the number may be another's by now.
      orphans.has(pid) && name.startsWith(kind.name)
    );
    return [...own, ...lost];
  };
  const kill = (signal: NodeJS.Signals = "SIGTERM") => {
    for (const { pid } of serving()) orphans.add(pid);
    return server?.kill(signal) ?? false;
  };
  const signalSessions = (signal: NodeJS.Signals = "SIGKILL") => {
    for (const { pid } of serving()) signalProcess(pid, signal);
  };
  const down = async (signal: NodeJS.Signals = "SIGKILL") => {
    if (server === undefined) return;
    kill(signal);
    signalSessions(signal);
    await server.stop();
    // It may have accepted one more before it heard, and a stopped one hears only this.
    signalSessions("SIGKILL");
    orphans.clear();
    output += server.stderr();
    server = undefined;
  };

  let port = kind.port ?? await freePort(host);
  for (let attempt = 1;; attempt++) {
    try {
      await listenOn(port);
      break;
    } catch (error) {
      await down();
      // Somebody else may have taken the port since we saw it free.
      if (kind.port !== undefined || attempt === 3) throw error;
      port = await freePort(host);
    }
  }

  const knownHosts = join(dir, "known_hosts");
  await writeFile(
    knownHosts,
    hostKeys.map((key) => `${knownHostsLine(host, port, key.publicLine)}\n`).join(""),
  );

  return stoppable<Omit<SshServer, keyof Stoppable>>({
    host,
    port,
    user,
    hostKeys,
    identity: identityKey.path,
    identityKey,
    knownHosts,
    dir,
    get pid() {
      return server?.pid ?? -1;
    },
    log,
    authorize: (line) => appendFile(authorizedKeys, `${line}\n`),
    sessions: () => {
      const all = serving();
      // Where sshd serves a connection with two processes, one is the other's child.
      return all.filter(({ parent }) => !all.some(({ pid }) => pid === parent))
        .map(({ pid }) => pid);
    },
    signalSessions,
    kill,
    down,
    up: () => listenOn(port),
    restart: async () => {
      await down();
      await listenOn(port);
    },
  }, async () => {
    await down();
    await folder.stop();
  });
}
