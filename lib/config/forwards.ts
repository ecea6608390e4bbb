/**
 * The forwards of a tunnel, in the short form that is ssh's and in the long one.
 *
 * @module
 */
import { messageOf } from "../errors.ts";
import {
  type DynamicForwardSpec,
  type ForwardSpec,
  type NamedSpec,
  parseDestination,
  parseDynamicForward,
  parseLocalForward,
  parseRemoteForward,
} from "../forward/spec.ts";
import type { ForwardRequest } from "../ssh_config/settings.ts";
import type { ForwardInput } from "./schema.ts";
import { foundWords } from "./shown_value.ts";

/** What is wrong with one. */
export class ForwardMistake extends SyntaxError {
  /** The key that it is about; the forward as a whole where it is missing. */
  readonly key: string | undefined;
  /** What to do. */
  readonly hint: string | undefined;

  /**
   * @param message What is wrong.
   * @param key The key that it is about.
   * @param hint What to do.
   */
  constructor(message: string, key?: string, hint?: string) {
    super(message);
    this.key = key;
    this.hint = hint;
  }
}

const KINDS = ["local", "remote", "dynamic"] as const;
const EXAMPLES = {
  local: "local: 8080:web.internal:80; or local: 8080 and to: web.internal:80",
  remote: "remote: 8080:localhost:3000; or remote: 8080 and to: localhost:3000",
  dynamic: "dynamic: 1080",
};

/**
 * Reads one forward.
 *
 * @param input What the file says.
 * @returns The forward.
 * @throws {ForwardMistake} When it is none.
 */
export function readForward(input: ForwardInput): ForwardRequest {
  const [kind, ...more] = KINDS.filter((kind) => input[kind] !== undefined);
  if (kind === undefined) {
    throw new ForwardMistake(
      "expected one of local, remote and dynamic",
      undefined,
      EXAMPLES.local,
    );
  }
  if (more.length > 0) {
    throw new ForwardMistake(`${kind} and ${more.join(" and ")}: one forward is one of them`);
  }
  const { name, to } = input;
  const text = String(input[kind]);
  const named = (spec: NamedSpec) => {
    if (name === undefined || spec.name === undefined || spec.name === name) {
      return name === undefined ? {} : { name };
    }
    throw new ForwardMistake(`name says ${name}, and ${kind} says ${spec.name}`, "name");
  };
  if (to === undefined) {
    const spec = parsed(kind, text);
    return { kind, spec: { ...spec, ...named(spec) } } as ForwardRequest;
  }
  if (kind === "dynamic") {
    throw new ForwardMistake("a dynamic forward leads where its clients say", "to");
  }
  const listener = listenOf(kind, text);
  const ends = { ...listener, ...named(listener) };
  try {
    return { kind, spec: { ...ends, destination: parseDestination(String(to)) } };
  } catch (error) {
    throw new ForwardMistake(foundWords(JSON.stringify(to), messageOf(error)), "to");
  }
}

function parsed(kind: ForwardRequest["kind"], text: string): ForwardSpec {
  const parse = {
    local: parseLocalForward,
    remote: parseRemoteForward,
    dynamic: parseDynamicForward,
  }[kind];
  try {
    return parse(text);
  } catch (error) {
    // A listen address alone is half of the long form.
    if (kind === "local" && isListen(text)) {
      throw new ForwardMistake("to is missing: where does it lead?", undefined, EXAMPLES.local);
    }
    throw new ForwardMistake(
      foundWords(JSON.stringify(text), messageOf(error)),
      kind,
      `as in ${EXAMPLES[kind]}`,
    );
  }
}

function listenOf(kind: "local" | "remote", text: string): DynamicForwardSpec {
  if (isWhole(kind, text)) {
    throw new ForwardMistake(`${kind} says already where to`, "to", "leave one of the two out");
  }
  // As in ssh, what holds a slash is a Unix socket; brackets keep its colons together.
  const path = /^\[([^\]]+)\]$/.exec(text)?.[1] ?? text;
  if (path.includes("/")) return { listen: { path } };
  try {
    return parseDynamicForward(text);
  } catch (error) {
    throw new ForwardMistake(foundWords(JSON.stringify(text), messageOf(error)), kind);
  }
}

function isListen(text: string): boolean {
  if (text.includes("/")) return true;
  try {
    parseDynamicForward(text);
    return true;
  } catch {
    return false;
  }
}

/** Of both kinds, ssh's text for what leads somewhere. */
function isWhole(kind: "local" | "remote", text: string): boolean {
  try {
    const spec = kind === "local" ? parseLocalForward(text) : parseRemoteForward(text);
    return spec.destination !== undefined;
  } catch {
    return false;
  }
}
