/**
 * What no output may hold. scripts/test.ts names a folder in FAIRLEAD_TEST_NOTES: the tests write
 * their secrets there and all that fairlead said, and fairlead itself its trace; after the suite the
 * one is looked for in the other.
 */
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

const folder = process.env["FAIRLEAD_TEST_NOTES"];

/** How the arguments that run the command line end: see programCommand(). */
const [PROGRAM = ""] =
  (JSON.parse(process.env["FAIRLEAD_TEST_PROGRAM"] ?? '["cli.ts"]') as string[])
    .slice(-1);

/** Lines of a private key that begin it hold its public half as well. */
const PUBLIC_LINES = 4;

/** Notes a password, a passphrase or a token; returns it. */
export function secret(value: string): string {
  if (folder !== undefined && value !== "") {
    appendFileSync(join(folder, "secrets"), `${JSON.stringify(value)}\n`);
  }
  return value;
}

/** Notes a private key, in PEM or OpenSSH's format; returns it. */
export function secretKey(text: string): string {
  const lines = text.trim().split("\n").filter((line) => /^[A-Za-z0-9+/=]{40,}$/.test(line));
  for (const line of lines.slice(Math.min(PUBLIC_LINES, lines.length - 1))) secret(line);
  return text;
}

/** Notes what a run of fairlead said. */
export function said(command: readonly string[], output: string): void {
  if (folder === undefined || !command.some((word) => word.endsWith(PROGRAM))) return;
  appendFileSync(join(folder, "outputs"), output);
}
