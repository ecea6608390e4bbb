/** Key pairs, made by the real `ssh-keygen`. */
import { Buffer } from "node:buffer";
import { createHash, randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { secret, secretKey } from "./secrets.ts";
import { need, run } from "./tools.ts";

/** The kinds of key that OpenSSH makes today. */
export type KeyType = "ed25519" | "ecdsa" | "rsa";

/** Files of a key pair. */
export interface KeyPair {
  type: KeyType;
  /** The private key's file. */
  path: string;
  publicPath: string;
  /** `ssh-ed25519 AAAA… comment`, as authorized_keys wants it. */
  publicLine: string;
  /** `SHA256:…`, as ssh shows it. */
  fingerprint: string;
  passphrase: string;
}

/** What kind of key. */
export interface KeyOptions {
  /** Default: ed25519. */
  type?: KeyType;
  /** Default: the curve or length that is quickest to make (256; rsa 2048). */
  bits?: 256 | 384 | 521 | 2048 | 3072 | 4096;
  passphrase?: string;
  /** Of the private key's file. ssh-keygen writes ed25519 as OpenSSH whatever is asked. */
  format?: "OPENSSH" | "PEM" | "PKCS8";
  comment?: string;
  /** The file's name; by default a new one. */
  name?: string;
}

/** Makes a key pair in a folder. */
export async function makeKey(folder: string, options: KeyOptions = {}): Promise<KeyPair> {
  const { type = "ed25519", passphrase = "", comment = "fairlead test" } = options;
  const path = join(folder, options.name ?? `id_${type}_${randomUUID().slice(0, 8)}`);
  const bits = options.bits ?? (type === "rsa" ? 2048 : 256);
  if (type === "rsa" && STOCK !== undefined && options.format === undefined) {
    await takeFromStock(STOCK, path, { bits, passphrase, comment });
  } else {
    const args = ["-q", "-t", type, "-N", passphrase, "-C", comment, "-f", path];
    if (type !== "ed25519") args.push("-b", String(bits));
    if (options.format === "PEM" || options.format === "PKCS8") args.push("-m", options.format);
    await keygen(args);
  }
  secret(passphrase);
  secretKey(await readFile(path, "utf8"));
  const publicLine = (await readFile(`${path}.pub`, "utf8")).trim();
  const blob = Buffer.from(publicLine.split(" ")[1] ?? "", "base64");
  const digest = createHash("sha256").update(blob).digest("base64").replace(/=+$/, "");
  return {
    type,
    path,
    publicPath: `${path}.pub`,
    publicLine,
    fingerprint: `SHA256:${digest}`,
    passphrase,
  };
}

/** Where scripts/test.ts has the processes of one run keep what they share. */
const STOCK = process.env["FAIRLEAD_TEST_NOTES"];
let taken = 0;

/**
 * An RSA key takes half a second of a processor: one process of a run makes it, and all of them use
 * it. None uses one twice.
 */
async function takeFromStock(
  stock: string,
  path: string,
  { bits, passphrase, comment }: { bits: number; passphrase: string; comment: string },
): Promise<void> {
  const kept = join(stock, `rsa-${bits}-${taken++}`);
  if (!existsSync(kept)) {
    const made = `${kept}-${process.pid}`;
    await keygen(["-q", "-t", "rsa", "-b", String(bits), "-N", "", "-f", made]);
    await rename(made, kept);
  }
  await copyFile(kept, path);
  // It writes the public key as well.
  await keygen(["-q", "-c", "-P", "", "-C", comment, "-f", path]);
  if (passphrase !== "") await keygen(["-q", "-p", "-P", "", "-N", passphrase, "-f", path]);
}

/** `ssh-ed25519 AAAA…`, without the comment; nothing where there is no key. */
export function publicKey(key: Pick<KeyPair, "publicLine"> | undefined): string {
  return key?.publicLine.split(" ").slice(0, 2).join(" ") ?? "";
}

/** A line of known_hosts for a server's public key. */
export function knownHostsLine(host: string, port: number, publicLine: string): string {
  const name = port === 22 ? host : `[${host}]:${port}`;
  return `${name} ${publicKey({ publicLine })}`;
}

async function keygen(args: string[]): Promise<void> {
  const { status, stderr } = await run(need("ssh-keygen"), args);
  if (status !== 0) throw new Error(`ssh-keygen ${args.join(" ")}: ${stderr.trim()}`);
}
