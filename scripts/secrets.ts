/**
 * Looks for the secrets of a test run in all that fairlead said and traced meanwhile; see
 * tests/support/secrets.ts.
 */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** What was found. */
export interface SecretsReport {
  /** How many secrets were looked for; 0 where the run had none, or fairlead said nothing. */
  readonly count: number;
  /** One line for each that was found, which does not repeat it. */
  readonly leaks: readonly string[];
}

/** Below this many characters a word may be there by chance. */
const SHORTEST = 8;

/**
 * Looks for them, as they are and in the encodings that logs have.
 *
 * @param folder Where the tests wrote secrets, outputs and the trace.
 * @returns What was found.
 */
export function findSecrets(folder: string): SecretsReport {
  const secrets = [...new Set(read(folder, "secrets").split("\n").filter((line) => line !== ""))]
    .map((line) => JSON.parse(line) as string)
    .filter((secret) => secret.length >= SHORTEST);
  const places = ["outputs", "trace"].map((name) => ({ name, text: read(folder, name) }));
  if (places.some(({ text }) => text === "")) return { count: 0, leaks: [] };
  const leaks = secrets.flatMap((secret, index) =>
    places.filter(({ text }) => formsOf(secret).some((form) => text.includes(form)))
      .map(({ name }) => `secret ${index + 1} (${secret.length} characters) is in the ${name}`)
  );
  return { count: secrets.length, leaks };
}

function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const base64 = bytes.toString("base64").replace(/=+$/, "");
  return [
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret),
    base64,
    bytes.toString("base64url"),
    bytes.toString("hex"),
  ];
}

function read(folder: string, name: string): string {
  try {
    return readFileSync(join(folder, name), "utf8");
  } catch {
    return "";
  }
}
