/**
 * How a local command learns where the forwards listen: variables, and placeholders in its
 * arguments.
 *
 * @module
 */
import { type Address, isUnix } from "../dialer.ts";
import { UsageError } from "../errors.ts";
import { formatForward, type ForwardSpec } from "../forward/spec.ts";
import { nearest } from "../nearest.ts";

const PLACEHOLDER = /\{([A-Za-z][A-Za-z0-9_-]*)\.(host|port)\}/g;

/** A forward that listens, as far as a command has to know it. */
export interface Listening {
  readonly spec: ForwardSpec;
  /** Where it listens, with the real port. */
  readonly addresses: readonly Address[];
}

/**
 * The variables for a command: `FAIRLEAD_PORT` is the first port that was asked for as 0,
 * `FAIRLEAD_PORT_1` the second; `FAIRLEAD_DB_PORT` and `FAIRLEAD_DB_HOST` belong to the forward
 * that is named `db`. Of one on a Unix socket, the path is the host, and it has no port.
 *
 * @param forwards The forwards, in the order in which they were asked for.
 * @returns The variables.
 */
export function variablesOf(forwards: readonly Listening[]): Record<string, string> {
  const variables: Record<string, string> = {};
  let free = 0;
  for (const { spec, addresses } of forwards) {
    const { host, port } = whereTo(addresses);
    if (isFree(spec) && port !== undefined) {
      variables[free === 0 ? "FAIRLEAD_PORT" : `FAIRLEAD_PORT_${free}`] = port;
      free++;
    }
    if (spec.name === undefined) continue;
    const prefix = prefixOf(spec.name);
    if (host !== undefined) variables[`${prefix}_HOST`] = host;
    if (port !== undefined) variables[`${prefix}_PORT`] = port;
  }
  return variables;
}

/**
 * The environment of a command: ours, with the variables. Where another `fairlead with` runs us, its
 * numbered ports are not the command's: `FAIRLEAD_PORT_1` would be a forward that nobody asked for.
 *
 * @param inherited Our environment.
 * @param variables What {@linkcode variablesOf} gave.
 * @returns All of it.
 */
export function environmentWith(
  inherited: Readonly<Record<string, string | undefined>>,
  variables: Readonly<Record<string, string>>,
): Record<string, string | undefined> {
  const kept = Object.entries(inherited).filter(([name]) => !/^FAIRLEAD_PORT(_\d+)?$/.test(name));
  return { ...Object.fromEntries(kept), ...variables };
}

/**
 * Puts the places of named forwards into arguments: `{db.port}` and `{db.host}`.
 *
 * @param args The arguments.
 * @param forwards The forwards.
 * @returns The arguments; what names no forward stays as it is.
 */
export function fillPlaceholders(
  args: readonly string[],
  forwards: readonly Listening[],
): string[] {
  const named = new Map(forwards.map(({ spec, addresses }) => [spec.name, whereTo(addresses)]));
  return args.map((arg) =>
    arg.replace(
      PLACEHOLDER,
      (whole, name: string, field: "host" | "port") => named.get(name)?.[field] ?? whole,
    )
  );
}

/**
 * Looks whether each name has variables of its own.
 *
 * @param specs The forwards that are asked for.
 * @throws {UsageError} When two names mean the same variables.
 */
export function checkNames(specs: readonly ForwardSpec[]): void {
  const names = new Map<string, { name: string; text: string }>();
  for (const spec of specs) {
    const { name } = spec;
    if (name === undefined) continue;
    const prefix = prefixOf(name);
    const text = formatForward(spec);
    const earlier = names.get(prefix);
    // What is asked for twice, here and in a file, is one forward.
    if (earlier !== undefined && earlier.text !== text) {
      const other = earlier.name;
      throw new UsageError(
        other === name
          ? `two forwards are named ${name}`
          : `the forwards ${other} and ${name} would have the same variables, ${prefix}_PORT`,
        "give each its own name",
      );
    }
    names.set(prefix, { name, text });
  }
}

/**
 * Looks for placeholders that are misspelt.
 *
 * @param args The arguments of the command.
 * @param specs The forwards that are asked for.
 * @throws {UsageError} When one names no forward, but almost does.
 */
export function checkPlaceholders(args: readonly string[], specs: readonly ForwardSpec[]): void {
  const names = specs.flatMap(({ name }) => name === undefined ? [] : [name]);
  if (names.length === 0) return;
  for (const [, word = ""] of args.flatMap((arg) => [...arg.matchAll(PLACEHOLDER)])) {
    if (names.includes(word)) continue;
    // Braces may be meant for the command: of a short word, most letters must be right.
    const guess = nearest(word, names, Math.min(2, Math.floor(word.length / 2)));
    if (guess === undefined) continue;
    throw new UsageError(`no forward is named ${word}`, `did you mean ${guess}?`);
  }
}

function prefixOf(name: string): string {
  return `FAIRLEAD_${name.toUpperCase().replace(/[^A-Z0-9_]/g, "_")}`;
}

function isFree({ listen }: ForwardSpec): boolean {
  return "port" in listen && listen.port === 0;
}

/** Where a client connects to, which a listener on all interfaces does not say. */
function whereTo(addresses: readonly Address[]): { host?: string; port?: string } {
  const [address] = addresses;
  if (address === undefined) return {};
  if (isUnix(address)) return { host: address.path };
  const { host, port } = address;
  const loopback = host === "::" ? "::1" : ["", "*", "0.0.0.0"].includes(host) ? "127.0.0.1" : host;
  return { host: loopback, port: String(port) };
}
