/**
 * Who listens on a port of this machine, as far as the system tells.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import process from "node:process";
import { isAnyInterface } from "../dialer.ts";
import { printable } from "../ssh/reasons.ts";

/** A process that listens, or the user whose process it is. */
export interface PortOwner {
  readonly pid?: number;
  /** The program's name. */
  readonly name?: string;
  readonly user?: string;
}

/** Milliseconds for lsof. */
const LSOF_TIMEOUT = 5_000;
/** The state LISTEN in /proc/net/tcp. */
const LISTEN = "0A";

/**
 * Looks for it.
 *
 * @param port The port.
 * @param hosts Addresses one of which is taken; any where there is none.
 * @returns What is known; undefined where it is nothing.
 */
export async function portOwner(
  port: number,
  hosts: readonly string[] = [],
): Promise<PortOwner | undefined> {
  try {
    if (process.platform === "linux") return linuxOwner(port, hosts);
    if (process.platform === "darwin") return await lsofOwner(port);
  } catch {
    // Deno may not be permitted to look, or lsof not be there.
  }
  return undefined;
}

/**
 * The owner in words.
 *
 * @param owner What is known.
 * @returns Such as `nginx (process 812)`.
 */
export function ownerWords(owner: PortOwner | undefined): string {
  const { pid, name, user } = owner ?? {};
  if (pid !== undefined) {
    return name === undefined ? `process ${pid}` : `${printable(name)} (process ${pid})`;
  }
  return user === undefined ? "another program" : `a process of the user ${printable(user)}`;
}

interface Listening {
  readonly inode: string;
  readonly uid: number;
}

/** proc(5): the listener's inode in /proc/net/tcp, then whoever has it open. */
function linuxOwner(port: number, hosts: readonly string[]): PortOwner | undefined {
  const all = ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((file) => listeners(file, port));
  const fitting = all.filter(({ host }) =>
    hosts.length === 0 || isAnyInterface(host) || hosts.includes(host)
  );
  const [found] = fitting.length > 0 ? fitting : all;
  if (found === undefined) return undefined;
  const pid = holderOf(found);
  if (pid === undefined) {
    const user = userOf(found.uid);
    return user === undefined ? undefined : { user };
  }
  return { pid, name: readFileSync(`/proc/${pid}/comm`, "utf8").trim() };
}

function listeners(file: string, port: number): (Listening & { readonly host: string })[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return [];
  }
  return text.split("\n").slice(1).flatMap((line) => {
    const [, local = "", , state, , , , uid, , inode = ""] = line.trim().split(/\s+/);
    const [address = "", hex = ""] = local.split(":");
    if (state !== LISTEN || parseInt(hex, 16) !== port) return [];
    return [{ host: hostOf(address), uid: Number(uid), inode }];
  });
}

/** The kernel prints each 32 bits in the order of the machine, which is little-endian. */
function hostOf(hex: string): string {
  const bytes = (hex.match(/.{8}/g) ?? []).flatMap((word) =>
    (word.match(/../g) ?? []).map((byte) => parseInt(byte, 16)).reverse()
  );
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from(
    { length: 8 },
    (_, index) => (((bytes[2 * index] ?? 0) << 8) | (bytes[2 * index + 1] ?? 0)).toString(16),
  );
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}

function holderOf({ inode }: Listening): number | undefined {
  const wanted = `socket:[${inode}]`;
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const folder = `/proc/${pid}/fd`;
      if (readdirSync(folder).some((name) => linkOf(`${folder}/${name}`) === wanted)) {
        return Number(pid);
      }
    } catch {
      // It has ended, or is another user's.
    }
  }
  return undefined;
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function userOf(uid: number): string | undefined {
  const lines = readFileSync("/etc/passwd", "utf8").split("\n").map((line) => line.split(":"));
  return lines.find(([, , id]) => Number(id) === uid)?.[0];
}

function lsofOwner(port: number): Promise<PortOwner | undefined> {
  const args = ["-nP", `-iTCP:${port}`, "-sTCP:LISTEN", "-Fpc"];
  return new Promise((resolve) => {
    execFile("lsof", args, { timeout: LSOF_TIMEOUT }, (_error, stdout) => {
      const pid = /^p(\d+)$/m.exec(stdout)?.[1];
      const name = /^c(.+)$/m.exec(stdout)?.[1];
      if (pid === undefined) return resolve(undefined);
      resolve({ pid: Number(pid), ...(name === undefined ? {} : { name }) });
    });
  });
}
