/**
 * Tunnels as the text of a fairlead.yaml, for a person to read and to go on with.
 *
 * @module
 */
import { parse } from "@std/yaml";
import { formatForward } from "../forward/spec.ts";
import type { ForwardRequest } from "../ssh_config/settings.ts";
import { checkForwards } from "./checks.ts";
import { NAME } from "./schema.ts";
import { SCHEMA_FILE, SCHEMA_LINE } from "./starting_file.ts";

/** A value of a key. */
type Value = string | number | boolean | readonly string[] | Readonly<Record<string, string>>;

/** One tunnel. */
export interface WrittenTunnel {
  /** What it would like to be called; another name is made of it where that cannot be. */
  readonly name: string;
  /** Its keys but for its forwards, in this order; see {@linkcode literal}. */
  readonly keys: Readonly<Record<string, Value>>;
  readonly forwards: readonly ForwardRequest[];
}

/**
 * A text for a value in which nothing is a variable.
 *
 * @param text The text.
 * @returns What the file says for it.
 */
export function literal(text: string): string {
  return text.replaceAll("${", () => "$${");
}

/**
 * Writes tunnels down.
 *
 * @param tunnels The tunnels.
 * @returns The file's text; and what stands there only as a comment, because two forwards want the
 *   same, each with the reason.
 */
export function writeTunnels(
  tunnels: readonly WrittenTunnel[],
): { readonly text: string; readonly left: readonly string[] } {
  const names = namesOf(tunnels);
  const reasons = conflicts(tunnels, names);
  const left: string[] = [];
  const lines = [
    SCHEMA_LINE,
    `# fairlead schema > ${SCHEMA_FILE} makes the file that editors read.`,
    "version: 1",
    "tunnels:",
  ];
  for (const [index, { keys, forwards }] of tunnels.entries()) {
    const name = names[index] as string;
    lines.push(`  ${scalar(name)}:`, ...keyLines(keys, "    "));
    const written = forwards.map(({ kind, spec }, place) => {
      const said = formatForward(spec);
      const text = `- ${kind}: ${/^\d+$/.test(said) ? said : scalar(literal(said))}`;
      const reason = reasons.get(`${name} ${place}`);
      if (reason === undefined) return `      ${text}`;
      left.push(`${name}: ${kind} ${said}: ${reason}`);
      return `      # ${text}  (${reason})`;
    });
    const none = written.every((line) => line.startsWith("      #"));
    lines.push(`    forwards:${none ? " []" : ""}`, ...written);
  }
  return { text: lines.map((line) => `${line}\n`).join(""), left };
}

/** Each once, and none that a jump host has: `jump` would mean the tunnel. */
function namesOf(tunnels: readonly WrittenTunnel[]): string[] {
  const taken = new Set(tunnels.flatMap(({ keys: { jump = [] } }) => jump as readonly string[]));
  return tunnels.map(({ name: wanted }) => {
    const plain = wanted.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[._-]+|[._-]+$/g, "");
    const stem = plain.slice(0, 50) || "tunnel";
    let name = stem;
    for (let number = 2; taken.has(name) || !NAME.test(name); number++) name = `${stem}-${number}`;
    taken.add(name);
    return name;
  });
}

/** What a reader of the file would refuse, by the tunnel's name and the forward's position. */
function conflicts(
  tunnels: readonly WrittenTunnel[],
  names: readonly string[],
): Map<string, string> {
  const reasons = new Map<string, string>();
  const all = tunnels.map(({ forwards }, index) => ({ name: names[index] as string, forwards }));
  checkForwards(all, {
    lineOf: () => 0,
    complain: ([, tunnel, , index], { message }) => {
      reasons.set(`${tunnel} ${index}`, message.replace(/ \(line 0\)$/, ""));
    },
  });
  return reasons;
}

function keyLines(keys: WrittenTunnel["keys"], indent: string): string[] {
  return Object.entries(keys).flatMap(([key, value]) => {
    if (typeof value !== "object") return [`${indent}${key}: ${scalar(value)}`];
    if (Array.isArray(value)) return [`${indent}${key}:`, ...items(value, indent)];
    return [`${indent}${key}:`, ...keyLines(value as Record<string, string>, `${indent}  `)];
  });
}

function items(values: readonly string[], indent: string): string[] {
  return values.map((value) => `${indent}  - ${scalar(value)}`);
}

/** A text in quotes where without them it would be something else. */
function scalar(value: string | number | boolean): string {
  if (typeof value !== "string") return String(value);
  if (/^[\w~.\/$@+-][\w~.\/:@%+=,${}-]*$/.test(value) && isPlain(value)) return value;
  // YAML takes what JSON writes, but for a few characters that JSON leaves as they are.
  return JSON.stringify(value).replace(
    /[\x7f-\x9f\u2028\u2029\ufeff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function isPlain(text: string): boolean {
  // What only YAML 1.1 takes for something else, other readers of the file may.
  if (/^(?:y|n|yes|no|on|off|[\d_:.]+)$/i.test(text)) return false;
  try {
    return parse(text, { schema: "core" }) === text;
  } catch {
    return false;
  }
}
