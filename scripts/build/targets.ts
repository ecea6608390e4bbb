/** The machines that binaries are built for. */
import { Buffer } from "node:buffer";
import { closeSync, openSync, readSync } from "node:fs";
import process from "node:process";

/** The names of all targets, as they stand in file names. */
export const TARGETS = [
  "linux-x64",
  "linux-arm64",
  "macos-x64",
  "macos-arm64",
  "windows-x64",
  "windows-arm64",
] as const;

/** One of them. */
export type Target = typeof TARGETS[number];

/** What `deno compile --target` calls them. */
export const DENO_TARGETS: Readonly<Record<Target, string>> = {
  "linux-x64": "x86_64-unknown-linux-gnu",
  "linux-arm64": "aarch64-unknown-linux-gnu",
  "macos-x64": "x86_64-apple-darwin",
  "macos-arm64": "aarch64-apple-darwin",
  "windows-x64": "x86_64-pc-windows-msvc",
  "windows-arm64": "aarch64-pc-windows-msvc",
};

/**
 * What `bun build --target` calls a target.
 *
 * @param target One of them.
 * @returns Its name there.
 */
export function bunTarget(target: Target): string {
  return `bun-${target.replace("macos", "darwin")}`;
}

/**
 * This machine's own.
 *
 * @returns Its name, in the form of TARGETS; there may be no such target.
 */
export function hostTarget(): string {
  const systems: Record<string, string> = { darwin: "macos", win32: "windows" };
  return `${systems[process.platform] ?? process.platform}-${process.arch}`;
}

/**
 * The target that an executable file is for, by its first bytes.
 *
 * @param path The file.
 * @returns The target's name; undefined where it is no executable of any.
 * @throws {Error} When it cannot be read.
 */
export function targetOf(path: string): Target | undefined {
  const head = Buffer.alloc(1024);
  const file = openSync(path, "r");
  try {
    readSync(file, head);
  } finally {
    closeSync(file);
  }
  return elf(head) ?? machO(head) ?? pe(head);
}

function elf(head: Buffer): Target | undefined {
  if (head.readUInt32BE(0) !== 0x7f454c46) return undefined;
  const machine = head.readUInt16LE(0x12);
  return machine === 0x3e ? "linux-x64" : machine === 0xb7 ? "linux-arm64" : undefined;
}

function machO(head: Buffer): Target | undefined {
  if (head.readUInt32LE(0) !== 0xfeedfacf) return undefined;
  const cpu = head.readUInt32LE(4);
  return cpu === 0x01000007 ? "macos-x64" : cpu === 0x0100000c ? "macos-arm64" : undefined;
}

function pe(head: Buffer): Target | undefined {
  if (head.toString("latin1", 0, 2) !== "MZ") return undefined;
  const start = head.readUInt32LE(0x3c);
  if (start > head.length - 6 || head.toString("latin1", start, start + 4) !== "PE\0\0") {
    return undefined;
  }
  const machine = head.readUInt16LE(start + 4);
  return machine === 0x8664 ? "windows-x64" : machine === 0xaa64 ? "windows-arm64" : undefined;
}
